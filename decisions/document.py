"""The decision document: what the front end reads at ``decision:<session id>``.

`Decision` is the contract (JSON Schema comes from it). `DecisionEncoder` makes the same bytes for a batch by way of a
`PackedDecisions`, several times faster than an encoder that looks at each field; a test holds the two equal.

A decision's identity is ``(source, session_id, seq)``: derived, so that a decision computed twice is the same one.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from decisions.policy.vocabulary import HELD
from featurestore.columns.column import Blobs, Texts
from featurestore.columns.jit import compiled, inlined
from featurestore.session.stages import STAGES
from featurestore.store.packed import (
    NO_OUTPUT,
    NOTHING,
    NUMBER,
    OUTPUT,
    PLAIN,
    ROW,
    SHARE,
    SHARES,
    WORD,
    PackedDecisions,
)

DECISION_VERSION: Final = 1
"""Of documents of a bundle whose only head is the stage."""
OUTCOMES_VERSION: Final = 2
"""Of documents with ``outcomes``; readers of version 1 may ignore what is new."""

# Places in a row; persisted in outboxes.
SEQ: Final = 0
EVENT_MS: Final = 1
EXPIRES: Final = 2
STAGE: Final = 0
ACTION: Final = 1
ROUTE: Final = 2

# Kinds of fields beside those of `packed`.
FIXED: Final = -1  # the same text in all documents of a batch
KEY: Final = -2  # the session id, in the log only
OUTCOMES: Final = -3  # the outputs of the heads beside the stage
TAIL: Final = -4  # left out where empty; written once for all rows that have the same


def _is(kind: int, which: int = 0) -> dict[str, int]:
    """How the writer gets a field; see `FIELDS`."""
    return {"kind": kind, "which": which}


# The table of fields: JSON Schema, writer and packed row come from it; ``extra`` says how a field is written.
class Decision(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One decision.

    Readers compare ``source`` first (another one is a re-created topic, always newer), then ``seq`` (refuse a smaller
    one), then the clock against ``expires_at``.
    """

    v: Annotated[int, Meta(description="Version of this document", extra=_is(FIXED))]
    session_id: Annotated[str, Meta(description="In the log only: in Redis the key says it", extra=_is(KEY))] = ""
    stage: Annotated[str, Meta(description=f"One of {', '.join(STAGES)}", extra=_is(WORD, STAGE))]
    confidence: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Probability of the stage, or of `likeliest` where there is one",
            extra=_is(SHARE, 0),
        ),
    ]
    probabilities: Annotated[
        list[float], Meta(min_length=4, max_length=4, description=f"Of {', '.join(STAGES)}", extra=_is(SHARES, 1))
    ]
    action: Annotated[str, Meta(description="What to show; a name from the policy file", extra=_is(WORD, ACTION))]
    route: Annotated[
        str, Meta(description="How the action was chosen: act, fallback, neutral, held, ...", extra=_is(WORD, ROUTE))
    ]
    model: Annotated[str, Meta(description="Bundle name and version", extra=_is(FIXED))]
    policy: Annotated[str, Meta(description="Hash of the policy file", extra=_is(FIXED))]
    event_ts: Annotated[
        int, Meta(description="Time of the event, or of the silence, epoch ms", extra=_is(NUMBER, EVENT_MS))
    ]
    decided_at: Annotated[int, Meta(description="Epoch ms", extra=_is(FIXED))]
    source: Annotated[
        str, Meta(description="Kafka topic id that seq counts in, and a deployment's own prefix", extra=_is(FIXED))
    ]
    seq: Annotated[int, Meta(description="Grows with every decision of a session", extra=_is(NUMBER, SEQ))]
    expires_at: Annotated[
        int, Meta(description="After this moment show the neutral action, epoch ms", extra=_is(NUMBER, EXPIRES))
    ]
    outcomes: Annotated[
        dict[str, float | None],
        Meta(
            description="Version 2: outputs of the bundle's other heads by name, to three digits; null where a head "
            "has none for this session",
            extra=_is(OUTCOMES),
        ),
    ] = {}
    label: Annotated[str, Meta(description="Of the action, as the policy says it", extra=_is(TAIL))] = ""
    parameters: Annotated[
        dict[str, float],
        Meta(description="Of the action, as the policy grants it: discount_percent, offer_minutes", extra=_is(TAIL)),
    ] = {}
    likeliest: Annotated[
        str,
        Meta(description="With the route held: the model's likeliest stage, which `stage` waits for", extra=_is(TAIL)),
    ] = ""
    reasons: Annotated[
        list[str],
        Meta(
            description="In words. Present when the stage changed (its strongest three features; of a silence one), "
            "when a rule that asks for an outcome chose a new action (the outcome, first), with the guards that fired",
            extra=_is(TAIL),
        ),
    ] = []
    guards: Annotated[list[str], Meta(description="Guardrails that fired", extra=_is(TAIL))] = []
    arm: Annotated[dict[str, str], Meta(description="Experiment to arm, with the salt's version", extra=_is(TAIL))] = {}
    provisional: Annotated[
        bool,
        Meta(
            description="True in a reply of the edge that the stream has not confirmed; never stored", extra=_is(TAIL)
        ),
    ] = False


class Field(NamedTuple):
    """A field of the document, and how the writer gets it.

    Attributes:
        name: in JSON.
        kind: one of `packed`'s, or `FIXED`, `KEY`, `OUTCOMES`, `TAIL`.
        which: number, word or share of the row.
    """

    name: str
    kind: int
    which: int


def _fields() -> Iterator[Field]:
    for name, hint in get_type_hints(Decision, include_extras=True).items():
        [meta] = hint.__metadata__
        yield Field(name, **meta.extra)


HERE: Final = b"\0"
"""Stands for the time of the decision; JSON has no such byte."""
MOST_TAILS: Final = 4_096
"""Different ends of documents that are remembered."""

FIELDS: Final = tuple(_fields())
"""The fields in the order of the document."""


class Layout(NamedTuple):
    """The order of a document's values, and the texts between them.

    Attributes:
        program: kind and number of each value; see `packed`.
        texts: before each value; a `str` is the name of a fixed field, whose value stands there.
    """

    program: NDArray[np.uint8]
    texts: list[list[bytes | str]]

    def pieces(self, fixed: Mapping[str, bytes]) -> list[bytes]:
        """The texts with the values of the fixed fields, as JSON."""
        return [b"".join(fixed[part] if isinstance(part, str) else part for part in text) for text in self.texts]


def layout(outputs: Sequence[str]) -> Layout:
    """The layout of documents with these outputs of further heads, from the table of fields."""
    values: list[tuple[int, int]] = []
    texts: list[list[bytes | str]] = []
    text: list[bytes | str] = [b"{"]
    for name, kind, which in FIELDS:
        if kind in (KEY, TAIL) or (kind == OUTCOMES and not outputs):
            continue
        text.append(b'%b"%b":' % (b"" if text == [b"{"] else b",", name.encode()))
        if kind == FIXED:
            text.append(name)
            continue
        if kind == OUTCOMES:
            for j, output in enumerate(outputs):
                values.append((OUTPUT, j))
                texts.append([*text, b"%b%b:" % (b"," if j else b"{", _json.encode(output))])
                text = []
            text = [b"}"]
            continue
        values.append((kind, which))
        texts.append([*text, b"["] if kind == SHARES else text)
        text = [b"]"] if kind == SHARES else []
    if text:
        values.append((NOTHING, 0))
        texts.append(text)
    program = np.array(values, np.uint8)
    return Layout(PLAIN if np.array_equal(program, PLAIN) else program, texts)


_json: Final = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Decision)


def decode_decision(document: bytes, session_id: str = "") -> Decision:
    """Read a document.

    Args:
        document: JSON.
        session_id: of the key that a stored one was found at.

    Raises:
        msgspec.DecodeError: the bytes are not a decision.
    """
    decision = _decoder.decode(document)
    return msgspec.structs.replace(decision, session_id=session_id) if session_id else decision


def json_schema() -> dict[str, Any]:
    """The document as JSON Schema (2020-12)."""
    schema: dict[str, Any] = msgspec.json.schema(Decision)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Clickstage decision",
        **schema["$defs"]["Decision"],
    }


class Between:
    """The texts between the values of documents: in all of a batch the same, and in all batches but for one number.

    Args:
        pieces: the texts; `HERE` stands for the time of the decision, once.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._before, _, self._after = b"".join(pieces).partition(HERE)
        self._like = Blobs.joined(pieces)

    def at(self, decided_at: int) -> Blobs:
        """The texts of decisions of this moment, epoch ms."""
        number = b"%d" % decided_at
        raw = self._before + number + self._after
        if len(raw) != len(self._like.raw):
            self._like = Blobs.joined([piece.replace(HERE, number) for piece in self._pieces])
        return Blobs(raw, self._like.starts, self._like.ends)


class Vocabulary(msgspec.Struct, frozen=True):
    """The words behind the codes of a batch of decisions."""

    actions: tuple[str, ...]
    routes: tuple[str, ...]
    guards: tuple[str, ...]
    arms: Mapping[int, dict[str, str]]
    model: str
    policy: str
    source: str
    shown: Mapping[str, tuple[str, Mapping[str, float]]] = {}
    """Label and parameters of each action."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs of the heads beside the stage, in order."""


class DecisionEncoder:
    """Writes documents for one policy, one bundle and one topic.

    Probabilities are rounded to thousandths. The same inputs give the same bytes.
    """

    def __init__(self, words: Vocabulary) -> None:
        self._arms = words.arms
        self._guards = words.guards
        self._shown = [words.shown.get(action, ("", {})) for action in words.actions]
        version = OUTCOMES_VERSION if words.outputs else DECISION_VERSION
        fixed = {"v": version, "model": words.model, "policy": words.policy, "source": words.source}
        named = {name: _json.encode(value) for name, value in fixed.items()}
        laid_out = layout(words.outputs)
        self._program = laid_out.program
        self._between = Between(laid_out.pieces({**named, "decided_at": HERE}))
        texts = [*STAGES, *words.actions, *words.routes]
        self._words = Blobs.joined([_text(text).encode() for text in texts])
        self._first_action = len(STAGES)
        self._first_route = len(STAGES) + len(words.actions)
        self._tail = lru_cache(MOST_TAILS)(self._made_tail)

    def pack(
        self,
        session_ids: Texts,
        decisions: NDArray[np.void],
        probabilities: NDArray[np.float64],
        event_ms: NDArray[np.int64],
        seqs: NDArray[np.int64],
        reasons: Mapping[int, Sequence[str]],
        decided_at: int,
        ttl_ms: int,
        outputs: NDArray[np.float64] | None = None,
    ) -> PackedDecisions:
        """All that the documents say, one a row.

        Args:
            session_ids: of each row.
            decisions: rows with ``stage top action route guards arms offer_until``.
            probabilities: shape (n, 4).
            event_ms: time of the event or the silence, not negative.
            seqs: sequence numbers, not negative.
            reasons: row → words, for the rows that have any.
            decided_at: epoch ms.
            ttl_ms: life of a decision; an offer that ends sooner ends it sooner.
            outputs: of the heads beside the stage, shape (n, k), NaN for none; None if there are no such heads.
        """
        rows = np.empty(len(session_ids), ROW)
        tails, which = self._tails(decisions, reasons)
        ends = decided_at + ttl_ms
        _fill(decisions, probabilities, event_ms, seqs, which, self._first_action, self._first_route, ends, rows)
        return PackedDecisions(
            session_ids,
            rows,
            self._between.at(decided_at),
            self._words,
            Blobs.joined(tails),
            self._program,
            _thousandths(outputs),
        )

    def _tails(
        self, decisions: NDArray[np.void], reasons: Mapping[int, Sequence[str]]
    ) -> tuple[list[bytes], NDArray[np.int64]]:
        """The ends of the documents (label to arm), each kind once, and which one each row has."""
        which = np.empty(decisions.size, np.int64)
        pieces = [self._tail(*kind) for kind in _kinds(decisions, which).tolist()]
        tails = [before + after for before, after in pieces]
        told = [row for row, words in reasons.items() if words]
        for row, kind in zip(told, which[told].tolist(), strict=True):
            which[row] = len(tails)
            before, after = pieces[kind]
            tails.append(b'%b,"reasons":%b%b' % (before, _json.encode(reasons[row]), after))
        return tails, which

    def _made_tail(self, action: int, held: int, guards: int, arms: int) -> tuple[bytes, bytes]:
        """What stands before the reasons and after them; ``held`` is the stage that is waited for, -1 for none."""
        label, parameters = self._shown[action]
        before, after = [], []
        if label:
            before.append(b',"label":' + _json.encode(label))
        if parameters:
            before.append(b',"parameters":' + _json.encode(parameters))
        if held >= 0:
            before.append(b',"likeliest":' + _json.encode(STAGES[held]))
        if guards:
            names = [name for bit, name in enumerate(self._guards) if guards >> bit & 1]
            after.append(b',"guards":' + _json.encode(names))
        if arms:
            after.append(b',"arm":' + _json.encode(self._arms[arms]))
        return b"".join(before), b"".join(after) + b"}"


@compiled
def _fill(
    decisions: NDArray[np.void],
    probabilities: NDArray[np.float64],
    event_ms: NDArray[np.int64],
    seqs: NDArray[np.int64],
    tails: NDArray[np.int64],
    first_action: int,
    first_route: int,
    ends: int,
    rows: NDArray[np.void],
) -> None:
    for i in range(rows.size):
        decision, row = decisions[i], rows[i]
        numbers, words = row["numbers"], row["words"]
        numbers[SEQ] = seqs[i]
        numbers[EVENT_MS] = event_ms[i]
        row["tail"] = tails[i]
        words[STAGE] = decision["stage"]
        words[ACTION] = decision["action"] + first_action
        words[ROUTE] = decision["route"] + first_route
        offer = decision["offer_until"]
        numbers[EXPIRES] = offer if 0 < offer < ends else ends
        shares = row["shares"]
        for j in range(probabilities.shape[1]):
            shares[j + 1] = np.rint(probabilities[i, j] * 1000)
        told = decision["top"] if decision["route"] == HELD else decision["stage"]
        shares[0] = shares[told + 1]


def said(outputs: NDArray[np.float64]) -> list[list[float | None]]:
    """Outputs of heads as documents say them: to three digits, None for NaN; a list a row."""
    found = _thousandths(outputs)
    return [] if found is None else [[None if x == NO_OUTPUT else x / 1000 for x in row] for row in found.tolist()]


def _thousandths(outputs: NDArray[np.float64] | None) -> NDArray[np.int64] | None:
    if outputs is None:
        return None
    found = np.empty(outputs.shape, np.int64)
    _round(np.ascontiguousarray(outputs), found)
    return found


@compiled
def _round(outputs: NDArray[np.float64], found: NDArray[np.int64]) -> None:
    for i in range(outputs.shape[0]):
        for j in range(outputs.shape[1]):
            x = outputs[i, j]
            found[i, j] = NO_OUTPUT if np.isnan(x) else np.int64(np.rint(min(max(x, -1e12), 1e12) * 1000))


@compiled
def _kinds(decisions: NDArray[np.void], which: NDArray[np.int64]) -> NDArray[np.int64]:
    """What tells the ends of documents apart, of which there are a handful: the arguments of `_made_tail`, a row each.

    ``which`` of the rows each decision has.
    """
    kinds = np.empty((decisions.size, 4), np.int64)
    count = 0
    for i in range(decisions.size):
        d = decisions[i]
        held = int(d["top"]) if d["route"] == HELD else -1
        kind = 0
        while kind < count and not _same_end(kinds[kind], d, held):
            kind += 1
        if kind == count:
            kinds[kind, 0], kinds[kind, 1], kinds[kind, 2], kinds[kind, 3] = d["action"], held, d["guards"], d["arms"]
            count += 1
        which[i] = kind
    return kinds[:count]


@inlined
def _same_end(kind: NDArray[np.int64], d: np.void, held: int) -> bool:
    return bool(kind[0] == d["action"] and kind[1] == held and kind[2] == d["guards"] and kind[3] == d["arms"])


def _text(value: str) -> str:
    return _json.encode(value).decode()
