"""Faults injected into real workers on real Kafka and Redis, judged by a batch recompute of the log."""
