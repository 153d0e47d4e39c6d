"""The decision loop: one pass over the observations of a batch, the memory of each session changed in place.

A *showing* of an action begins when the decision turns to it and lasts while decisions stay with it. Caps count
showings. A cool-down runs from the end of the last showing: the offer's end for a timed offer, else the last decision
that showed it. A timed offer that the shopper left and comes back to within its time goes on, with its old end.

What a visitor was shown in its visits of the last day counts against its caps. A visit may end and the next one begin
in the same batch, so this pass enters in the profiles what was shown in a visit when it ends, and reads them when a
session's visitor becomes known.

Time never runs backwards in a session: an event older than the decision before it is decided at that decision's time.
Everything comes from the arguments, so the same log gives the same decisions, however it is cut into batches.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from decisions.experiments.arms import BITS_PER_EXPERIMENT, enrol
from decisions.policy import vocabulary as v
from decisions.policy.compile import FALLBACK_NEXT
from decisions.policy.matching import holds
from decisions.policy.showings import number, place, room, running, show, signed
from featurestore.columns.jit import compiled
from featurestore.session.observation import BOT as BOT_ROW
from featurestore.session.observation import CLEAR, END, SILENCE, UPLOAD
from featurestore.session.state import remember
from featurestore.session.visitors import profile_at, recent_actions

OVER: Final = 1
"""Flag of a memory whose session has ended: the next row under the same index starts afresh."""

MAX_GAP_MS: Final = 600_000
"""Time between two decisions counts at most this in a stage, like a gap in the features."""

_ACT, _FALLBACK, _NEUTRAL, _HELD = v.ACT, v.FALLBACK, v.NEUTRAL, v.HELD
_CAPPED, _GUARDED, _KILLED, _HOLDOUT = v.CAPPED, v.GUARDED, v.KILLED, v.HOLDOUT
_BOT, _ENDED = v.BOT, v.ENDED
_STAGE_CHANGED, _ACTION_CHANGED = v.STAGE_CHANGED, v.ACTION_CHANGED
_CAPS: Final = (
    v.SESSION_PERSUASION_CAP
    | v.VISITOR_PERSUASION_CAP
    | v.ACTION_SESSION_CAP
    | v.ACTION_VISITOR_CAP
    | v.COOL_DOWN
    | v.OFFER_ENDED
    | v.MEMORY_FULL
)


@compiled
def decide_rows(
    obs: NDArray[np.void],
    features: NDArray[np.float64],
    proba: NDArray[np.float64],
    outputs: NDArray[np.float64],
    context: NDArray[np.void],
    memory: NDArray[np.void],
    profiles: NDArray[np.void],
    states: NDArray[np.void],
    over: NDArray[np.void],
    policy: NDArray[np.void],
    out: NDArray[np.void],
    ended: NDArray[np.void],
) -> None:
    """Fill ``out``, one row an observation; copy the memory at the k-th END row to ``ended[k]``.

    ``over[k]`` is the session's state there. What a visitor was shown in earlier visits is filled in where it became
    known in this batch: in ``context``, ``over``, and ``states`` (none or all of the sessions).
    """
    tables = policy[0]
    blank = np.zeros_like(memory[:1])
    actions = np.full(memory.size, -1, np.int64)
    n_ended = 0
    for i in range(obs.size):
        kind = obs[i]["kind"]
        index = obs[i]["session_index"]
        m = memory[index]
        c = context[i]
        d = out[i]
        if obs[i]["recognised"]:
            at = profile_at(profiles, c["visitor"], index)
            actions[index] = recent_actions(profiles[at], obs[i]["t"]) if at >= 0 else 0
        if actions[index] >= 0:
            c["visitor_actions"] = actions[index]
        d["confidence"] = 0.0
        d["offer_until"] = 0
        d["arms"] = 0
        d["action"] = 0
        d["guards"] = 0
        d["changed"] = 0
        d["rule"] = 0
        if kind == CLEAR:
            memory[index] = blank[0]
            actions[index] = -1
            d["stage"] = 0
            d["top"] = 0
            d["route"] = _ENDED
            continue
        if m["flags"] & OVER and kind != END:
            memory[index] = blank[0]
        d["arms"] = enrol(c["session"], c["visitor"], tables)
        now = max(obs[i]["t"], m["stage_since"])
        if m["shown"] > 0:
            m["stage_ms"][m["shown"] - 1] += min(now - m["stage_since"], MAX_GAP_MS)
        m["stage_since"] = now
        if kind in (END, BOT_ROW, UPLOAD):
            stage = max(signed(m["shown"]) - 1, 0)
            d["stage"] = stage
            d["top"] = stage
            d["route"] = _BOT
            if kind == END:
                d["route"] = _ENDED
                m["flags"] |= OVER
                ended[n_ended] = memory[index]
                _remember(over[n_ended], c, index, signed(m["persuasive"]), profiles)
                actions[index] = -1
                n_ended += 1
            continue
        top = _likeliest(proba, i, -1)
        stage, changed = _stage(m, proba, i, top, kind == SILENCE, tables)
        d["top"] = top
        d["stage"] = stage
        d["confidence"] = proba[i, stage]
        route, action, guards, rule = _choose(i, stage, top, now, d["arms"], features, proba, outputs, c, m, tables)
        if show(m, action, now, tables):
            changed |= _ACTION_CHANGED
        d["route"] = route
        d["action"] = action
        d["guards"] = guards
        d["offer_until"] = m["offer_until"]
        d["changed"] = changed
        d["rule"] = rule
    for index in range(states.size):
        if actions[index] >= 0:
            states[index]["visitor_actions"] = actions[index]


@compiled
def _remember(over: np.void, c: np.void, index: int, shown: int, profiles: NDArray[np.void]) -> None:
    """Enter in the visitor's profile what was shown in a session that has ended."""
    over["visitor_actions"] = c["visitor_actions"]
    at = profile_at(profiles, c["visitor"], index) if c["visitor"] != 0 else -1
    if at >= 0:
        remember(profiles[at], over, shown, 0)


@compiled
def _likeliest(proba: NDArray[np.float64], i: int, but: int) -> int:
    """The likeliest stage other than ``but``; the lower number on a tie."""
    best = 1 if but == 0 else 0
    for s in range(best + 1, proba.shape[1]):
        if s != but and proba[i, s] > proba[i, best]:
            best = s
    return best


@compiled
def _stage(m: np.void, proba: NDArray[np.float64], i: int, top: int, silence: bool, tables: np.void) -> tuple[int, int]:
    """The stage shown after hysteresis, and whether it changed."""
    shown = signed(m["shown"]) - 1
    if top == shown:
        m["candidate"] = 0
        m["candidate_n"] = 0
        return shown, 0
    if shown >= 0:
        if m["candidate"] != top + 1:
            m["candidate"] = top + 1
            m["candidate_n"] = 0
        m["candidate_n"] = min(m["candidate_n"] + 1, 255)
        clear = proba[i, top] - proba[i, shown] >= tables["margin"]
        if not (silence or clear or m["candidate_n"] >= tables["persistence"]):
            return shown, 0
        m["flips"] = min(m["flips"] + 1, 255)
    m["shown"] = top + 1
    m["candidate"] = 0
    m["candidate_n"] = 0
    return top, _STAGE_CHANGED


@compiled
def _choose(
    i: int,
    stage: int,
    top: int,
    now: int,
    arms: int,
    features: NDArray[np.float64],
    proba: NDArray[np.float64],
    outputs: NDArray[np.float64],
    c: np.void,
    m: np.void,
    tables: np.void,
) -> tuple[int, int, int, int]:
    """Route, action number, guards and rule + 1 (0: no rule chose it) of one decision; changes nothing."""
    if tables["all_killed"]:
        return _KILLED, 0, v.ALL_KILLED, 0
    for e in range(tables["n_experiments"]):
        arm = (arms >> (BITS_PER_EXPERIMENT * e)) & 15
        if arm > 0 and tables["holdout"][e, arm - 1]:
            return _HOLDOUT, tables["neutral"], v.GUARD_HOLDOUT, 0
    if top != stage:
        action = number(m["action"], tables)
        if action < 0:
            return _HELD, tables["neutral"], 0, 0
        guards = _forbidden(action, c, tables)
        if action > 0 and not running(action, now, m, tables):
            guards |= v.OFFER_ENDED
        if action > 0 and _lapsed(action, arms, i, features, proba, outputs, c, tables):
            guards |= v.CONDITION_LAPSED
        return _HELD, action if guards == 0 else tables["neutral"], guards, 0

    sure = proba[i, stage] >= tables["threshold"][stage]
    guards = 0 if sure else v.LOW_CONFIDENCE
    blocked = -1
    at = stage
    own = True
    last = False
    while True:
        if sure or not own:
            for r in range(tables["rule_from"][at], tables["rule_from"][at + 1]):
                if not holds(r, i, features, proba, outputs, c, tables):
                    continue
                wanted = tables["rule_action"][r]
                action = _replaced(wanted, arms, tables)
                if action == 0 and wanted != 0:
                    return _HOLDOUT, tables["neutral"], guards | v.GUARD_HOLDOUT, 0
                against = _against(action, proba[i, at], now, c, m, tables)
                if against == 0:
                    if own:
                        return _ACT, action, guards, r + 1
                    return _FALLBACK if blocked < 0 or not sure else blocked, action, guards, r + 1
                guards |= against
                if blocked < 0:
                    blocked = _KILLED if against & v.ACTION_KILLED else _CAPPED if against & _CAPS else _GUARDED
        own = False
        after = tables["fallback"][at]
        if last or (after < 0 and after != FALLBACK_NEXT):
            return _NEUTRAL if blocked < 0 else blocked, tables["neutral"], guards, 0
        if after == FALLBACK_NEXT:
            last = True
            after = _likeliest(proba, i, at)
        at = after


@compiled
def _lapsed(
    action: int,
    arms: int,
    i: int,
    features: NDArray[np.float64],
    proba: NDArray[np.float64],
    outputs: NDArray[np.float64],
    c: np.void,
    tables: np.void,
) -> bool:
    """Whether rules show this action, and none of them would any more: an empty basket needs no reminder."""
    named = False
    for r in range(tables["rule_from"][0], tables["rule_from"][proba.shape[1]]):
        if _replaced(tables["rule_action"][r], arms, tables) == action:
            if holds(r, i, features, proba, outputs, c, tables):
                return False
            named = True
    return named


@compiled
def _replaced(action: int, arms: int, tables: np.void) -> int:
    """The action that the shopper's arms put in place of ``action``."""
    for e in range(tables["n_experiments"]):
        arm = (arms >> (BITS_PER_EXPERIMENT * e)) & 15
        if arm > 0:
            action = tables["replaced"][e, arm - 1, action]
    return action


@compiled
def _forbidden(a: int, c: np.void, tables: np.void) -> int:
    """Guards that also end a showing that has begun."""
    if tables["killed"][a]:
        return v.ACTION_KILLED
    guards = 0
    if tables["persuasive"][a]:
        for j in range(tables["n_excluded"]):
            if tables["excluded"][j] == c["category"]:
                guards |= v.EXCLUDED_CATEGORY
    if tables["urgency"][a] and not tables["urgency_first_visit"] and c["visitor"] != 0 and c["visitor_sessions"] == 0:
        guards |= v.URGENCY_FIRST_VISIT
    return guards


@compiled
def _against(a: int, confidence: float, now: int, c: np.void, m: np.void, tables: np.void) -> int:
    """All guards that speak against showing action ``a`` now; 0 when it may be shown."""
    if a == 0:
        return 0
    guards = _forbidden(a, c, tables)
    if guards == v.ACTION_KILLED or running(a, now, m, tables):
        return guards
    if tables["urgency"][a] and not confidence >= tables["urgency_min_confidence"]:
        guards |= v.URGENCY_CONFIDENCE
    if tables["persuasive"][a]:
        if signed(m["persuasive"]) >= tables["persuasive_per_session"]:
            guards |= v.SESSION_PERSUASION_CAP
        seen = signed(c["visitor_actions"]) + signed(m["persuasive"])
        if c["visitor"] != 0 and seen >= tables["persuasive_per_visitor"]:
            guards |= v.VISITOR_PERSUASION_CAP
    j = place(tables["action_id"][a], m)
    shown = signed(m["action_count"][j]) if j >= 0 else 0
    if c["visitor"] != 0 and signed(c["visitor_actions"]) + shown >= tables["visitor_cap"][a]:
        guards |= v.ACTION_VISITOR_CAP
    if j >= 0:
        limits = 0
        if shown >= tables["session_cap"][a]:
            limits |= v.ACTION_SESSION_CAP
        if now < m["action_at"][j] + tables["cool_down_ms"][a]:
            limits |= v.COOL_DOWN
        if limits != 0 and tables["offer_ms"][a] > 0:
            limits |= v.OFFER_ENDED
        guards |= limits
    elif tables["limited"][a] and room(m, tables) < 0:
        guards |= v.MEMORY_FULL
    return guards
