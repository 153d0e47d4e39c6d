"""What the memory of a session keeps of the actions that were shown in it; `engine` says what a showing is."""

import numpy as np

from featurestore.columns.jit import compiled
from featurestore.session.layout import N_ACTIONS


@compiled
def running(a: int, now: int, m: np.void, tables: np.void) -> bool:
    """Whether a showing of action ``a`` is under way, or an offer of it is still open."""
    if m["action"] == tables["action_id"][a]:
        return bool(m["offer_until"] == 0 or now < m["offer_until"])
    if tables["offer_ms"][a] == 0:
        return False
    j = place(tables["action_id"][a], m)
    return j >= 0 and bool(now < m["action_at"][j])


@compiled
def show(m: np.void, a: int, now: int, tables: np.void) -> bool:
    """Enter action ``a`` in the memory; whether what is shown changed."""
    before = m["action"]
    name = tables["action_id"][a]
    if a == 0:
        m["action"] = 0
        m["offer_until"] = 0
        return bool(before != 0)
    j = place(name, m)
    if running(a, now, m, tables):
        if before != name:
            m["offer_until"] = m["action_at"][j]
        elif m["offer_until"] == 0 and j >= 0:
            m["action_at"][j] = now
        m["action"] = name
        return bool(before != name)
    m["action"] = name
    m["offer_until"] = now + tables["offer_ms"][a] if tables["offer_ms"][a] > 0 else 0
    if tables["persuasive"][a]:
        m["persuasive"] = min(m["persuasive"] + 1, 255)
    if j < 0 and m["n_actions"] < N_ACTIONS:
        j = signed(m["n_actions"])
        m["n_actions"] = j + 1
    elif j < 0 and tables["limited"][a]:
        j = room(m, tables)
        m["action_count"][j] = 0
    if j >= 0:
        m["action_id"][j] = name
        m["action_count"][j] = min(m["action_count"][j] + 1, 255)
        m["action_at"][j] = max(now, m["offer_until"])
    return True


@compiled
def place(action_id: int, m: np.void) -> int:
    """Where the memory keeps an action, -1 if it does not."""
    for j in range(signed(m["n_actions"])):
        if m["action_id"][j] == action_id:
            return j
    return -1


@compiled
def room(m: np.void, tables: np.void) -> int:
    """A place for one more action: a free one, else one whose action has no limit to remember; -1 for none."""
    if m["n_actions"] < N_ACTIONS:
        return signed(m["n_actions"])
    for j in range(N_ACTIONS):
        a = number(m["action_id"][j], tables)
        if a < 0 or not (tables["limited"][a] or tables["persuasive"][a]):
            return j
    return -1


@compiled
def number(action_id: int, tables: np.void) -> int:
    """The number of the action with this id, -1 where the policy has none (it was removed by a reload)."""
    for a in range(tables["n_actions"]):
        if tables["action_id"][a] == action_id:
            return a
    return -1


@compiled
def signed(x: int) -> int:
    """An unsigned field as a signed number; arithmetic that mixes the two turns into floats here."""
    return x + 0
