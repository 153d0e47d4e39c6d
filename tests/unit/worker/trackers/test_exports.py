"""Events of other trackers, from the fixtures where they are here, and from hand-made rows everywhere."""

import json
from collections import Counter
from pathlib import Path

import pytest

from featurestore.contract.decode import decode
from featurestore.errors import SettingsError
from worker.trackers.adapters import read

FIXTURES = Path(__file__).resolve().parents[5] / "shared" / "data" / "fixtures"
FILES = {
    "snowplow": ("snowplow_ecommerce_events.csv.gz", 424),
    "segment": ("segment_spec_track_events.jsonl.gz", 301),
    "ga4": ("ga4_measurement_protocol_payloads.jsonl.gz", 73),
}


@pytest.mark.skipif(not FIXTURES.exists(), reason="../shared/data is not here")
@pytest.mark.parametrize("kind", FILES)
def test_every_row_of_a_fixture_is_an_event_of_the_contract_or_left_out(kind: str) -> None:
    """Odd casing, text for numbers and missing fields included."""
    name, events = FILES[kind]
    clicks = read(kind, FIXTURES / name)
    assert len(clicks) == events
    kinds = Counter(decode(click.value).type for click in clicks)
    assert {"add_to_cart", "purchase", "view_item", "remove_from_cart"} <= kinds.keys()


def _lines(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def _order(n: int, **fields: object) -> dict[str, object]:
    return {"event": "x", "userId": f"u{n}", "timestamp": f"2024-01-02T03:04:0{n}Z", **fields}


def test_a_row_without_a_time_happened_when_the_one_before_it_did(tmp_path: Path) -> None:
    """A file is in the order of receipt, so that is the nearest that can be known."""
    rows = [_order(0, timestamp=None), _order(4), _order(1, timestamp="soon"), _order(9)]
    made = {click.session_id: click.ts for click in read("segment", _lines(tmp_path, *rows))}
    assert made["u0"] == made["u4"] == made["u1"] == made["u9"] - 5_000


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[" * 100_000,
        "1" * 5_000,
        "null",
        '{"message":null}',
        '{"events":[null],"client_id":"c"}',
        '{"batch":[7]}',
        '{"event":"\\ud83d","userId":"\\ud83d"}',
        '{"x":"' + "y" * 1_100_000 + '"}',
    ],
)
@pytest.mark.parametrize("kind", ["segment", "ga4"])
def test_a_bad_line_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, bad: str
) -> None:
    good = {**_order(1), "client_id": "c", "events": [{"name": "x"}], "timestamp_micros": 10**15}
    clicks = read(kind, _lines(tmp_path, good, bad, good))
    assert len(clicks) == 2
    assert "left out 1 lines (line 2: " in caplog.text
    assert "yyy" not in caplog.text


def test_more_bad_lines_than_allowed_refuse_the_file(tmp_path: Path) -> None:
    path = _lines(tmp_path, _order(1), "{", "{", "{")
    assert len(read("segment", path, 3)) == 1
    with pytest.raises(SettingsError, match=r"more than 2 lines .* line 2: not JSON.*--max-bad-lines"):
        read("segment", path, 2)


@pytest.mark.issue(20, line=16)
def test_a_cell_of_any_length_and_a_row_of_too_many_cells(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    head = "event,event_id,domain_sessionid,derived_tstamp,page_url"
    rows = [
        f"pv,e{n},s{n},2022-12-22 13:25:47.512000+00:00,{page}" for n, page in enumerate(["/a", "/" + "x" * 200_000])
    ]
    path.write_text("\n".join([head, *rows, rows[0] + ",more,and,more", "pv"]))
    assert [click.session_id for click in read("snowplow", path)] == ["s0", "s1", "s0"]
