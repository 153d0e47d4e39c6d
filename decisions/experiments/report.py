"""``clickstage experiment``: size an experiment, and read its result out of decisions and session summaries.

Where visitors were drawn, not sessions, intervals and the sample ratio count visitors, since sessions of one visitor
resemble each other.

`analyse` takes the documents of the ``decisions`` and ``sessions`` topics, one JSON document a line, and compares arms
session by session. Documents that Kafka delivered twice count once (by source, session and seq); bots do not count.
"""

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from decisions.experiments import stats
from decisions.experiments.stats import Interval
from featurestore.errors import SettingsError
from featurestore.session.stages import STAGES

SRM_P: Final = 0.001
"""A sample ratio this unlikely says that the assignment or the counting is broken."""

FOUR_FIFTHS: Final = 0.8
"""29 CFR 1607.4 D: a selection rate below four fifths of the highest one is evidence of adverse impact."""

GROUPINGS: Final = {"device": "device", "source": "traffic_source", "country": "country"}
CONTROL_NAMES: Final = ("control", "holdout")

Key: TypeAlias = tuple[str, str, int]


class _Session(msgspec.Struct):
    session_id: str
    source: str
    seq: int
    outcome: str
    value: float = 0.0
    bot: bool = False
    device: str = "unknown"
    traffic_source: str = "unknown"
    country: str = ""
    stages_seen: list[str] = []
    actions: dict[str, int] = {}
    arm: dict[str, str] = {}
    visitor: str = ""


class _Decision(msgspec.Struct):
    session_id: str
    source: str
    seq: int
    stage: str
    arm: dict[str, str] = {}


@dataclass
class ArmCounts:
    """One arm: sessions, purchases and order value per cluster (a visitor, or a session where sessions were drawn)."""

    clusters: dict[str, list[float]] = field(default_factory=dict)

    def add(self, cluster: str, session: _Session) -> None:
        """Count one session."""
        sums = self.clusters.setdefault(cluster, [0.0, 0.0, 0.0])
        sums[0] += 1
        sums[1] += session.outcome == "bought"
        sums[2] += session.value

    def column(self, which: int) -> NDArray[np.float64]:
        """Sessions (0), purchases (1) or values (2) by cluster."""
        return np.array([sums[which] for sums in self.clusters.values()], np.float64)

    @property
    def sessions(self) -> int:
        """How many."""
        return int(self.column(0).sum())

    @property
    def bought(self) -> int:
        """How many of them bought."""
        return int(self.column(1).sum())

    def effective(self) -> tuple[float, float]:
        """Purchases and sessions as if all sessions were independent."""
        sessions = self.column(0)
        effect = stats.Clusters(self.column(1), sessions).design_effect()
        return float(self.column(1).sum()) / effect, float(sessions.sum()) / effect


@dataclass(frozen=True)
class Comparison:
    """One arm against the control, in one population."""

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
    control: str | None = None,
    shares: Mapping[str, float] | None = None,
    benefit: Sequence[str] = (),
    min_group: int = 100,
) -> list[Report]:
    """Compare the arms of every experiment in the documents, or of one.

    Args:
        decisions: lines of the ``decisions`` topic.
        sessions: lines of the ``sessions`` topic.
        experiment: only this one.
        control: the arm to compare with; default: "control", "holdout" or the first by name.
        shares: expected share per arm; default: equal.
        benefit: actions whose fair distribution is asked for; default: every action but those of the control arm alone.
        min_group: smaller groups are not judged.

    Raises:
        SettingsError: a line is no such document, or the experiment does not occur; names line and remedy.
    """
    dropped: Counter[str] = Counter()
    kept: dict[Key, _Session] = {}
    for summary in _read(sessions, _Session, "sessions"):
        key = (summary.source, summary.session_id, summary.seq)
        if key in kept:
            dropped["summaries delivered twice"] += 1
        elif summary.bot:
            dropped["bots"] += 1
        else:
            kept[key] = summary
    seen = _decided(decisions, kept, dropped)
    names = sorted({name for s in kept.values() for name in s.arm})
    if experiment is not None and experiment not in names:
        raise SettingsError(f"no session is in experiment {experiment!r}; the file has: {', '.join(names) or 'none'}")
    return [
        _report(name, kept, seen, dropped, control, shares, benefit, min_group)
        for name in ([experiment] if experiment else names)
    ]


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


def _decided(
    decisions: Iterable[bytes], kept: Mapping[Key, _Session], dropped: Counter[str]
) -> dict[Key, tuple[set[str], set[tuple[str, str]]]]:
    """Stages and (experiment, arm) pairs that each session's decisions name.

    A session id can come back after its end: a decision belongs to the next summary of its id.
    """
    ends: dict[tuple[str, str], list[int]] = defaultdict(list)
    for source, session_id, seq in kept:
        ends[source, session_id].append(seq)
    for seqs in ends.values():
        seqs.sort()
    seen: dict[Key, tuple[set[str], set[tuple[str, str]]]] = {}
    unfinished = set()
    for decision in _read(decisions, _Decision, "decisions"):
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
    name: str,
    kept: Mapping[Key, _Session],
    seen: Mapping[Key, tuple[set[str], set[tuple[str, str]]]],
    dropped: Counter[str],
    control: str | None,
    shares: Mapping[str, float] | None,
    benefit: Sequence[str],
    min_group: int,
) -> Report:
    dropped = Counter(dropped)
    version = max((s.arm[name].rpartition("@")[2] for s in kept.values() if name in s.arm), key=_as_number)
    members: list[tuple[str, _Session, set[str]]] = []
    for key, session in kept.items():
        arm, _, salt_version = session.arm.get(name, "").rpartition("@")
        stages, arms = seen.get(key, (set(session.stages_seen), set()))
        if not arm:
            continue
        if salt_version != version:
            dropped["sessions of an older salt"] += 1
        elif len({a for experiment, a in arms if experiment == name} | {session.arm[name]}) > 1:
            dropped["sessions that changed their arm"] += 1
        else:
            members.append((arm, session, stages or set(session.stages_seen)))
    arm_names = sorted({arm for arm, _, _ in members} | set(shares or ()))
    base = control or next((c for c in CONTROL_NAMES if c in arm_names), arm_names[0])
    if base not in arm_names:
        raise SettingsError(f"experiment {name!r} has no arm {base!r}; choose one of: {', '.join(arm_names)}")
    unit = _unit(members)
    groups_of_stage = {"all": members} | {stage: [m for m in members if stage in m[2]] for stage in STAGES}
    populations = [
        _population(title, [(arm, s) for arm, s, _ in some], arm_names, base, shares, unit)
        for title, some in groups_of_stage.items()
    ]
    treated = [s for arm, s, _ in members if arm != base]
    chosen = list(benefit) or sorted(
        {a for s in treated for a in s.actions} - {a for arm, s, _ in members if arm == base for a in s.actions}
    )
    groups = [
        g for title, attribute in GROUPINGS.items() for g in _groups(title, attribute, treated, chosen, min_group)
    ]
    return Report(name, version, unit, base, populations, groups, chosen, {k: n for k, n in dropped.items() if n})


def _unit(members: Iterable[tuple[str, _Session, set[str]]]) -> str:
    """What was drawn: visitors, if those who came several times always met the same arm; else sessions."""
    met: dict[str, Counter[str]] = defaultdict(Counter)
    for arm, session, _ in members:
        if session.visitor:
            met[session.visitor][arm] += 1
    again = [arms for arms in met.values() if arms.total() > 1]
    return "visitor" if again and all(len(arms) == 1 for arms in again) else "session"


def _as_number(text: str) -> int:
    return int(text) if text.isdigit() else -1


def _population(
    name: str,
    members: Sequence[tuple[str, _Session]],
    arms: Sequence[str],
    base: str,
    shares: Mapping[str, float] | None,
    unit: str,
) -> Population:
    counts = {arm: ArmCounts() for arm in arms}
    for i, (arm, session) in enumerate(members):
        cluster = session.visitor if unit == "visitor" and session.visitor else f"session {i}"
        counts[arm].add(cluster, session)
    expected = [shares.get(arm, 0.0) if shares else 1.0 for arm in arms]
    chi_square, p = stats.sample_ratio([len(counts[arm].clusters) for arm in arms], expected)
    comparisons = [_compare(arm, counts[arm], counts[base]) for arm in arms if arm != base]
    return Population(name, {arm: (c.sessions, c.bought) for arm, c in counts.items()}, chi_square, p, comparisons)


def _compare(arm: str, b: ArmCounts, a: ArmCounts) -> Comparison:
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
    )


def _groups(
    grouping: str, attribute: str, sessions: Sequence[_Session], benefit: Sequence[str], min_group: int
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
