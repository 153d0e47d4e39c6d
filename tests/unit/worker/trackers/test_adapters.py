"""Other people's data as events of the contract."""

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.contract.decode import decode
from featurestore.errors import SettingsError
from models.training.eventfile import read_events
from worker.commands.replay import _speed
from worker.commands.replay import main as replay
from worker.trackers.adapters import eshop_times, read, shifted
from worker.trackers.rows import Click

HEAD = (
    "year;month;day;order;country;session ID;page 1 (main category);page 2 (clothing model);"
    "colour;location;model photography;price;price 2;page"
)


def _eshop(folder: Path) -> Path:
    rows = [
        "2008;4;1;2;29;7;1;A16;1;6;1;33;2;1",
        "2008;4;1;1;29;7;1;A13;1;5;1;28;2;1",
        "2008;4;1;1;44;9;4;P1;1;5;1;38;2;1",
    ]
    path = folder / "eshop.csv.gz"
    path.write_bytes(gzip.compress("\r\n".join([HEAD, *rows]).encode()))
    return path


def test_eshop_rows_become_views_in_order_with_the_seeds_times(tmp_path: Path) -> None:
    clicks = read("eshop", _eshop(tmp_path))
    assert clicks == read("eshop", _eshop(tmp_path)), "the same on every run"
    mine = [decode(c.value) for c in clicks if c.session_id == "7"]
    assert [(e.item_id, e.price, e.page, e.category, e.country) for e in mine] == [
        ("A13", 28.0, "/trousers/A13", "trousers", "PL"),
        ("A16", 33.0, "/trousers/A16", "trousers", "PL"),
    ]
    assert [e.ts for e in mine] == eshop_times("7", 2008, 4, 1, 2)
    [other] = [decode(c.value) for c in clicks if c.session_id == "9"]
    assert (other.category, other.country) == ("sale", None)
    assert [c.ts for c in clicks] == sorted(c.ts for c in clicks)


def test_invented_times_never_split_a_session_and_differ_between_sessions() -> None:
    for session in map(str, range(200)):
        times = eshop_times(session, 2008, 4, 1, 30)
        assert all(0 <= b - a <= 1_200_000 for a, b in pairwise(times))
    assert len({eshop_times(str(s), 2008, 4, 1, 1)[0] for s in range(200)}) > 190


def test_otto_clicks_carts_and_orders(tmp_path: Path) -> None:
    path = tmp_path / "otto.jsonl"
    events = [
        {"aid": 1, "ts": 50, "type": "orders"},
        {"aid": 1, "ts": 10, "type": "clicks"},
        {"aid": 1, "ts": 20, "type": "carts"},
    ]
    path.write_text(json.dumps({"session": 3, "events": events}) + "\n\n")
    clicks = read("otto", path)
    assert [(c.session_id, c.ts, decode(c.value).type) for c in clicks] == [
        ("otto-3", 10, "view_item"),
        ("otto-3", 20, "add_to_cart"),
        ("otto-3", 50, "purchase"),
    ]


def test_own_lines_are_sent_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    line = b'{"ts":5, "type":"click", "session_id":"s", "mood":"good"}'
    path.write_bytes(b'{"session_id":"t","type":"click","ts":9}\n' + line + b"\n")
    assert read("jsonl", path)[0].value == line


def test_an_event_arrives_when_it_was_sent(tmp_path: Path) -> None:
    """An old upload in a file is one again: its records' times are those of sending."""
    path = tmp_path / "own.jsonl"
    sent = [{"ts": 5_000, "sent_ts": 9_000}, {"ts": 7_000, "sent_ts": 9_000}, {"ts": 8_000}]
    path.write_text("\n".join(json.dumps({"session_id": "s", "type": "click", **times}) for times in sent))
    clicks = read("jsonl", path)
    assert [(decode(c.value).ts, c.ts) for c in clicks] == [(8_000, 8_000), (5_000, 9_000), (7_000, 9_000)]
    moved = [shifted(click, 100_000) for click in clicks]
    assert [(decode(c.value).ts, decode(c.value).sent_ts, c.ts) for c in moved][1:] == [
        (105_000, 109_000, 109_000),
        (107_000, 109_000, 109_000),
    ]


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("jsonl", b"\n{}", "line 2: schema"),
        ("jsonl", b"\xff\n", "line 1: not_json"),
        ("jsonl", b"", "holds no event"),
        ("otto", b"[]\n", "line 1: not OTTO's format"),
        ("otto", b"{\n", "line 1: not JSON"),
        ("eshop", b"a;b\n1;2\n", "line 2: no column"),
        ("eshop", b"\xff\xfe\n1", "no column"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, kind: str, content: bytes, says: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=says):
        read(kind, path)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("jsonl", b'{"session_id":"s","type":"click","ts":1}', b'{"session_id":"s","type":"click"}'),
        ("otto", b'{"session":1,"events":[{"aid":1,"ts":1,"type":"carts"}]}', b'{"session":1,"events":[null]}'),
        (
            "otto",
            b'{"session":1,"events":[{"aid":1,"ts":1,"type":"carts"}]}',
            b'{"session":1,"events":[{"aid":1,"ts":-1}]}',
        ),
        ("eshop", HEAD.encode() + b"\n2008;4;1;2;29;7;1;A16;1;6;1;33;2;1", b"2008;4;31;2;29;7;1;A16;1;6;1;33;2;1"),
        ("eshop", HEAD.encode() + b"\n2008;4;1;2;29;7;1;A16;1;6;1;33;2;1", b"2008;4"),
    ],
)
@pytest.mark.issue(20, line=16)
def test_one_bad_line_does_not_refuse_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, good: bytes, bad: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(good + b"\n" + bad + b"\n")
    assert len(read(kind, path)) == 1
    assert "left out 1 lines" in caplog.text


def test_a_damaged_gz_is_said_so(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"session_id":"s","type":"click","ts":1}\n' * 99)
    for damaged in (packed[:-9], packed[:12] + b"\xff\xff\xff" + packed[15:], b"no gzip"):
        path = tmp_path / "file.gz"
        path.write_bytes(damaged)
        with pytest.raises(SettingsError, match="cannot be read"):
            read("jsonl", path)


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read("jsonl", tmp_path / "nothing.gz")


def test_shifting_moves_everything_by_one_duration(tmp_path: Path) -> None:
    clicks = read("eshop", _eshop(tmp_path))
    moved = [shifted(click, 10**9) for click in clicks]
    assert {m.ts - c.ts for m, c in zip(moved, clicks, strict=True)} == {10**9}
    assert all(decode(m.value).ts == m.ts for m in moved)


@pytest.mark.parametrize("text", ["0", "-1", "fast", "inf"])
def test_a_speed_is_max_or_a_positive_factor(text: str) -> None:
    assert _speed("max") is None
    assert _speed("60") == 60.0
    with pytest.raises(SettingsError, match="--speed"):
        _speed(text)


@pytest.mark.issue(20, line=18)
def test_a_file_becomes_events_without_a_kafka(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `clickstage calibrate` and `train` read, compressed or not."""
    clicks = read("eshop", _eshop(tmp_path))
    for name in ("events.jsonl", "events.jsonl.gz"):
        out = tmp_path / name
        assert replay(["--format", "eshop", "--out", str(out), str(_eshop(tmp_path))]) == 0
        lines = (gzip.decompress(out.read_bytes()) if name.endswith("gz") else out.read_bytes()).splitlines()
        assert lines == [click.value for click in clicks]
    assert "wrote 3 events of 2 session ids" in capsys.readouterr().out
    with pytest.raises(SettingsError, match="cannot be written"):
        replay(["--format", "eshop", "--out", str(tmp_path), str(_eshop(tmp_path))])


SHOP_HEAD = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"


def test_a_shops_event_log_becomes_events_and_an_order_one_purchase(tmp_path: Path) -> None:
    """The articles of an order are rows. Counted apart, the row of the first one would foresee the second."""
    rows = [
        "2019-10-01 00:00:00 UTC,view,1004,205301,electronics.phone,acme,100.5,51,s1",
        "2019-10-01 00:00:09 UTC,cart,1004,205301,,acme,100.5,51,s1",
        "2019-10-01 00:01:00 UTC,purchase,1004,205301,electronics.phone,acme,100.5,51,s1",
        "2019-10-01 00:01:00 UTC,view,7.0,205301,,,,52,",
        "2019-10-01 00:01:00 UTC,purchase,1005,205301,electronics.phone,,20,51,s1",
        "2019-10-01 00:01:00 UTC,purchase,1004,205301,,,100.5,53,s3",
        "2019-10-01 00:02:00 UTC,purchase,1006,205301,,,3,51,s1",
    ]
    path = tmp_path / "log.csv"
    path.write_text("\n".join([SHOP_HEAD, *rows]))
    made = [decode(click.value) for click in read("shop", path)]
    told = [(e.session_id, e.type, e.item_id, e.price, e.quantity, e.value) for e in made]
    assert told == [
        ("s1", "view_item", "1004", 100.5, None, None),
        ("s1", "add_to_cart", "1004", 100.5, None, None),
        ("s1", "purchase", "1004", 60.25, 2, 120.5),
        ("52", "view_item", "7", None, None, None),
        ("s3", "purchase", "1004", 100.5, None, None),
        ("s1", "purchase", "1006", 3.0, None, None),
    ]
    assert [len(e.items or ()) for e in made] == [0, 0, 2, 0, 0, 0]
    assert (made[0].category, made[1].category) == ("electronics.phone", "205301"), "the first that is there"
    assert (made[0].page, made[0].visitor_id, made[0].ts) == ("/item/1004", "51", 1_569_888_000_000)
    assert read_events(path) == [(c.session_id.encode(), c.value, c.ts) for c in read("shop", path)], "training too"


def test_a_table_without_the_columns_of_a_log_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("event_time,event_type,price\n2019-10-01,view,1")
    with pytest.raises(SettingsError, match="no column for the session or the visitor, such as user_session"):
        read("shop", path)


_ROW = ["2008", "4", "1", "2", "29", "7", "1", "A16", "1", "6", "1", "33", "2", "1"]
_OPTIONAL = {"country": "country", "page 1 (main category)": "category", "price": "price"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(HEAD.split(";")), st.sampled_from(["", "0", "-1", "9", "NaN", "1e999", "x", "28,00"]))
@pytest.mark.issue(20, line=15, sibling=True)
def test_one_bad_field_of_the_eshop_costs_that_field_never_the_click(tmp_path: Path, name: str, text: str) -> None:
    """As the contract has it for live events: only who, when and what must be there."""
    names = HEAD.split(";")
    path = tmp_path / "rows.csv"
    row = [text if one == name else value for one, value in zip(names, _ROW, strict=True)]
    path.write_text(f"{HEAD}\n{';'.join(_ROW)}\n{';'.join(row)}\n")
    good, *rest = map(_fields, read("eshop", path, 9))
    if name in _OPTIONAL:
        [found] = rest
        lost = {"ts", "page", _OPTIONAL[name]}
        assert {n: v for n, v in found.items() if n not in lost} == {n: v for n, v in good.items() if n not in lost}
    elif name not in {"year", "month", "day", "order", "session ID", "page 2 (clothing model)"}:
        assert len(rest) == 1, "columns that nobody reads"


@given(st.lists(st.sampled_from([None, {}, [], 1, {"aid": 1, "ts": "x", "type": "carts"}, {"aid": 1, "ts": -1}])))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.issue(20, line=16, sibling=True)
def test_bad_events_of_an_otto_session_cost_themselves_alone(tmp_path: Path, bad: list[Any]) -> None:
    path = tmp_path / "otto.jsonl"
    good = {"aid": 1, "ts": 1, "type": "carts"}
    path.write_text(json.dumps({"session": 1, "events": [good, *bad, good]}))
    assert [click.ts for click in read("otto", path, 99)] == [1, 1]


def _fields(made: Click) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.value)
    return found
