"""The demo: embedded Kafka and Valkey, simulated shoppers, one worker, a live view. For trying out, never for figures."""
