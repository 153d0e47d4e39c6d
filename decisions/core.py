"""The one core: events and stored sessions in, decisions out. Arrays in and out; no client, clock, shard or topic.

The worker, the edge, the recomputation of a log and the benchmarks all call `Judge.judge`; nothing else folds, scores
or decides. `decisions.loading` brings what it needs; `decisions.effects` turns a judgement into writes and outputs, and
`decisions.writer` into documents.

What stands stored of a session, one event more, and what the front end would now be told; nothing is written::

    plan = make_plan(decode([Records(partition, values, offsets, record_ms)]), buckets, floor)
    states, memories, profiles = Loader(reader, namespace, judge.config.session_gap_ms).load(plan)
    judgement = judge.judge(states, memories, profiles, plan.events, now_ms)
    [document] = writer.newest(plan, judgement, provisional=True)
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from decisions.policy import Policy
from featurestore.contract.event import TICK
from featurestore.session.fold import FoldConfig, fold
from featurestore.session.observation import END, SILENCE, Observations
from featurestore.session.segments import NO_CENTRES
from featurestore.session.stages import STAGES
from models.heads.segments import Segments
from models.heads.views import PUBLISHED, WIDE

_MOST: Final = 0.75
"""Where more rows than this share are asked for, all are scored: a copy of the wide rows of the chosen costs more."""


class Scorer(Protocol):
    """What the core needs of a bundle."""

    def score(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the four stages, shape (n, 4)."""
        ...


class Others(Protocol):
    """The heads beside the stage; `models.heads.Heads` is one."""

    @property
    def n_others(self) -> int:
        """How many outputs they have together."""
        ...

    @property
    def views(self) -> frozenset[str]:
        """The views that the heads read."""
        ...

    @property
    def variables(self) -> tuple[tuple[str, ...], ...]:
        """The names of each output, those of the stage first."""
        ...

    def score_others(self, views: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Their outputs, shape (n, n_others), of rows of the views."""
        ...


class Judgement(NamedTuple):
    """What events mean for their sessions; n observations of s sessions.

    Attributes:
        at: when it was made, epoch ms.
        states: `STATE` after the events, shape (s,).
        memories: `MEMORY` after the decisions, shape (s,).
        observations: rows, features and context as folded, in log order.
        scored: which rows have a decision, shape (n,): events and silences; ends, bots and withdrawals have none.
        probabilities: of the four stages, shape (n, 4); 0 where not scored.
        outputs: of the other heads, shape (n, k); NaN where not scored.
        decisions: rows of `DECISION`, shape (n,).
        ended: `STATE` and `MEMORY` of the sessions that ended, as at their END rows.
    """

    at: int
    states: NDArray[np.void]
    memories: NDArray[np.void]
    observations: Observations
    scored: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    outputs: NDArray[np.float64]
    decisions: NDArray[np.void]
    ended: tuple[NDArray[np.void], NDArray[np.void]]

    def in_order(self, events: NDArray[np.void]) -> NDArray[np.int64]:
        """The sessions that ended (numbers in ``ended``), in the order in which their visitors' profiles take them.

        That is the log's, or, where a timer noticed several ends at once, that of the ends.
        """
        rows = self.observations.rows
        at = np.flatnonzero(rows["kind"] == END)
        timed = events["kind"][rows["event"][at]] == TICK
        order: NDArray[np.int64] = np.argsort(np.where(timed, rows["t"][at], -1), kind="stable")
        return order


class Judge:
    """Folds, scores and decides; one bundle, one policy at a time.

    Args:
        scorer: scores feature rows.
        policy: decides.
        config: constants of the fold.
        others: the heads beside the stage; None for none.
        segments: of the sessions that end; None for none.
    """

    def __init__(
        self,
        scorer: Scorer,
        policy: Policy,
        config: FoldConfig,
        others: Others | None = None,
        segments: Segments | None = None,
    ) -> None:
        self.scorer = scorer
        self.others = others if others is not None and others.n_others else None
        self.segments = segments
        self._centres = NO_CENTRES if segments is None else segments.record
        self._wide = segments is not None or (self.others is not None and WIDE in self.others.views)
        self.policy = policy
        self.config = config

    def judge(
        self,
        states: NDArray[np.void],
        memories: NDArray[np.void],
        profiles: NDArray[np.void],
        events: NDArray[np.void],
        at: int,
    ) -> Judgement:
        """What the events mean for their sessions. Does not block; the same arguments give the same judgement.

        Args:
            states: `STATE`, one row a session; changed in place. A row without the LIVE flag is an absent session.
            memories: `MEMORY`, one row a session; changed in place.
            profiles: a table of `PROFILE`, of the visitors that the events may name to their sessions; changed in
                place where a session ends among the events, but for what was shown in it.
            events: `EVENT`, in log order within a session, ``session_index`` its row; ticks let time pass.
            at: what documents give as the time of the decision, epoch ms; nothing else depends on it.
        """
        known = profiles.copy() if profiles.size else profiles
        seen = fold(states, profiles, events, self.config, wide=self._wide, centres=self._centres)
        scored = seen.rows["kind"] <= SILENCE
        chosen = scored.nonzero()[0]
        probabilities = self._probabilities(seen.features, chosen)
        outputs = self._outputs(seen, chosen)
        decisions, ended = self.policy.decide(seen, probabilities, outputs, states, memories, known)
        return Judgement(at, states, memories, seen, scored, probabilities, outputs, decisions, (seen.ended, ended))

    def _probabilities(self, features: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of the stages, for each row; 0 but in the ``chosen`` rows, mostly all."""
        if chosen.size == len(features) > 0:
            return self.scorer.score(features)
        probabilities = np.zeros((len(features), len(STAGES)))
        if chosen.size:
            probabilities[chosen] = self.scorer.score(features.take(chosen, axis=0))
        return probabilities

    def outputs_of(self, seen: Observations, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """The other heads' outputs of some observations, shape (chosen.size, k); also of those without a decision.

        That of an END row is what was said after the session's last event. ``chosen`` ascends.
        """
        others, features, wide = self.others, seen.features, seen.wide
        if others is None or not chosen.size:
            return np.full((chosen.size, 0 if others is None else others.n_others), np.nan)
        if all_rows := chosen.size >= _MOST * seen.rows.size:
            views = {PUBLISHED: features, WIDE: wide}
        else:
            views = {PUBLISHED: features.take(chosen, axis=0), WIDE: wide.take(chosen, axis=0)}
        outputs = others.score_others({name: views[name] for name in others.views})
        return _taken(outputs, chosen) if all_rows else outputs

    def segments_of(self, seen: Observations, at: NDArray[np.int64]) -> list[str] | None:
        """The names of the segments of some observations that are ends; None without segments."""
        if self.segments is None:
            return None
        return [self.segments.names[i] for i in self.segments.of(seen.wide[at]).tolist()]

    def kinds_of(self, seen: Observations, at: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The stored codes of what some observations that are ends were: 0 without segments."""
        if self.segments is None:
            return np.zeros(at.size, np.uint8)
        return self.segments.codes[self.segments.of(seen.wide[at])]

    def _outputs(self, seen: Observations, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """The other heads' outputs of each row; NaN but in the ``chosen`` rows."""
        found = self.outputs_of(seen, chosen)
        if chosen.size == seen.rows.size:
            return found
        outputs = np.full((seen.rows.size, found.shape[1]), np.nan)
        outputs[chosen] = found
        return outputs


def _taken(values: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """The chosen rows; mostly all are, and then nothing is copied."""
    return values if chosen.size == len(values) else values.take(chosen, axis=0)
