"""Delayed truth: were yesterday's decisions right? Joins the ``decisions`` topic with the ``sessions`` that finished.

Three questions, per UTC day of the session's end:

- Agreement. The last decision that was made on an event (not on silence) saw the same features as the finished session
  shows, so the rules' stage of those features is the truth of that decision. Macro-F1 and accuracy are of the stage
  that the shopper was shown; the model's own answer, before hysteresis, stands beside it in the report.
- Outcomes. Of the sessions whose last such decision showed a stage, the share that ended as the stage foretells
  (`FORETOLD`): an Intent Buyer buys, the other three do not. Actions change outcomes, so this is no test of the model
  alone; it says what a stage is worth as a forecast.

- Probabilities. What the outcome heads said, against what came later in the session (`worker.checks.outcome_truth`).

A session belongs to the topic it came from (``source``) and ends with the summary whose ``seq`` is the first not below
its decisions': one session id can have several sessions. Bots are left out. What cannot be read is counted, not fatal.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from featurestore.session.features import FEATURES, N_FEATURES
from featurestore.session.observation import SEQ_STEP
from featurestore.session.stages import DROP_OFF_RISK, EVALUATOR, EXPLORER, INTENT_BUYER, STAGES
from models.rules import StageRules
from worker.checks.outcome_truth import Asked, HeadDay, Moment, find_later, judge_moment
from worker.metrics.labels import SESSION_OUTCOMES
from worker.metrics.metrics import TruthMetrics

#: Outcomes that a stage foretells.
FORETOLD: Final[Mapping[int, frozenset[str]]] = {
    EXPLORER: frozenset({"browsed"}),
    EVALUATOR: frozenset({"browsed", "abandoned_cart"}),
    INTENT_BUYER: frozenset({"bought"}),
    DROP_OFF_RISK: frozenset({"browsed", "abandoned_cart"}),
}

_CODE: Final = {stage: i for i, stage in enumerate(STAGES)}


class _Decision(msgspec.Struct):
    session_id: str
    source: str
    seq: int
    stage: str
    probabilities: list[float]
    outcomes: dict[str, float | None] = {}


class _Summary(msgspec.Struct):
    session_id: str
    source: str
    seq: int
    ended: int
    features: dict[str, float | None]
    outcome: str
    bot: bool
    model: str


_decision = msgspec.json.Decoder(_Decision)
_summary = msgspec.json.Decoder(_Summary)


@dataclass
class Day:
    """The figures of one UTC day.

    Attributes:
        shown: (4, 4) sessions by rule-derived stage and stage shown.
        predicted: the same for the model's own answer.
        outcomes: sessions by stage shown and outcome.
        decisions: decisions of these sessions, on silence too.
        heads: what the outcome heads said of these sessions, and what came, by head.
    """

    day: date
    shown: NDArray[np.int64] = field(default_factory=lambda: np.zeros((4, 4), np.int64))
    predicted: NDArray[np.int64] = field(default_factory=lambda: np.zeros((4, 4), np.int64))
    outcomes: Counter[tuple[int, str]] = field(default_factory=Counter)
    decisions: int = 0
    heads: dict[str, HeadDay] = field(default_factory=dict)

    @property
    def sessions(self) -> int:
        return int(self.shown.sum())

    def precision(self) -> dict[int, float]:
        """Share of the sessions shown a stage that ended as it foretells; stages never shown are absent."""
        found = {}
        for stage, foretold in FORETOLD.items():
            total = sum(self.outcomes[stage, outcome] for outcome in SESSION_OUTCOMES)
            if total:
                found[stage] = sum(self.outcomes[stage, outcome] for outcome in foretold) / total
        return found


@dataclass
class Truth:
    """What a join found.

    Attributes:
        days: by day, oldest first.
        unreadable: documents that could not be read.
        unmatched: finished sessions without a decision on an event.
        bots: finished sessions of bots, left out.
        models: finished sessions by the bundle that decided them.
        clicks_gone: sessions with outcomes of heads whose clicks are no longer in the topic.
    """

    days: list[Day]
    unreadable: int = 0
    unmatched: int = 0
    bots: int = 0
    models: Counter[str] = field(default_factory=Counter)
    clicks_gone: int = 0

    def last_full_day(self, now_ms: int) -> Day | None:
        """The latest day that was over at ``now_ms`` and has sessions."""
        today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
        return next((day for day in reversed(self.days) if day.day < today and day.sessions), None)


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Mean F1 over the stages that are true or predicted at least once; NaN without any."""
    hits = np.diag(confusion).astype(np.float64)
    either = confusion.sum(axis=0) + confusion.sum(axis=1)
    present = either > 0
    return float((2 * hits[present] / either[present]).mean()) if present.any() else float("nan")


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Share on the diagonal; NaN without any."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


class _Found:
    """The last decision on an event of one finished session."""

    __slots__ = ("decisions", "moment", "predicted", "seq", "shown", "summary")

    def __init__(self, summary: _Summary) -> None:
        self.summary = summary
        self.seq = -1
        self.shown = self.predicted = 0
        self.decisions = 0
        self.moment = Moment(summary.seq)


def join(
    decisions: Iterable[bytes],
    summaries: Iterable[bytes],
    rules: StageRules,
    clicks: Callable[[], Iterable[tuple[int, bytes]]] = tuple,
    asked: Mapping[str, Asked] = MappingProxyType({}),
) -> Truth:
    """Judge the decisions of the sessions that ``summaries`` finish. Memory grows with sessions, not with decisions.

    Args:
        decisions: the documents.
        summaries: of the sessions that ended.
        rules: what a stage is.
        clicks: gives offset and value of the records of the clicks topic; asked only if a decision carries an outcome.
        asked: what the outcome heads ask.
    """
    truth = Truth([])
    sessions: dict[tuple[str, str], list[_Found]] = {}
    for document in summaries:
        try:
            summary = _summary.decode(document)
        except msgspec.DecodeError:
            truth.unreadable += 1
            continue
        if summary.bot:
            truth.bots += 1
            continue
        sessions.setdefault((summary.source, summary.session_id), []).append(_Found(summary))
    for key, found in sessions.items():
        found.sort(key=lambda session: session.summary.seq)
        unique = {session.summary.seq: session for session in found}  # a summary produced twice is the same one
        sessions[key] = list(unique.values())
    for document in decisions:
        try:
            decision = _decision.decode(document)
            stage = _CODE[decision.stage]
        except (msgspec.DecodeError, KeyError):
            truth.unreadable += 1
            continue
        _assign(decision, stage, sessions.get((decision.source, decision.session_id), []))
    found = [session for among in sessions.values() for session in among]
    moments: dict[str, list[Moment]] = {}
    for session in found:
        if not asked.keys().isdisjoint(session.moment.outcomes):
            moments.setdefault(session.summary.session_id, []).append(session.moment)
    if moments:
        find_later(clicks(), moments)
    _judge(found, rules, truth, asked)
    return truth


def _assign(decision: _Decision, stage: int, found: list[_Found]) -> None:
    at = bisect_left(found, decision.seq, key=lambda session: session.summary.seq)
    if at == len(found):
        return  # the session goes on
    session = found[at]
    session.decisions += 1
    if decision.seq % SEQ_STEP == 0 and decision.seq >= session.seq and len(decision.probabilities) == len(STAGES):
        session.seq = decision.seq
        session.shown = stage
        session.predicted = int(np.argmax(decision.probabilities))
    if decision.seq % SEQ_STEP == 0 and decision.outcomes:
        session.moment.offer(decision.session_id, decision.seq, decision.outcomes)


def _judge(found: list[_Found], rules: StageRules, truth: Truth, asked: Mapping[str, Asked]) -> None:
    judged = [session for session in found if session.seq >= 0]
    truth.unmatched = len(found) - len(judged)
    if not judged:
        return
    X = np.array([_row(session.summary.features) for session in judged]).reshape(-1, N_FEATURES)
    days: dict[date, Day] = {}
    for session, label in zip(judged, rules.label(X).tolist(), strict=True):
        ended = datetime.fromtimestamp(session.summary.ended / 1000, UTC).date()
        day = days.setdefault(ended, Day(ended))
        day.shown[label, session.shown] += 1
        day.predicted[label, session.predicted] += 1
        day.outcomes[session.shown, session.summary.outcome] += 1
        day.decisions += session.decisions
        truth.models[session.summary.model] += 1
        if not asked.keys().isdisjoint(session.moment.outcomes):
            truth.clicks_gone += not judge_moment(session.moment, asked, day.heads)
    truth.days = [days[day] for day in sorted(days)]


def _row(features: Mapping[str, float | None]) -> list[float]:
    values = (features.get(name) for name in FEATURES)
    return [float("nan") if value is None else value for value in values]


def export(day: Day | None, now_ms: int, registry: CollectorRegistry) -> TruthMetrics:
    """The metrics of a day; without one only the time of the run, so that a dashboard shows no stale figure as new."""
    metrics = TruthMetrics(registry)
    metrics.run_timestamp.set(now_ms / 1000)
    if day is None:
        metrics.sessions.set(0.0)
        metrics.decisions.set(0.0)
        return metrics
    metrics.macro_f1.set(macro_f1(day.shown))
    metrics.accuracy.set(accuracy(day.shown))
    metrics.stage_precision.replace({(STAGES[stage],): share for stage, share in day.precision().items()})
    metrics.sessions.set(float(day.sessions))
    metrics.decisions.set(float(day.decisions))
    return metrics


def report(truth: Truth) -> str:
    """The days as Markdown."""
    lines = [
        "# Decisions against what came of them",
        "",
        "| day | sessions | decisions | macro-F1 shown | accuracy shown | macro-F1 model | "
        + " | ".join(f"precision {stage}" for stage in STAGES)
        + " |",
        "|" + "---|" * (6 + len(STAGES)),
    ]
    for day in truth.days:
        precision = day.precision()
        cells = [f"{precision[stage]:.3f}" if stage in precision else "-" for stage in range(len(STAGES))]
        lines.append(
            f"| {day.day} | {day.sessions} | {day.decisions} | {macro_f1(day.shown):.3f} | {accuracy(day.shown):.3f} | "
            f"{macro_f1(day.predicted):.3f} | " + " | ".join(cells) + " |"
        )
    for day in truth.days[-1:]:
        lines += ["", f"Confusion on {day.day} (rows: by the rules; columns: shown)", ""]
        lines += ["| | " + " | ".join(STAGES) + " |", "|" + "---|" * (1 + len(STAGES))]
        lines += [
            f"| {stage} | " + " | ".join(map(str, row)) + " |" for stage, row in zip(STAGES, day.shown, strict=True)
        ]
    lines += _outcomes(truth)
    lines += [
        "",
        f"Left out: {truth.bots} sessions of bots, {truth.unmatched} sessions without a decision on an event,",
        f"{truth.unreadable} documents that could not be read.",
        "Decided by: " + (", ".join(f"{model} ({n})" for model, n in truth.models.most_common()) or "nobody") + ".",
    ]
    return "\n".join(lines) + "\n"


def _outcomes(truth: Truth) -> list[str]:
    """What the outcome heads said, by day; nothing if no decision carries an outcome."""
    lines = [
        f"| {day.day} | {name} | {f['sessions']:,} | {f['moments']:,} | {f['expected']:,.1f} | "
        f"{f['observed']:,} | {f['ratio']:.2f} | {f['auc']:.3f} | {f['lift_10']:.1f} |"
        for day in truth.days
        for name, head in sorted(day.heads.items())
        for f in [head.figures()]
    ]
    if lines:
        head = "| day | outcome | sessions | moments | expected | came | came / expected | AUC | lift 10 % |"
        said = "Figures are of moments. Of each session one is drawn at random, and stands for all of its moments."
        lines = [
            "",
            "What outcome heads said, against what came later in the session",
            "",
            head,
            "|" + "---|" * 9,
            *lines,
            "",
            said,
        ]
    if truth.clicks_gone:
        lines += [
            "",
            f"Of {truth.clicks_gone} sessions the clicks are no longer in the topic, so nobody knows what came.",
        ]
    return lines


def as_json(truth: Truth) -> dict[str, Any]:
    """The same for programs; NaN becomes null."""
    return {
        "days": [
            {
                "day": day.day.isoformat(),
                "sessions": day.sessions,
                "decisions": day.decisions,
                "macro_f1": _number(macro_f1(day.shown)),
                "accuracy": _number(accuracy(day.shown)),
                "model_macro_f1": _number(macro_f1(day.predicted)),
                "confusion": day.shown.tolist(),
                "precision": {STAGES[stage]: share for stage, share in day.precision().items()},
                "outcomes": {
                    name: {key: _number(value) for key, value in head.figures().items()}
                    for name, head in sorted(day.heads.items())
                },
            }
            for day in truth.days
        ],
        "bots": truth.bots,
        "unmatched": truth.unmatched,
        "unreadable": truth.unreadable,
        "models": dict(truth.models),
        "clicks_gone": truth.clicks_gone,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
