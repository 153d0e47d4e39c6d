"""Files of JSON lines as tables: every line that is not blank, with its number, whatever the batches."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.contract.files import MAX_LINE_BYTES
from featurestore.errors import SettingsError
from worker.trackers import tables

LINE = st.sampled_from([b"", b"  ", b'{"session_id":"a"}', b'{"ts":1}', b'{"x":"' + b"y" * 200_000 + b'"}'])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    found=st.lists(LINE, max_size=12),
    end=st.sampled_from([b"\n", b"\r\n"]),
    closed=st.booleans(),
    most=st.integers(1, 5),
    packed=st.booleans(),
)
def test_lines_keep_their_numbers(
    tmp_path: Path, found: list[bytes], end: bytes, closed: bool, most: int, packed: bool
) -> None:
    """Blank lines count and are left out; lines longer than a block are read whole."""
    path = tmp_path / ("rows.jsonl.gz" if packed else "rows.jsonl")
    data = end.join(found) + end * closed
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    with tables.open_table(path) as table:
        batches = list(table.events(most))
    assert all(len(values) == most for _, values in batches[:-1])
    rows = [row for numbers, values in batches for row in zip(numbers, values, strict=True)]
    assert rows == [(n, line) for n, line in enumerate(found, 1) if line.strip()]


def test_a_line_without_an_end_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a":1}\n' + b"z" * (3 * MAX_LINE_BYTES) + b'\n{"b":2}')
    with tables.open_table(path) as table:
        sizes = [len(value) for _, values in table.events(10) for value in values]
    assert sizes[0] == sizes[-1] == 7
    assert max(sizes) < 2 * MAX_LINE_BYTES


@pytest.mark.parametrize("name", ["rows.txt", "rows.parquet.gz"])
def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="neither"):
        tables.open_table(tmp_path / name)
