"""The decision document: what the front end reads at ``decision:<session id>``.

`Decision` is the contract (JSON Schema comes from it). `DecisionEncoder` writes the same bytes for a batch out of
templates, several times faster than an encoder that looks at each field; a test holds the two equal.

A decision's identity is ``(source, session_id, seq)``: derived, so that a decision computed twice is the same one.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Protocol

import msgspec
import numpy as np
import redis
from msgspec import Meta
from numpy.typing import NDArray

from featurestore.column import Blobs, Texts
from featurestore.jit import compiled, inlined
from featurestore.keys import decision_key
from featurestore.sessions import unavailable
from featurestore.stages import STAGES

DECISION_VERSION: Final = 1


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision.

    Readers compare ``source`` first (another one is a re-created topic, always newer), then ``seq`` (refuse a smaller
    one), then the clock against ``expires_at``.
    """

    v: Annotated[int, Meta(description="Version of this document")]
    session_id: str
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
    reasons: Annotated[list[str], Meta(description="Present when the stage changed, or a guard spoke up")] = []
    guards: Annotated[list[str], Meta(description="Guardrails that fired")] = []
    arm: Annotated[dict[str, str], Meta(description="Experiment to arm, with the salt's version")] = {}


_decoder = msgspec.json.Decoder(Decision)


def decode_decision(document: bytes) -> Decision:
    """Read a document.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decoder.decode(document)


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
        return decode_decision(document) if document else None


class Vocabulary(msgspec.Struct, frozen=True):
    """The words behind the codes of a batch of decisions."""

    actions: tuple[str, ...]
    routes: tuple[str, ...]
    guards: tuple[str, ...]
    arms: Mapping[int, dict[str, str]]
    model: str
    policy: str
    source: str


_json: Final = msgspec.json.Encoder()


def _text(value: object) -> str:
    return _json.encode(value).decode()


# How a number of thousandths is written, as JSON writes the float: 0.0, 0.05, 0.912, 1.0.
_THOUSANDTHS: Final = [repr(i / 1000) for i in range(1001)]


class _Fragments:
    """Byte strings in one array, found by number."""

    def __init__(self, texts: Sequence[str]) -> None:
        parts = [text.encode() for text in texts]
        self.data = np.frombuffer(b"".join(parts), np.uint8)
        self.ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        self.longest = max(map(len, parts))


class DecisionEncoder:
    """Writes documents for one policy, one bundle and one topic.

    Probabilities are rounded to thousandths. The same inputs give the same bytes.
    """

    def __init__(self, words: Vocabulary) -> None:
        self._words = words
        middle = f',"model":{_text(words.model)},"policy":{_text(words.policy)},"event_ts":'
        stages = [f'","stage":{_text(stage)},"confidence":' for stage in STAGES]
        actions = [f'],"action":{_text(action)},"route":' for action in words.actions]
        routes = [_text(route) + middle for route in words.routes]
        self._first = np.cumsum([0, len(_THOUSANDTHS), len(stages), len(actions)])
        self._fragments = _Fragments([*_THOUSANDTHS, *stages, *actions, *routes])
        self._head = f'{{"v":{DECISION_VERSION},"session_id":"'
        self._source = f',"source":{_text(words.source)},"seq":'

    def encode(
        self,
        session_ids: Texts,
        decisions: NDArray[np.void],
        probabilities: NDArray[np.float64],
        event_ms: NDArray[np.int64],
        seqs: NDArray[np.int64],
        reasons: dict[int, list[str]],
        decided_at: int,
        ttl_ms: int,
    ) -> Blobs:
        """One document a row.

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
        n = len(session_ids)
        if n == 0:
            return Blobs.joined([])
        names = _as_json(session_ids)
        expires = np.full(n, decided_at + ttl_ms, np.int64)
        offers = decisions["offer_until"]
        np.minimum(expires, offers, out=expires, where=offers > 0)
        numbers = np.empty((n, 7), np.int64)
        thousandths = np.rint(probabilities * 1000)
        numbers[:, 0] = thousandths[np.arange(n), decisions["stage"]]
        numbers[:, 1:5] = thousandths
        numbers[:, 5] = decisions["action"] + self._first[2]
        numbers[:, 6] = decisions["route"] + self._first[3]
        tails, tail_of = self._tails(decisions, reasons)
        fixed = _Fragments(
            [self._head, ',"probabilities":[', f',"decided_at":{decided_at}{self._source}', ',"expires_at":']
        )
        longest = (
            int((names.ends - names.starts).max())
            + 6 * self._fragments.longest
            + int(fixed.ends[-1])
            + tails.longest
            + 64
            + 24
        )
        out = np.empty(n * longest, np.uint8)
        ends = np.empty(n, np.int64)
        _write_documents(
            names.data,
            names.starts,
            names.ends,
            self._fragments.data,
            self._fragments.ends,
            fixed.data,
            fixed.ends,
            tails.data,
            tails.ends,
            tail_of,
            decisions["stage"] + self._first[1],
            numbers,
            event_ms,
            seqs,
            expires,
            out,
            ends,
        )
        return Blobs.split(out, ends)

    def _tails(
        self, decisions: NDArray[np.void], reasons: dict[int, list[str]]
    ) -> tuple[_Fragments, NDArray[np.int64]]:
        """The ends of the documents (reasons, guards, arms), each kind once, and which one each row has."""
        packed = decisions["guards"].astype(np.uint64) << np.uint64(32) | decisions["arms"]
        kinds, kind_of = np.unique(packed, return_inverse=True)
        pairs = [(kind >> 32, kind & 0xFFFF_FFFF) for kind in kinds.tolist()]
        texts = [self._tail(guards, arms, None) for guards, arms in pairs]
        which = kind_of.astype(np.int64)
        for row, words in reasons.items():
            if words:
                guards, arms = pairs[kind_of[row]]
                which[row] = len(texts)
                texts.append(self._tail(guards, arms, words))
        return _Fragments(texts), which

    def _tail(self, guards: int, arms: int, reasons: list[str] | None) -> str:
        parts = [f',"reasons":{_text(reasons)}'] if reasons else []
        if guards:
            names = [name for bit, name in enumerate(self._words.guards) if guards >> bit & 1]
            parts.append(f',"guards":{_text(names)}')
        if arms:
            parts.append(f',"arm":{_text(self._words.arms[arms])}')
        return "".join(parts) + "}"


@compiled
def _write_documents(
    names: NDArray[np.uint8],
    name_starts: NDArray[np.int64],
    name_ends: NDArray[np.int64],
    words: NDArray[np.uint8],
    word_ends: NDArray[np.int64],
    fixed: NDArray[np.uint8],
    fixed_ends: NDArray[np.int64],
    tails: NDArray[np.uint8],
    tail_ends: NDArray[np.int64],
    tail_of: NDArray[np.int64],
    stage_words: NDArray[np.int64],
    numbers: NDArray[np.int64],
    event_ms: NDArray[np.int64],
    seqs: NDArray[np.int64],
    expires: NDArray[np.int64],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    at = 0
    for i in range(name_ends.size):
        at = _copy(fixed, fixed_ends, 0, out, at)
        for j in range(name_starts[i], name_ends[i]):
            out[at] = names[j]
            at += 1
        at = _copy(words, word_ends, stage_words[i], out, at)
        at = _copy(words, word_ends, numbers[i, 0], out, at)
        at = _copy(fixed, fixed_ends, 1, out, at)
        for j in range(1, 5):
            if j > 1:
                out[at] = 44  # comma
                at += 1
            at = _copy(words, word_ends, numbers[i, j], out, at)
        at = _copy(words, word_ends, numbers[i, 5], out, at)
        at = _copy(words, word_ends, numbers[i, 6], out, at)
        at = _decimal(event_ms[i], out, at)
        at = _copy(fixed, fixed_ends, 2, out, at)
        at = _decimal(seqs[i], out, at)
        at = _copy(fixed, fixed_ends, 3, out, at)
        at = _decimal(expires[i], out, at)
        at = _copy(tails, tail_ends, tail_of[i], out, at)
        ends[i] = at


@inlined
def _copy(data: NDArray[np.uint8], ends: NDArray[np.int64], k: int, out: NDArray[np.uint8], at: int) -> int:
    start = ends[k - 1] if k > 0 else 0
    size = ends[k] - start
    for j in range(size):
        out[at + j] = data[start + j]
    return int(at + size)


@inlined
def _decimal(value: int, out: NDArray[np.uint8], at: int) -> int:
    size = 1
    rest = value // 10
    while rest > 0:
        size += 1
        rest //= 10
    rest = value
    for j in range(size - 1, -1, -1):
        out[at + j] = 48 + rest % 10
        rest //= 10
    return int(at + size)


def _as_json(session_ids: Texts) -> Texts:
    """The ids as they stand inside JSON strings; nearly every one stands there as it is."""
    if _plain(session_ids.data, session_ids.starts, session_ids.ends):
        return session_ids
    return Texts.of([_text(session_id)[1:-1] for session_id in session_ids])


@compiled
def _plain(data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> bool:
    """Whether none of the texts holds what JSON escapes: a quote, a backslash, a control character."""
    for i in range(starts.size):
        for j in range(starts[i], ends[i]):
            if data[j] < 32 or data[j] == 34 or data[j] == 92:
                return False
    return True
