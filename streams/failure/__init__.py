"""What to do when a record or the machinery fails: errors, back-off, policy and dead letters."""
