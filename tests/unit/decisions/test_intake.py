"""Records in: what the reader's clock has to say about the times of events."""

import gc
import json

import numpy as np
import pytest

from decisions.intake import AHEAD_MS, Records, arrived_by, decode, plan
from featurestore.session.fold import FoldConfig, deadlines, empty_states, fold
from featurestore.session.visitors import PROFILE

NOW = 1_700_000_000_000
NEVER = 2**53 - 1


@pytest.mark.parametrize(
    ("ts", "record", "arrived"),
    [
        (NEVER, -1, NOW),
        (NOW + 1, -1, NOW),
        (NEVER, 2**63 - 1, NOW),
        (NOW, NOW + AHEAD_MS + 1, NOW),
        (NOW, NEVER, NOW),
        (NOW - 5, -1, None),
        (NEVER, NOW - 7, NOW - 7),
        (NOW, NOW + AHEAD_MS, NOW + AHEAD_MS),
        (NOW + 600_000, NOW + 600_000, NOW + 600_000),
        (NOW + 2 * AHEAD_MS, NOW + 2 * AHEAD_MS, NOW),
    ],
)
def test_no_event_arrives_later_than_the_reader_reads_it(ts: int, record: int, arrived: int | None) -> None:
    """Neither a ``ts`` nor an absurd record keeps a session alive, or moves the time of historical timers."""
    value = json.dumps({"session_id": "s", "type": "click", "ts": ts}).encode()
    decoded = decode([Records(0, [value], [0], [record])])
    arrived_by(decoded, NOW)
    assert decoded.rows["arrival"].tolist() == [arrived or 0]
    planned = plan(decoded, 1, lambda _: -1)
    [newest] = planned.newest()
    assert newest <= NOW + AHEAD_MS
    config = FoldConfig()
    states = empty_states(1)
    fold(states, np.zeros(1, PROFILE), planned.events, config)
    assert deadlines(states, config)[0] <= (arrived or ts) + config.session_gap_ms


def test_what_is_no_event_is_freed_with_its_batch() -> None:
    """A refused record makes no cycle: the worker's collector runs seldom, and whole batches would wait for it."""
    garbage = [
        b"no json",
        b"[]",
        b"\xff",
        b"[" * 20_000,
        b"x" * 70_000,
        b'{"session_id": "null", "type": "click", "ts": 1}',
    ]
    records = [Records(0, [*garbage], range(len(garbage)), [NOW] * len(garbage))]
    gc.collect()
    gc.disable()
    try:
        assert len(decode(records).bad[0]) == len(garbage)
        assert gc.collect() == 0
    finally:
        gc.enable()
