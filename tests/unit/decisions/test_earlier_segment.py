"""What a visitor's session before was: kept at its end, read on the next visit, asked by the policy."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from decisions.engine import Engine
from decisions.intake import Plan, Records, decode, plan, plan_ticks
from decisions.policy import Policy
from decisions.shipped import load_bundle
from featurestore.session.segments import KINDS, code_of, kind_of
from featurestore.session.visitors import unpack
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import Due
from featurestore.store.streams import DECISIONS
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE
from tests.unit.decisions.policy.policy_cases import policy_text

T = 1_700_000_000_000
DAY_MS = 86_400_000
BUYS = ["view_item"] * 8 + ["add_to_cart"] * 3 + ["view_cart", "begin_checkout", "add_payment_info", "purchase"]


def events(session: str, kinds: Sequence[str], at: int, visitor: str | None = "vera") -> list[tuple[bytes, int]]:
    """The events of a visit, 20 s apart, and when they come."""
    named = {} if visitor is None else {"visitor_id": visitor}
    more = {"price": 9, "quantity": 1, "item_id": "a", "value": 27}
    return [
        (json.dumps({"session_id": session, "type": kind, "ts": t, "page": f"/{i % 8}", **more, **named}).encode(), t)
        for i, kind in enumerate(kinds)
        for t in [at + 20_000 * i]
    ]


class Shop:
    """A worker without clients: its store, and what is decided."""

    def __init__(self, condition: str, version: int = RECORD_VERSION) -> None:
        bundle = load_bundle(None)
        rule = {"threshold": 0.0, "rules": [{"show": "welcome", "when": [condition]}]}
        stages = dict.fromkeys(("Explorer", "Evaluator", "Intent Buyer", "Drop-Off Risk"), rule)
        policy = Policy.from_text(policy_text(actions={"welcome": {"label": "w"}}, stages=stages), outputs=bundle.names)
        self.engine = Engine.of(bundle, policy, Namespace("test", "earlier", "t", write_version=version))
        self.store = MemoryStore(self.engine.namespace)
        [lease] = self.store.acquire([Shard(0)], 0, 0)
        self.epoch, self.applied = lease.epoch, lease.applied
        self.offset = 0

    def take(self, log: Sequence[tuple[bytes, int]]) -> list[dict[str, Any]]:
        """One batch; its decisions."""
        offsets = range(self.offset, self.offset + len(log))
        self.offset += len(log)
        batch = plan(decode([Records(0, [value for value, _ in log], offsets, [t for _, t in log])]), 1, lambda _: -1)
        return self._run(batch, offsets[-1])

    def end(self, session: str, at: int) -> None:
        """A timer says that time has passed."""
        self._run(plan_ticks([(Shard(0), Due([session], []), at)]), self.applied)

    def _run(self, batch: Plan, upto: int | None) -> list[dict[str, Any]]:
        result = self.engine.run(batch, self.engine.loader(self.store).load(batch), T)
        for write in result.writes:
            write.epoch, write.expected, write.applied = self.epoch, self.applied, upto
        self.store.write(result.writes, self.engine.decision_ttl_ms)
        self.applied = upto
        return [json.loads(v) for part in result.outputs for o in part if o.stream == DECISIONS for v in o.values]


def test_the_next_visit_knows_what_the_last_one_was() -> None:
    """Who bought is welcomed as a buyer; who is there for the first time, or without a name, is not."""
    shop = Shop("earlier_segment == buyers")
    assert {d["action"] for d in shop.take(events("one", BUYS, T))} == {"none"}
    shop.end("one", T + DAY_MS)
    assert {d["action"] for d in shop.take(events("two", ["view_item"] * 3, T + DAY_MS))} == {"welcome"}
    assert {d["action"] for d in shop.take(events("new", ["view_item"] * 3, T + DAY_MS, "wim"))} == {"none"}
    assert {d["action"] for d in shop.take(events("who", ["view_item"] * 3, T + DAY_MS, None))} == {"none"}


def test_only_the_latest_visit_counts() -> None:
    """A glance after an order is a glance."""
    shop = Shop("earlier_segment in [glances]")
    for i, kinds in enumerate((BUYS, ["view_item"])):
        shop.take(events(f"s{i}", kinds, T + i * DAY_MS))
        shop.end(f"s{i}", T + (i + 1) * DAY_MS)
    assert {d["action"] for d in shop.take(events("s2", ["view_item"] * 3, T + 3 * DAY_MS))} == {"welcome"}
    [blob] = shop.store.profiles([shop.engine.namespace.visitor(int(unpack_visitor(shop)))])
    assert unpack([blob]).rows["segment"][0, :2].tolist() == [code_of("buyers"), code_of("glances")]


def unpack_visitor(shop: Shop) -> int:
    [name] = shop.store.visitors
    return int(name.rpartition(":")[2], 16)


@pytest.mark.parametrize("cuts", [[15], [3, 15, 16], list(range(1, 20))])
def test_a_session_that_goes_on_after_its_end_is_the_same_however_batches_are_cut(cuts: list[int]) -> None:
    """The same session id after half an hour is a new visit of the visitor, within a batch and across batches."""
    log = [*events("one", BUYS, T), *events("one", ["view_item"] * 5, T + 4_000_000)]
    whole = Shop("earlier_segment == buyers").take(log)
    shop = Shop("earlier_segment == buyers")
    parts = [d for a, b in pairwise([0, *cuts, len(log)]) for d in shop.take(log[a:b])]
    assert [d["action"] for d in whole] == [d["action"] for d in parts]
    assert [d["action"] for d in whole[-5:]] == ["welcome"] * 5
    assert "welcome" not in {d["action"] for d in whole[:-5]}


def test_profiles_of_version_1_say_nothing_of_segments() -> None:
    """Its readers take the byte for whether the visit bounced."""
    shop = Shop("earlier_segment == buyers", VERSION_BEFORE)
    shop.take(events("one", BUYS, T))
    shop.end("one", T + DAY_MS)
    [blob] = shop.store.visitors.values()
    assert blob[-1] == 0
    assert {d["action"] for d in shop.take(events("two", ["view_item"] * 3, T + DAY_MS))} == {"none"}


def test_the_shipped_segments_are_of_kinds_that_profiles_can_keep() -> None:
    """A policy can name each of them; the six kinds of the preset are all there."""
    names = load_bundle(None).names
    assert set(names.kinds) == set(KINDS)
    segments = load_bundle(None).segments
    assert segments is not None
    assert segments.codes.tolist() == [KINDS.index(kind_of(name)) + 1 for name in segments.names]
