"""The Kafka side: records in, dead letters, a watch on the topic."""
