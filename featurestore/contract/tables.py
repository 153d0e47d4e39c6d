"""Files as tables: CSV, Parquet or JSON lines, of events or of numbers, read in batches of rows.

Events are those of the contract, or rows of a shop's own event log (`featurestore.contract.trackers.shop_rows`).
"""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final, Protocol, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurestore.contract.decode import read
from featurestore.contract.event import Event
from featurestore.contract.files import MAX_LINE_BYTES, Left
from featurestore.contract.trackers.mapping import time_ms
from featurestore.contract.trackers.shop_rows import holds_shop_events, orders_as_one, shop_row, what_is_missing
from featurestore.errors import InvalidEvent, SettingsError

EVENT_COLUMNS: Final = ("session_id", "type", "ts")
_NAMES: Final = (
    "session_id type event_id visitor_id page item_id category currency query device source country transaction_id"
)
_TEXTS: Final = frozenset(_NAMES.split())
"""Fields that are texts, also where a cell looks like a number."""
_FIELDS: Final = frozenset(Event.__struct_fields__)
_BLOCK: Final = 262_144
"""Bytes of lines that are read together."""
_LOOKED_AT: Final = 20
"""JSON lines that are looked at for the first object, which names the columns."""
_TOGETHER: Final = 8_192
"""Rows that are read together."""
_SECONDS: Final = (10**9, 10**10)
"""Epoch seconds from 2001 on look like milliseconds of January 1970."""
_encode: Final = msgspec.json.Encoder().encode

_DELIMITERS: Final = ",;\t|"
"""Of CSV; the one that stands most often in the first line."""

OTHER_FILES: Final = (
    "`clickstage replay FILE --format FORMAT --out events.jsonl` makes events of files of GA4, Segment, Snowplow, OTTO "
    "and the eshop"
)
"""What to do with a file that is no table of events, for messages."""

Batch = tuple[list[int], list[bytes]]


class Table(Protocol):
    """An open file.

    Attributes:
        path: of the file.
        columns: names of its columns; of JSON lines, those of the first line that looks like an event, or is an object.
        types: what the shop's own names of types mean, as `shop_rows.own_types` says.
        size: of the whole, in the unit of `position`.
    """

    path: Path
    columns: Sequence[str]
    types: Mapping[str, str]
    size: int

    @property
    def holds_events(self) -> bool:
        """Whether the columns of events are there, of the contract's or of a shop's own."""
        ...

    def position(self) -> int:
        """How much of `size` has been read."""
        ...

    def events(self, most: int) -> Iterator[Batch]:
        """Line numbers and events as JSON, at most ``most`` together; not more than that is held.

        A row that is no event is among them: the contract's reader says why.
        """
        ...

    def numbers(self, columns: Sequence[str], most: int) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
        """Line numbers and the values of ``columns``, NaN where a cell is empty or holds no number."""
        ...


class _Rows:
    """What the kinds of files share: rows are dictionaries."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: Sequence[str] = ()
        self.types: Mapping[str, str] = MappingProxyType({})
        self.size = 0

    @property
    def of_contract(self) -> bool:
        """Whether the columns are those of the contract, and none means anything else."""
        return set(EVENT_COLUMNS).issubset(self.columns) and not self.types

    @property
    def holds_events(self) -> bool:
        return _holds_events(self.columns)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Line number and cells of each row."""
        raise NotImplementedError

    def events(self, most: int) -> Iterator[Batch]:
        made: Iterator[tuple[int, dict[str, Any]]]
        if self.of_contract:
            made = ((number, _event(row)) for number, row in self.rows())
        else:
            made = orders_as_one((number, shop_row(row, self.types)) for number, row in self.rows())
        for batch in _batches(made, most):
            yield [n for n, _ in batch], [_encode(event) for _, event in batch]

    def numbers(self, columns: Sequence[str], most: int) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
        for batch in _batches(self.rows(), most):
            values = [[_number(row.get(name)) for name in columns] for _, row in batch]
            yield [n for n, _ in batch], np.array(values, np.float64).reshape(len(batch), len(columns))


class _Text(_Rows, AbstractContextManager["_Text"]):
    """A file of lines, packed by gzip or not."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._raw = path.open("rb")
        self.size = path.stat().st_size
        packed = path.suffix == ".gz"
        self.lines = cast(IO[bytes], gzip.GzipFile(fileobj=self._raw)) if packed else self._raw

    def position(self) -> int:
        return self._raw.tell()

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Number and content of each line that is not blank."""
        number = 0
        while line := self.lines.readline(MAX_LINE_BYTES):
            number += 1
            if not line.isspace():
                yield number, line


class JsonLines(_Text):
    """One JSON object a line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        lines = self.numbered()
        self._first = list(islice(lines, _LOOKED_AT))
        self._lines = chain(self._first, lines)
        objects = [found for _, line in self._first if (found := _object(line))]
        first = next((one for one in objects if _holds_events(one)), next(iter(objects), {}))
        self.columns = tuple(first)
        self._as_they_are = not isinstance(first.get("ts"), str)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        return ((number, _object(line)) for number, line in self._lines)

    def events(self, most: int) -> Iterator[Batch]:
        """Lines of the contract as they are, as a worker reads records, unless their times are texts such as dates."""
        if self.holds_events and not (self.of_contract and self._as_they_are):
            yield from super().events(most)
            return
        numbers = [number for number, _ in self._first]
        values = [line.strip() for _, line in self._first]
        for first, lines in self._blocks(numbers[-1] if numbers else 0):
            numbers += (
                [n for n, line in enumerate(lines, first) if line] if b"" in lines else range(first, first + len(lines))
            )
            values += filter(None, lines) if b"" in lines else lines
            while len(values) >= most:
                yield numbers[:most], values[:most]
                del numbers[:most], values[:most]
        if values:
            yield numbers, values

    def _blocks(self, number: int) -> Iterator[tuple[int, list[bytes]]]:
        """The lines after line ``number``, many at a time: the number of the first one, and all without white space.

        A line longer than `MAX_LINE_BYTES` comes in parts, as if it were several: nothing reads it, and it is not held.
        """
        rest = b""
        while block := self.lines.read(_BLOCK):
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                lines.append(rest)
                rest = b""
            yield number + 1, [line.strip() for line in lines]
            number += len(lines)
        if rest:
            yield number + 1, [rest.strip()]


class Csv(_Text):
    """A header and a row each."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        csv.field_size_limit(MAX_LINE_BYTES)
        lines = (line.decode("utf-8-sig", errors="replace") for _, line in self.numbered())
        head = next(lines, "")
        delimiter = max(_DELIMITERS, key=head.count)
        self._reader = csv.DictReader(chain([head], lines), delimiter=delimiter)
        try:
            self.columns = tuple(self._reader.fieldnames or ())
        except csv.Error as error:
            raise SettingsError(f"{path}: its first line is no header of CSV: {error}") from None

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        while True:
            try:
                row = next(self._reader)
            except StopIteration:
                return
            except csv.Error:
                row = {}  # as a line that is not JSON: a row in which nothing is told
            row.pop(None, None)  # where more cells than columns go
            yield self._reader.line_num, row


class Parquet(_Rows, AbstractContextManager["Parquet"]):
    """A Parquet file; needs pyarrow."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            from pyarrow import parquet  # type: ignore[import-untyped]  # has no stubs
        except ImportError:
            raise SettingsError(f"{path}: Parquet needs pyarrow: pip install pyarrow, or write CSV") from None
        try:
            self._file: Any = parquet.ParquetFile(path)
        except (OSError, ValueError) as error:  # what pyarrow raises is one of these
            raise SettingsError(f"{path}: cannot be read as Parquet: {error}") from None
        self.columns = tuple(self._file.schema_arrow.names)
        self.size = self._file.metadata.num_rows
        self._read = 0

    def position(self) -> int:
        return self._read

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for part in self._file.iter_batches(batch_size=8_192):
            for row in part.to_pylist():
                self._read += 1
                yield self._read, {name: _plain(cell) for name, cell in row.items()}


def open_table(
    path: Path, types: Mapping[str, str] = MappingProxyType({}), *, lines_by_default: bool = False
) -> "AbstractContextManager[Table]":
    """The file as a table, by its name.

    Args:
        path: the file.
        types: what the shop's own names of types mean, as `shop_rows.own_types` says.
        lines_by_default: a file of another name holds JSON lines.

    Raises:
        SettingsError: it cannot be read, or its name says no known kind.
    """
    kinds = {".jsonl": JsonLines, ".json": JsonLines, ".ndjson": JsonLines, ".csv": Csv, ".parquet": Parquet}
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    kind = kinds.get(suffix.lower(), JsonLines if lines_by_default else None)
    if kind is None or (kind is Parquet and path.suffix == ".gz"):
        raise SettingsError(f"{path}: is neither .csv nor .jsonl (.gz too) nor .parquet; rename or convert it")
    try:
        table = kind(path)
        table.types = types
        return cast("AbstractContextManager[Table]", table)
    except (OSError, EOFError, zlib.error) as error:
        raise SettingsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def file_events(
    path: Path, left: Left, types: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[bytes, Event]]:
    """The events of a file, in its order: as JSON of the contract that needs no repair, and decoded.

    Args:
        path: a table of events; a file of a name that says nothing holds JSON lines.
        left: counts the rows that are no events.
        types: as for `open_table`.

    Raises:
        SettingsError: it holds no events, too many of its rows are none, or its times are seconds.
    """
    with open_table(path, types, lines_by_default=True) as table:
        if table.columns and not table.holds_events:
            told = ", ".join(map(str, table.columns[:20]))
            raise SettingsError(f"{path}: has {what_is_missing(table.columns)}; it has {told}. {OTHER_FILES}")
        newest = 0
        for numbers, values in table.events(_TOGETHER):
            for number, value in zip(numbers, values, strict=True):
                try:
                    event, problems = read(value)
                except InvalidEvent as error:
                    left.out(number, str(error))
                    continue
                newest = max(newest, event.ts)
                yield _encode(_filled(event)) if problems else value, event
        refuse_seconds(path, newest)


def refuse_seconds(path: Path, ts: int) -> None:
    """Refuse times that can only be seconds: as milliseconds they would make one visit of a month.

    Raises:
        SettingsError: ``ts`` is one.
    """
    if _SECONDS[0] <= ts < _SECONDS[1]:
        raise SettingsError(f"{path}: its times are seconds, or of 1970; `ts` is epoch milliseconds")


def _holds_events(columns: Iterable[str]) -> bool:
    return set(EVENT_COLUMNS).issubset(columns) or holds_shop_events(columns)


def _filled(event: Event) -> dict[str, Any]:
    return {name: value for name in Event.__struct_fields__ if (value := getattr(event, name)) is not None}


def _batches(rows: Iterable[Any], most: int) -> Iterator[list[Any]]:
    rows = iter(rows)
    while batch := list(islice(rows, most)):
        yield batch


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _event(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of the contract, with numbers where a table has text; empty cells are left out."""
    return {
        name: _value(name, cell) for name, cell in row.items() if name in _FIELDS and cell is not None and cell != ""
    }


def _value(name: str, cell: Any) -> Any:
    if name in _TEXTS:
        return str(cell)
    if not isinstance(cell, str):
        return cell
    if name == "ts":
        return ms if (ms := time_ms(cell)) is not None and not cell.strip().isdecimal() else _told(cell)
    return _told(cell.lower() if name == "consent" else cell)


def _told(cell: str) -> Any:
    """A number, a list, true or false; else the text, and the contract's reader says what is wrong with it."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _plain(cell: Any) -> Any:
    """Parquet's own times as epoch ms, UTC where they name no zone, and its decimals as numbers."""
    if isinstance(cell, datetime):
        return round((cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(cell, date):
        return cell.isoformat()
    return float(cell) if isinstance(cell, Decimal) else cell


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")
