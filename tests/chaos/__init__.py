"""Nothing is lost and nothing is doubled, whatever happens to workers and brokers."""
