"""The state of a session: its fold, its features, its stored bytes."""
