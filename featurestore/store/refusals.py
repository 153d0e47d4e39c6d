"""What is kept of a partition's refused records: fields of the hash ``meta`` of its first bucket.

``refused`` is the owner's note (`Note`), written behind the fence together with the applied offset. ``pass`` is the
operator's word: records before this offset pass whatever they are.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

REFUSED: Final = "refused"
PASSES: Final = "pass"
NOTE_VERSION: Final = 1


class Note(msgspec.Struct, frozen=True):
    """What an owner counted of a partition.

    Attributes:
        next: offset after the last record that was counted; the bad ones before it are dead letters already.
        in_a_row: bad records up to there without a good one in between.
        records: the window that a share is measured in.
        bad: of those, how many are bad.
        since_ms: when reading stopped, epoch ms; 0 while it goes on.
        v: version of the note.
    """

    next: int
    in_a_row: int
    records: int
    bad: int
    since_ms: int = 0
    v: int = NOTE_VERSION


class Refused(NamedTuple):
    """What is stored of a partition; ``note`` None where nothing was refused, or where it cannot be read."""

    note: Note | None
    passes: int


def encoded(note: Note) -> bytes:
    """As it is stored."""
    return msgspec.json.encode(note)


def refused_of(reply: Sequence[Any]) -> Refused:
    """The answer to ``HMGET meta refused pass``; a note that cannot be read is none: counting begins anew."""
    text, passes = reply
    return Refused(_note(text), int(passes) if passes and passes.isdigit() else 0)


def _note(text: bytes | None) -> Note | None:
    if not text:
        return None
    try:
        note = msgspec.json.decode(text, type=Note)
    except msgspec.MsgspecError:
        return None
    return note if note.v == NOTE_VERSION else None
