"""Kafka's wire, as far as a producer needs it: requests made beforehand, so that sending one costs a system call.

Formats: https://kafka.apache.org/documentation/#recordbatch and https://kafka.apache.org/protocol#The_Messages_Produce
(version 3, the oldest that every broker still takes).
"""

import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import lz4.frame
import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from featurestore.columns.jit import compiled, copy_bytes, write_decimal

CLIENT: Final = b"bench"
PRODUCE: Final = 0
VERSION: Final = 3
ALL: Final = -1
TIMEOUT_MS: Final = 30_000
LZ4: Final = 3
MAGIC: Final = 2
NOBODY: Final = -1
"""Id, epoch and sequence of a producer that has none."""
_VARINT: Final = 5
_FRAME: Final = 5 * _VARINT + 2
"""Most bytes of a record around its key and value."""
_HEAD: Final = struct.Struct(">hiqqqhii")
_BATCH: Final = struct.Struct(">qiibI")


class Keyed:
    """Records with keys, in arrays.

    Args:
        keys: n keys.
        values: n values.
        mark: stands in each value before a time in epoch ms.
    """

    def __init__(self, keys: Sequence[bytes], values: Sequence[bytes], mark: bytes) -> None:
        self._keys, self._key_edges = _joined(keys)
        self._values, self._value_edges = _joined(values)
        marks = np.array([value.index(mark) + len(mark) for value in values], np.int64)
        self._stamps = self._value_edges[:-1] + marks

    def stamp(self, times_ms: NDArray[np.int64]) -> None:
        """Write other times, shape (n,), over those in the values; they must have as many digits."""
        _stamp(self._values, self._stamps, times_ms)

    def batch(self, rows: NDArray[np.int64], times_ms: NDArray[np.int64]) -> bytes:
        """These rows as one record batch, compressed with lz4.

        Args:
            rows: which, ascending, shape (k,).
            times_ms: of all n records.
        """
        size = int((self._value_edges[rows + 1] - self._value_edges[rows]).sum())
        size += int((self._key_edges[rows + 1] - self._key_edges[rows]).sum()) + _FRAME * rows.size
        out = np.empty(size, np.uint8)
        first, last = int(times_ms[rows[0]]), int(times_ms[rows[-1]])
        end = _write_records(
            self._keys, self._key_edges, self._values, self._value_edges, rows, times_ms[rows] - first, out
        )
        body: bytes = lz4.frame.compress(
            out[:end].data, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_linked=False, store_size=False
        )
        head = _HEAD.pack(LZ4, rows.size - 1, first, last, NOBODY, NOBODY, NOBODY, rows.size)
        checked = crc32c(body, crc32c(head))
        return _BATCH.pack(0, len(head) + len(body) + 9, NOBODY, MAGIC, checked) + head + body


def produce_request(topic: str, batches: dict[int, bytes], number: int) -> bytes:
    """A request that adds a batch to each of these partitions, answered with ``number`` once they are in the log."""
    name = topic.encode()
    parts = [struct.pack(">hhih", PRODUCE, VERSION, number, len(CLIENT)), CLIENT]
    parts.append(struct.pack(">hhiih", -1, ALL, TIMEOUT_MS, 1, len(name)))
    parts += [name, struct.pack(">i", len(batches))]
    for partition, batch in batches.items():
        parts += [struct.pack(">ii", partition, len(batch)), batch]
    body = b"".join(parts)
    return struct.pack(">i", len(body)) + body


class Wire:
    """A connection to the broker that leads all partitions of the topic.

    Attributes:
        answered: how many requests the broker has answered.
    """

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left = b""
        self.answered = 0

    def send(self, request: bytes) -> None:
        """Send; blocks when the broker is far behind."""
        self._socket.sendall(request)

    def read(self) -> None:
        """Take in what the broker has answered by now.

        Raises:
            RuntimeError: it refused a batch.
        """
        with suppress(BlockingIOError):
            self._take(self._socket.recv(1 << 16, socket.MSG_DONTWAIT))

    def wait(self, requests: int) -> None:
        """Block until that many requests are answered."""
        while self.answered < requests:
            self._take(self._socket.recv(1 << 16))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _take(self, data: bytes) -> None:
        if not data:
            raise RuntimeError("the broker hung up")
        data = self._left + data
        while len(data) >= 4 and len(data) >= (end := 4 + int.from_bytes(data[:4], "big")):
            self._check(data[8:end])
            self.answered += 1
            data = data[end:]
        self._left = data

    @staticmethod
    def _check(answer: bytes) -> None:
        (size,) = struct.unpack_from(">h", answer, 4)
        at = 6 + size
        (partitions,) = struct.unpack_from(">i", answer, at)
        for index in range(partitions):
            _, code = struct.unpack_from(">ih", answer, at + 4 + 22 * index)
            if code:
                raise RuntimeError(f"Kafka refused a batch: error {code}")


def _joined(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    edges = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=edges[1:])
    return np.frombuffer(bytearray().join(parts), np.uint8), edges


@compiled
def _stamp(values: NDArray[np.uint8], places: NDArray[np.int64], times_ms: NDArray[np.int64]) -> None:
    for i in range(places.size):
        write_decimal(times_ms[i], values, places[i])


@compiled
def _write_records(
    keys: NDArray[np.uint8],
    key_edges: NDArray[np.int64],
    values: NDArray[np.uint8],
    value_edges: NDArray[np.int64],
    rows: NDArray[np.int64],
    deltas: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> int:
    body = np.empty(3 * _VARINT, np.uint8)
    at = 0
    for i in range(rows.size):
        row = rows[i]
        key, value = key_edges[row], value_edges[row]
        key_size, value_size = key_edges[row + 1] - key, value_edges[row + 1] - value
        front = _varint(key_size, body, _varint(i, body, _varint(deltas[i], body, 0)))
        back = _varint_size(value_size)
        at = _varint(1 + front + key_size + back + value_size + 1, out, at)
        out[at] = 0  # attributes
        at = copy_bytes(body, 0, front, out, at + 1)
        at = copy_bytes(keys, key, key_size, out, at)
        at = _varint(value_size, out, at)
        at = copy_bytes(values, value, value_size, out, at)
        out[at] = 0  # headers
        at += 1
    return at


@compiled
def _varint(number: int, out: NDArray[np.uint8], at: int) -> int:
    """A number of no sign, in zig-zag: twice itself, seven bits a byte."""
    rest = 2 * number
    while rest >= 128:
        out[at] = rest & 127 | 128
        rest >>= 7
        at += 1
    out[at] = rest
    return at + 1


@compiled
def _varint_size(number: int) -> int:
    size = 1
    rest = 2 * number
    while rest >= 128:
        rest >>= 7
        size += 1
    return size
