"""The decision document: what the front end reads at ``decision:<session id>``.

`Decision` is the contract (JSON Schema comes from it). `DecisionEncoder` writes the same bytes for a batch out of
templates, several times faster than an encoder that looks at each field; a test holds the two equal.

A decision's identity is ``(source, session_id, seq)``: derived, so that a decision computed twice is the same one.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Protocol

import msgspec
import numpy as np
import redis
from msgspec import Meta
from numpy.typing import NDArray

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

    def __init__(self, client: "redis.Redis[Any]") -> None:
        self._client = client

    def get(self, session_id: str) -> Decision | None:
        """See `DecisionReader`."""
        try:
            document = self._client.get(decision_key(session_id))
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


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


_PROBABILITY: Final = [f"{i / 1000:.3f}".rstrip("0").rstrip(".") if i % 1000 else f"{i // 1000}.0" for i in range(1001)]


class DecisionEncoder:
    """Writes documents for one policy, one bundle and one topic.

    Probabilities are rounded to thousandths. The same inputs give the same bytes.
    """

    def __init__(self, words: Vocabulary) -> None:
        self._words = words
        self._stages = [f',"stage":{_text(stage)},"confidence":' for stage in STAGES]
        self._actions = [f'],"action":{_text(action)},"route":' for action in words.actions]
        middle = f',"model":{_text(words.model)},"policy":{_text(words.policy)},"event_ts":'
        self._routes = [_text(route) + middle for route in words.routes]
        self._head = f'{{"v":{DECISION_VERSION},"session_id":'
        self._source = f',"source":{_text(words.source)},"seq":'
        self._tails: dict[tuple[int, int], str] = {(0, 0): "}"}

    def encode(
        self,
        session_ids: Sequence[str],
        decisions: NDArray[np.void],
        probabilities: NDArray[np.float64],
        event_ms: NDArray[np.int64],
        seqs: NDArray[np.int64],
        reasons: dict[int, list[str]],
        decided_at: int,
        ttl_ms: int,
    ) -> list[bytes]:
        """One document a row.

        Args:
            session_ids: of each row.
            decisions: rows with ``stage action route guards arms offer_until``.
            probabilities: shape (n, 4).
            event_ms: time of the event or the silence.
            seqs: sequence numbers.
            reasons: row → words, for the rows that have any.
            decided_at: epoch ms.
            ttl_ms: life of a decision; an offer that ends sooner ends it sooner.
        """
        p = _PROBABILITY
        thousandths = np.rint(probabilities * 1000).astype(np.int64)
        stages = decisions["stage"]
        confidence = thousandths[np.arange(stages.size), stages]
        expires = np.full(stages.size, decided_at + ttl_ms, np.int64)
        offers = decisions["offer_until"]
        np.minimum(expires, offers, out=expires, where=offers > 0)
        between = f',"decided_at":{decided_at}{self._source}'
        head, by_stage, by_action, by_route, tails = self._head, self._stages, self._actions, self._routes, self._tails
        return [
            (
                f'{head}"{sid}"{by_stage[stage]}{p[c]},"probabilities":[{p[a]},{p[b]},{p[d]},{p[e]}{by_action[action]}'
                f'{by_route[route]}{t}{between}{seq},"expires_at":{until}'
                f"{tails[guards, arms] if not i in reasons and (guards, arms) in tails else self._tail(guards, arms, reasons.get(i))}"
            ).encode()
            for i, (sid, stage, c, (a, b, d, e), action, route, t, seq, until, guards, arms) in enumerate(
                zip(
                    map(_escaped, session_ids),
                    stages.tolist(),
                    confidence.tolist(),
                    thousandths.tolist(),
                    decisions["action"].tolist(),
                    decisions["route"].tolist(),
                    event_ms.tolist(),
                    seqs.tolist(),
                    expires.tolist(),
                    decisions["guards"].tolist(),
                    decisions["arms"].tolist(),
                    strict=True,
                )
            )
        ]

    def _tail(self, guards: int, arms: int, reasons: list[str] | None) -> str:
        parts = [f',"reasons":{_text(reasons)}'] if reasons else []
        if guards:
            names = [name for bit, name in enumerate(self._words.guards) if guards >> bit & 1]
            parts.append(f',"guards":{_text(names)}')
        if arms:
            parts.append(f',"arm":{_text(self._words.arms[arms])}')
        tail = "".join(parts) + "}"
        if not reasons:
            self._tails[guards, arms] = tail
        return tail


def _escaped(session_id: str) -> str:
    """The inside of the JSON string; nearly every id needs no escape."""
    if session_id.isprintable() and '"' not in session_id and "\\" not in session_id:
        return session_id
    return _text(session_id)[1:-1]
