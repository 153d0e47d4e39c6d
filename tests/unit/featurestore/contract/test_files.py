"""Lines of a file: whatever is in it, memory stays bounded and what follows is read."""

import gzip
import tracemalloc
from pathlib import Path

from featurestore.contract.files import MAX_LINE_BYTES, Left, byte_lines


def test_a_line_without_end_in_a_small_gz_is_left_out_in_little_memory(tmp_path: Path) -> None:
    """64 MB that 64 kB unpack to; the lines beside it are read."""
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"first\n")
        for _ in range(64):
            file.write(b"x" * MAX_LINE_BYTES)
        file.write(b"\nlast\n")
    left = Left(path)
    tracemalloc.start()
    try:
        assert list(byte_lines(path, left)) == [(1, b"first\n"), (3, b"last\n")]
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_LINE_BYTES
    finally:
        tracemalloc.stop()
    assert left.named == [f"line 2: longer than {MAX_LINE_BYTES} bytes"]
