"""Which sessions an analysis compares: those of one salt, each in one arm, of visitors who met one arm."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import msgspec

from decisions.policy.model import PolicyFile
from featurestore.errors import SettingsError

SESSION: Final = "session"
VISITOR: Final = "visitor"

Key: TypeAlias = tuple[str, str, int]
"""Source, session id and seq of a summary."""

Seen: TypeAlias = tuple[set[str], set[tuple[str, str]]]
"""What a session's decisions name: stages, and (experiment, arm) pairs."""


class Summary(msgspec.Struct):
    """What an analysis reads of a document of the ``sessions`` topic."""

    session_id: str
    source: str
    seq: int
    outcome: str
    decided_at: int
    value: float = 0.0
    bot: bool = False
    device: str = "unknown"
    traffic_source: str = "unknown"
    country: str = ""
    stages_seen: list[str] = []
    actions: dict[str, int] = {}
    arm: dict[str, str] = {}
    visitor: str = ""


class Decided(msgspec.Struct):
    """What an analysis reads of a document of the ``decisions`` topic."""

    session_id: str
    source: str
    seq: int
    stage: str
    arm: dict[str, str] = {}


@dataclass(frozen=True)
class Plan:
    """What is known of an experiment before its documents are read.

    Attributes:
        experiment: its name.
        control: the arm to compare with, None to go by its name.
        shares: expected share per arm, None for equal ones.
        unit: what was drawn, None to tell from the documents.
        salt_version: as the documents name it, None for the newest.
    """

    experiment: str
    control: str | None = None
    shares: Mapping[str, float] | None = None
    unit: str | None = None
    salt_version: str | None = None


class Member(NamedTuple):
    """A session that counts, the stages that it was in, and its key."""

    arm: str
    session: Summary
    stages: set[str]
    key: Key


@dataclass(frozen=True)
class Chosen:
    """The sessions that count, what was drawn, and what was left out."""

    members: list[Member]
    unit: str
    salt_version: str
    dropped: Counter[str]


def plan_of(name: str, policy: PolicyFile | None, control: str | None, shares: Mapping[str, float] | None) -> Plan:
    """The plan of an experiment; what the caller says goes before what the policy says."""
    experiment = policy.experiments.get(name) if policy else None
    if experiment is None:
        return Plan(name, control, shares)
    held = [arm for arm, entry in experiment.arms.items() if entry.holdout]
    still = held or [arm for arm, entry in experiment.arms.items() if not entry.replace]
    own = {arm: entry.share for arm, entry in experiment.arms.items() if entry.share > 0}
    return Plan(name, control or (still[0] if still else None), shares or own, experiment.unit,
                str(experiment.salt_version))  # fmt: skip


def choose(plan: Plan, kept: Mapping[Key, Summary], seen: Mapping[Key, Seen]) -> Chosen:
    """The sessions of the plan's experiment that count.

    A visitor who met more than one arm says nothing about either: where visitors were drawn, all sessions of that
    visitor are left out and counted. The others stay, and stay compared by visitor.

    Raises:
        SettingsError: the documents are of another salt than the plan.
    """
    version = _salt_version(plan, kept)
    dropped: Counter[str] = Counter()
    mine: list[tuple[Member, set[str]]] = []
    for key, session in kept.items():
        arm, _, salt_version = session.arm.get(plan.experiment, "").rpartition("@")
        if not arm:
            continue
        if salt_version != version:
            dropped["sessions of an older salt"] += 1
            continue
        stages, pairs = seen.get(key, (set(), set()))
        met = {named for experiment, named in pairs if experiment == plan.experiment} | {session.arm[plan.experiment]}
        mine.append((Member(arm, session, stages or set(session.stages_seen), key), met))
    arms_of: dict[str, set[str]] = defaultdict(set)
    for member, met in mine:
        if member.session.visitor:
            arms_of[member.session.visitor] |= met
    unit = plan.unit or _unit([member for member, _ in mine], arms_of)
    mixed = {visitor for visitor, arms in arms_of.items() if len(arms) > 1} if unit == VISITOR else set()
    members = []
    for member, met in mine:
        if member.session.visitor in mixed:
            dropped["sessions of visitors who were in more than one arm"] += 1
        elif len(met) > 1:
            dropped["sessions that changed their arm"] += 1
        else:
            members.append(member)
    dropped["visitors who were in more than one arm"] = len(mixed)
    return Chosen(members, unit, version, dropped)


def _salt_version(plan: Plan, kept: Mapping[Key, Summary]) -> str:
    """The newest salt in the documents, which must be the plan's where it has one."""
    found = [s.arm[plan.experiment].rpartition("@")[2] for s in kept.values() if plan.experiment in s.arm]
    newest = max(found, key=lambda text: int(text) if text.isdigit() else -1)
    if plan.salt_version not in {None, newest}:
        raise SettingsError(
            f"experiment {plan.experiment!r} was drawn with salt {newest}, the policy has salt {plan.salt_version}; "
            "give the policy that was in use"
        )
    return newest


def _unit(members: Sequence[Member], arms_of: Mapping[str, set[str]]) -> str:
    """What was drawn, told from those who came several times.

    Had sessions been drawn, a visitor with n sessions would meet one arm only with probability sum of share**n. If
    fewer than half as many visitors as that met several arms, visitors were drawn.
    """
    sessions = Counter(member.session.visitor for member in members if member.session.visitor)
    again = {visitor: n for visitor, n in sessions.items() if n > 1}
    if not again:
        return SESSION
    sizes = Counter(member.arm for member in members)
    shares = [size / sizes.total() for size in sizes.values()]
    expected = sum(1 - sum(share**n for share in shares) for n in again.values())
    mixed = sum(len(arms_of[visitor]) > 1 for visitor in again)
    return VISITOR if mixed == 0 or mixed < expected / 2 else SESSION
