"""An inline decision equals the streamed one to the byte, times left out: the same events through both.

Each run compares some thousands, or ``CLICKSTAGE_TEST_EDGE_EVENTS``; the nightly one 100,000. Where a session's events
come through two edges, a decision can miss what the other one has just taken: the nightly run counts how many do.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from featurestore.contract.event import EVENT_TYPES
from tests.integration.edges import EdgeProcess, Page, ask
from tests.integration.shopfloor import PATIENCE_S, Shopfloor, now_ms, unique_documents
from tests.services import RedisServer
from tests.services.kafka_broker import Kafka
from tests.services.process import wait_for

EVENTS: Final = int(os.environ.get("CLICKSTAGE_TEST_EDGE_EVENTS", "3000"))
MANY: Final = 100_000
PAGES: Final = 12
A_SESSION: Final = 40
TIMES: Final = {"decided_at", "expires_at"}
SECRET: Final = "ab" * 32
PAUSES_S: Final = (0.0, 0.05, 0.5)
TYPES: Final = (*EVENT_TYPES, "a_type_that_nobody_knows")


@pytest.fixture
def edges(floor: Shopfloor, kafka: Kafka, redis_server: RedisServer, tmp_path: Path) -> Iterator[list[EdgeProcess]]:
    """Two that accept each other's tokens, the second one not started yet."""
    flags = ["--kafka", kafka.bootstrap, "--redis", redis_server.url, "--topic", floor.topic, "--group", floor.topic]
    rates = [f"--edge-{name}-rate=0" for name in ("key", "address", "session")]
    own = [*flags, *rates, "--edge-secret", SECRET]
    made = [EdgeProcess(name, tmp_path / name, own) for name in ("edge", "other")]
    made[0].start_waiting()
    yield made
    for one in made:
        one.stop()


@pytest.fixture
def edge(edges: list[EdgeProcess]) -> EdgeProcess:
    return edges[0]


def _event(chance: random.Random, visitor: str, last_id: str) -> dict[str, Any]:
    """An event of any type with any of the optional fields; a few are sent twice, and a few withdraw consent."""
    choices: dict[str, Any] = {
        "page": f"/p/{chance.randrange(30)}",
        "item_id": f"i{chance.randrange(9)}",
        "category": chance.choice(["shoes", "health", "hats"]),
        "price": round(chance.uniform(1, 300), 2),
        "quantity": chance.randrange(4),
        "value": round(chance.uniform(1, 500), 2),
        "device": chance.choice(["desktop", "mobile", "toaster"]),
        "source": chance.choice(["paid", "direct", "elsewhere"]),
        "country": chance.choice(["DE", "fr", "nowhere"]),
        "scroll_depth": chance.randrange(101),
        "checkout_step": chance.randrange(5),
        "visitor_id": visitor,
    }
    chosen = {name: value for name, value in choices.items() if chance.random() < 0.5}
    skew = chance.choice([0, 0, 0, -2_000, 1_000])
    event = {"type": chance.choice(TYPES), "ts": now_ms() + skew, **chosen}
    if last_id and chance.random() < 0.03:
        event["event_id"] = last_id
    if chance.random() < 0.005:
        event["consent"] = False
    return event


def _shop(page: Page, chance: random.Random, events: int) -> Iterator[tuple[str, dict[str, Any]]]:
    last_id = ""
    for i in range(events):
        event = {"event_id": f"{page.session_id[-8:]}-{i}", **_event(chance, f"v{chance.randrange(50)}", last_id)}
        last_id = event["event_id"]
        answer = page.send(event, query="&decide=1")
        assert answer.status == 202, answer.body
        yield page.session_id, answer.json["decision"]


def _shopper(edge: EdgeProcess, number: int, events: int) -> list[tuple[str, dict[str, Any]]]:
    chance = random.Random(number)
    told: list[tuple[str, dict[str, Any]]] = []
    for _ in range(events // PAGES // A_SESSION):
        told += _shop(edge.page(), chance, A_SESSION)
    return told


def _timeless(document: dict[str, Any]) -> dict[str, Any]:
    """Without its times; the edge adds to the parameters when an offer ends."""
    kept = {name: value for name, value in document.items() if name not in TIMES}
    if "parameters" in kept:
        kept["parameters"] = {name: value for name, value in kept["parameters"].items() if name != "expires_at"}
    return kept


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("flavour", ["redis"])
@pytest.mark.parametrize("events", [EVENTS, pytest.param(MANY, marks=pytest.mark.nightly)])
def test_inline_and_stream_decide_the_same(floor: Shopfloor, edge: EdgeProcess, events: int) -> None:
    """Each provisional decision has one of the stream under its place, which says the same but for the times."""
    floor.worker().start()
    with ThreadPoolExecutor(PAGES) as pool:
        told = [pair for some in pool.map(lambda number: _shopper(edge, number, events), range(PAGES)) for pair in some]
    wanted, different = _compared(floor, told)
    assert len(wanted) > 0.8 * len(told)
    assert not different, json.dumps(different[:3], indent=1)
    print(f"\n{len(wanted)} of {len(told)} inline decisions compared, all equal")  # noqa: T201 - the figure is in docs/edge.md


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("flavour", ["redis"])
def test_through_two_edges_only_haste_makes_a_difference(floor: Shopfloor, edges: list[EdgeProcess]) -> None:
    """A session's events take turns between them: if the worker has applied one, the decision on the next is equal."""
    edges[1].start_waiting()
    floor.worker().start()
    shares = {}
    for pause_s in PAUSES_S:
        told: list[tuple[str, dict[str, Any]]] = []
        with ThreadPoolExecutor(PAGES) as pool:
            for some in pool.map(lambda number, pause=pause_s: _to_and_fro(edges, number, pause), range(PAGES)):
                told += some
        wanted, different = _compared(floor, told)
        shares[pause_s] = f"{len(different)} of {len(wanted)}"
        assert wanted
        if pause_s == PAUSES_S[-1]:
            assert not different, json.dumps(different[:3], indent=1)
    print(f"\ndifferent through two edges in turns, by the pause between two events, s: {shares}")  # noqa: T201 - as above


def _to_and_fro(edges: list[EdgeProcess], number: int, pause_s: float) -> list[tuple[str, dict[str, Any]]]:
    chance = random.Random(number)
    page = edges[0].page()
    other = edges[1].connect()
    told = []
    for i in range(A_SESSION // 2):
        event = {
            "event_id": f"{page.session_id[-8:]}-{i}",
            **_event(chance, "", ""),
            "visitor_id": f"v-{page.session_id}",
        }
        event.pop("consent", None)
        if i % 2:
            body = json.dumps({"events": [event], "token": page.token})
            answer = ask(other, "POST", "/v1/events?key=demo&decide=1", body, {"Content-Type": "text/plain"})
        else:
            answer = page.send(event, query="&decide=1")
        assert answer.status == 202, answer.body
        told.append((page.session_id, answer.json["decision"]))
        time.sleep(pause_s)
    return told


def _compared(
    floor: Shopfloor, told: list[tuple[str, dict[str, Any]]]
) -> tuple[set[tuple[str, int]], list[tuple[tuple[str, int], dict[str, Any]]]]:
    """The places of provisional decisions, and where the stream says something else under one of them."""
    provisional = {(s, d["seq"]): d for s, d in told if d["provisional"] and "seq" in d}
    wanted = set(provisional)
    streamed: dict[tuple[str, int], dict[str, Any]] = {}

    def complete() -> bool:
        for (_, session_id, seq), document in unique_documents(floor.decisions()).items():
            streamed[session_id, seq] = document
        return wanted <= streamed.keys()

    wait_for(complete, PATIENCE_S)
    assert wanted <= streamed.keys(), [provisional[place] for place in sorted(wanted - streamed.keys())[:3]]
    different = []
    for place in wanted:
        inline, stream = _timeless(provisional[place]), _timeless(streamed[place])
        if apart := {n: (inline.get(n), v) for n, v in stream.items() if inline.get(n) != v}:
            different.append((place, apart))
    return wanted, different
