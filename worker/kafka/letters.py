"""Cuts a dead letter until its topic takes it, and says in its headers what was cut. Pure.

Kafka refuses a record by the size of all of it: key, value and headers. What is cut keeps its beginning, its size and
its SHA-256. A letter of `SMALLEST` bytes always fits: it says where the record stood and why it was refused.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

Header = tuple[str, str | bytes | None]

PREFIX: Final = "__connect.errors."
OVERHEAD: Final = 200
"""Bytes of a record beside its key, value and headers: those of the batch that it comes in, lengths, attributes."""
PER_HEADER: Final = 12
SMALLEST: Final = 1_024
"""Below this only what identifies the record is kept."""
KEPT_AT_LAST: Final = ("topic.id", "partition", "offset", "reason", "timestamp")


class Letter(NamedTuple):
    """A record for the dead letters' topic.

    Attributes:
        key: of the record.
        value: of the record.
        original: its headers.
        own: headers that say where it stood and why it was refused; their names begin with `PREFIX`.
    """

    key: bytes | None
    value: bytes | None
    original: Sequence[Header]
    own: Sequence[Header]

    @property
    def headers(self) -> list[Header]:
        """As they are produced."""
        return [*self.original, *self.own]

    @property
    def size(self) -> int:
        """Bytes that it takes at most."""
        return len(self.key or b"") + len(self.value or b"") + _size(self.headers) + OVERHEAD


def fitted(letter: Letter, limit: int) -> Letter:
    """The letter, cut to at most ``limit`` bytes. A letter that is cut twice still describes its first form.

    >>> own = [("__connect.errors.reason", b"schema")]
    >>> cut = fitted(Letter(b"k" * 5_000, b"v" * 5_000, [("h", b"x" * 5_000)], own), 3_000)
    >>> cut.size <= 3_000, len(cut.key), len(cut.value) > 0, [name for name, _ in cut.original]
    (True, 719, True, [])
    """
    if letter.size <= limit:
        return letter
    if limit < SMALLEST:
        kept = [(name, value) for name, value in letter.own if name.removeprefix(PREFIX) in KEPT_AT_LAST]
        return Letter(None, None, [], kept)
    own = [(name, _short(value)) for name, value in letter.own]
    said = {name for name, _ in own}
    # What is said of cuts takes up to 100 bytes a line.
    room = max(limit - OVERHEAD - _size(own) - 600, 0)
    part = room // 3
    key, value, original = letter.key, letter.value, list(letter.original)
    others = len(value or b"") + _size(original)
    if key is not None and len(key) > max(part, room - others):
        own += _cut("key", key, said)
        key = key[: max(part, room - others)]
    others = len(key or b"") + len(value or b"")
    if _size(original) > max(part, room - others):
        own += _cut("headers", b"".join(name.encode() + b"\0" + _bytes(text) for name, text in original), said)
        original = _first(original, max(part, room - others))
    left = room - len(key or b"") - _size(original)
    if value is not None and len(value) > left:
        own += _cut("value", value, said)
        value = value[: max(left, 0)]
    cut = Letter(key, value, original, own)
    return cut if cut.size <= limit else fitted(letter, SMALLEST - 1)


def was_cut(headers: Sequence[Header]) -> bool:
    """Whether a letter's headers say that something of it was cut."""
    return any(name.startswith(PREFIX) and name.endswith(".original.bytes") for name, _ in headers)


def _cut(what: str, whole: bytes, said: set[str]) -> list[Header]:
    """What is said of a part that is cut, unless it was cut before."""
    size, digest = f"{PREFIX}{what}.original.bytes", f"{PREFIX}{what}.original.sha256"
    if size in said:
        return []
    return [(size, str(len(whole)).encode()), (digest, hashlib.sha256(whole).hexdigest().encode())]


def _first(headers: Sequence[Header], room: int) -> list[Header]:
    """The first headers that fit."""
    kept: list[Header] = []
    for header in headers:
        room -= _size([header])
        if room < 0:
            break
        kept.append(header)
    return kept


def _short(value: str | bytes | None) -> str | bytes | None:
    return value[:200] if value is not None else None


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _size(headers: Sequence[Header]) -> int:
    return sum(len(name.encode()) + len(_bytes(value)) + PER_HEADER for name, value in headers)
