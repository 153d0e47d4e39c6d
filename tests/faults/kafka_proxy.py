"""A TCP proxy that speaks enough of Kafka's protocol to put errors into a group coordinator's answers."""

import struct
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.proxy import Proxy

OFFSET_COMMIT: Final = 8
OFFSET_FETCH: Final = 9
HEARTBEAT: Final = 12
CONSUMER_GROUP_HEARTBEAT: Final = 68

COORDINATOR: Final = frozenset({OFFSET_COMMIT, OFFSET_FETCH, 10, 11, HEARTBEAT, 13, 14, 15, CONSUMER_GROUP_HEARTBEAT})
"""What a group's coordinator answers: also who it is, joining, leaving, assignments, and what a group looks like."""

FIRST_FLEXIBLE: Final = {OFFSET_COMMIT: 8, OFFSET_FETCH: 6, HEARTBEAT: 4, CONSUMER_GROUP_HEARTBEAT: 0}
"""The version from which an answer has tagged fields and compact lengths."""


@dataclass
class _Talk:
    """One connection: bytes of unfinished messages, and which answers are of interest."""

    asked: bytes = b""
    answered: bytes = b""
    awaited: dict[int, tuple[int, int]] = field(default_factory=dict)


class KafkaProxy(Proxy):
    """A `Proxy` in front of a broker whose advertised listener it is.

    Attributes:
        errors: error codes to put into the next answers, by API key.
        silent: APIs whose answers never arrive.
        injected: how many were, by API key and code.
    """

    def __init__(self, target: int = 0) -> None:
        self.errors: dict[int, deque[int]] = {key: deque() for key in FIRST_FLEXIBLE}
        self.silent: frozenset[int] = frozenset()
        self.injected: Counter[tuple[int, int]] = Counter()
        self._talks: dict[object, _Talk] = defaultdict(_Talk)
        super().__init__(target)

    def push(self, key: int, codes: Sequence[int]) -> None:
        """Let the next answers to requests of an API carry these errors, one each."""
        self.errors[key].extend(codes)

    def asked(self, link: object, data: bytes) -> bytes:
        """Take note of the requests whose answers may be changed."""
        talk = self._talks[link]
        frames, talk.asked = _frames(talk.asked + data)
        for frame in frames:
            key, version, correlation = struct.unpack_from(">hhi", frame, 4)
            if key in COORDINATOR:
                talk.awaited[correlation] = key, version
        return data

    def answered(self, link: object, data: bytes) -> bytes:
        """Pass whole answers on, some of them changed."""
        talk = self._talks[link]
        frames, talk.answered = _frames(talk.answered + data)
        return b"".join(self._changed(talk, frame) for frame in frames)

    def _changed(self, talk: _Talk, frame: bytes) -> bytes:
        [correlation] = struct.unpack_from(">i", frame, 4)
        key, version = talk.awaited.pop(correlation, (-1, 0))
        if key in self.silent:
            return b""
        if not self.errors.get(key):
            return frame
        code = self.errors[key].popleft()
        self.injected[key, code] += 1
        return with_error(frame, key, version, code)


def with_error(frame: bytes, key: int, version: int, code: int) -> bytes:
    """An answer, its length before it, with an error code wherever the API has one for the whole group or partition."""
    flexible = version >= FIRST_FLEXIBLE[key]
    changed = bytearray(frame)
    if key == OFFSET_COMMIT:
        places = _commit_codes(frame, version, flexible=flexible)
    elif key == OFFSET_FETCH:
        # Of one group, as librdkafka asks: the group's code stands before the closing tagged fields.
        places = [len(frame) - (4 if version >= 8 else 3 if flexible else 2)]
    else:
        places = [4 + 4 + flexible + 4]  # length, correlation id, tagged fields, throttle time
    for place in places:
        struct.pack_into(">h", changed, place, code)
    return bytes(changed)


def _commit_codes(frame: bytes, version: int, *, flexible: bool) -> list[int]:
    at = 4 + 4 + flexible + (4 if version >= 3 else 0)
    places = []

    def number(size: int) -> int:
        nonlocal at
        value = int.from_bytes(frame[at : at + size], "big")
        at += size
        return value

    def length(size: int) -> int:  # compact lengths are below 128 here: one byte, one too many
        return number(1) - 1 if flexible else number(size)

    for _ in range(length(4)):
        name = 16 if version >= 10 else length(2)
        at += name
        for _ in range(length(4)):
            at += 4
            places.append(at)
            at += 2 + flexible
        at += flexible
    return places


def _frames(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole messages with their lengths, and the rest."""
    frames = []
    while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:4], "big"):
        end = 4 + int.from_bytes(data[:4], "big")
        frames.append(data[:end])
        data = data[end:]
    return frames, data
