"""The decision document: its bytes, its schema, its reader."""

from typing import Any, cast

import jsonschema
import msgspec
import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from decisions.document import (
    DECISION_VERSION,
    Decision,
    DecisionEncoder,
    RedisDecisionReader,
    Vocabulary,
    decode_decision,
    json_schema,
)
from featurestore.columns.column import Texts
from featurestore.errors import StoreUnavailable
from featurestore.session.stages import STAGES
from featurestore.store.packed import PackedDecisions
from featurestore.store.redis.connection import connect

WORDS = Vocabulary(
    actions=("none", 'free "shipping"', "Gutschein für 10 €"),
    routes=("act", "neutral"),
    guards=("low_confidence", "cool_down", "holdout"),
    arms={0: {}, 7: {"checkout": "b", "banner": "holdout@2"}},
    model="journey-1",
    policy="abc123",
    source="topic-id",
)
ROW = np.dtype(
    [("stage", "u1"), ("action", "<u2"), ("route", "u1"), ("guards", "<u2"), ("arms", "<u4"), ("offer_until", "<i8")]
)
NOW = 1_700_000_000_000
LIFE = 1_800_000

_rows = st.tuples(
    st.text(min_size=1, max_size=12),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 1),
    st.integers(0, 7),
    st.sampled_from([0, 7]),
    st.sampled_from([0, NOW + 60_000, NOW + 10**9]),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.integers(0, 2**53),
    st.integers(0, 2**60),
    st.none() | st.lists(st.text(max_size=8), max_size=3),
)


def _plain(row: tuple[Any, ...], *, stored: bool) -> bytes:
    """The document by msgspec, field by field."""
    session, stage, action, route, guards, arms, offer, proba, t, seq, reasons = row
    rounded = [float(p) for p in np.rint(np.array(proba) * 1000) / 1000]
    return msgspec.json.encode(
        Decision(
            v=DECISION_VERSION,
            session_id="" if stored else session,
            stage=STAGES[stage],
            confidence=rounded[stage],
            probabilities=rounded,
            action=WORDS.actions[action],
            route=WORDS.routes[route],
            model=WORDS.model,
            policy=WORDS.policy,
            event_ts=t,
            decided_at=NOW,
            source=WORDS.source,
            seq=seq,
            expires_at=min(NOW + LIFE, offer) if offer else NOW + LIFE,
            reasons=reasons or [],
            guards=[name for bit, name in enumerate(WORDS.guards) if guards >> bit & 1],
            arm=WORDS.arms[arms],
        )
    )


def _packed(rows: list[tuple[Any, ...]]) -> PackedDecisions:
    decisions = np.zeros(len(rows), ROW)
    for made, row in zip(decisions, rows, strict=True):
        for name, value in zip(cast("tuple[str, ...]", ROW.names), row[1:7], strict=True):
            made[name] = value
    return DecisionEncoder(WORDS).pack(
        Texts.of([row[0] for row in rows]),
        decisions,
        np.array([row[7] for row in rows]).reshape(-1, 4),
        np.array([row[8] for row in rows], np.int64),
        np.array([row[9] for row in rows], np.int64),
        {i: row[10] for i, row in enumerate(rows) if row[10] is not None},
        NOW,
        LIFE,
    )


def _fast(rows: list[tuple[Any, ...]]) -> list[bytes]:
    """As stored."""
    return list(_packed(rows).documents())


@given(st.lists(_rows, max_size=5))
@settings(max_examples=200)
def test_the_batch_encoder_writes_what_msgspec_writes(rows: list[tuple[Any, ...]]) -> None:
    """Order of fields, omitted defaults, escapes, rounding: to the byte."""
    made = _packed(rows)
    for decisions in (made, PackedDecisions.unpacked(made.packed())):
        stored = decisions.documents()
        assert list(stored) == [_plain(row, stored=True) for row in rows]
        assert list(decisions.logged(stored)) == [_plain(row, stored=False) for row in rows]


def test_every_document_is_of_the_published_schema() -> None:
    row = ("s", 2, 1, 0, 3, 7, NOW + 1, [0.1, 0.1, 0.7, 0.1], 5, 9, ["3 items added to the cart"])
    [document] = _fast([row])
    jsonschema.validate(msgspec.json.decode(document), json_schema())
    decision = decode_decision(document)
    assert decision.expires_at == NOW + 1, "an offer that ends sooner ends the decision sooner"
    assert decision.guards == ["low_confidence", "cool_down"]
    assert decision.arm == {"checkout": "b", "banner": "holdout@2"}


def test_the_same_inputs_give_the_same_bytes() -> None:
    row = ("s", 0, 0, 1, 0, 0, 0, [1 / 3] * 3 + [0.0], 5, 9, None)
    assert _fast([row]) == _fast([row, row])[:1]


def test_an_unknown_field_of_a_later_version_is_ignored() -> None:
    [document] = _fast([("s", 0, 0, 1, 0, 0, 0, [1.0, 0, 0, 0], 5, 9, None)])
    later = document[:-1] + b',"mood":"good"}'
    assert decode_decision(later) == decode_decision(document)


def test_the_reader_finds_what_was_written(redis_client: "redis.Redis") -> None:
    [document] = _fast([("sé", 1, 1, 0, 0, 0, 0, [0, 1.0, 0, 0], 5, 9, None)])
    redis_client.set("decision:sé", document)
    reader = RedisDecisionReader(redis_client)
    found = reader.get("sé")
    assert found == decode_decision(document, "sé")
    assert found is not None
    assert found.session_id == "sé", "the key says it"
    assert reader.get("nobody") is None


def test_a_reader_without_a_server_says_so_and_quotes_nothing() -> None:
    reader = RedisDecisionReader(connect("redis://127.0.0.1:1/0", timeout_s=0.5))
    with pytest.raises(StoreUnavailable, match="reading a decision") as caught:
        reader.get("secret")
    assert "secret" not in str(caught.value)
