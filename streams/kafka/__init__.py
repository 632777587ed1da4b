"""What we know of brokers and of aiokafka, with their traps covered. Knows nothing of payments."""
