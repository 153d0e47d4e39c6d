"""The summary of a finished session: what the ``sessions`` topic carries, one per session.

Its identity is ``(source, session_id, seq)``, as a decision's; a summary that is produced twice is the same one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from decisions.encoder import Vocabulary, said
from featurestore.contract.codes import country_name, currency_name
from featurestore.contract.event import DEVICES, SOURCES
from featurestore.session.features import FEATURES
from featurestore.session.stages import STAGES
from featurestore.session.state import IS_BOT

SUMMARY_VERSION: Final = 1
OUTCOMES: Final = ("bought", "abandoned_cart", "browsed")


class Summary(msgspec.Struct, frozen=True):
    """One finished session."""

    v: int
    session_id: str
    source: str
    seq: int
    started: int
    ended: int
    events: int
    features: dict[str, float | None]
    stages_seen: list[str]
    stage_ms: dict[str, int]
    final_stage: str | None
    flips: int
    outcome: str
    value: float
    actions: dict[str, int]
    arm: dict[str, str]
    visitor: str  # hash of the visitor id in hex, "" for none: an experiment by visitor counts visitors
    bot: bool
    device: str
    traffic_source: str
    country: str
    model: str
    policy: str
    decided_at: int
    currency: str = ""  # of ``value``, as the session named it
    refund_value: float = 0.0
    outcomes: dict[str, float | None] | msgspec.UnsetType = msgspec.UNSET
    """What the heads beside the stage said after the last event; a silence since does not count. The names are those of
    decisions. Absent without such heads, and of a bot."""
    segment: str | msgspec.UnsetType = msgspec.UNSET
    """What kind of visit it was; absent without segments in the bundle, and of a bot."""


_encoder = msgspec.json.Encoder()


def json_schema() -> dict[str, Any]:
    """The document as JSON Schema (2020-12)."""
    schema: dict[str, Any] = msgspec.json.schema(Summary)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Clickstage session summary",
        **schema["$defs"]["Summary"],
    }


def outcome(purchases: int, cart_items: int) -> str:
    """bought, abandoned_cart or browsed."""
    if purchases:
        return OUTCOMES[0]
    return OUTCOMES[1] if cart_items else OUTCOMES[2]


class Summaries:
    """Writes summaries in the words of one policy."""

    def __init__(self, words: Vocabulary, action_of: Mapping[int, str]) -> None:
        self._words = words
        self._action_of = action_of

    def encode(
        self,
        session_ids: Sequence[str],
        states: NDArray[np.void],
        memories: NDArray[np.void],
        features: NDArray[np.float64],
        seqs: NDArray[np.int64],
        arms: NDArray[np.uint32],
        decided_at: int,
        outputs: NDArray[np.float64] | None = None,
        segments: Sequence[str] | None = None,
    ) -> list[bytes]:
        """One document a row; shapes (n,), features (n, 9).

        Args:
            session_ids: and so on: of each row.
            states: as the sessions ended.
            memories: the same.
            features: after the last event.
            seqs: of the ends.
            arms: packed.
            decided_at: epoch ms.
            outputs: of the heads beside the stage that documents carry, (n, k), NaN for none; None without such heads.
            segments: their names; None for none.
        """
        said_of, kinds = self._outcomes(states, outputs), _segments(states, segments)
        return [
            _encoder.encode(self._summary(session_id, s, m, x, seq, arm, outcomes, segment, decided_at))
            for session_id, s, m, x, seq, arm, outcomes, segment in zip(
                session_ids, states, memories, features.tolist(), seqs.tolist(), arms.tolist(), said_of, kinds,
                strict=True,
            )
        ]  # fmt: skip

    def _outcomes(
        self, states: NDArray[np.void], outputs: NDArray[np.float64] | None
    ) -> list[dict[str, float | None] | msgspec.UnsetType]:
        if outputs is None or not self._words.outputs:
            return [msgspec.UNSET] * states.size
        bots = states["flags"] & IS_BOT != 0
        return [
            msgspec.UNSET if bot else dict(zip(self._words.outputs, row, strict=True))
            for bot, row in zip(bots.tolist(), said(outputs), strict=True)
        ]

    def _summary(
        self,
        session_id: str,
        s: np.void,
        m: np.void,
        x: list[float],
        seq: int,
        arm: int,
        outcomes: dict[str, float | None] | msgspec.UnsetType,
        segment: str | msgspec.UnsetType,
        decided_at: int,
    ) -> Summary:
        stage_ms = m["stage_ms"].tolist()
        shown = int(m["shown"])
        return Summary(
            v=SUMMARY_VERSION,
            session_id=session_id,
            source=self._words.source,
            seq=seq,
            started=int(s["t_min"]),
            ended=int(s["t_max"]),
            events=int(s["counts"].astype(np.int64).sum()),
            features={name: None if math.isnan(value) else value for name, value in zip(FEATURES, x, strict=True)},
            stages_seen=[stage for i, stage in enumerate(STAGES) if stage_ms[i] or shown == i + 1],
            stage_ms={stage: ms for stage, ms in zip(STAGES, stage_ms, strict=False) if ms},
            final_stage=STAGES[shown - 1] if shown else None,
            flips=int(m["flips"]),
            outcome=outcome(int(s["purchases"]), int(s["cart_items"])),
            value=round(float(s["purchase_value"]), 2),
            actions=self._actions(m),
            arm=self._words.arms.get(arm, {}),
            visitor=f"{s['visitor']:016x}" if s["visitor"] else "",
            bot=bool(s["flags"] & IS_BOT),
            device=DEVICES[s["device"]],
            traffic_source=SOURCES[s["source"]],
            country=country_name(int(s["country"])),
            model=self._words.model,
            policy=self._words.policy,
            decided_at=decided_at,
            currency=currency_name(int(s["currency"])),
            refund_value=round(float(s["refund_value"]), 2),
            outcomes=outcomes,
            segment=segment,
        )

    def _actions(self, m: np.void) -> dict[str, int]:
        n = int(m["n_actions"])
        pairs = zip(m["action_id"][:n].tolist(), m["action_count"][:n].tolist(), strict=True)
        return {self._action_of.get(i, f"retired-{i}"): count for i, count in pairs if count}


def _segments(states: NDArray[np.void], segments: Sequence[str] | None) -> list[str | msgspec.UnsetType]:
    if segments is None:
        return [msgspec.UNSET] * states.size
    bots = (states["flags"] & IS_BOT != 0).tolist()
    return [msgspec.UNSET if bot else segment for bot, segment in zip(bots, segments, strict=True)]
