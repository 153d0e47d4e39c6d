"""Checks of a live deployment and of what it decided."""
