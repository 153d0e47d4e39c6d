"""Commands to Redis out of columns: the bytes of a batch's thousands of arguments, written in one compiled pass.

RESP (https://redis.io/docs/latest/develop/reference/protocol-spec/): a command is ``*<arguments>``, each argument a
bulk string ``$<bytes>``, every line ended by CR LF.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurestore.column import Column
from featurestore.jit import compiled, inlined

Wire = bytes | memoryview
"""A piece of a command."""

_FRAME = len("$") + len("4294967295") + 2 * len("\r\n")
"""Most bytes around an argument."""


def command(head: Sequence[str | bytes | int], *parts: "Arguments") -> list[Wire]:
    r"""A command, ready to be sent: ``head`` argument by argument, then the parts.

    >>> b"".join(command(["GET", "a"]))
    b'*2\r\n$3\r\nGET\r\n$1\r\na\r\n'
    """
    count = len(head) + sum(part.count for part in parts)
    begin = b"*%d\r\n" % count + b"".join(map(_bulk, head))
    return [begin, *(part.wire for part in parts if part.count)]


class Arguments:
    """Some arguments of a command.

    Attributes:
        count: how many.
        wire: their bytes.
    """

    __slots__ = ("count", "wire")

    def __init__(self, count: int, wire: Wire) -> None:
        self.count = count
        self.wire = wire


def each(column: Column[Any], prefix: bytes = b"") -> Arguments:
    """One argument a string."""
    return pairs(column, None, prefix)


def pairs(names: Column[Any], values: Column[Any] | None, prefix: bytes = b"") -> Arguments:
    """A string of the one, a string of the other, and so on; ``prefix`` stands before each of the first."""
    n = len(names)
    if n == 0:
        return Arguments(0, b"")
    size = int((names.ends - names.starts).sum()) + n * (_FRAME + len(prefix))
    if values is None:
        out = np.empty(size, np.uint8)
        end = _write_each(names.data, names.starts, names.ends, np.frombuffer(prefix, np.uint8), out)
        return Arguments(n, out[:end].data)
    size += int((values.ends - values.starts).sum()) + n * _FRAME
    out = np.empty(size, np.uint8)
    end = _write_pairs(
        names.data,
        names.starts,
        names.ends,
        np.frombuffer(prefix, np.uint8),
        values.data,
        values.starts,
        values.ends,
        out,
    )
    return Arguments(2 * n, out[:end].data)


def _bulk(value: str | bytes | int) -> bytes:
    data = value.encode() if isinstance(value, str) else b"%d" % value if isinstance(value, int) else value
    return b"$%d\r\n%b\r\n" % (len(data), data)


@compiled
def _write_each(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    prefix: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> int:
    at = 0
    for i in range(starts.size):
        at = _write(data, starts[i], ends[i], prefix, out, at)
    return at


@compiled
def _write_pairs(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    prefix: NDArray[np.uint8],
    values: NDArray[np.uint8],
    value_starts: NDArray[np.int64],
    value_ends: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> int:
    at = 0
    for i in range(starts.size):
        at = _write(data, starts[i], ends[i], prefix, out, at)
        at = _write(values, value_starts[i], value_ends[i], prefix[:0], out, at)
    return at


@inlined
def _write(
    data: NDArray[np.uint8], start: int, end: int, prefix: NDArray[np.uint8], out: NDArray[np.uint8], at: int
) -> int:
    """One bulk string."""
    size = prefix.size + end - start
    out[at] = 36  # $
    digits = 1
    rest = size // 10
    while rest > 0:
        digits += 1
        rest //= 10
    rest = size
    for j in range(at + digits, at, -1):
        out[j] = 48 + rest % 10
        rest //= 10
    at = _line_end(out, at + 1 + digits)
    for j in range(prefix.size):
        out[at + j] = prefix[j]
    at += prefix.size
    for j in range(end - start):
        out[at + j] = data[start + j]
    return _line_end(out, at + end - start)


@inlined
def _line_end(out: NDArray[np.uint8], at: int) -> int:
    out[at] = 13
    out[at + 1] = 10
    return int(at + 2)
