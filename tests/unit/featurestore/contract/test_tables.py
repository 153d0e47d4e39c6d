"""Files as tables: every row, with its number, whatever the batches, the kind of file and the names in it."""

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.contract import tables
from featurestore.contract.decode import decode_unchecked
from featurestore.contract.files import MAX_LINE_BYTES, Left
from featurestore.contract.trackers import own_types
from featurestore.errors import SettingsError
from tests.examples import examples

LINE = st.sampled_from([b"", b"  ", b'{"session_id":"a"}', b'{"ts":1}', b'{"x":"' + b"y" * 200_000 + b'"}'])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(20))
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


T = 1_569_888_000_000
Rows = Sequence[dict[str, Any]]


def _csv(path: Path, rows: Rows, delimiter: str = ",") -> None:
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def _json_lines(path: Path, rows: Rows) -> None:
    path.write_text("\nnot JSON\n" + "".join(json.dumps(row) + "\n" for row in rows))


def _parquet(path: Path, rows: Rows) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist([*rows]), path)


FILES: dict[str, tuple[str, Callable[[Path, Rows], None]]] = {
    "comma": ("log.csv", _csv),
    "semicolon": ("log.csv", lambda path, rows: _csv(path, rows, ";")),
    "tab": ("log.csv", lambda path, rows: _csv(path, rows, "\t")),
    "JSON lines": ("log.jsonl", _json_lines),
    "Parquet": ("log.parquet", _parquet),
}
CALLED: dict[str, tuple[tuple[str, str, str, str], tuple[str, str, str, str], Callable[[int], Any]]] = {
    "REES46": (
        ("event_time", "event_type", "product_id", "user_session"),
        ("view", "cart", "remove_from_cart", "purchase"),
        lambda t: datetime.fromtimestamp(t / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    ),
    "RetailRocket": (
        ("timestamp", "event", "itemid", "visitorid"),
        ("view", "addtocart", "removefromcart", "transaction"),
        lambda t: t,
    ),
    "GA4": (
        ("event_timestamp", "event_name", "item_id", "session_id"),
        ("view_item", "add_to_cart", "remove_from_cart", "purchase"),
        lambda t: t * 1000,
    ),
    "OTTO": (("ts", "type", "aid", "session"), ("clicks", "carts", "remove", "orders"), lambda t: t),
    "Segment": (
        ("Timestamp", "Event", "Product-ID", "Session ID"),
        ("Product Viewed", "Product Added", "productRemoved", "order_completed"),
        lambda t: t // 1000,
    ),
    "a shop's own": (
        ("time", "event", "sku", "session_id"),
        ("product_view", "addToCart", "remove", "buy"),
        lambda t: t,
    ),
    "of Parquet": (
        ("datetime", "action", "sku", "visit_id"),
        ("detail", "Add to Cart", "Remove", "ORDER"),
        lambda t: datetime.fromtimestamp(t / 1000, UTC).replace(tzinfo=None).isoformat(),
    ),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("shop", CALLED)
def test_the_same_log_is_the_same_events_in_every_file_and_vocabulary(tmp_path: Path, shop: str, kind: str) -> None:
    """Whoever exports a log chooses the file, the names and the order of columns, and the unit of time."""
    (when, what, item, who), names, told = CALLED[shop]
    rows = [{what: name, who: "s1", item: 7.0, when: told(T + 9_000 * i)} for i, name in enumerate(names)]
    name, write = FILES[kind]
    write(tmp_path / name, rows)
    left = Left(tmp_path / name)
    found = [event for _, event in tables.file_events(tmp_path / name, left)]
    types = ("view_item", "add_to_cart", "remove_from_cart", "purchase")
    assert [(e.session_id, e.type, e.item_id, e.ts) for e in found] == [
        ("s1", type_, "7", T + 9_000 * i) for i, type_ in enumerate(types)
    ]
    assert len(left.named) == (kind == "JSON lines")


def test_a_name_of_the_shops_own_means_what_it_says(tmp_path: Path) -> None:
    """Before what others mean by it; and where neither pages nor articles are told, the name is the page."""
    path = tmp_path / "log.csv"
    _csv(path, [{"user_id": "u", "event": name, "timestamp": T + i} for i, name in enumerate(("cart", "payment_done"))])
    types = own_types(["cart=view_cart", "payment_done=purchase"])
    found = [event for _, event in tables.file_events(path, Left(path), types)]
    assert [(e.type, e.page, e.session_id) for e in found] == [
        ("view_cart", "/cart", "u"),
        ("purchase", "/payment_done", "u"),
    ]
    for wrong in ("cart", "cart=", "cart=basket"):
        with pytest.raises(SettingsError, match="NAME=TYPE"):
            own_types([wrong])


def test_later_rows_of_an_order_are_no_later_order(tmp_path: Path) -> None:
    """By the order's number where there is one, whatever the clock says; else by the time."""
    path = tmp_path / "log.csv"
    orders = [(0, "9"), (0, "9"), (5, "9"), (7, "10"), (8, ""), (8, ""), (9, "")]
    _csv(
        path,
        [
            {"timestamp": T + at, "event": "order", "session": "s", "order_id": order, "price": 2}
            for at, order in orders
        ],
    )
    found = [event for _, event in tables.file_events(path, Left(path))]
    assert [(e.ts - T, e.quantity) for e in found] == [(0, 2), (7, None), (8, 2), (9, None)]


def test_what_is_read_needs_no_repair_any_more(tmp_path: Path) -> None:
    """Training reads values without looking for faults; a worker would repair these."""
    path = tmp_path / "log"
    lines = [
        {"session_id": 7, "type": "click", "ts": str(T), "price": "x"},
        {"session_id": "s", "type": "click", "ts": 1.5},
    ]
    path.write_text("".join(json.dumps(line | {"visitor_id": "null"}) + "\n" for line in lines))
    found = [(decode_unchecked(value), event) for value, event in tables.file_events(path, Left(path))]
    assert [event.session_id for event, _ in found] == ["7", "s"]
    assert all(event == read and event.visitor_id is None for event, read in found)


def test_lines_of_the_contract_may_name_dates(tmp_path: Path) -> None:
    """Their other fields are kept."""
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"session_id": "s", "type": "click", "ts": "2019-10-01T00:00:00Z", "device": "mobile"}))
    [event] = [event for _, event in tables.file_events(path, Left(path))]
    assert (event.ts, event.device) == (T, "mobile")


def test_another_trackers_lines_are_refused_with_the_command_that_maps_them(tmp_path: Path) -> None:
    """At once, not after a thousand lines; a line that is no event before the others is only left out."""
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"session": 0, "events": [{"aid": 1, "ts": T, "type": "clicks"}]}))
    with pytest.raises(SettingsError, match=r"no column for the time.*clickstage replay FILE --format"):
        list(tables.file_events(path, Left(path)))
    path.write_text('{"note": 1}\n' + json.dumps({"session_id": "s", "type": "click", "ts": T}))
    assert len(list(tables.file_events(path, Left(path)))) == 1


def test_seconds_are_refused_and_so_is_a_table_of_something_else(tmp_path: Path) -> None:
    """As milliseconds, seconds would make one visit of a month."""
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"session_id": "s", "type": "click", "ts": T // 1000}))
    with pytest.raises(SettingsError, match="epoch milliseconds"):
        list(tables.file_events(path, Left(path)))
    other = tmp_path / "log.csv"
    _csv(other, [{"order": 1, "price": 2}])
    with pytest.raises(
        SettingsError, match=r"no column for the time.* and no column for the type.*it has order, price"
    ):
        list(tables.file_events(other, Left(other)))
