"""Other people's click data as events of the contract: what ``clickstage replay`` sends.

An adapter yields `Click` rows in order of time. It says what a format does not hold, and invents nothing else.
"""

import csv
import json
import math
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from featurestore.contract.event import Event, decode
from featurestore.errors import InvalidEvent, SettingsError
from worker.trackers.exports import ga4, segment, snowplow
from worker.trackers.rows import Click, byte_lines, click, json_lines, text_lines

ESHOP_SEED: Final = 2008
"""Of the times inside a session, which the file does not hold."""
ESHOP_CATEGORIES: Final = {"1": "trousers", "2": "skirts", "3": "blouses", "4": "sale"}
ESHOP_COUNTRIES: Final = (  # noqa: SIM905 - reads as the codebook does
    "AU AT BE VG KY CX HR CY CZ DK EE .. FO FI FR DE GR HU IS IN IE IT LV LT LU MX NL NO PL PT RO RU SM SK SI ES SE CH "
    "UA AE GB US"
).split()
"""By the codebook's number, from 1; its other numbers are top-level domains that name no country."""
OTTO_TYPES: Final = {"clicks": "view_item", "carts": "add_to_cart", "orders": "purchase"}


def eshop(path: Path) -> Iterator[Click]:
    """UCI 553, clicks of a clothing shop in 2008: views of items only, without carts, purchases and visitors.

    The file has a day and an order instead of a time of day: `eshop_times` makes the times, the same on every run.
    """
    sessions: dict[str, list[dict[str, str]]] = {}
    with text_lines(path) as lines:
        for number, row in enumerate(csv.DictReader(lines, delimiter=";"), start=2):
            try:
                sessions.setdefault(row["session ID"], []).append(row)
            except KeyError:
                raise SettingsError(f"{path}, line {number}: no column 'session ID'; is this eshop data?") from None
    clicks = []
    for session_id, rows in sessions.items():
        rows.sort(key=lambda row: int(row["order"]))
        first = rows[0]
        times = eshop_times(session_id, int(first["year"]), int(first["month"]), int(first["day"]), len(rows))
        for row, ts in zip(rows, times, strict=True):
            category = ESHOP_CATEGORIES[row["page 1 (main category)"]]
            model = row["page 2 (clothing model)"]
            clicks.append(
                click(
                    session_id,
                    "view_item",
                    ts,
                    page=f"/{category}/{model}",
                    item_id=model,
                    category=category,
                    price=float(row["price"]),
                    currency="USD",
                    country=_eshop_country(row["country"]),
                )
            )
    clicks.sort(key=lambda c: c.ts)  # stable: clicks of one session at the same millisecond keep their order
    yield from clicks


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


def otto(path: Path) -> Iterator[Click]:
    """OTTO's recommender data: one shopper a line with real times; no price, no quantity, no page but the item's."""
    clicks = []
    for number, row in json_lines(path):
        try:
            session_id = f"otto-{row['session']}"
            for event in row["events"]:
                item = str(event["aid"])
                kind = OTTO_TYPES[event["type"]]
                clicks.append(click(session_id, kind, int(event["ts"]), page=f"/item/{item}", item_id=item))
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"{path}, line {number}: not OTTO's format ({type(error).__name__})") from None
    clicks.sort(key=lambda c: c.ts)
    yield from clicks


def jsonl(path: Path) -> Iterator[Click]:
    """Events of the contract, one JSON object a line, sent as they are, sorted by ``ts``."""
    clicks = []
    with byte_lines(path) as lines:
        for number, line in enumerate(lines, start=1):
            if value := line.strip():
                try:
                    event: Event = decode(value)
                except InvalidEvent as error:
                    raise SettingsError(f"{path}, line {number}: {error}") from None
                clicks.append(Click(event.session_id, event.ts, value))
    clicks.sort(key=lambda c: c.ts)
    yield from clicks


FORMATS: Final[dict[str, Callable[[Path], Iterator[Click]]]] = {
    "eshop": eshop,
    "otto": otto,
    "jsonl": jsonl,
    "snowplow": snowplow,
    "segment": segment,
    "ga4": ga4,
}


def read(kind: str, path: Path) -> list[Click]:
    """All clicks of a file, ``.gz`` too, in order of time.

    Raises:
        SettingsError: the file cannot be read, is empty, or is not of this format.
    """
    try:
        clicks = list(FORMATS[kind](path))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not clicks:
        raise SettingsError(f"{path}: holds no event")
    return clicks


def shifted(clicks: list[Click], newest_ms: int) -> list[Click]:
    """The same clicks, all moved by one duration so that the newest is at ``newest_ms``."""
    by = newest_ms - clicks[-1].ts
    moved = []
    for session_id, ts, value in clicks:
        fields: dict[str, Any] = json.loads(value)
        fields["ts"] = ts + by
        moved.append(Click(session_id, ts + by, msgspec.json.encode(fields)))
    return moved


def _eshop_country(number: str) -> str | None:
    index = int(number) - 1
    code = ESHOP_COUNTRIES[index] if 0 <= index < len(ESHOP_COUNTRIES) else ".."
    return None if code == ".." else code
