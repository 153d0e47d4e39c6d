"""The decision document: what the front end reads at ``decision:<session id>``.

`Decision` is the contract (JSON Schema comes from it). `DecisionEncoder` makes the same bytes for a batch by way of a
`PackedDecisions`, several times faster than an encoder that looks at each field; a test holds the two equal.

A decision's identity is ``(source, session_id, seq)``: derived, so that a decision computed twice is the same one.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Protocol

import msgspec
import numpy as np
import redis
from msgspec import Meta
from numpy.typing import NDArray

from featurestore.columns.column import Blobs, Texts
from featurestore.columns.jit import compiled
from featurestore.session.stages import STAGES
from featurestore.store.keys import decision_key
from featurestore.store.packed import ROW, PackedDecisions, pieces
from featurestore.store.protocols import unavailable

DECISION_VERSION: Final = 1


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One decision.

    Readers compare ``source`` first (another one is a re-created topic, always newer), then ``seq`` (refuse a smaller
    one), then the clock against ``expires_at``.
    """

    v: Annotated[int, Meta(description="Version of this document")]
    session_id: Annotated[str, Meta(description="In the log only: in Redis the key says it")] = ""
    stage: Annotated[str, Meta(description=f"One of {', '.join(STAGES)}")]
    confidence: Annotated[float, Meta(ge=0, le=1, description="Probability of the stage")]
    probabilities: Annotated[list[float], Meta(min_length=4, max_length=4, description=f"Of {', '.join(STAGES)}")]
    action: Annotated[str, Meta(description="What to show; a name from the policy file")]
    route: Annotated[str, Meta(description="How the action was chosen: act, fallback, neutral, held, ...")]
    model: Annotated[str, Meta(description="Bundle name and version")]
    policy: Annotated[str, Meta(description="Hash of the policy file")]
    event_ts: Annotated[int, Meta(description="Time of the event, or of the silence, epoch ms")]
    decided_at: Annotated[int, Meta(description="Epoch ms")]
    source: Annotated[str, Meta(description="Kafka topic id that seq counts in")]
    seq: Annotated[int, Meta(description="Grows with every decision of a session")]
    expires_at: Annotated[int, Meta(description="After this moment show the neutral action, epoch ms")]
    reasons: Annotated[
        list[str],
        Meta(description="Present when the stage changed (the strongest three; of a silence one), or a guard spoke up"),
    ] = []
    guards: Annotated[list[str], Meta(description="Guardrails that fired")] = []
    arm: Annotated[dict[str, str], Meta(description="Experiment to arm, with the salt's version")] = {}


_decoder = msgspec.json.Decoder(Decision)


def decode_decision(document: bytes, session_id: str = "") -> Decision:
    """Read a document.

    Args:
        document: JSON.
        session_id: of the key that a stored one was found at.

    Raises:
        msgspec.DecodeError: it is none.
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


class DecisionReader(Protocol):
    """What a front end needs of the decision store."""

    def get(self, session_id: str) -> Decision | None:
        """The latest decision, None where there is none (or no longer)."""
        ...


class RedisDecisionReader:
    """Reads decisions from Redis; raises `StoreUnavailable`."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def get(self, session_id: str) -> Decision | None:
        """See `DecisionReader`."""
        try:
            document: Any = self._client.get(decision_key(session_id))
        except redis.RedisError as error:
            raise unavailable(error, "reading a decision") from None
        return decode_decision(document, session_id) if document else None


class Vocabulary(msgspec.Struct, frozen=True):
    """The words behind the codes of a batch of decisions."""

    actions: tuple[str, ...]
    routes: tuple[str, ...]
    guards: tuple[str, ...]
    arms: Mapping[int, dict[str, str]]
    model: str
    policy: str
    source: str


class DecisionEncoder:
    """Writes documents for one policy, one bundle and one topic.

    Probabilities are rounded to thousandths. The same inputs give the same bytes.
    """

    def __init__(self, words: Vocabulary) -> None:
        self._arms = words.arms
        self._guards = words.guards
        self._of = (_text(words.model), _text(words.policy), _text(words.source))
        texts = [*STAGES, *words.actions, *words.routes]
        self._words = Blobs.joined([_text(text).encode() for text in texts])
        self._first_action = len(STAGES)
        self._first_route = len(STAGES) + len(words.actions)

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
    ) -> PackedDecisions:
        """All that the documents say, one a row.

        Args:
            session_ids: of each row.
            decisions: rows with ``stage action route guards arms offer_until``.
            probabilities: shape (n, 4).
            event_ms: time of the event or the silence, not negative.
            seqs: sequence numbers, not negative.
            reasons: row → words, for the rows that have any.
            decided_at: epoch ms.
            ttl_ms: life of a decision; an offer that ends sooner ends it sooner.
        """
        rows = np.empty(len(session_ids), ROW)
        tails, which = self._tails(decisions, reasons)
        ends = decided_at + ttl_ms
        _fill(decisions, probabilities, event_ms, seqs, which, self._first_action, self._first_route, ends, rows)
        fixed = pieces(*self._of, DECISION_VERSION, decided_at)
        return PackedDecisions(session_ids, rows, Blobs.joined(fixed), self._words, Blobs.joined(tails))

    def _tails(
        self, decisions: NDArray[np.void], reasons: Mapping[int, Sequence[str]]
    ) -> tuple[list[bytes], NDArray[np.int64]]:
        """The ends of the documents (reasons, guards, arms), each kind once, and which one each row has."""
        packed = decisions["guards"].astype(np.uint64) << np.uint64(32) | decisions["arms"]
        which = np.empty(packed.size, np.int64)
        kinds = _kinds(packed, which)
        plain = [self._tail(kind >> 32, kind & 0xFFFF_FFFF) for kind in kinds.tolist()]
        tails = list(plain)
        told = [row for row, words in reasons.items() if words]
        for row, kind in zip(told, which[told].tolist(), strict=True):
            which[row] = len(tails)
            tails.append(b',"reasons":%b%b' % (_json.encode(reasons[row]), plain[kind]))
        return tails, which

    def _tail(self, guards: int, arms: int) -> bytes:
        parts = []
        if guards:
            names = [name for bit, name in enumerate(self._guards) if guards >> bit & 1]
            parts.append(b',"guards":' + _json.encode(names))
        if arms:
            parts.append(b',"arm":' + _json.encode(self._arms[arms]))
        return b"".join(parts) + b"}"


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
        row["seq"] = seqs[i]
        row["event_ms"] = event_ms[i]
        row["tail"] = tails[i]
        row["stage"] = decision["stage"]
        row["action"] = decision["action"] + first_action
        row["route"] = decision["route"] + first_route
        offer = decision["offer_until"]
        row["expires"] = offer if 0 < offer < ends else ends
        shares = row["shares"]
        for j in range(probabilities.shape[1]):
            shares[j + 1] = np.rint(probabilities[i, j] * 1000)
        shares[0] = shares[decision["stage"] + 1]


@compiled
def _kinds(codes: NDArray[np.uint64], which: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The different codes, of which there are a handful; ``which`` of them each is."""
    kinds = np.empty(codes.size, np.uint64)
    count = 0
    for i in range(codes.size):
        kind = 0
        while kind < count and kinds[kind] != codes[i]:
            kind += 1
        if kind == count:
            kinds[count] = codes[i]
            count += 1
        which[i] = kind
    return kinds[:count]


_json: Final = msgspec.json.Encoder()


def _text(value: str) -> str:
    return _json.encode(value).decode()
