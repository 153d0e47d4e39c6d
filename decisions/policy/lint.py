"""A linter for policies: what loads and runs, but should not meet a shopper.

Dark patterns by the taxonomy of Mathur et al., Dark patterns at scale, CSCW 2019 (scarcity, urgency, social proof), and
plain mistakes. `lint` never raises for a wrong policy: what the loader refuses becomes a finding like the others.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final

from decisions.policy.changes import spoiled
from decisions.policy.conditions import Condition, HeadOutputs
from decisions.policy.lint_before_cart import before_cart
from decisions.policy.lint_experiments import experiments
from decisions.policy.lint_segments import segments
from decisions.policy.lint_units import currencies, units
from decisions.policy.lint_words import promises, wording
from decisions.policy.model import NEUTRAL_WORD, NEXT_WORD, Action, PolicyFile, Rule, load
from decisions.policy.policy import read_policy
from decisions.policy.source import Path, PolicyFileError
from decisions.policy.vocabulary import NO_ACTION
from featurestore.errors import PolicyError
from featurestore.session.stages import DROP_OFF_RISK, STAGES
from models.heads.scoring import Names

WAITING: Final = ("idle_time", "time_between_clicks", "session_duration")
"""Features that grow while a shopper holds out."""

CODES: Final = {
    "refused": "the policy does not load",
    "fake-scarcity": "a label claims scarcity or other shoppers",
    "vague-urgency": "a label presses for time without saying how long",
    "endless-urgency": "an urgency action never ends and never pauses",
    "unlimited-persuasion": "nothing limits how often a persuasive action is shown",
    "urgency-on-first-visit": "urgency is allowed to meet first-time visitors",
    "urgency-on-doubt": "urgency is allowed below the stage's own threshold",
    "discount-escalation": "who holds out longer gets a larger discount",
    "unreachable-rule": "a rule that can never be the one that applies",
    "stage-without-action": "a stage that shows nothing",
    "unused-action": "no rule shows it",
    "low-threshold": "acts although another stage may be likelier",
    "never-acts": "the threshold is out of a model's reach",
    "persuasion-on-doubt": "a fallback persuades when the model is not sure",
    "no-comparison": "an experiment without an arm that changes nothing, or without a holdout",
    "overlapping-experiments": "two experiments change the same action",
    "everybody-held-out": "an experiment's holdout is the larger part of the traffic",
    "overlapping-holdout": "an experiment's shoppers are held out by another one",
    "label-contradicts": "a label says another discount or another time than the action grants",
    "odd-discount": "a discount of everything, or of next to nothing",
    "milliseconds": "a condition compares seconds with a number that looks like milliseconds",
    "percent-for-share": "a condition compares a share between 0 and 1 with a percentage",
    "amount-without-currency": "a condition compares cart_value, and the policy names no currency",
    "never-known": "a condition asks a head that has no answer once there is a cart, where there is one",
    "unknown-segment": "the bundle puts no finished visit into this segment",
    "unknown-currency": "the policy's currency is no code of ISO 4217",
    "moved-arms": "shoppers would change arms of a running experiment (with --against)",
    "changed-arm": "an arm of a running experiment would show something else (with --against)",
    "older-salt": "an experiment's salt goes back (with --against)",
}
"""Every code that a finding can have."""

REFUSED: Final = frozenset({"refused", "moved-arms", "changed-arm", "older-salt"})
"""Findings that are no remarks: the policy does not load, or spoils a running experiment."""


@dataclass(frozen=True)
class Finding:
    """One remark: where, which rule of the linter, what to do."""

    line: int
    code: str
    message: str


def lint(path: str | FilePath, outputs: HeadOutputs = (), before: PolicyFile | None = None) -> list[Finding]:
    """Findings in a policy file, by line; empty for a clean one.

    Args:
        path: the file.
        outputs: what its conditions may name of the bundle that it is used with; `Names` know its segments, too.
        before: the policy in use, whose experiments must survive the change.

    Raises:
        PolicyError: the file cannot be read.
    """
    return lint_text(read_policy(path), str(path), outputs, before)


def lint_text(
    text: str, name: str = "policy.yaml", outputs: HeadOutputs = (), before: PolicyFile | None = None
) -> list[Finding]:
    """`lint` for a text."""
    try:
        policy, source = load(text, name, outputs)
    except PolicyFileError as error:
        return [Finding(p.line, "refused", p.message) for p in error.problems]
    remarks = [remark for check in _CHECKS for remark in check(policy)]
    remarks += before_cart(policy, outputs)
    if isinstance(outputs, Names):
        remarks += segments(policy, outputs.kinds)
    if before is not None:
        remarks += spoiled(before, policy)
    found = [Finding(source.line(path), code, message) for path, code, message in remarks]
    return sorted(found, key=lambda f: (f.line, f.code))


_Remark = tuple[Path, str, str]


def _limits(policy: PolicyFile) -> Iterator[_Remark]:
    rails = policy.guardrails
    for name, action in policy.actions.items():
        at: Path = ("actions", name)
        if action.urgency and action.offer_minutes is None and not action.cool_down_seconds:
            yield (
                at,
                "endless-urgency",
                f"{name!r} presses for time without end; set `offer_minutes` or `cool_down_seconds`",
            )
        capped = action.session_cap or action.max_per_visitor or action.cool_down_seconds
        if action.persuasive and not capped and rails.persuasive_per_session is None:
            yield (
                at,
                "unlimited-persuasion",
                f"nothing limits {name!r}; set `max_per_session`, or a cap in `guardrails`",
            )
    if rails.urgency_for_first_time_visitors and any(a.urgency for a in policy.actions.values()):
        yield (
            ("guardrails", "urgency_for_first_time_visitors"),
            "urgency-on-first-visit",
            "who has never been here cannot judge an offer under pressure; set it to false",
        )
    for stage_name, stage in policy.stages.items():
        urgent = [rule for rule in stage.rules if _of(policy, rule.show).urgency]
        if urgent and rails.urgency_min_confidence < stage.threshold:
            yield (
                ("guardrails", "urgency_min_confidence"),
                "urgency-on-doubt",
                f"below the threshold of {stage_name!r} ({stage.threshold:g}), so it guards nothing there; raise it",
            )


def _escalation(policy: PolicyFile) -> Iterator[_Remark]:
    """A larger discount for rules that ask for more waiting than another discount's rule, or in Drop-Off Risk."""
    granted = [
        (("stages", stage, "rules", i), stage, rule, _of(policy, rule.show).discount_percent or 0.0)
        for stage, rules in ((name, s.rules) for name, s in policy.stages.items())
        for i, rule in enumerate(rules)
    ]
    granted = [g for g in granted if g[3] > 0]
    for path, stage, rule, percent in granted:
        for _, other_stage, other, less in granted:
            if less >= percent:
                continue
            silent = stage == STAGES[DROP_OFF_RISK] != other_stage
            if silent or _waits_longer(rule, other) or _comes_back(rule, other):
                why = "falls silent" if silent else "holds out or comes back"
                yield (
                    path,
                    "discount-escalation",
                    f"who {why} gets {percent:g} % instead of {less:g} %, which teaches shoppers to wait; level them",
                )
                break


def _waits_longer(rule: Rule, other: Rule) -> bool:
    mine, theirs = _bounds(rule), _bounds(other)
    return any(mine[name][0] > theirs.get(name, (-math.inf, math.inf))[0] for name in WAITING if name in mine)


def _comes_back(rule: Rule, other: Rule) -> bool:
    mine = [c for c in rule.conditions() if c.variable == "first_time_visitor"]
    theirs = [c for c in other.conditions() if c.variable == "first_time_visitor"]
    return any(c.words == ("false",) for c in mine) and not any(c.words == ("false",) for c in theirs)


def _bounds(rule: Rule) -> dict[str, tuple[float, float]]:
    """The interval in which each variable must lie, as far as <, <=, >, >= and == on numbers tell."""
    bounds: dict[str, tuple[float, float]] = {}
    for c in rule.conditions():
        low, high = bounds.get(c.variable, (-math.inf, math.inf))
        if c.operator in {">", ">=", "=="}:
            low = max(low, math.nextafter(c.values[0], math.inf) if c.operator == ">" else c.values[0])
        if c.operator in {"<", "<=", "=="}:
            high = min(high, math.nextafter(c.values[0], -math.inf) if c.operator == "<" else c.values[0])
        bounds[c.variable] = (low, high)
    return bounds


def _reach(policy: PolicyFile) -> Iterator[_Remark]:
    for name, stage in policy.stages.items():
        for i, rule in enumerate(stage.rules):
            at: Path = ("stages", name, "rules", i)
            if any(low > high for low, high in _bounds(rule).values()) or _no_name_fits(rule):
                yield at, "unreachable-rule", "its conditions contradict each other; correct them"
                continue
            for j, earlier in enumerate(stage.rules[:i]):
                if _always_shown(policy, earlier, rule) and all(_implied(c, rule) for c in earlier.conditions()):
                    line = f"rule {j + 1} of the stage"
                    yield (
                        at,
                        "unreachable-rule",
                        f"{line} applies whenever this one does; put this one first or remove it",
                    )
                    break


def _always_shown(policy: PolicyFile, earlier: Rule, later: Rule) -> bool:
    """Whether nothing can withhold the earlier rule's action while the later rule's could be shown."""
    action = _of(policy, earlier.show)
    free = not (action.persuasive or action.session_cap or action.cool_down_seconds)
    killed = earlier.show in policy.kill_switches.actions
    return earlier.show == later.show or (free and not killed)


def _implied(condition: Condition, rule: Rule) -> bool:
    """Whether the rule's conditions include what ``condition`` asks."""
    names = {"==", "in"}
    same = [c for c in rule.conditions() if c.variable == condition.variable and c.operator in names]
    if condition.operator in names:
        return any(set(c.values) <= set(condition.values) for c in same)
    low, high = _bounds(rule).get(condition.variable, (-math.inf, math.inf))
    value = condition.values[0]
    return {"<": high < value, "<=": high <= value, ">": low > value, ">=": low >= value}[condition.operator]


def _no_name_fits(rule: Rule) -> bool:
    left: dict[str, set[float]] = {}
    for c in rule.conditions():
        if c.operator in {"==", "in"}:
            left[c.variable] = left.get(c.variable, set(c.values)) & set(c.values)
    return any(not values for values in left.values())


def _use(policy: PolicyFile) -> Iterator[_Remark]:
    for name in STAGES:
        stage = policy.stages.get(name)
        if stage is None:
            yield ("stages",), "stage-without-action", f"{name!r} is missing, so it shows the neutral action; add it"
        elif all(r.show == NO_ACTION or r.show in policy.kill_switches.actions for r in stage.rules):
            yield ("stages", name), "stage-without-action", f"{name!r} has no rule that shows something; add one"
    used = {rule.show for stage in policy.stages.values() for rule in stage.rules} | {policy.neutral}
    used |= {new for x in policy.experiments.values() for arm in x.arms.values() for new in arm.replace.values()}
    for name in policy.actions:
        if name not in used:
            yield ("actions", name), "unused-action", f"no rule shows {name!r}; use it or remove it"


def _thresholds(policy: PolicyFile) -> Iterator[_Remark]:
    for name, stage in policy.stages.items():
        at: Path = ("stages", name, "threshold")
        if stage.threshold < 0.5:
            yield at, "low-threshold", f"at {stage.threshold:g} another stage may be likelier; use 0.5 or more"
        elif stage.threshold > 0.99:
            yield at, "never-acts", f"hardly any decision reaches {stage.threshold:g}; 0.7 is the usual value"
        if stage.fallback == NEUTRAL_WORD:
            continue
        targets = STAGES if stage.fallback == NEXT_WORD else (stage.fallback,)
        rules = [r for t in targets if t != name and t in policy.stages for r in policy.stages[t].rules]
        if any(_of(policy, rule.show).persuasive for rule in rules):
            yield (
                ("stages", name, "fallback"),
                "persuasion-on-doubt",
                f"falling back to {stage.fallback!r} may persuade a shopper whom the model cannot place; use `neutral`",
            )


def _of(policy: PolicyFile, name: str) -> Action:
    return policy.actions.get(name, _NOTHING)


_NOTHING: Final = Action(label=NO_ACTION)
_CHECKS: Final[tuple[Callable[[PolicyFile], Iterator[_Remark]], ...]] = (
    wording,
    promises,
    units,
    currencies,
    _limits,
    _escalation,
    _reach,
    _use,
    _thresholds,
    experiments,
)


def report(path: str | FilePath, outputs: HeadOutputs = (), before: PolicyFile | None = None) -> tuple[str, bool]:
    """What ``clickstage check --policy`` prints, and whether the policy is clean; arguments as for `lint`."""
    try:
        findings = lint(path, outputs, before)
    except PolicyError as error:
        return str(error), False
    if findings:
        lines = [f"{path}:{f.line}: {f.code}: {f.message}" for f in findings]
        return "\n".join([*lines, f"{len(findings)} finding{'s' if len(findings) > 1 else ''}"]), False
    policy, _ = load(read_policy(path), str(path), outputs)
    rules = sum(len(stage.rules) for stage in policy.stages.values())
    return (
        f"{path}: version {policy.version}, hash {policy.hash}: {len(policy.actions)} actions, {rules} rules, "
        f"{len(policy.experiments)} experiments; nothing to complain about"
    ), True
