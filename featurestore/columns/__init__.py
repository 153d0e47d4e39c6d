"""Columns of texts and bytes, hashes, and the compiled code under both."""
