"""A real Apache Kafka from Python packages alone, for trying out, demo and tests."""
