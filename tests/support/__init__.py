"""What the tests with a real Kafka share: payments in bulk, whole topics, workers and deadlines."""
