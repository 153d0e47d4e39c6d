"""Clicks in order of time, whatever their number: what does not fit in memory is sorted in parts, in a temporary file.

A few hundred kilobytes of .gz can hold gigabytes of clicks, and an export need not be in order.
"""

import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from heapq import merge
from typing import Final, Self

from worker.trackers.rows import Click

PART_BYTES: Final = 32 * 1_048_576
"""Keys and values that are kept in memory at a time; objects around them take about as much again."""
_BLOCK: Final = 65_536
_HEAD: Final = struct.Struct("<qII")
_OBJECT_BYTES: Final = 200


class Spool:
    """Clicks by time; those of one millisecond stay in the order in which they came.

    Args:
        clicks: in any order; read once.
        part_bytes: how much is sorted in memory at a time.

    Attributes:
        first_ts, last_ts: of the oldest and newest click, epoch ms; 0 without any.
    """

    def __init__(self, clicks: Iterable[Click], part_bytes: int = PART_BYTES) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._parts: list[tuple[int, int]] = []
        self._rest: list[Click] = []
        self._count = 0
        self.first_ts = self.last_ts = 0
        held = 0
        try:
            for click in clicks:
                self.first_ts = click.ts if not self._count else min(self.first_ts, click.ts)
                self.last_ts = max(self.last_ts, click.ts)
                self._count += 1
                self._rest.append(click)
                held += len(click.value) + len(click.session_id) + _OBJECT_BYTES
                if held > part_bytes:
                    self._write()
                    held = 0
        except BaseException:
            self.close()
            raise
        self._rest.sort(key=_time)

    def __enter__(self) -> Self:
        """The spool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Give the disk back."""
        with suppress(OSError):
            self._file.close()

    def __len__(self) -> int:
        """Clicks."""
        return self._count

    def __iter__(self) -> Iterator[Click]:
        """From the oldest to the newest; may be asked for more than once."""
        return merge(*(self._read(*part) for part in self._parts), self._rest, key=_time)

    def _write(self) -> None:
        self._rest.sort(key=_time)
        begin = self._file.seek(0, os.SEEK_END)
        for session_id, ts, value in self._rest:
            key = session_id.encode()
            self._file.write(_HEAD.pack(ts, len(key), len(value)) + key + value)
        self._file.flush()
        self._parts.append((begin, self._file.tell()))
        self._rest = []

    def _read(self, at: int, end: int) -> Iterator[Click]:
        block = b""
        while at < end or block:
            while len(block) < _HEAD.size or len(block) < _HEAD.size + sum(_HEAD.unpack_from(block)[1:]):
                more = os.pread(self._file.fileno(), min(_BLOCK, end - at), at)
                block, at = block + more, at + len(more)
            used = 0
            while len(block) - used >= _HEAD.size:
                ts, key, value = _HEAD.unpack_from(block, used)
                if len(block) - used < _HEAD.size + key + value:
                    break
                start = used + _HEAD.size
                used = start + key + value
                yield Click(block[start : start + key].decode(), ts, block[start + key : used])
            block = block[used:]


def _time(click: Click) -> int:
    return click.ts
