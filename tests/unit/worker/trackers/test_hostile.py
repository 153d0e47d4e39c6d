"""Nothing in a file ends in a traceback: a row is an event of the contract, or it is left out with a reason."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.contract.decode import decode
from featurestore.errors import SettingsError
from tests.examples import examples
from worker.trackers.adapters import FORMATS, read

_NAMES = st.sampled_from(
    [
        "session",
        "events",
        "aid",
        "ts",
        "type",
        "message",
        "batch",
        "properties",
        "context",
        "anonymousId",
        "userId",
        "messageId",
        "event",
        "timestamp",
        "sentAt",
        "originalTimestamp",
        "products",
        "traits",
        "page",
        "url",
        "session_id",
        "client_id",
        "timestamp_micros",
        "name",
        "params",
        "items",
        "price",
        "quantity",
        "item_id",
        "value",
        "currency",
        "page_location",
        "ga_session_id",
        "user_id",
        "consent",
        "integrations",
    ]
)
_WORDS = st.sampled_from(
    ["track", "page", "Product Added", "clicks", "carts", "add_to_cart", "page_view", "2022-12-22T13:25:47Z", "s1", "",
     "\ud83d", "NaN", "28.00", "-1", "https://shop/\udc00?a=1"]
)  # fmt: skip
_PLAIN = (
    st.none() | st.booleans() | st.integers() | st.sampled_from([1_671_715_547_512, 2**63, -1, 10**400]) | _WORDS
    | st.floats() | st.text(st.characters(), max_size=6)
)  # fmt: skip
_JSON = st.recursive(
    _PLAIN, lambda part: st.lists(part, max_size=3) | st.dictionaries(_NAMES, part, max_size=6), max_leaves=25
)
_GOOD: dict[str, Any] = {
    "otto": {"session": 1, "events": [{"aid": 1, "ts": 1, "type": "carts"}]},
    "jsonl": {"session_id": "s", "type": "click", "ts": 1},
    "segment": {"type": "track", "event": "Product Added", "anonymousId": "a", "messageId": "m",
                "timestamp": "2022-12-22T13:25:47Z", "properties": {"products": [{"price": 1, "quantity": 1}]}},
    "ga4": {"client_id": "c", "timestamp_micros": 10**15,
            "events": [{"name": "add_to_cart", "params": {"items": [{"price": 1, "quantity": 1}]}}]},
}  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, part in inner for place in _places(part, (*path, key))]


def _with(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = _with(value[place[0]], place[1:], new)
    return changed


def _takes(kind: str, path: Path) -> None:
    try:
        clicks = read(kind, path, 10**6)
    except SettingsError as error:
        assert "holds no event" in str(error) or "no column" in str(error)  # noqa: PT017 - either is right
        return
    for click in clicks:
        event = decode(click.value)
        assert (event.session_id, event.ts) == (click.session_id, click.ts)


@pytest.mark.parametrize("kind", sorted(_GOOD))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(20))
@given(data=st.data())
@pytest.mark.issue(20, line=16, sibling=True)
def test_a_row_of_json_is_an_event_or_left_out(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever stands at any one place of a good row."""
    good = _GOOD[kind]
    rows = [_with(good, data.draw(st.sampled_from(_places(good))), data.draw(_JSON)) for _ in range(3)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [*rows, {"message": rows[0]}, {"batch": rows}]))
    _takes(kind, path)


_ESHOP = [
    "year",
    "month",
    "day",
    "order",
    "country",
    "session-ID",
    "page-1-(main-category)",
    "page-2-(clothing-model)",
    "price",
]
_SNOWPLOW = [
    "event",
    "event_id",
    "domain_sessionid",
    "domain_userid",
    "derived_tstamp",
    "collector_tstamp",
    "page_url",
    "event_name",
]
_SHOP = ["event_time", "event_type", "product_id", "category_code", "price", "quantity", "user_id", "user_session"]


@pytest.mark.parametrize(
    ("kind", "head", "delimiter"), [("eshop", _ESHOP, ";"), ("snowplow", _SNOWPLOW, ","), ("shop", _SHOP, ",")]
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(15))
@given(
    rows=st.lists(
        st.lists(_WORDS | st.text(max_size=4) | st.sampled_from(["2008", "purchase"]), max_size=12), max_size=5
    )
)
@pytest.mark.issue(20, line=16, sibling=True)
def test_a_row_of_csv_is_an_event_or_left_out(
    kind: str, head: list[str], delimiter: str, tmp_path: Path, rows: list[list[str]]
) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as out:
        write = csv.writer(out, delimiter=delimiter, escapechar="\\")
        write.writerow([name.replace("-", " ") for name in head])
        write.writerows(rows)
    _takes(kind, path)


def test_every_format_is_tried() -> None:
    assert {*_GOOD, "eshop", "shop", "snowplow"} == set(FORMATS)
