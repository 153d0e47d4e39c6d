"""The bridge: records of other trackers' topics become events on `clicks`, exactly once."""
