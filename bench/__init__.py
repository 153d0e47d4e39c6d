"""Benchmarks with permanent ids: ``python -m bench --list``."""
