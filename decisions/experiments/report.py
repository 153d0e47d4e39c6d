"""``clickstage experiment``: size an experiment, and read its result out of decisions and session summaries.

Where visitors were drawn, not sessions, intervals and the sample ratio count visitors, since sessions of one visitor
resemble each other.

`analyse` takes the documents of the ``decisions`` and ``sessions`` topics, one JSON document a line, and compares arms
session by session: as they were assigned, and, with the documents of ``exposures``, by what was really shown. Documents
that Kafka delivered twice count once (by source, session and seq); bots do not count.
"""

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from decisions.experiments import stats
from decisions.experiments.members import VISITOR, Decided, Key, Member, Plan, Seen, Summary, choose, plan_of
from decisions.experiments.shown import Exposure, shown_in
from decisions.experiments.stats import Interval
from decisions.policy.conditions import suggest
from decisions.policy.model import PolicyFile
from featurestore.errors import SettingsError
from featurestore.session.stages import STAGES

SRM_P: Final = 0.001
"""A sample ratio this unlikely says that the assignment or the counting is broken."""

FOUR_FIFTHS: Final = 0.8
"""29 CFR 1607.4 D: a selection rate below four fifths of the highest one is evidence of adverse impact."""

GROUPINGS: Final = {"device": "device", "source": "traffic_source", "country": "country"}
CONTROL_NAMES: Final = ("control", "holdout")


@dataclass
class ArmCounts:
    """One arm, by cluster (a visitor, or a session where sessions were drawn).

    Attributes:
        clusters: of each its sessions, purchases, order value, sessions that were shown the benefit, and purchases in
            these.
    """

    clusters: dict[str, list[float]] = field(default_factory=dict)

    def add(self, cluster: str, session: Summary, *, shown: bool = False) -> None:
        """Count one session."""
        sums = self.clusters.setdefault(cluster, [0.0] * 5)
        bought = session.outcome == "bought"
        for i, value in enumerate((1, bought, session.value, shown, shown and bought)):
            sums[i] += value

    def column(self, which: int) -> NDArray[np.float64]:
        """One of the sums, by cluster."""
        return np.array([sums[which] for sums in self.clusters.values()], np.float64)

    @property
    def sessions(self) -> int:
        """How many."""
        return int(self.column(0).sum())

    @property
    def bought(self) -> int:
        """How many of them bought."""
        return int(self.column(1).sum())

    @property
    def treated(self) -> stats.Treated:
        """Without the values."""
        return stats.Treated(self.column(0), self.column(1), self.column(3), self.column(4))

    def effective(self) -> tuple[float, float]:
        """Purchases and sessions as if all sessions were independent."""
        sessions = self.column(0)
        effect = stats.Clusters(self.column(1), sessions).design_effect()
        return float(self.column(1).sum()) / effect, float(sessions.sum()) / effect


@dataclass(frozen=True)
class ByShown:
    """The same among those who were really shown what the control is not; see `stats.effect_of_showing`."""

    sessions: int
    bought: int
    control_sessions: int
    control_bought: int
    lift: Interval
    difference: Interval


@dataclass(frozen=True)
class Comparison:
    """One arm against the control, in one population: as assigned, and ``by_shown`` where exposures were given."""

    arm: str
    sessions: int
    bought: int
    control_sessions: int
    control_bought: int
    lift: Interval
    difference: Interval
    value_per_session: Interval
    z: float
    p: float
    by_shown: ByShown | None = None


@dataclass(frozen=True)
class Population:
    """All sessions, or those that passed through a stage, with the sample ratio among the units that were drawn."""

    name: str
    counts: dict[str, tuple[int, int]]
    srm_chi_square: float
    srm_p: float
    comparisons: list[Comparison]


@dataclass(frozen=True)
class Group:
    """Share of a group's sessions that were shown the benefit, against the group with the largest share."""

    grouping: str
    name: str
    sessions: int
    shown: int
    ratio: Interval
    verdict: str


@dataclass(frozen=True)
class Report:
    """What the two topics say about one experiment; ``unit`` is what was drawn, session or visitor."""

    experiment: str
    salt_version: str
    unit: str
    control: str
    populations: list[Population]
    groups: list[Group]
    benefit: list[str]
    dropped: dict[str, int]


def analyse(
    decisions: Iterable[bytes],
    sessions: Iterable[bytes],
    experiment: str | None = None,
    *,
    exposures: Iterable[bytes] | None = None,
    control: str | None = None,
    shares: Mapping[str, float] | None = None,
    policy: PolicyFile | None = None,
    benefit: Sequence[str] = (),
    min_group: int = 100,
) -> list[Report]:
    """Compare the arms of every experiment in the documents, or of one.

    Args:
        decisions: lines of the ``decisions`` topic.
        sessions: lines of the ``sessions`` topic.
        experiment: only this one.
        exposures: lines of the ``exposures`` topic, for the lift by shown; None: as assigned alone.
        control: the arm to compare with; default: "control", "holdout" or the first by name.
        shares: expected share per arm; default: the policy's, else equal.
        policy: the one that drew the arms; it says what was drawn, the shares and which arm changes nothing.
        benefit: actions whose showing counts, and whose fair distribution is asked for; default: those that the
            control arm does not have.
        min_group: smaller groups are not judged.

    Raises:
        SettingsError: a line is no such document, an experiment, an action or an arm does not occur, or the policy
            is not the one that drew the arms; names what and the remedy.
    """
    dropped: Counter[str] = Counter()
    kept: dict[Key, Summary] = {}
    for summary in _read(sessions, Summary, "sessions"):
        key = (summary.source, summary.session_id, summary.seq)
        if key in kept:
            dropped["summaries delivered twice"] += 1
        elif summary.bot:
            dropped["bots"] += 1
        else:
            kept[key] = summary
    seen = _decided(decisions, kept, dropped)
    shown = None if exposures is None else shown_in(_read(exposures, Exposure, "exposures"), kept, dropped)
    names = sorted({name for s in kept.values() for name in s.arm})
    if experiment is not None and experiment not in names:
        raise SettingsError(f"no session is in experiment {experiment!r}; the file has: {', '.join(names) or 'none'}")
    _refuse_unknown_actions(benefit, kept.values(), policy)
    asked = [experiment] if experiment else names
    _refuse_another_policy(asked, policy)
    return [
        _report(plan_of(name, policy, control, shares), kept, seen, shown, dropped, benefit, min_group)
        for name in asked
    ]


def _refuse_another_policy(experiments: Sequence[str], policy: PolicyFile | None) -> None:
    """A policy that does not know the experiment says nothing of its shares, and equal ones would be taken for its."""
    if policy is None:
        return
    for name in experiments:
        if name not in policy.experiments:
            known = sorted(policy.experiments)
            raise SettingsError(
                f"the policy (version {policy.version}) has no experiment {name!r}{suggest(name, known)}; "
                f"it has: {', '.join(known) or 'none'}. Give the policy that drew the arms, or leave "
                "--policy out and say --shares; --experiment NAME analyses one experiment alone"
            )


def _refuse_unknown_actions(benefit: Sequence[str], sessions: Iterable[Summary], policy: PolicyFile | None) -> None:
    """A misspelt action would look like a benefit that nobody was given."""
    known = sorted({action for s in sessions for action in s.actions} | set(policy.actions if policy else ()))
    for action in benefit:
        if action not in known:
            raise SettingsError(f"no session was shown {action!r}{suggest(action, known)}")


def _read(lines: Iterable[bytes], kind: type[Any], what: str) -> Iterator[Any]:
    decoder = msgspec.json.Decoder(kind)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise SettingsError(
                f"{what}, line {number}: not a document of the {what} topic; write one per line"
            ) from None


def _decided(decisions: Iterable[bytes], kept: Mapping[Key, Summary], dropped: Counter[str]) -> dict[Key, Seen]:
    """Stages and (experiment, arm) pairs that each session's decisions name.

    A session id can come back after its end: a decision belongs to the next summary of its id.
    """
    ends: dict[tuple[str, str], list[int]] = defaultdict(list)
    for source, session_id, seq in kept:
        ends[source, session_id].append(seq)
    for seqs in ends.values():
        seqs.sort()
    seen: dict[Key, Seen] = {}
    unfinished = set()
    for decision in _read(decisions, Decided, "decisions"):
        seqs = ends.get((decision.source, decision.session_id), [])
        at = bisect_left(seqs, decision.seq)
        if at == len(seqs):
            unfinished.add((decision.source, decision.session_id))
            continue
        stages, arms = seen.setdefault((decision.source, decision.session_id, seqs[at]), (set(), set()))
        stages.add(decision.stage)
        arms.update(decision.arm.items())
    dropped["sessions without a summary (unfinished, or bots)"] += len(unfinished)
    return seen


def _report(
    plan: Plan,
    kept: Mapping[Key, Summary],
    seen: Mapping[Key, Seen],
    shown: Mapping[Key, frozenset[str]] | None,
    dropped: Counter[str],
    benefit: Sequence[str],
    min_group: int,
) -> Report:
    chosen = choose(plan, kept, seen)
    members = chosen.members
    arm_names = sorted({member.arm for member in members} | set(plan.shares or ()))
    base = plan.control or next((c for c in CONTROL_NAMES if c in arm_names), arm_names[0] if arm_names else "")
    if base not in arm_names:
        names = ", ".join(arm_names) or "none"
        raise SettingsError(f"experiment {plan.experiment!r} has no arm {base!r}; choose one of: {names}")
    treated = [member.session for member in members if member.arm != base]
    control = [member.session for member in members if member.arm == base]
    given = list(benefit) or sorted({a for s in treated for a in s.actions} - {a for s in control for a in s.actions})
    saw = None if shown is None or not given else {key for key, actions in shown.items() if actions & set(given)}
    groups_of_stage = {"all": members} | {stage: [m for m in members if stage in m.stages] for stage in STAGES}
    populations = [
        _population(title, some, arm_names, base, plan.shares, chosen.unit, saw)
        for title, some in groups_of_stage.items()
    ]
    groups = [g for title, name in GROUPINGS.items() for g in _groups(title, name, treated, given, min_group)]
    left_out = {what: n for what, n in (dropped + chosen.dropped).items() if n}
    return Report(plan.experiment, chosen.salt_version, chosen.unit, base, populations, groups, given, left_out)


def _population(
    name: str,
    members: Sequence[Member],
    arms: Sequence[str],
    base: str,
    shares: Mapping[str, float] | None,
    unit: str,
    saw: AbstractSet[Key] | None,
) -> Population:
    counts = {arm: ArmCounts() for arm in arms}
    for i, member in enumerate(members):
        visitor = member.session.visitor if unit == VISITOR else ""
        shown = saw is not None and member.key in saw
        counts[member.arm].add(visitor or f"session {i}", member.session, shown=shown)
    expected = [shares.get(arm, 0.0) if shares else 1.0 for arm in arms]
    chi_square, p = stats.sample_ratio([len(counts[arm].clusters) for arm in arms], expected)
    comparisons = [_compare(arm, counts[arm], counts[base], saw is not None) for arm in arms if arm != base]
    return Population(name, {arm: (c.sessions, c.bought) for arm, c in counts.items()}, chi_square, p, comparisons)


def _compare(arm: str, b: ArmCounts, a: ArmCounts, by_shown: bool) -> Comparison:
    four = (*a.effective(), *b.effective())
    ratio = stats.ratio(*four)
    z = stats.z_of_rates(*four)
    value_a, value_b = (stats.Clusters(x.column(2), x.column(0)) for x in (a, b))
    return Comparison(
        arm=arm,
        sessions=b.sessions,
        bought=b.bought,
        control_sessions=a.sessions,
        control_bought=a.bought,
        lift=Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1),
        difference=stats.difference(*four),
        value_per_session=stats.mean_difference(value_a, value_b),
        z=z,
        p=stats.two_sided(z),
        by_shown=_by_shown(b.treated, a.treated) if by_shown else None,
    )


def _by_shown(b: stats.Treated, a: stats.Treated) -> ByShown:
    lift, difference = stats.effect_of_showing(a, b)
    return ByShown(
        sessions=int(b.shown.sum()),
        bought=int(b.bought_shown.sum()),
        control_sessions=int(a.shown.sum()),
        control_bought=int(a.bought_shown.sum()),
        lift=lift,
        difference=difference,
    )


def _groups(
    grouping: str, attribute: str, sessions: Sequence[Summary], benefit: Sequence[str], min_group: int
) -> Iterator[Group]:
    counts: dict[str, list[int]] = {}
    for session in sessions:
        count = counts.setdefault(getattr(session, attribute) or "unknown", [0, 0])
        count[0] += 1
        count[1] += any(action in session.actions for action in benefit)
    judged = {name: c for name, c in counts.items() if c[0] >= min_group}
    best = max(judged, key=lambda name: judged[name][1] / judged[name][0], default=None)
    for name, (n, shown) in sorted(counts.items()):
        if best is None or name not in judged:
            yield Group(grouping, name, n, shown, Interval(math.nan, math.nan, math.nan), "too few")
            continue
        ratio = stats.ratio(judged[best][1], judged[best][0], shown, n)
        if shown == 0 and judged[best][1] > 0:
            ratio = Interval(0.0, 0.0, stats.wilson(0, n).high / (judged[best][1] / judged[best][0]))
        verdict = "highest" if name == best else _verdict(ratio)
        yield Group(grouping, name, n, shown, ratio, verdict)


def _verdict(ratio: Interval) -> str:
    if ratio.high < FOUR_FIFTHS:
        return "adverse"
    if ratio.value < FOUR_FIFTHS:
        return "below 0.8, uncertain"
    return "ok" if ratio.low >= FOUR_FIFTHS else "ok, uncertain"


def read_lines(path: str | Path) -> Iterator[bytes]:
    """The lines of a file, ``-`` for none.

    Raises:
        SettingsError: it cannot be read.
    """
    if str(path) == "-":
        return
    try:
        with Path(path).open("rb") as file:
            yield from file
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); check the path and the rights") from None
