"""The dead letter: written and read as Spring Kafka does, and shown to people. Knows nothing of payments."""
