"""From events and stored sessions to decisions: pure, without Kafka and Redis."""
