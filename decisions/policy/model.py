"""The format of policy.yaml, as marketing writes it, and everything that is refused.

`load` reads a file; what it returns is valid as a whole: every name resolves, no fallback runs in a circle, shares add
up. All problems are reported at once, each with file, line, what is wrong and what to do.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from decisions.policy.conditions import Condition, ConditionError, HeadOutputs, parse_conditions, suggest
from decisions.policy.source import Path, Source, parse
from decisions.policy.vocabulary import NO_ACTION
from featurestore.columns.hashing import hash_text
from featurestore.session.stages import STAGES

FORMAT: Final = 1
NEUTRAL_WORD: Final = "neutral"
NEXT_WORD: Final = "next"
MAX_ACTIONS: Final = 200
MAX_RULES: Final = 64
MAX_CONDITIONS: Final = 1024
MAX_CONDITION_VALUES: Final = 4096
MAX_EXCLUDED: Final = 200
MAX_EXPERIMENTS: Final = 8
MAX_ARMS: Final = 15

_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Action(_Part):
    """Something the front end can show.

    Attributes:
        label: what it is, in words that a shopper may see.
        persuasive: counts towards the persuasion caps.
        urgency: puts time pressure on the shopper.
        discount_percent: size of the discount it grants.
        offer_minutes: the offer ends so long after it was first shown.
        cool_down_seconds: pause between two showings, from the end of the first.
        max_per_session: showings in one session; 1 where an offer says nothing else.
        max_per_visitor: no showing once the visitor's persuasive actions of 24 h and this action's showings in the
            session reach it.
        id: number kept in the session's memory; derived from the name unless two names collide.
    """

    label: Annotated[str, Field(min_length=1, max_length=160)]
    persuasive: bool = False
    urgency: bool = False
    discount_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    offer_minutes: Annotated[float, Field(gt=0, le=1440)] | None = None
    cool_down_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0
    max_per_session: Annotated[int, Field(ge=1, le=255)] | None = None
    max_per_visitor: Annotated[int, Field(ge=1, le=255)] | None = None
    id: Annotated[int, Field(ge=1, le=65_535)] | None = None

    @property
    def parameters(self) -> dict[str, float]:
        """What it grants, by the name of the key: ``discount_percent``, ``offer_minutes``."""
        granted = {"discount_percent": self.discount_percent, "offer_minutes": self.offer_minutes}
        return {name: value for name, value in granted.items() if value is not None}

    @property
    def session_cap(self) -> int | None:
        """Showings allowed in a session, None for any number."""
        return 1 if self.max_per_session is None and self.offer_minutes is not None else self.max_per_session


class Rule(_Part):
    """Show an action when all conditions hold; the first rule whose action may be shown wins."""

    show: str
    when: Annotated[list[str], Field(max_length=16)] = []
    why: Annotated[str, Field(max_length=200)] = ""

    @field_validator("when", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    def conditions(self) -> tuple[Condition, ...]:
        """The conditions, read; raises ConditionError."""
        return tuple(c for text in self.when for c in parse_conditions(text))


class Stage(_Part):
    """What to show in one stage of the journey."""

    threshold: _Share = 0.7
    rules: Annotated[list[Rule], Field(max_length=MAX_RULES)] = []
    fallback: str = NEUTRAL_WORD


class Hysteresis(_Part):
    """A stage change needs a lead of ``margin`` in probability, or ``persistence`` decisions in a row.

    Silence needs neither.
    With both left out every change counts at once.
    """

    margin: _Share | None = None
    persistence: Annotated[int, Field(ge=1, le=50)] | None = None


class Guardrails(_Part):
    """Limits that hold whatever the rules say."""

    persuasive_per_session: Annotated[int, Field(ge=0, le=255)] | None = 3
    persuasive_per_visitor: Annotated[int, Field(ge=0, le=255)] | None = 6
    urgency_for_first_time_visitors: bool = False
    urgency_min_confidence: _Share = 0.8
    excluded_categories: Annotated[list[str], Field(max_length=MAX_EXCLUDED)] = []


class KillSwitches(_Part):
    """Switches that take effect with the next reload."""

    all: bool = False
    actions: list[str] = []


class Arm(_Part):
    """One group of an experiment: ``holdout`` sees the neutral action, ``replace`` shows another action instead."""

    share: _Share
    holdout: bool = False
    replace: dict[str, str] = {}


class Experiment(_Part):
    """Groups drawn by a salted hash. Experiments of one ``layer`` share its traffic; layers are independent."""

    arms: Annotated[dict[_Name, Arm], Field(min_length=2, max_length=MAX_ARMS)]
    salt_version: Annotated[int, Field(ge=1, le=10_000)] = 1
    unit: Literal["session", "visitor"] = "session"
    layer: _Name | None = None
    share: _Share = 1.0


class PolicyFile(_Part):
    """A whole policy."""

    version: Annotated[str, Field(min_length=1, max_length=32)]
    stages: dict[str, Stage]
    actions: Annotated[dict[_Name, Action], Field(max_length=MAX_ACTIONS)]
    format: Literal[1] = FORMAT
    description: Annotated[str, Field(max_length=2000)] = ""
    currency: Annotated[str, Field(pattern=r"^([A-Z]{3})?$")] = ""
    neutral: str = NO_ACTION
    hysteresis: Hysteresis = Hysteresis()
    guardrails: Guardrails = Guardrails()
    kill_switches: KillSwitches = KillSwitches()
    experiments: Annotated[dict[_Name, Experiment], Field(max_length=MAX_EXPERIMENTS)] = {}

    @field_validator("version", mode="before")
    @classmethod
    def _number_is_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names by action number; 0 is `NO_ACTION`."""
        return (NO_ACTION, *self.actions)

    @property
    def hash(self) -> str:
        """8 hex digits over the content; comments and layout do not count."""
        content = self.model_dump(mode="json")
        if not self.currency:
            del content["currency"]  # a policy without it keeps the hash that it had before there was one
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def load(text: str, name: str, outputs: HeadOutputs | None = ()) -> tuple[PolicyFile, Source]:
    """Read and check a policy; ``outputs`` of the bundle's heads are what its conditions may name as well (None: any).

    Raises:
        PolicyFileError: with every problem of the file.
    """
    source = parse(text, name)
    try:
        policy = PolicyFile.model_validate(source.data)
    except ValidationError as error:
        raise source.refused(_shape_problems(error)) from None
    problems = list(_problems(policy, outputs))
    if problems:
        raise source.refused(problems)
    return policy, source


def action_ids(policy: PolicyFile) -> tuple[int, ...]:
    """The persisted id of each action by number; 0 for none."""
    return (0, *(a.id or (hash_text(n) & 0xFFFF) or 1 for n, a in policy.actions.items()))


_KEYS: Final[dict[str, type[BaseModel]]] = {
    "": PolicyFile,
    "stages.*": Stage,
    "stages.*.rules.*": Rule,
    "actions.*": Action,
    "hysteresis": Hysteresis,
    "guardrails": Guardrails,
    "kill_switches": KillSwitches,
    "experiments.*": Experiment,
    "experiments.*.arms.*": Arm,
}


def _shape_problems(error: ValidationError) -> Iterator[tuple[Path, str]]:
    for detail in error.errors(include_url=False):
        path: Path = tuple(p for p in detail["loc"] if p != "[key]")
        where, message = _dotted(path), detail["msg"]
        if detail["type"] == "extra_forbidden":
            yield path, f"{where}: unknown key{suggest(str(path[-1]), _keys_at(path[:-1]))}"
        elif detail["type"] == "missing":
            yield path[:-1], f"{where}: missing; add it"
        elif detail["type"] == "string_type":
            yield path, f"{where}: must be text; put it in quotes"
        elif detail["type"] == "string_pattern_mismatch":
            yield path, f"{where}: a name has letters, digits, '-', '_' and '.', without spaces"
        elif (share := _meant_share(detail["type"], detail.get("ctx"), path, detail["input"])) is not None:
            yield path, f"{where}: a share is a number between 0 and 1; write {share:g}"
        else:
            yield path, f"{where}: {message[0].lower()}{message[1:]}; correct it"


_SHARE_KEYS: Final = ("share", "threshold", "margin", "urgency_min_confidence")


def _meant_share(kind: str, context: dict[str, Any] | None, path: Path, value: object) -> float | None:
    """The share that somebody meant who wrote 80, "80%" or "0.8"; None for anything else."""
    if not path or path[-1] not in _SHARE_KEYS:
        return None
    if kind == "less_than_equal" and isinstance(value, int | float) and (context or {}).get("le") == 1:
        return value / 100 if 2 <= value <= 100 else None  # 1.7 is a slip of another kind
    if kind == "float_type" and isinstance(value, str):
        try:
            number = float(value.strip().removesuffix("%").replace(",", "."))
        except ValueError:
            return None
        percent = "%" in value or number > 1
        share = number / 100 if percent else number
        return share if 0 <= share <= 1 else None
    return None


def _keys_at(path: Path) -> list[str]:
    for pattern, model in _KEYS.items():
        parts = pattern.split(".") if pattern else []
        if len(parts) == len(path) and all(p in {"*", str(q)} for p, q in zip(parts, path, strict=True)):
            return list(model.model_fields)
    return []


def _dotted(path: Path) -> str:
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.removeprefix(".") or "the file"


def _problems(policy: PolicyFile, outputs: HeadOutputs | None) -> Iterator[tuple[Path, str]]:
    """What the shape alone cannot tell."""
    for path, message in (
        *_action_problems(policy),
        *_stage_problems(policy, outputs),
        *_name_problems(policy),
        *_experiment_problems(policy),
    ):
        yield path, f"{_dotted(path)}: {message}"


def _action_problems(policy: PolicyFile) -> Iterator[tuple[Path, str]]:
    owner: dict[int, str] = {}
    for number, (name, action) in zip(action_ids(policy)[1:], policy.actions.items(), strict=True):
        at: Path = ("actions", name)
        if name == NO_ACTION:
            yield at, f"{NO_ACTION!r} means showing nothing; choose another name"
        if number in owner:
            yield at, f"shares its id {number} with {owner[number]!r}; give one of them an `id:` of its own"
        owner[number] = name
        if not action.persuasive and (action.urgency or action.discount_percent or action.offer_minutes):
            yield at, "urgency, discounts and timed offers persuade; set `persuasive: true` so that the caps count them"
        if action.max_per_visitor is not None and not action.persuasive:
            yield (*at, "max_per_visitor"), "only persuasive actions are remembered per visitor; remove it"
        again = action.session_cap is None or action.session_cap > 1
        pause = round((action.offer_minutes or 0) * 60)
        if again and action.cool_down_seconds < pause:
            remedy = f"set `max_per_session: 1` or `cool_down_seconds: {pause}`"
            yield (*at, "max_per_session"), f"an offer that comes back at once does not really end; {remedy}"


def _stage_problems(policy: PolicyFile, outputs: HeadOutputs | None) -> Iterator[tuple[Path, str]]:
    conditions: list[Condition] = []
    for name, stage in policy.stages.items():
        if name not in STAGES:
            yield ("stages", name), f"unknown stage{suggest(name, STAGES)}"
            continue
        if stage.fallback not in {NEUTRAL_WORD, NEXT_WORD, *STAGES}:
            choices = [NEUTRAL_WORD, NEXT_WORD, *STAGES]
            yield ("stages", name, "fallback"), f"unknown fallback {stage.fallback!r}{suggest(stage.fallback, choices)}"
        cycle = _cycle(policy, name)
        if cycle:
            yield ("stages", name, "fallback"), f"runs in a circle: {' -> '.join(cycle)}; let one of them be neutral"
        for i, rule in enumerate(stage.rules):
            at: Path = ("stages", name, "rules", i)
            if rule.show not in policy.action_names:
                yield (*at, "show"), f"unknown action {rule.show!r}{suggest(rule.show, policy.action_names)}"
            for j, text in enumerate(rule.when):
                try:
                    conditions += parse_conditions(text, outputs)
                except ConditionError as error:
                    yield (*at, "when", j), str(error)
    if len(conditions) > MAX_CONDITIONS or sum(len(c.values) for c in conditions) > MAX_CONDITION_VALUES:
        yield (
            ("stages",),
            (f"more than {MAX_CONDITIONS} conditions or {MAX_CONDITION_VALUES} values; merge rules, or use `in`"),
        )


def _cycle(policy: PolicyFile, start: str) -> list[str]:
    """The circle of fallbacks that leads back to ``start``, empty if none does."""
    chain = [start]
    while (stage := policy.stages.get(chain[-1])) is not None and len(chain) <= len(STAGES):
        if stage.fallback == start:
            return [*chain, start]
        chain.append(stage.fallback)
    return []


def _name_problems(policy: PolicyFile) -> Iterator[tuple[Path, str]]:
    neutral = policy.actions.get(policy.neutral)
    if policy.neutral not in policy.action_names:
        yield ("neutral",), f"unknown action {policy.neutral!r}{suggest(policy.neutral, policy.action_names)}"
    elif neutral is not None and (neutral.persuasive or neutral.session_cap is not None or neutral.cool_down_seconds):
        yield ("neutral",), f"{policy.neutral!r} persuades or is limited; the neutral action must be free of both"
    for i, name in enumerate(policy.kill_switches.actions):
        if name not in policy.actions:
            yield ("kill_switches", "actions", i), f"unknown action {name!r}{suggest(name, list(policy.actions))}"


def _experiment_problems(policy: PolicyFile) -> Iterator[tuple[Path, str]]:
    layers: dict[str, float] = {}
    for name, experiment in policy.experiments.items():
        at: Path = ("experiments", name)
        total = sum(arm.share for arm in experiment.arms.values())
        if abs(total - 1) > 1e-9:
            yield (*at, "arms"), f"the shares of the arms add up to {total:g}; make it 1"
        layer = experiment.layer or name
        layers[layer] = layers.get(layer, 0.0) + experiment.share
        if layers[layer] > 1 + 1e-9:
            yield (
                (*at, "share"),
                (
                    f"the experiments of layer {layer!r} take {layers[layer]:.0%} of its traffic; lower a share or "
                    "give this experiment a layer of its own"
                ),
            )
        for arm_name, arm in experiment.arms.items():
            here: Path = (*at, "arms", arm_name)
            if arm.holdout and arm.replace:
                yield here, "a holdout shows the neutral action only; remove `replace`"
            for old, new in arm.replace.items():
                if old not in policy.actions:
                    yield (*here, "replace", old), f"unknown action {old!r}{suggest(old, list(policy.actions))}"
                if new not in policy.action_names:
                    yield (*here, "replace", old), f"unknown action {new!r}{suggest(new, policy.action_names)}"
