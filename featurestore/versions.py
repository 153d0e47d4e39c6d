"""The version of what is stored.

Every record that outlives a process begins with it: sessions with their policy memory, visitor profiles, outboxes and
the packed decisions in them, what waits for other slots on a Cluster, tombstones.

All kinds of record share one number, so that a fleet is rolled by one setting: readers accept `RECORD_VERSION` and the
version before, whatever is set; ``write_version`` says which of the two is written. To roll out a release with a new
version, run all workers with ``write_version`` at the old one first, then take the setting away.
"""

from typing import Final

RECORD_VERSION: Final = 2
"""What is written, unless ``write_version`` says otherwise."""
VERSION_BEFORE: Final = RECORD_VERSION - 1
"""What is read too, and written on demand."""
