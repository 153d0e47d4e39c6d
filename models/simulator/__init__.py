"""Simulated shoppers."""
