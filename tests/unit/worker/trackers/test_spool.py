"""Clicks come out in order of time, however many there are and however little fits in memory."""

import json
import tracemalloc
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from worker.commands.replay import Chosen
from worker.trackers.rows import Click
from worker.trackers.spool import Spool

clicks = st.builds(Click, st.text(max_size=5), st.integers(0, 50), st.binary(max_size=60))


@given(st.lists(clicks, max_size=60), st.integers(200, 3_000))
def test_it_is_a_stable_sort_by_time(given_: list[Click], part_bytes: int) -> None:
    with Spool(given_, part_bytes) as spool:
        wanted = sorted(given_, key=lambda click: click.ts)
        assert list(spool) == wanted
        assert list(spool) == wanted, "and may be read again"
        assert len(spool) == len(given_)
        if wanted:
            assert (spool.first_ts, spool.last_ts) == (wanted[0].ts, wanted[-1].ts)


def test_a_click_longer_than_what_is_read_at_once_comes_out_whole() -> None:
    long = [Click("s" * 999, n, bytes([n]) * 300_000) for n in (2, 1)]
    with Spool(long, 1) as spool:
        assert list(spool) == long[::-1]


def test_memory_does_not_grow_with_the_clicks() -> None:
    def many() -> Iterator[Click]:
        return (Click(f"s{n}", -n % 1_000, b"x" * 1_000) for n in range(20_000))

    tracemalloc.start()
    try:
        with Spool(many(), 1_000_000) as spool:
            assert sum(1 for _ in spool) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000, "20 MB of clicks"
    finally:
        tracemalloc.stop()


def test_the_first_so_many_are_moved_so_that_their_newest_happens_now() -> None:
    events = [
        Click("s", ts, json.dumps({"session_id": "s", "type": "click", "ts": ts}).encode()) for ts in (30, 10, 20)
    ]
    with Spool(events) as spool:
        chosen = Chosen(spool, 2, shift=True)
        first, second = list(chosen)
        assert (len(chosen), second.ts - first.ts, chosen.first_ts) == (2, 10, first.ts)
        assert second.ts > 1_700_000_000_000
        assert json.loads(second.value)["ts"] == second.ts
        assert chosen.sessions() == "1"
