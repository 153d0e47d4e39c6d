"""The worker: clicks from Kafka, decisions to Redis."""
