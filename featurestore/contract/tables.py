"""Files as tables: CSV, Parquet or JSON lines, of events or of numbers, read in batches of rows."""

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurestore.contract.event import Event
from featurestore.contract.files import MAX_LINE_BYTES
from featurestore.errors import SettingsError

EVENT_COLUMNS: Final = ("session_id", "type", "ts")
_NAMES: Final = (
    "session_id type event_id visitor_id page item_id category currency query device source country transaction_id"
)
_TEXTS: Final = frozenset(_NAMES.split())
"""Fields that are texts, also where a cell looks like a number."""
_FIELDS: Final = frozenset(Event.__struct_fields__)
_BLOCK: Final = 262_144
"""Bytes of lines that are read together."""
_encode: Final = msgspec.json.Encoder().encode

Batch = tuple[list[int], list[bytes]]


class Table(Protocol):
    """An open file.

    Attributes:
        path: of the file.
        columns: names of its columns; of JSON lines, those of its first line.
        size: of the whole, in the unit of `position`.
    """

    path: Path
    columns: Sequence[str]
    size: int

    @property
    def holds_events(self) -> bool:
        """Whether the columns of events are there."""
        ...

    def position(self) -> int:
        """How much of `size` has been read."""
        ...

    def events(self, most: int) -> Iterator[Batch]:
        """Line numbers and events as JSON, at most ``most`` together; not more than that is held."""
        ...

    def numbers(self, columns: Sequence[str], most: int) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
        """Line numbers and the values of ``columns``, NaN where a cell is empty or holds no number."""
        ...


class _Rows:
    """What the kinds of files share: rows are dictionaries."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: Sequence[str] = ()
        self.size = 0

    @property
    def holds_events(self) -> bool:
        return set(EVENT_COLUMNS).issubset(self.columns)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Line number and cells of each row."""
        raise NotImplementedError

    def events(self, most: int) -> Iterator[Batch]:
        for batch in _batches(self.rows(), most):
            yield [n for n, _ in batch], [_encode(_event(row)) for _, row in batch]

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
        self._first = list(islice(lines, 1))
        self._lines = chain(self._first, lines)
        self.columns = tuple(_object(self._first[0][1])) if self._first else ()

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        return ((number, _object(line)) for number, line in self._lines)

    def events(self, most: int) -> Iterator[Batch]:
        """The lines as they are: they are read as a worker reads records."""
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
        self._reader = csv.DictReader(line.decode("utf-8-sig", errors="replace") for _, line in self.numbered())
        self.columns = tuple(self._reader.fieldnames or ())

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            for row in self._reader:
                yield self._reader.line_num, row
        except csv.Error as error:
            raise SettingsError(f"{self.path}, line {self._reader.line_num}: is no CSV: {error}") from None


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
                yield self._read, row


def open_table(path: Path) -> "AbstractContextManager[Table]":
    """The file as a table, by its name.

    Raises:
        SettingsError: it cannot be read, or its name says no known kind.
    """
    kinds = {".jsonl": JsonLines, ".json": JsonLines, ".ndjson": JsonLines, ".csv": Csv, ".parquet": Parquet}
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    kind = kinds.get(suffix.lower())
    if kind is None or (kind is Parquet and path.suffix == ".gz"):
        raise SettingsError(f"{path}: is neither .csv nor .jsonl (.gz too) nor .parquet; rename or convert it")
    try:
        return cast("AbstractContextManager[Table]", kind(path))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from None


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
    if hasattr(cell, "timestamp"):  # Parquet has times of its own
        return round(cell.timestamp() * 1000)
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell.lower() if name == "consent" else cell)
    except (ValueError, RecursionError):
        return cell  # the contract's reader says what is wrong with it


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")
