"""The loop, and what it does in order for every batch."""
