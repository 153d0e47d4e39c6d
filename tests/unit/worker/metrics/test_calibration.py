"""Expected and observed outcomes of finished sessions, by head and tenth."""

import json
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from decisions.core import Judgement
from decisions.engine import Engine
from decisions.intake import Plan, Records, decode, plan, plan_ticks
from decisions.shipped import load_bundle, load_policy
from featurestore.contract.event import TYPE_CODE
from featurestore.session.observation import BOT, CLEAR, END, EVENT_ROW
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore
from models.bundle.bundle import Bundle
from models.simulator.simulator import SimConfig, simulate
from worker.metrics.calibration import CalibrationMonitor
from worker.metrics.catalogue import PREFIX
from worker.metrics.metrics import Metrics

HOUR = 3_600_000


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(None)


class Shop:
    """An engine with a store in memory, whose judgements some monitors see."""

    def __init__(self, bundle: Bundle) -> None:
        self.engine = Engine.of(bundle, load_policy(None, bundle.heads.variables), Namespace("t", "t", "t"))
        self.store = MemoryStore(self.engine.namespace)
        self.epoch = self.store.acquire([Shard(0)], 0, 0)[0].epoch
        self.upto: int | None = None
        self.seen: list[tuple[Judgement, Any]] = []

    def run(self, batch: Plan, upto: int | None) -> None:
        result = self.engine.run(batch, self.engine.loader(self.store).load(batch), 0)
        for write in result.writes:
            write.epoch, write.expected, write.applied = self.epoch, self.upto, upto
        self.store.write(result.writes, 1)
        self.upto = upto
        rows = result.judgement.observations.rows
        self.seen.append((result.judgement, batch.events["kind"].astype(np.uint8)[rows["event"]]))

    def events(self, values: list[bytes | None], first: int) -> None:
        offsets = range(first, first + len(values))
        self.run(plan(decode([Records(0, values, offsets, [-1] * len(values))]), 1, lambda _: -1), offsets[-1])

    def end(self, t_ms: int) -> None:
        while due := self.store.due([(Shard(0), t_ms)], 100_000)[0]:
            self.run(plan_ticks([(Shard(0), due, t_ms)]), self.upto)


@pytest.fixture(scope="module")
def shop(bundle: Bundle) -> Shop:
    """People of a day, in batches of 100."""
    found = [(value, t) for chunk in simulate(SimConfig(sessions=120, seed=3)) for _, value, t in chunk]
    shop = Shop(bundle)
    for first in range(0, len(found), 100):
        shop.events([value for value, _ in found[first : first + 100]], first)
        shop.end(found[min(first + 99, len(found) - 1)][1])
    shop.end(max(t for _, t in found) + 3 * HOUR)
    return shop


def counted(bundle: Bundle, seen: list[tuple[Judgement, Any]], places: int = 1_024) -> dict[tuple[str, str], float]:
    registry = CollectorRegistry()
    monitor = CalibrationMonitor(bundle.heads, Metrics(registry), places)
    for judgement, types in seen:
        monitor.observe(judgement, types)
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return {
        (kind, f"{sample.labels['head']} {sample.labels['tenth']}"): sample.value
        for kind in ("expected", "observed")
        for sample in samples
        if sample.name == f"{PREFIX}outcomes_{kind}_total"
    }


def plainly(bundle: Bundle, shop: Shop) -> dict[tuple[str, str], float]:
    """The definition: a session's first probability in each tenth, and whether a later event is of the types."""
    running: dict[int, list[tuple[int, Any]]] = defaultdict(list)
    finished, bots = [], set()
    for judgement, types in shop.seen:
        seen = judgement.observations
        for m, kind in enumerate(seen.rows["kind"].tolist()):
            key = int(seen.context["session"][m])
            if kind == EVENT_ROW:
                running[key].append((int(types[m]), judgement.outputs[m]))
            elif kind == BOT:
                bots.add(key)
            elif kind in {END, CLEAR}:
                ended = running.pop(key, [])
                finished += [ended] if kind == END and key not in bots else []
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for events in finished:
        counted_already: set[str] = set()
        for k, head in enumerate(bundle.heads.others):
            asked: Any = head.training["events"]
            codes = {TYPE_CODE[name] for name in asked}
            for i, (_, outputs) in enumerate(events):
                if np.isnan(outputs[k]):
                    continue
                later = any(kind in codes for kind, _ in events[i + 1 :])
                tenths: Any = head.training["deciles"]
                cell = f"{head.name} {sum(outputs[k] >= edge for edge in tenths) + 1}"
                if cell in counted_already:
                    continue
                counted_already.add(cell)
                sums["expected", cell] += float(outputs[k])
                sums["observed", cell] += later != bool(head.training["absent"])
    return sums


def test_the_sums_are_those_of_the_definition(bundle: Bundle, shop: Shop) -> None:
    wanted = plainly(bundle, shop)
    found = counted(bundle, shop.seen)
    assert sum(value for (kind, cell), value in wanted.items() if kind == "observed" and "add_rest" in cell) > 10
    for cell, value in found.items():
        assert value == pytest.approx(wanted.get(cell, 0.0), rel=1e-4), cell


def test_a_session_of_which_events_went_elsewhere_is_left_out(bundle: Bundle) -> None:
    """Its partition was another worker's for a while: the outcome may have come there."""

    def session(name: str, kinds: list[str]) -> list[bytes | None]:
        t = 1_700_000_000_000
        return [
            json.dumps({"session_id": name, "type": kind, "ts": t + 5_000 * i, "page": f"/{i}"}).encode()
            for i, kind in enumerate(kinds)
        ]

    kinds = ["view_item", "add_to_cart", "purchase", "view_item"]
    whole, part = Shop(bundle), Shop(bundle)
    for shop in (whole, part):
        for i, value in enumerate(session("s", kinds)):
            shop.events([value], i)
        shop.end(1_700_000_000_000 + 3 * HOUR)
    assert sum(counted(bundle, whole.seen).values()) > 0
    for missed in range(len(kinds)):
        assert sum(counted(bundle, part.seen[:missed] + part.seen[missed + 1 :]).values()) == 0


def test_what_finds_no_place_is_not_followed(bundle: Bundle, shop: Shop) -> None:
    """Fewer sessions, never half ones: expected and observed miss the same."""
    few, whole = counted(bundle, shop.seen, 16), counted(bundle, shop.seen)
    assert 0 < sum(few.values()) < sum(whole.values())
