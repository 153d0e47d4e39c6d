"""The readable twin of `decisions.policy.engine`: one decision at a time, from the policy file, in plain Python."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from decisions.policy.conditions import Condition, category_code
from decisions.policy.model import Action, Experiment, PolicyFile
from featurestore.columns.hashing import hash_text
from featurestore.contract.codes import country_name, currency_code
from featurestore.contract.event import DEVICES, SOURCES
from featurestore.session.features import FEATURES
from featurestore.session.observation import BOT, CLEAR, END, SILENCE, UPLOAD
from featurestore.session.stages import STAGES

CAPS: Final = {
    "session_persuasion_cap",
    "visitor_persuasion_cap",
    "action_session_cap",
    "action_visitor_cap",
    "cool_down",
    "offer_ended",
    "memory_full",
}
COMPARE: Final = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
U64: Final = (1 << 64) - 1


@dataclass
class Showing:
    """What is remembered of an action: how often it was shown, and from when its cool-down counts."""

    count: int
    at: int


@dataclass
class Session:
    stage: str | None = None
    candidate: str | None = None
    candidate_n: int = 0
    flips: int = 0
    since: int = 0
    spent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    action: str = "none"
    offer_until: int = 0
    persuasive: int = 0
    showings: dict[str, Showing] = field(default_factory=dict)
    over: bool = False


@dataclass(frozen=True)
class Row:
    """One observation with its context."""

    session_index: int
    kind: int
    t: int
    features: Sequence[float]
    probabilities: Sequence[float]
    session: int = 1
    visitor: int = 0
    category: int = 0
    cart_value: float = math.nan
    cart_items: int = 0
    visitor_sessions: int = 0
    visitor_actions: int = 0
    country: int = 0
    currency: int = 0
    device: int = 0
    source: int = 0
    purchases: int = 0
    visitor_segment: int = 0


@dataclass(frozen=True)
class Answer:
    route: str
    stage: str
    action: str
    guards: frozenset[str]
    offer_until: int = 0
    arms: tuple[tuple[str, str], ...] = ()
    stage_changed: bool = False
    action_changed: bool = False


class Twin:
    def __init__(self, policy: PolicyFile) -> None:
        self.policy = policy
        self.sessions: dict[int, Session] = {}
        self.ended: list[Session] = []

    def decide(self, row: Row) -> Answer:
        if row.kind == CLEAR:
            self.sessions[row.session_index] = Session()
            return Answer("ended", STAGES[0], "none", frozenset())
        s = self.sessions.setdefault(row.session_index, Session())
        if s.over and row.kind != END:
            s = self.sessions[row.session_index] = Session()
        arms = self.arms(row)
        now = max(row.t, s.since)
        if s.stage is not None:
            s.spent[s.stage] += min(now - s.since, 600_000)
        s.since = now
        if row.kind in {END, BOT, UPLOAD}:
            if row.kind == END:
                s.over = True
                self.ended.append(s)
            route = "ended" if row.kind == END else "bot"
            return Answer(route, s.stage or STAGES[0], "none", frozenset(), arms=self.words(arms))

        p = dict(zip(STAGES, row.probabilities, strict=True))
        top = max(STAGES, key=lambda name: p[name])
        stage_changed = self.turn(s, p, top, silence=row.kind == SILENCE)
        assert s.stage is not None
        route, action, guards = self.choose(s, p, top, now, row, arms)
        action_changed = self.show(s, action, now)
        return Answer(
            route,
            s.stage,
            action,
            frozenset(guards),
            s.offer_until,
            self.words(arms),
            stage_changed,
            action_changed,
        )

    def turn(self, s: Session, p: dict[str, float], top: str, *, silence: bool) -> bool:
        if top == s.stage:
            s.candidate, s.candidate_n = None, 0
            return False
        if s.stage is not None:
            s.candidate_n = s.candidate_n + 1 if s.candidate == top else 1
            s.candidate = top
            h = self.policy.hysteresis
            at_once = h.margin is None and h.persistence is None
            clear = h.margin is not None and p[top] - p[s.stage] >= h.margin
            lasting = h.persistence is not None and s.candidate_n >= h.persistence
            if not (silence or at_once or clear or lasting):
                return False
            s.flips = min(s.flips + 1, 255)
        s.stage, s.candidate, s.candidate_n = top, None, 0
        return True

    def choose(
        self, s: Session, p: dict[str, float], top: str, now: int, row: Row, arms: dict[str, str]
    ) -> tuple[str, str, set[str]]:
        neutral = "none" if self.policy.neutral in self.policy.kill_switches.actions else self.policy.neutral
        if self.policy.kill_switches.all:
            return "killed", "none", {"all_killed"}
        if any(self.policy.experiments[e].arms[a].holdout for e, a in arms.items()):
            return "holdout", neutral, {"holdout"}
        stage = s.stage
        assert stage is not None
        if top != stage:
            guards = self.forbidden(s.action, row)
            if s.action != "none" and not self.running(s, s.action, now):
                guards.add("offer_ended")
            if s.action != "none" and self.lapsed(s.action, row, arms):
                guards.add("condition_lapsed")
            return "held", neutral if guards else s.action, guards

        sure = p[stage] >= (self.policy.stages[stage].threshold if stage in self.policy.stages else 0)
        guards = set() if sure else {"low_confidence"}
        blocked: str | None = None
        at, own, last = stage, True, False
        while True:
            for rule in self.policy.stages[at].rules if at in self.policy.stages and (sure or not own) else []:
                if not all(self.holds(c, row) for c in rule.conditions()):
                    continue
                action = rule.show
                for e, a in arms.items():
                    action = self.policy.experiments[e].arms[a].replace.get(action, action)
                if action == "none" and rule.show != "none":
                    return "holdout", neutral, guards | {"holdout"}
                against = self.against(s, action, p[at], now, row)
                if not against:
                    route = "act" if own else blocked if blocked and sure else "fallback"
                    return route, action, guards
                guards |= against
                if blocked is None:
                    blocked = "killed" if "action_killed" in against else "capped" if against & CAPS else "guarded"
            own = False
            fallback = self.policy.stages[at].fallback if at in self.policy.stages else "neutral"
            if last or fallback == "neutral":
                return blocked or "neutral", neutral, guards
            if fallback == "next":
                last = True
                fallback = max((name for name in STAGES if name != at), key=lambda name: p[name])
            at = fallback

    def cart_value(self, row: Row) -> float:
        """What conditions compare: nothing is known of a cart in another currency than the policy's."""
        mine = currency_code(self.policy.currency)
        if mine and row.currency and row.currency != mine:
            return math.nan
        return row.cart_value if math.isnan(row.cart_value) else math.floor(row.cart_value * 1e6 + 0.5) / 1e6

    def lapsed(self, name: str, row: Row, arms: dict[str, str]) -> bool:
        """Whether rules show this action, and none of them would any more."""
        found = []
        for stage in self.policy.stages.values():
            for rule in stage.rules:
                shown = rule.show
                for e, a in arms.items():
                    shown = self.policy.experiments[e].arms[a].replace.get(shown, shown)
                if shown == name:
                    found.append(all(self.holds(c, row) for c in rule.conditions()))
        return bool(found) and not any(found)

    def holds(self, c: Condition, row: Row) -> bool:
        first = math.nan if row.visitor == 0 else float(row.visitor_sessions == 0)
        values = dict(zip(FEATURES, row.features, strict=True)) | {
            "first_time_visitor": first,
            "cart_value": self.cart_value(row),
            "cart_items": row.cart_items,
            "purchases": row.purchases,
            "earlier_segment": row.visitor_segment or math.nan,
        }
        if c.variable in values:
            value = values[c.variable]
            if c.operator == "in":
                return value in c.values
            return bool(COMPARE[c.operator](value, c.values[0]))
        if c.variable == "category":
            return row.category in {category_code(w) for w in c.words}
        names = {"device": DEVICES[row.device], "source": SOURCES[row.source]}
        names["country"] = country_name(row.country) or "unknown"
        return names[c.variable] in c.words

    def forbidden(self, name: str, row: Row) -> set[str]:
        action = self.policy.actions.get(name)
        if action is None:
            return set()
        if name in self.policy.kill_switches.actions:
            return {"action_killed"}
        guards = set()
        excluded = {category_code(c) for c in self.policy.guardrails.excluded_categories}
        if action.persuasive and row.category in excluded:
            guards.add("excluded_category")
        first = row.visitor != 0 and row.visitor_sessions == 0
        if action.urgency and first and not self.policy.guardrails.urgency_for_first_time_visitors:
            guards.add("urgency_first_visit")
        return guards

    def against(self, s: Session, name: str, confidence: float, now: int, row: Row) -> set[str]:
        if name == "none":
            return set()
        guards = self.forbidden(name, row)
        if "action_killed" in guards or self.running(s, name, now):
            return guards
        rails, action = self.policy.guardrails, self.policy.actions[name]
        if action.urgency and confidence < rails.urgency_min_confidence:
            guards.add("urgency_confidence")
        if action.persuasive:
            if rails.persuasive_per_session is not None and s.persuasive >= rails.persuasive_per_session:
                guards.add("session_persuasion_cap")
            cap = rails.persuasive_per_visitor
            if row.visitor and cap is not None and row.visitor_actions + s.persuasive >= cap:
                guards.add("visitor_persuasion_cap")
        seen = s.showings.get(name, Showing(0, 0))
        if row.visitor and action.max_per_visitor and row.visitor_actions + seen.count >= action.max_per_visitor:
            guards.add("action_visitor_cap")
        if seen.count:
            if action.session_cap and seen.count >= action.session_cap:
                guards.add("action_session_cap")
            if now < seen.at + action.cool_down_seconds * 1000:
                guards.add("cool_down")
            if action.offer_minutes and guards & {"action_session_cap", "cool_down"}:
                guards.add("offer_ended")
        elif self.limited(action) and not self.room(s):
            guards.add("memory_full")
        return guards

    def running(self, s: Session, name: str, now: int) -> bool:
        if s.action == name:
            return s.offer_until == 0 or now < s.offer_until
        action = self.policy.actions.get(name)
        return bool(action and action.offer_minutes and name in s.showings and now < s.showings[name].at)

    def show(self, s: Session, name: str, now: int) -> bool:
        before = s.action
        s.action = name
        if name == "none":
            s.offer_until = 0
            return before != name
        action = self.policy.actions[name]
        s.action = before
        if self.running(s, name, now):
            if before != name:
                s.offer_until = s.showings[name].at
            elif s.offer_until == 0 and name in s.showings:
                s.showings[name].at = now
            s.action = name
            return before != name
        s.action = name
        s.offer_until = now + round(action.offer_minutes * 60_000) if action.offer_minutes else 0
        s.persuasive = min(s.persuasive + action.persuasive, 255)
        if name not in s.showings and len(s.showings) == 8:
            victim = self.free_victim(s)
            if not self.limited(action) or victim is None:
                return True
            s.showings = {
                name if k == victim else k: Showing(0, 0) if k == victim else x for k, x in s.showings.items()
            }
        showing = s.showings.setdefault(name, Showing(0, 0))
        showing.count = min(showing.count + 1, 255)
        showing.at = max(now, s.offer_until)
        return True

    def limited(self, action: Action) -> bool:
        return bool(action.session_cap or action.cool_down_seconds or action.max_per_visitor)

    def free_victim(self, s: Session) -> str | None:
        for name in s.showings:
            action = self.policy.actions[name]
            if not (self.limited(action) or action.persuasive):
                return name
        return None

    def room(self, s: Session) -> bool:
        return len(s.showings) < 8 or self.free_victim(s) is not None

    def arms(self, row: Row) -> dict[str, str]:
        found = {}
        taken: dict[str, float] = {}
        for name, x in self.policy.experiments.items():
            layer = x.layer or name
            low = taken.get(layer, 0.0)
            taken[layer] = low + x.share
            arm = arm_of(name, x, row.visitor if x.unit == "visitor" else row.session, low, taken[layer])
            if arm is not None:
                found[name] = arm
        return found

    def words(self, arms: dict[str, str]) -> tuple[tuple[str, str], ...]:
        return tuple((name, f"{arm}@{self.policy.experiments[name].salt_version}") for name, arm in arms.items())


def arm_of(name: str, x: Experiment, unit: int, low: float, high: float) -> str | None:
    if unit == 0:
        return None
    place = draw(unit, hash_text(f"layer:{x.layer or name}"))
    if place < low or (place >= high and high < 1 - 1e-9):
        return None
    u = draw(unit, hash_text(f"arms:{name}@{x.salt_version}"))
    until = 0.0
    for arm_name, arm in x.arms.items():
        until += arm.share
        if u < until:
            return arm_name
    return list(x.arms)[-1]


def draw(unit: int, salt: int) -> float:
    def mix(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & U64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & U64
        return z ^ (z >> 31)

    z = mix(((unit ^ salt) + 0x9E3779B97F4A7C15) & U64)
    return float(mix((z + salt) & U64) >> 11) * 2.0**-53
