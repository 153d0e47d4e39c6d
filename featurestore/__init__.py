"""Event contract, session state, features and the stores that keep them; the lowest layer."""
