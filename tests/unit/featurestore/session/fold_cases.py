"""Logs of a few sessions for property tests, and the fold and its oracle run over them in the same shape."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from featurestore.columns.hashing import hash_text
from featurestore.contract.event import EVENT_TYPES, Event, Item, columns
from featurestore.session.fold import FoldConfig, empty_states, fold, ticks
from featurestore.session.observation import Observations
from featurestore.session.visitors import PROFILE
from tests.unit.featurestore.session.fold_oracle import Oracle, Row

SESSIONS = ("a", "b", "c")
VISITORS = ("v", *(f"visitor of {name}" for name in SESSIONS))
START_MS = 1_700_000_000_000


class Step(NamedTuple):
    """An event of a session, or a tick where ``event`` is None, that arrives at time ``t``."""

    session: str
    t: int
    event: Event | None


_MONEY = st.none() | st.integers(0, 400).map(lambda n: n / 4)  # exact in 32 bits, sums too
_GAPS = st.one_of(
    st.integers(0, 8_000),
    st.integers(20_000, 200_000),
    st.integers(500_000, 2_000_000),
    st.sampled_from([0, 30_000, 35_000, 599_999, 600_001, 1_799_999, 1_800_000, 1_800_001]),
)
_TYPES = st.sampled_from([*EVENT_TYPES, "add_to_cart", "remove_from_cart", "view_item", "no_such_type"])
_EVENTS = st.builds(
    Event,
    session_id=st.sampled_from(SESSIONS),
    type=_TYPES,
    ts=st.just(0),
    event_id=st.sampled_from([None, None, *(f"e{k}" for k in range(12))]),
    visitor_id=st.sampled_from([None, "named"]),
    page=st.sampled_from([None, *(f"/p{k}" for k in range(9))]),
    category=st.sampled_from([None, "shoes", "hats"]),
    price=_MONEY,
    quantity=st.sampled_from([None, 0, 1, 2, 3]),
    value=_MONEY,
    scroll_depth=st.sampled_from([None, 0.0, 33.4, 99.999, 100.0]),
    checkout_step=st.sampled_from([None, 0, 2, 3, 5]),
    consent=st.sampled_from([None] * 12 + [True] * 12 + [False]),
    transaction_id=st.sampled_from([None, None, "T1", "T2"]),
    currency=st.sampled_from([None, None, "EUR", "EUR", "USD"]),
    items=st.none() | st.lists(st.builds(Item, price=_MONEY, quantity=st.sampled_from([None, 0, 1, 3])), max_size=3),
)
_MOVES = st.tuples(_GAPS, st.sampled_from([0, 0, 0, 0, 1_000, 60_000, 250_000, 400_000]), st.integers(0, 4), _EVENTS)
_CLOCKS = st.tuples(
    st.sampled_from([0, 0, -240_000, 45_000, 240_000, 7_200_000]),  # what is wrong with the sender's clock
    st.sampled_from(
        [0, 0, 0, 90, 1_500, 20_000, 120_000, 2_000_000, 7_200_000]
    ),  # how long it was kept before it was sent
    st.sampled_from([0, 40, 900]),  # how long it was under way
    st.sampled_from([0, 0, 0, 0, 0, 3_480_000, -3_480_000]),  # what is wrong with the record's time
    st.booleans(),  # whether it says when it was sent
)
"""What real senders do to an event's times."""


def crooked(log: list[Step], clocks: list[tuple[int, int, int, int, bool]]) -> list[Step]:
    """The log with clocks of its events gone wrong, one after the other, again and again."""
    steps = []
    for i, step in enumerate(log):
        if step.event is None:
            steps.append(step)
            continue
        wrong, waited, travelled, record, says = clocks[i % len(clocks)]
        sent = step.t - travelled
        event = msgspec.structs.replace(
            step.event, ts=max(sent - waited - wrong, 0), sent_ts=sent - wrong if says else None
        )
        steps.append(Step(step.session, step.t + record, event))
    return steps


def crooked_logs(*, ordered: bool = False) -> st.SearchStrategy[list[Step]]:
    """Logs of senders with wrong clocks, late uploads and, unless ``ordered``, records with absurd times."""
    clocks = _CLOCKS.map(lambda clock: (*clock[:3], 0, clock[4])) if ordered else _CLOCKS
    log = logs(ordered=ordered, with_ticks=not ordered)
    return st.builds(crooked, log, st.lists(clocks, min_size=1, max_size=4))


def logs(*, ordered: bool = False, with_ticks: bool = False, most: int = 30) -> st.SearchStrategy[list[Step]]:
    """A log: mostly short gaps, some long ones, late events unless ``ordered``."""

    def laid_out(moves: list[tuple[int, int, int, Event]]) -> list[Step]:
        steps = []
        t = START_MS
        for gap, late, tick, event in moves:
            t += gap
            if with_ticks and tick == 0:
                steps.append(Step(event.session_id, t, None))
            else:
                at = t if ordered else max(t - late, START_MS)
                visitor = f"visitor of {event.session_id}" if event.visitor_id else None
                steps.append(Step(event.session_id, at, msgspec.structs.replace(event, visitor_id=visitor, ts=at)))
        return steps

    return st.lists(_MOVES, min_size=1, max_size=most).map(laid_out)


class Folded:
    """The fold over a log, in batches, as the worker calls it."""

    def __init__(self, config: FoldConfig) -> None:
        self.config = config
        self.states = empty_states(len(SESSIONS))
        self.states["session"] = [hash_text(name) for name in SESSIONS]
        self.profiles: NDArray[np.void] = np.zeros(len(VISITORS), PROFILE)
        self.profiles["visitor"], self.profiles["end"] = sorted(map(hash_text, VISITORS)), len(SESSIONS)
        self.rows: list[tuple[str, Row]] = []
        self.ended: list[tuple[str, np.void]] = []
        self.duplicates = 0
        self.withdrawn = 0
        self.foreign_money = 0

    def run(self, steps: Sequence[Step], first_offset: int = 0) -> "Folded":
        """One batch."""
        parts = []
        for i, step in enumerate(steps):
            slot = SESSIONS.index(step.session)
            if step.event is None:
                parts.append(ticks([slot], step.t))
            else:
                row = columns([step.event], [slot], [first_offset + i], [step.t])
                row["t"] = step.event.ts or step.t  # an event without a time of its own happens when it arrives
                parts.append(row)
        if parts:
            self._note(fold(self.states, self.profiles, np.concatenate(parts), self.config))
        return self

    def _note(self, seen: Observations) -> None:
        self.duplicates += seen.duplicates
        self.withdrawn += seen.withdrawn
        self.foreign_money += seen.foreign_money
        ends = iter(seen.ended)
        for row, x in zip(seen.rows, seen.features.tolist(), strict=True):
            session = SESSIONS[row["session_index"]]
            made = Row(int(row["kind"]), int(row["t"]), int(row["seq"]), bool(row["late"]), tuple(x))
            self.rows.append((session, made))
            if made.kind == 2:
                self.ended.append((session, next(ends).copy()))


def by_oracle(steps: Sequence[Step], config: FoldConfig) -> tuple[Oracle, list[tuple[str, Row]]]:
    """The oracle over the same log."""
    oracle = Oracle(config)
    rows: list[tuple[str, Row]] = []
    for offset, step in enumerate(steps):
        made = oracle.tick(step.session, step.t) if step.event is None else oracle.apply(step.event, step.t, offset)
        rows += [(step.session, row) for row in made]
    return oracle, rows
