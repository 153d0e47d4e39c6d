r"""Events on disk while Kafka is away: appended, synchronised, replayed in order, by several processes of one machine.

A directory holds

    lock            locked by whoever appends, or ends the replay
    replayer        locked by the process that replays
    waiting         is there while events wait: new ones go behind them, so that a session's stay in order
    N.spool         segments, in order of N (16 decimal digits)
    cursor          segment and byte up to which Kafka has everything

A record of a segment, numbers little-endian:

    magic "CSP\x01" (its last byte is the version) · CRC-32 of what follows uint32 · length of what follows uint32 ·
    time of arrival, epoch ms int64 · length of topic uint8 · topic · length of key uint16 · key · value

A process that is killed while it writes leaves half a record. A reader goes on at the next magic whose CRC holds;
nobody was told that the half one is safe. After a kill some records may be replayed twice: each event has an
`event_id`.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

MAGIC: Final = b"CSP\x01"
SEGMENT_BYTES: Final = 16 << 20
MOST_RECORD: Final = 1 << 20
_HEAD: Final = struct.Struct("<4sII")
_TIMES: Final = struct.Struct("<qB")
_KEY: Final = struct.Struct("<H")


class SpoolFull(Exception):
    """The spool has reached its limit, or its disk has."""


class Spooled(NamedTuple):
    """One record that waits for Kafka."""

    topic: str
    key: bytes
    value: bytes
    at_ms: int


class Place(NamedTuple):
    """A byte of a segment."""

    segment: int
    byte: int


class Spool:
    """The directory.

    Args:
        directory: made if it is missing; of one machine, not of a network file system.
        most_bytes: what all segments together may hold.
        segment_bytes: at which size the next segment begins.
    """

    def __init__(self, directory: Path, most_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._most_bytes = most_bytes
        self._segment_bytes = segment_bytes
        self._waiting = str(directory / "waiting")
        with self._locked("lock"):
            if self._segments():
                self.begin()  # a machine that crashed may have kept the segments and lost the mark

    def waiting(self) -> bool:
        """Whether events wait, so that new ones must go behind them; one look at the directory."""
        return os.path.exists(self._waiting)  # noqa: PTH110 - asked for every request; a Path costs ten times as much

    def begin(self) -> None:
        """New events go behind from now on, also those of other processes."""
        Path(self._waiting).touch()

    def size_bytes(self) -> int:
        """What the segments hold."""
        with self._locked("lock"):
            return sum(path.stat().st_size for path in self._segments())

    def append(self, records: Sequence[Spooled]) -> None:
        """Append records and return once the disk has them. Blocks.

        Raises:
            SpoolFull: nothing of it counts as written.
        """
        data = b"".join(map(_encoded, records))
        with self._locked("lock"):
            self.begin()
            segments = self._segments()
            if sum(path.stat().st_size for path in segments) + len(data) > self._most_bytes:
                raise SpoolFull
            last = segments[-1] if segments else None
            if last is None or last.stat().st_size >= self._segment_bytes:
                last = self._path(_number(last) + 1 if last else 1)
            try:
                self._write(last, data)
            except OSError:
                raise SpoolFull from None

    def read(self, place: Place, most: int, *, alone: bool = False) -> tuple[list[Spooled], Place]:
        """Up to ``most`` records from a place on, and the place behind them.

        Args:
            place: of the first record.
            most: how many.
            alone: nobody appends meanwhile (`ending`): what cannot be read at the end is half a record, and is passed.
        """
        numbers = [_number(path) for path in self._segments()]
        records: list[Spooled] = []
        for number in numbers:
            if number < place.segment or len(records) >= most:
                continue
            start = place.byte if number == place.segment else 0
            finished = alone or number != numbers[-1]
            some, byte = _records(self._path(number), start, most - len(records), finished=finished)
            records += some
            place = Place(number, byte)
        return records, place

    def cursor(self) -> Place:
        """Where the replay goes on."""
        try:
            segment, byte = (self.directory / "cursor").read_text().split()
            return Place(int(segment), int(byte))
        except (OSError, ValueError):
            return Place(0, 0)

    def advance(self, place: Place) -> None:
        """Kafka has everything before this place: older segments go, and the cursor is kept."""
        kept = self.directory / "cursor.new"
        kept.write_text(f"{place.segment} {place.byte}")
        kept.replace(self.directory / "cursor")
        with self._locked("lock"):
            for path in self._segments():
                if _number(path) < place.segment:
                    path.unlink(missing_ok=True)

    @contextmanager
    def replaying(self) -> Iterator[bool]:
        """Be the one process that replays; false where another one is."""
        with (self.directory / "replayer").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Keep everybody from appending, to replay what is left and call `finish`. Keep it short."""
        with self._locked("lock"):
            yield

    def finish(self) -> None:
        """Nothing waits any more; to be called inside `ending`, with everything replayed."""
        # The cursor first: the next segments begin at 1 again, and an old cursor would pass them.
        (self.directory / "cursor").unlink(missing_ok=True)
        for path in self._segments():
            path.unlink(missing_ok=True)
        Path(self._waiting).unlink(missing_ok=True)

    def _segments(self) -> list[Path]:
        return sorted(self.directory.glob("*.spool"))

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:016d}.spool"

    def _write(self, path: Path, data: bytes) -> None:
        new = not path.exists()
        with path.open("ab", buffering=0) as file:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            os.fdatasync(file.fileno())
        if new:
            with self._directory() as number:
                os.fsync(number)

    @contextmanager
    def _directory(self) -> Iterator[int]:
        number = os.open(self.directory, os.O_RDONLY)
        try:
            yield number
        finally:
            os.close(number)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self.directory / name).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _number(path: Path) -> int:
    return int(path.stem)


def _encoded(record: Spooled) -> bytes:
    topic, key, value, at_ms = record
    name = topic.encode()
    body = b"".join((_TIMES.pack(at_ms, len(name)), name, _KEY.pack(len(key)), key, value))
    return _HEAD.pack(MAGIC, zlib.crc32(body), len(body)) + body


def _records(path: Path, start: int, most: int, *, finished: bool) -> tuple[list[Spooled], int]:
    """Records of one segment from a byte on, and the byte behind them; of a finished one, junk is passed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], start
    records: list[Spooled] = []
    at = start
    while at < len(data) and len(records) < most:
        record, behind = _record(data, at)
        if record is None:
            following = _next_good(data, at + 1)
            if following is None:
                return records, len(data) if finished else at
            at = following
            continue
        records.append(record)
        at = behind
    return records, at


def _record(data: bytes, at: int) -> tuple[Spooled | None, int]:
    if len(data) - at < _HEAD.size:
        return None, at
    magic, crc, length = _HEAD.unpack_from(data, at)
    first, behind = at + _HEAD.size, at + _HEAD.size + length
    if magic != MAGIC or length > MOST_RECORD or behind > len(data) or zlib.crc32(data[first:behind]) != crc:
        return None, at
    with suppress(struct.error, UnicodeDecodeError):
        at_ms, topic_length = _TIMES.unpack_from(data, first)
        first += _TIMES.size
        topic = data[first : first + topic_length].decode()
        first += topic_length
        (key_length,) = _KEY.unpack_from(data, first)
        first += _KEY.size
        return Spooled(topic, data[first : first + key_length], data[first + key_length : behind], at_ms), behind
    return None, at


def _next_good(data: bytes, at: int) -> int | None:
    """Where the next whole record begins; None where there is none (yet)."""
    while (at := data.find(MAGIC, at)) >= 0:
        if _record(data, at)[0] is not None:
            return at
        at += 1
    return None
