"""Writes decision documents, a batch at once, by way of `PackedDecisions`; `decisions.document` says what is in them.

Several times faster than an encoder that looks at each field; a test holds the two equal.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from decisions.document import (
    ACTION,
    DECISION_VERSION,
    EVENT_MS,
    EXPIRES,
    OUTCOMES_VERSION,
    ROUTE,
    SEQ,
    STAGE,
    layout,
)
from decisions.policy.vocabulary import HELD
from featurestore.columns.column import Blobs, Texts
from featurestore.columns.jit import compiled, inlined
from featurestore.session.stages import STAGES
from featurestore.store.packed import NO_OUTPUT, ROW, PackedDecisions

HERE: Final = b"\0"
"""Stands for the time of the decision; JSON has no such byte."""
MOST_TAILS: Final = 4_096
"""Different ends of documents that are remembered."""

_json: Final = msgspec.json.Encoder()


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
