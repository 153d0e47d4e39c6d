"""The decision document: its bytes, its schema, its reader."""

from typing import Any, cast

import jsonschema
import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from decisions.document import (
    DECISION_VERSION,
    FIELDS,
    TAIL,
    Decision,
    decode_decision,
    json_schema,
    layout,
)
from decisions.encoder import DecisionEncoder, Vocabulary
from decisions.policy.vocabulary import HELD, ROUTES
from featurestore.columns.column import Texts
from featurestore.session.stages import STAGES
from featurestore.store.packed import NUMBER, PLAIN, WORD, PackedDecisions
from featurestore.versions import VERSION_BEFORE
from tests.examples import examples

WORDS = Vocabulary(
    actions=("none", 'free "shipping"', "Gutschein für 10 €"),
    routes=ROUTES,
    guards=("low_confidence", "cool_down", "holdout"),
    arms={0: {}, 7: {"checkout": "b", "banner": "holdout@2"}},
    model="journey-1",
    policy="abc123",
    source="topic-id",
    shown={'free "shipping"': ('Free "shipping"', {}), "Gutschein für 10 €": ("10 € weg", {"discount_percent": 10.0})},
)
ROW = np.dtype(
    [
        ("stage", "u1"), ("top", "u1"), ("action", "<u2"), ("route", "u1"), ("guards", "<u2"), ("arms", "<u4"),
        ("offer_until", "<i8"),
    ]
)  # fmt: skip
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
NOW = 1_700_000_000_000
LIFE = 1_800_000

_rows = st.tuples(
    st.text(min_size=1, max_size=12),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from([0, 2, HELD]),
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
    session, stage, top, action, route, guards, arms, offer, proba, t, seq, reasons = row
    label, parameters = WORDS.shown.get(WORDS.actions[action], ("", {}))
    rounded = [float(p) for p in np.rint(np.array(proba) * 1000) / 1000]
    return msgspec.json.encode(
        Decision(
            v=DECISION_VERSION,
            session_id="" if stored else session,
            stage=STAGES[stage],
            confidence=rounded[top if route == HELD else stage],
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
            label=label,
            parameters=dict(parameters),
            likeliest=STAGES[top] if route == HELD else "",
            reasons=reasons or [],
            guards=[name for bit, name in enumerate(WORDS.guards) if guards >> bit & 1],
            arm=WORDS.arms[arms],
        )
    )


def _packed(
    rows: list[tuple[Any, ...]], words: Vocabulary = WORDS, outputs: NDArray[np.float64] | None = None
) -> PackedDecisions:
    decisions = np.zeros(len(rows), ROW)
    for made, row in zip(decisions, rows, strict=True):
        for name, value in zip(cast("tuple[str, ...]", ROW.names), row[1:8], strict=True):
            made[name] = value
    return DecisionEncoder(words).pack(
        Texts.of([row[0] for row in rows]),
        decisions,
        np.array([row[8] for row in rows]).reshape(-1, 4),
        np.array([row[9] for row in rows], np.int64),
        np.array([row[10] for row in rows], np.int64),
        {i: row[11] for i, row in enumerate(rows) if row[11] is not None},
        NOW,
        LIFE,
        outputs,
    )


def _fast(rows: list[tuple[Any, ...]]) -> list[bytes]:
    """As stored."""
    return list(_packed(rows).documents())


@given(st.lists(_rows, max_size=5))
@settings(max_examples=examples(25))
def test_the_batch_encoder_writes_what_msgspec_writes(rows: list[tuple[Any, ...]]) -> None:
    """Order of fields, omitted defaults, escapes, rounding: to the byte."""
    made = _packed(rows)
    for decisions in (made, PackedDecisions.unpacked(made.packed())):
        stored = decisions.documents()
        assert list(stored) == [_plain(row, stored=True) for row in rows]
        assert list(decisions.logged(stored)) == [_plain(row, stored=False) for row in rows]


def test_every_document_is_of_the_published_schema() -> None:
    row = ("s", 2, 2, 1, 0, 3, 7, NOW + 1, [0.1, 0.1, 0.7, 0.1], 5, 9, ["3 items added to the cart"])
    [document] = _fast([row])
    VALIDATOR.validate(msgspec.json.decode(document))
    decision = decode_decision(document)
    assert decision.expires_at == NOW + 1, "an offer that ends sooner ends the decision sooner"
    assert decision.guards == ["low_confidence", "cool_down"]
    assert decision.arm == {"checkout": "b", "banner": "holdout@2"}


def test_a_held_decision_says_what_the_model_is_sure_of() -> None:
    """Its stage is not the likeliest one: a confidence of 0.0 beside it would only puzzle."""
    [document] = _fast([("s", 0, 2, 1, HELD, 0, 0, 0, [0.0, 0.03, 0.97, 0.0], 5, 9, None)])
    decision = decode_decision(document)
    assert (decision.stage, decision.likeliest, decision.confidence) == ("Explorer", "Intent Buyer", 0.97)


def test_an_action_travels_with_its_label_and_its_parameters() -> None:
    [offer, nothing] = _fast([("s", 2, 2, action, 0, 0, 0, 0, [0, 0, 1.0, 0], 5, 9, None) for action in (2, 0)])
    assert decode_decision(offer).label == "10 € weg"
    assert decode_decision(offer).parameters == {"discount_percent": 10.0}
    assert b"label" not in nothing


def test_the_same_inputs_give_the_same_bytes() -> None:
    row = ("s", 0, 0, 0, 2, 0, 0, 0, [1 / 3] * 3 + [0.0], 5, 9, None)
    assert _fast([row]) == _fast([row, row])[:1]


def test_an_unknown_field_of_a_later_version_is_ignored() -> None:
    [document] = _fast([("s", 0, 0, 0, 2, 0, 0, 0, [1.0, 0, 0, 0], 5, 9, None)])
    later = document[:-1] + b',"mood":"good"}'
    assert decode_decision(later) == decode_decision(document)


def test_the_session_id_comes_from_the_key() -> None:
    """The document in Redis does not repeat it."""
    [document] = _fast([("sé", 1, 1, 1, 0, 0, 0, 0, [0, 1.0, 0, 0], 5, 9, None)])
    assert b"session_id" not in document
    assert decode_decision(document, "sé") == msgspec.structs.replace(decode_decision(document), session_id="sé")


_outputs = st.one_of(st.just(np.nan), st.floats(0, 1), st.floats(-50_000, 50_000))


@given(st.lists(st.tuples(_rows, _outputs, _outputs), min_size=1, max_size=4))
def test_outputs_of_further_heads_stand_in_the_document(rows: list[tuple[tuple[Any, ...], float, float]]) -> None:
    """As msgspec writes them, to three digits, null where a session has none; packed and unpacked to the byte."""
    names = ("order_rest", 'revenue "€"')
    words = msgspec.structs.replace(WORDS, outputs=names)
    made = _packed([row for row, *_ in rows], words, np.array([outputs for _, *outputs in rows]))
    for packed in (made, PackedDecisions.unpacked(made.packed()), made.take(np.arange(len(rows)))):
        for document, (row, *outputs) in zip(packed.documents(), rows, strict=True):
            rounded = [None if np.isnan(x) else float(np.rint(x * 1000) / 1000) + 0.0 for x in outputs]
            plain = msgspec.json.decode(_plain(row, stored=True), type=Decision)
            expected = msgspec.structs.replace(plain, v=2, outcomes=dict(zip(names, rounded, strict=True)))
            assert document == msgspec.json.encode(expected)
            VALIDATOR.validate(msgspec.json.decode(document))
            assert decode_decision(document) == expected


def test_a_bundle_with_the_stage_alone_writes_version_1() -> None:
    """Its packed form is the one that outboxes of version 1 hold: no program, no outputs."""
    row = ("s", 2, 2, 1, 0, 3, 7, NOW + 1, [0.1, 0.1, 0.7, 0.1], 5, 9, None)
    packed = _packed([row])
    assert layout(()).program is PLAIN
    assert msgspec.json.decode(_fast([row])[0])["v"] == 1
    assert len(msgspec.msgpack.decode(packed.packed(VERSION_BEFORE))) == 6


def test_each_field_of_the_document_says_how_it_is_written() -> None:
    """The table is the contract: fields, order, and the version 1 part of the row, which is persisted."""
    assert [field.name for field in FIELDS] == [field.name for field in msgspec.structs.fields(Decision)]
    assert len({(f.kind, f.which) for f in FIELDS if f.kind in {NUMBER, WORD}}) == 6
    assert [field.name for field in FIELDS if field.kind == TAIL] == [
        "label",
        "parameters",
        "likeliest",
        "reasons",
        "guards",
        "arm",
        "provisional",
    ]
