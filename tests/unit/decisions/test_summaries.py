"""The summary of a finished session."""

import jsonschema
import msgspec
import numpy as np
import pytest

from decisions.encoder import Vocabulary
from decisions.summaries import Summaries, Summary, json_schema, outcome
from featurestore.contract.event import Event
from featurestore.session.features import N_FEATURES
from featurestore.session.fold import FoldConfig
from featurestore.session.layout import MEMORY
from tests.unit.featurestore.session.fold_cases import START_MS, Folded, Step

WORDS = Vocabulary(("none", "offer"), ("act",), (), {0: {}, 3: {"banner": "b"}}, "journey-1", "hash", "topic")


def _encoded(shown: int = 3, arm: int = 3) -> bytes:
    log = [
        Step("a", START_MS, Event("a", "view_item", 0, page="/p", device="mobile", country="de", source="email")),
        Step("a", START_MS + 5_000, Event("a", "add_to_cart", 0, price=10.0, quantity=2)),
        Step("a", START_MS + 9_000, Event("a", "purchase", 0, value=19.999)),
        Step("a", START_MS + 10_000_000, None),
    ]
    folded = Folded(FoldConfig()).run(log)
    [(_, state)] = folded.ended
    memory = np.zeros(1, MEMORY)
    memory["shown"] = shown
    memory["stage_ms"][0, :4] = 4_000, 0, 5_000, 0
    memory["flips"] = 1
    memory["n_actions"] = 3
    memory["action_id"][0, :3] = 1, 2, 9
    memory["action_count"][0, :3] = 2, 0, 1
    X = np.arange(N_FEATURES, dtype=float).reshape(1, -1)
    X[0, 5] = np.nan
    rows = np.array([state])
    made = Summaries(WORDS, {1: "offer", 2: "other"})
    [document] = made.encode(["a"], rows, memory, X, np.array([767]), np.array([arm], np.uint32), START_MS)
    return document


def test_a_summary_says_what_happened() -> None:
    s = msgspec.json.decode(_encoded(), type=Summary)
    assert (s.session_id, s.source, s.seq) == ("a", "topic", 767)
    assert (s.started, s.ended, s.events) == (START_MS, START_MS + 9_000, 3)
    assert (s.outcome, s.value) == ("bought", 20.0)
    assert s.stages_seen == ["Explorer", "Intent Buyer"]
    assert s.stage_ms == {"Explorer": 4_000, "Intent Buyer": 5_000}
    assert (s.final_stage, s.flips, s.bot) == ("Intent Buyer", 1, False)
    assert (s.device, s.traffic_source, s.country) == ("mobile", "email", "DE")
    assert s.arm == {"banner": "b"}
    assert s.features["bounce_rate"] is None


def test_an_action_that_the_policy_no_longer_knows_is_named_as_such() -> None:
    assert msgspec.json.decode(_encoded(), type=Summary).actions == {"offer": 2, "retired-9": 1}


def test_a_session_that_was_never_shown_anything_has_no_final_stage() -> None:
    assert msgspec.json.decode(_encoded(shown=0), type=Summary).final_stage is None


def test_a_summary_is_of_the_published_schema_and_repeats_to_the_byte() -> None:
    jsonschema.validate(msgspec.json.decode(_encoded()), json_schema())
    assert _encoded() == _encoded()


@pytest.mark.parametrize(
    ("purchases", "items", "says"), [(1, 0, "bought"), (2, 5, "bought"), (0, 1, "abandoned_cart"), (0, 0, "browsed")]
)
def test_outcomes(purchases: int, items: int, says: str) -> None:
    assert outcome(purchases, items) == says


@pytest.mark.contract("What `ended` in a summary means")
def test_a_summary_ends_when_its_newest_event_happened() -> None:
    """By the sender's corrected clock: neither a late event nor the half hour after the last one moves it."""
    slow = 240_000
    log = [
        Step("a", START_MS + at, Event("a", "view_item", START_MS + at - waited - slow, sent_ts=START_MS + at - slow))
        for at, waited in ((0, 0), (9_000, 0), (12_000, 8_000))
    ]
    folded = Folded(FoldConfig()).run([*log, Step("a", START_MS + 10_000_000, None)])
    [(_, state)] = folded.ended
    made = Summaries(WORDS, {1: "offer", 2: "other"})
    arms = np.zeros(1, np.uint32)
    features = np.zeros((1, N_FEATURES))
    [document] = made.encode(["a"], state.reshape(1), np.zeros(1, MEMORY), features, np.array([255]), arms, START_MS)
    said = msgspec.json.decode(document, type=Summary)
    assert (said.started, said.ended) == (START_MS, START_MS + 9_000)
