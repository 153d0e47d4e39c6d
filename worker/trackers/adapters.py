"""Other people's click data as events of the contract: what ``clickstage replay`` sends.

An adapter yields `Click` rows in order of time. It says what a format does not hold, and invents nothing else.
"""

import json
import math
import random
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from featurestore.contract.decode import decode
from featurestore.contract.event import Event
from featurestore.contract.files import Left, byte_lines, csv_rows
from featurestore.contract.trackers.mapping import MAX_TS
from featurestore.errors import InvalidEvent, SettingsError
from worker.trackers.exports import of_ga4, of_segment, of_shop, of_snowplow
from worker.trackers.rows import Click, click, json_lines
from worker.trackers.spool import Spool

ESHOP_SEED: Final = 2008
"""Of the times inside a session, which the file does not hold."""
ESHOP_CATEGORIES: Final = {"1": "trousers", "2": "skirts", "3": "blouses", "4": "sale"}
ESHOP_COUNTRIES: Final = (  # noqa: SIM905 - reads as the codebook does
    "AU AT BE VG KY CX HR CY CZ DK EE .. FO FI FR DE GR HU IS IN IE IT LV LT LU MX NL NO PL PT RO RU SM SK SI ES SE CH "
    "UA AE GB US"
).split()
"""By the codebook's number, from 1; its other numbers are top-level domains that name no country."""
MOST_ESHOP_ROWS: Final = 1_000_000
"""Rows that are held in memory: times can only be given to whole sessions."""
OTTO_TYPES: Final = {"clicks": "view_item", "carts": "add_to_cart", "orders": "purchase"}


class _View(NamedTuple):
    """One row of the eshop file."""

    line: int
    order: int
    day: tuple[int, int, int]
    model: str
    category: str | None
    price: float | None
    country: str | None


def eshop(path: Path, left: Left) -> Iterator[Click]:
    """UCI 553, clicks of a clothing shop in 2008: views of items only, without carts, purchases and visitors.

    The file has a day and an order instead of a time of day: `eshop_times` makes the times, the same on every run.
    """
    sessions: dict[str, list[_View]] = {}
    rows = 0
    for number, row in csv_rows(path, left, ";"):
        if rows > MOST_ESHOP_ROWS:
            raise SettingsError(f"{path}: more than {MOST_ESHOP_ROWS} rows; the eshop file has 165,474")
        if "session ID" not in row:
            raise SettingsError(f"{path}, line {number}: no column 'session ID'; is this eshop data?")
        try:
            view = _view(number, row)
            sessions.setdefault(row["session ID"], []).append(view)
            rows += 1
        except (KeyError, TypeError, ValueError):
            left.out(number, "not a row of the eshop file")
    for session_id, views in sessions.items():
        views.sort(key=lambda view: view.order)
        times = eshop_times(session_id, *views[0].day, len(views))
        for view, ts in zip(views, times, strict=True):
            try:
                viewed = _viewed(session_id, ts, view)
            except ValueError as error:
                left.out(view.line, str(error))
            else:
                yield viewed


def _viewed(session_id: str, ts: int, view: _View) -> Click:
    return click(
        session_id,
        "view_item",
        ts,
        page=f"/{view.category}/{view.model}" if view.category else f"/{view.model}",
        item_id=view.model,
        category=view.category,
        price=view.price,
        currency="USD",
        country=view.country,
    )


def _view(line: int, row: dict[str, Any]) -> _View:
    day = int(row["year"]), int(row["month"]), int(row["day"])
    datetime(*day, tzinfo=UTC)  # a day that there is
    model = row["page 2 (clothing model)"]
    if not model:
        raise ValueError("no model")
    category = ESHOP_CATEGORIES.get(row["page 1 (main category)"])
    return _View(
        line, int(row["order"]), day, model, category, _eshop_price(row["price"]), _eshop_country(row["country"])
    )


def _eshop_price(text: str) -> float | None:
    """A click with a broken price is still a click."""
    try:
        price = float(text)
    except (TypeError, ValueError):
        return None
    return price if 0 <= price <= 1e9 else None


def eshop_times(session_id: str, year: int, month: int, day: int, n: int) -> list[int]:
    """Invented times of a session's ``n`` clicks, epoch ms, ascending: a function of the session id and `ESHOP_SEED`.

    The session begins at any time of its day; gaps are log-normal with a median of 25 s, at most 20 minutes, so that
    no session falls in two.

    >>> eshop_times("1", 2008, 4, 1, 3)
    [1207008194116, 1207008197824, 1207008220953]
    """
    chance = random.Random(f"{ESHOP_SEED}:{session_id}")
    t = int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000) + int(chance.random() * 86_400_000)
    times = [t]
    for _ in range(n - 1):
        about_normal = sum(chance.random() for _ in range(12)) - 6.0  # random() alone is the same in every Python
        t += min(int(25_000 * math.exp(1.2 * about_normal)), 1_200_000)
        times.append(t)
    return times


def otto(path: Path, left: Left) -> Iterator[Click]:
    """OTTO's recommender data: one shopper a line with real times; no price, no quantity, no page but the item's."""
    for number, row in json_lines(path, left):
        try:
            session_id = f"otto-{row['session']}"
            events = [*row["events"]]
        except (KeyError, TypeError) as error:
            left.out(number, f"not OTTO's format ({type(error).__name__})")
            continue
        for event in events:
            try:
                item, kind, ts = str(event["aid"]), OTTO_TYPES[event["type"]], _otto_ms(event["ts"])
                clicked = click(session_id, kind, ts, page=f"/item/{item}", item_id=item)
            except (KeyError, TypeError, ValueError) as error:
                left.out(number, f"not OTTO's format ({type(error).__name__})")
            else:
                yield clicked


def _otto_ms(ts: Any) -> int:
    ms = int(ts)
    if not 0 <= ms <= MAX_TS:
        raise ValueError("not a time")
    return ms


def jsonl(path: Path, left: Left) -> Iterator[Click]:
    """Events of the contract, one JSON object a line, sent as they are; they arrive when they were sent."""
    for number, line in byte_lines(path, left):
        value = line.strip()
        try:
            event: Event = decode(value)
        except InvalidEvent as error:
            left.out(number, str(error))
        else:
            yield Click(event.session_id, event.sent_ts or event.ts, value)


FORMATS: Final[dict[str, Callable[[Path, Left], Iterator[Click]]]] = {
    "eshop": eshop,
    "otto": otto,
    "jsonl": jsonl,
    "snowplow": of_snowplow,
    "segment": of_segment,
    "ga4": of_ga4,
    "shop": of_shop,
}


def spooled(kind: str, path: Path, max_bad_lines: int | None = None) -> Spool:
    """All clicks of a file, ``.gz`` too, in order of time; those of one millisecond stay in the file's order.

    Memory is bounded, whatever the file unpacks to. The caller closes the spool.

    Args:
        kind: a name of `FORMATS`.
        path: the file.
        max_bad_lines: lines that cannot be read are left out and logged; more than this, and the file is refused. None
            for the limits of `featurestore.contract.files`.

    Raises:
        SettingsError: the file cannot be read, holds no event, or too many lines that are none.
    """
    left = Left(path, max_bad_lines)
    try:
        clicks = Spool(FORMATS[kind](path, left))
    except (OSError, EOFError, zlib.error) as error:
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not clicks:
        clicks.close()
        raise SettingsError(f"{path}: holds no event" + (f"; {left.named[0]}" if left.named else ""))
    left.say()
    return clicks


def read(kind: str, path: Path, max_bad_lines: int | None = None) -> list[Click]:
    """As `spooled`, in memory."""
    with spooled(kind, path, max_bad_lines) as clicks:
        return list(clicks)


def shifted(click: Click, by_ms: int) -> Click:
    """The same click at another time."""
    fields: dict[str, Any] = json.loads(click.value)
    for name in ("ts", "sent_ts"):
        if isinstance(fields.get(name), int):
            fields[name] += by_ms
    return Click(click.session_id, click.ts + by_ms, msgspec.json.encode(fields))


def _eshop_country(number: str) -> str | None:
    index = int(number) - 1 if (number or "").isdecimal() and len(number) < 4 else -1
    code = ESHOP_COUNTRIES[index] if 0 <= index < len(ESHOP_COUNTRIES) else ".."
    return None if code == ".." else code
