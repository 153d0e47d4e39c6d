"""Commands to Redis out of columns: the bytes of a batch's thousands of arguments, written in one compiled pass.

RESP (https://redis.io/docs/latest/develop/reference/protocol-spec/): a command is ``*<arguments>``, each argument a
bulk string ``$<bytes>``, every line ended by CR LF.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import Blobs, Column, Texts
from featurestore.columns.jit import compiled, copy_bytes, write_decimal

Wire = bytes | memoryview
"""A piece of a command."""

_FRAME: Final = len("$") + len("4294967295") + 2 * len("\r\n")
"""Most bytes around an argument."""


class Packed(NamedTuple):
    """Commands, ready to be sent.

    Attributes:
        wire: their bytes.
        answers: how many commands, and so how many answers.
    """

    wire: list[Wire]
    answers: int


class Arguments(NamedTuple):
    """Some arguments of a command.

    Attributes:
        number: how many.
        wire: their bytes.
    """

    number: int
    wire: Wire


def command(head: Sequence[str | bytes | int], *parts: Arguments) -> Packed:
    r"""A command: ``head`` argument by argument, then the parts.

    >>> b"".join(command(["GET", "a"]).wire)
    b'*2\r\n$3\r\nGET\r\n$1\r\na\r\n'
    """
    count = len(head) + sum(part.number for part in parts)
    begin = b"*%d\r\n" % count + b"".join(map(_bulk, head))
    return Packed([begin, *(part.wire for part in parts if part.number)], 1)


class Form:
    r"""A command of which some arguments are filled in each time.

    Args:
        head: its arguments, None for one to be filled in.

    >>> Form(["EXPIRE", "a", None]).filled(60).wire
    [b'*3\r\n$6\r\nEXPIRE\r\n$1\r\na\r\n$2\r\n60\r\n']
    """

    def __init__(self, head: Sequence[str | bytes | int | None]) -> None:
        pieces = [b"*%d\r\n" % len(head)]
        for value in head:
            if value is None:
                pieces.append(b"")
            else:
                pieces[-1] += _bulk(value)
        self._pieces = pieces

    def filled(self, *values: str | bytes | int) -> Packed:
        """The command with these arguments, in their order."""
        first, *others = self._pieces
        parts = [first]
        for value, piece in zip(values, others, strict=True):
            parts += (_bulk(value), piece)
        return Packed([b"".join(parts)], 1)


def warm_up() -> None:
    """Compile what writes the bytes, so that no event waits for it."""
    names, values = Texts.of(["w"]), Blobs.of([b"w"])
    pairs(names, values)
    keyed("W", ["w"], [names], [values])


def together(commands: Iterable[Packed]) -> Packed:
    """Commands to be sent in one go."""
    wire: list[Wire] = []
    count = 0
    for one in commands:
        wire += one.wire
        count += one.answers
    return Packed(wire, count)


def given(*values: str | bytes | int) -> Arguments:
    """These arguments."""
    return Arguments(len(values), b"".join(map(_bulk, values)))


def each(column: Column[Any], prefix: bytes = b"") -> Arguments:
    """One argument a string, ``prefix`` before each."""
    return Arguments(len(column), _written((b"", prefix, b""), column, None))


def pairs(names: Column[Any], values: Column[Any], prefix: bytes = b"") -> Arguments:
    """A string of the one behind ``prefix``, a string of the other, and so on."""
    return Arguments(2 * len(names), _written((b"", prefix, b""), names, values))


def commands(
    before: Sequence[str],
    names: Column[Any],
    values: Column[Any],
    after: Sequence[str | bytes | int],
    prefix: bytes = b"",
) -> Packed:
    """A command for each pair: ``before``, the name behind its ``prefix``, the value, ``after``."""
    n = len(names)
    head = b"*%d\r\n" % (len(before) + 2 + len(after)) + b"".join(map(_bulk, before))
    tail = b"".join(map(_bulk, after))
    return Packed([_written((head, prefix, tail), names, values)] if n else [], n)


def keyed(
    name: str, keys: Sequence[str], columns: Sequence[Column[Any]], values: Sequence[Column[Any]] | None = None
) -> Packed:
    r"""A command for each key that has strings: its name, the key, and the strings, each before its value if there are.

    >>> b"".join(keyed("HDEL", ["a", "b"], [Texts.of(["x"]), Texts.of([])]).wire)
    b'*3\r\n$4\r\nHDEL\r\n$1\r\na\r\n$1\r\nx\r\n'
    """
    some = [i for i, column in enumerate(columns) if column.ends.size]
    if not some:
        return Packed([], 0)
    first = _chained([columns[i] for i in some])
    second = first if values is None else _chained([values[i] for i in some])
    heads = _heads(name, *(keys[i] for i in some))
    out: NDArray[np.uint8] = _write_keyed(
        heads.data,
        heads.ends,
        np.array([len(columns[i]) for i in some]),
        first.data,
        first.starts,
        first.ends,
        second.data,
        second.starts,
        second.ends,
        values is not None,
    )
    return Packed([out.data], len(some))


def _written(frame: tuple[bytes, bytes, bytes], names: Column[Any], values: Column[Any] | None) -> Wire:
    if not len(names):
        return b""
    second = names if values is None else values
    head, prefix, tail = _arrays(frame)
    out: NDArray[np.uint8] = _write_all(
        names.data,
        names.starts,
        names.ends,
        second.data,
        second.starts,
        second.ends,
        values is not None,
        head,
        prefix,
        tail,
    )
    return out.data


def _chained(columns: Sequence[Column[Any]]) -> Column[Any]:
    return type(columns[0]).chained(columns)


@lru_cache(maxsize=1_024)
def _heads(name: str, *keys: str) -> Blobs:
    """What commands on these keys begin with."""
    return Blobs.joined([_text(name) + _text(key) for key in keys])


@lru_cache(maxsize=1_024)
def _arrays(frame: tuple[bytes, ...]) -> tuple[NDArray[np.uint8], ...]:
    """What stands around the arguments of a command is mostly what stood there in the batch before."""
    return tuple(np.frombuffer(part, np.uint8) for part in frame)


def _bulk(value: str | bytes | int) -> bytes:
    if isinstance(value, str):
        return _text(value)
    data = b"%d" % value if isinstance(value, int) else value
    return b"$%d\r\n%b\r\n" % (len(data), data)


@lru_cache(maxsize=4_096)
def _text(value: str) -> bytes:
    """Names of commands and keys come again in every batch."""
    data = value.encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


@compiled
def _write_all(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    values: NDArray[np.uint8],
    value_starts: NDArray[np.int64],
    value_ends: NDArray[np.int64],
    paired: bool,
    head: NDArray[np.uint8],
    prefix: NDArray[np.uint8],
    tail: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    around = starts.size * (head.size + prefix.size + tail.size)
    out = np.empty(around + _bulks(starts, ends, value_starts, value_ends, paired), np.uint8)
    at = 0
    for i in range(starts.size):
        at = copy_bytes(head, 0, head.size, out, at)
        at = _write(data, starts[i], ends[i], prefix, out, at)
        if paired:
            at = _write(values, value_starts[i], value_ends[i], prefix[:0], out, at)
        at = copy_bytes(tail, 0, tail.size, out, at)
    return out[:at]


@compiled
def _write_keyed(
    heads: NDArray[np.uint8],
    head_ends: NDArray[np.int64],
    counts: NDArray[np.int64],
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    values: NDArray[np.uint8],
    value_starts: NDArray[np.int64],
    value_ends: NDArray[np.int64],
    paired: bool,
) -> NDArray[np.uint8]:
    around = heads.size + counts.size * _FRAME
    out = np.empty(around + _bulks(starts, ends, value_starts, value_ends, paired), np.uint8)
    at = head = row = 0
    for key in range(counts.size):
        out[at] = 42  # *
        at = _line_end(out, write_decimal(2 + counts[key] * (2 if paired else 1), out, at + 1))
        at = copy_bytes(heads, head, head_ends[key] - head, out, at)
        head = head_ends[key]
        for i in range(row, row + counts[key]):
            at = _write(data, starts[i], ends[i], heads[:0], out, at)
            if paired:
                at = _write(values, value_starts[i], value_ends[i], heads[:0], out, at)
        row += counts[key]
    return out[:at]


@compiled
def _bulks(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    value_starts: NDArray[np.int64],
    value_ends: NDArray[np.int64],
    paired: bool,
) -> int:
    """Most bytes that the strings take as arguments."""
    size = starts.size * 2 * _FRAME
    for i in range(starts.size):
        size += ends[i] - starts[i]
        if paired:
            size += value_ends[i] - value_starts[i]
    return int(size)


@compiled
def _write(
    data: NDArray[np.uint8], start: int, end: int, prefix: NDArray[np.uint8], out: NDArray[np.uint8], at: int
) -> int:
    """One bulk string."""
    size = prefix.size + end - start
    out[at] = 36  # $
    at = _line_end(out, write_decimal(size, out, at + 1))
    at = copy_bytes(prefix, 0, prefix.size, out, at)
    return _line_end(out, copy_bytes(data, start, end - start, out, at))


@compiled
def _line_end(out: NDArray[np.uint8], at: int) -> int:
    out[at] = 13
    out[at + 1] = 10
    return int(at + 2)
