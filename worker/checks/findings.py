"""What checks find: how bad it is, and what to change."""

from typing import Final, NamedTuple

VOID: Final = "unsafe"
ADVICE: Final = "advice"
GOOD: Final = "ok"


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        level: `VOID` breaks the promise, `ADVICE` weakens it, `GOOD` is as it should be.
        what: what stands.
        remedy: what to change, "" where nothing.
    """

    level: str
    what: str
    remedy: str = ""
