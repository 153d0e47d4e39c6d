"""Delayed truth of the outcome heads: were the probabilities that decisions carried right, and did they rank?

Heads are trained and calibrated on moments: one row for each event. Of each finished session one moment is drawn by a
hash, among its decisions on events. It stands for all of them: its weight is their number. Without weights short visits
would count too much, and a head that is right would seem to be off by half, since visits that order are long. What
came strictly later in the session is read from the clicks, whose offset is in a decision's ``seq``. A session whose
clicks Kafka no longer has, from that moment on, is left out and counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from featurestore.contract.decode import read
from featurestore.contract.event import TYPE_CODE
from featurestore.errors import InvalidEvent
from featurestore.session.observation import SEQ_STEP
from models.heads.head import Head
from models.heads.ranking import auc

_TOP: Final = 0.1


class Asked(NamedTuple):
    """What a head asks of the later events of a session: one of these types, or none of them."""

    events: frozenset[str]
    absent: bool


def asked_by(heads: Iterable[Head]) -> dict[str, Asked]:
    """The outcome heads of a bundle by name; heads that ask no events are left out."""
    return {
        head.name: Asked(frozenset(map(str, events)), bool(head.training.get("absent")))
        for head in heads
        if isinstance(events := head.training.get("events"), list)
    }


@dataclass(slots=True)
class Moment:
    """The moment of one session that is judged.

    Attributes:
        until: ``seq`` of the session's end.
        at: ``seq`` of the decision; -1 while there is none.
        outcomes: what the decision said, by head.
        stands_for: decisions that it was drawn from.
        later: types of the session's events after it.
        seen: whether the event of the decision was found among the clicks.
    """

    until: int
    at: int = -1
    outcomes: Mapping[str, float | None] = field(default_factory=dict)
    stands_for: int = 0
    later: set[str] = field(default_factory=set)
    seen: bool = False
    _drawn: int = 2**32

    def offer(self, session_id: str, seq: int, outcomes: Mapping[str, float | None]) -> None:
        """Take this decision if its hash is the smallest so far: the choice does not depend on the order of reading."""
        self.stands_for += 1
        drawn = crc32(f"{seq}:{session_id}".encode())
        if drawn < self._drawn:
            self._drawn, self.at, self.outcomes = drawn, seq, outcomes


def find_later(clicks: Iterable[tuple[int, bytes]], sessions: Mapping[str, list[Moment]]) -> None:
    """Note what came after each moment.

    Args:
        clicks: offset and value of each record, in the order of the log within a session.
        sessions: moments by session id.
    """
    for offset, value in clicks:
        try:
            event = read(value).event
        except InvalidEvent:
            continue
        seq = offset * SEQ_STEP
        for moment in sessions.get(event.session_id, ()):
            if seq == moment.at:
                moment.seen = True
            elif 0 <= moment.at < seq <= moment.until:
                moment.later.add(event.type if event.type in TYPE_CODE else "click")


@dataclass
class HeadDay:
    """One head on one day: what was said of each session, whether it came, and how many moments that stands for."""

    said: list[float] = field(default_factory=list)
    came: list[bool] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Sessions, moments, those with the outcome ahead, AUC, lift of the top tenth; NaN where none is."""
        p, y, w = np.array(self.said, np.float64), np.array(self.came, np.bool_), np.array(self.weights, np.int64)
        expected, observed = float(p @ w), int(y @ w)
        return {
            "sessions": p.size,
            "moments": int(w.sum()),
            "expected": expected,
            "observed": observed,
            "ratio": observed / expected if expected > 0 else float("nan"),
            "auc": auc(y, p, w),
            "lift_10": _lift(y, p, w),
        }


def judge_moment(moment: Moment, asked: Mapping[str, Asked], day: dict[str, HeadDay]) -> bool:
    """Add a session to its day; False if its clicks are gone."""
    if not moment.seen:
        return False
    for name, said in moment.outcomes.items():
        if said is not None and name in asked:
            head = day.setdefault(name, HeadDay())
            head.said.append(said)
            head.weights.append(moment.stands_for)
            head.came.append(bool(asked[name].events & moment.later) != asked[name].absent)
    return True


def _lift(y: NDArray[np.bool_], p: NDArray[np.float64], w: NDArray[np.int64]) -> float:
    order = np.argsort(-p, kind="stable")
    top = order[: max(1, int(np.searchsorted(np.cumsum(w[order]), _TOP * w.sum(), side="right")))]
    return float(np.average(y[top], weights=w[top]) / np.average(y, weights=w)) if y.any() else float("nan")
