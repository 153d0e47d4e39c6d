"""Clicks from files: the exports of other trackers."""
