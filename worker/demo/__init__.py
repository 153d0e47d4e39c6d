"""The demo: embedded Kafka and Valkey, simulated shoppers, one worker, a live view; never a basis for figures."""
