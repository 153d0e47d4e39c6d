"""A log of the past at full speed: a visit knows those that its visitor made before, as the batch code does."""

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decisions.intake import Records
from featurestore.store.streams import SESSIONS
from tests.examples import examples
from tests.unit.worker.pipeline.loop_fakes import T0
from tests.unit.worker.pipeline.loop_world import FOLD, PARTITIONS, World

GAP_MS = FOLD.session_gap_ms
HOUR_MS = 3_600_000
LATE_MS = 3_000
"""Ends are noticed in steps of two seconds."""

Visit = tuple[int, int, int]
"""When it begins, which visitor, how many pages."""


def log_of(visits: list[Visit], placed: list[int]) -> dict[int, Records]:
    """A page a second; visit ``n`` lies in the partition ``placed[n]``."""
    clicks = sorted((at + 1_000 * page, n, page) for n, (at, _, pages) in enumerate(visits) for page in range(pages))
    log = {number: Records(number, [], [], []) for number in range(PARTITIONS)}
    for at, n, page in clicks:
        part = log[placed[n]]
        event = {
            "session_id": f"s{n}",
            "type": "page_view",
            "ts": at,
            "page": f"/{page}",
            "visitor_id": f"v{visits[n][1]}",
        }
        part.values.append(json.dumps(event).encode())
        part.record_ms.append(at)
        assert isinstance(part.offsets, list)
        part.offsets.append(len(part.offsets))
    return log


def rates(world: World) -> dict[str, float | None]:
    """What each visit's summary says of the visits before."""
    produced = [json.loads(document) for stream, _, some, _ in world.topic if stream == SESSIONS for document in some]
    summaries = [*produced, *world.rest().summaries.values()]
    return {summary["session_id"]: summary["features"]["bounce_rate"] for summary in summaries}


def by_definition(visits: list[Visit]) -> dict[str, Any]:
    """The share of single pages among the visits that were over by then; the visits of one visitor do not overlap."""
    found: dict[str, Any] = {}
    for n, (at, visitor, _) in enumerate(visits):
        before = [pages == 1 for begun, who, pages in visits if who == visitor and begun < at][-10:]
        found[f"s{n}"] = pytest.approx(float(np.mean(before)), abs=1e-3) if before else None
    return found


def visits_of(gaps: list[tuple[int, int, int]]) -> list[Visit]:
    """Visits one after the other: (ms since the one before ended, visitor, pages)."""
    visits, at = [], T0
    for gap, visitor, pages in gaps:
        at += gap
        visits.append((at, visitor, pages))
        at += 1_000 * pages
    return visits


@pytest.mark.parametrize(("first", "buckets"), [(0, 1), (20, 3), (35, 1)])
def test_a_visitor_s_earlier_visits_are_known_whatever_partition_they_lie_in(first: int, buckets: int) -> None:
    """Sparse: a poll brings days. The first visits lie in one partition, and the last ones in the other."""
    visits = visits_of([(HOUR_MS, n % 3, 1 + n % 2) for n in range(40)])
    placed = [0 if n < first else n % PARTITIONS if n < 30 else 1 for n in range(40)]
    world = World(1, trouble=0.0, log=log_of(visits, placed), buckets=buckets)
    world.work()
    assert rates(world) == by_definition(visits)
    assert "decisions" not in world.difference(), "one pass goes partition by partition: rates differ, decisions do not"


@settings(max_examples=examples(6))
@given(
    st.lists(
        st.tuples(st.sampled_from([GAP_MS + LATE_MS, 2 * GAP_MS, 40 * GAP_MS]), st.integers(0, 1), st.integers(1, 3)),
        max_size=25,
    ),
    st.randoms(use_true_random=False),
)
@pytest.mark.issue(20, line=21, sibling=True)
def test_any_log_gives_the_rates_of_their_definition(gaps: list[tuple[int, int, int]], dice: random.Random) -> None:
    visits = visits_of(gaps)
    if not visits:
        return
    world = World(dice.randrange(99), trouble=0.0, log=log_of(visits, [dice.randrange(PARTITIONS) for _ in visits]))
    world.work()
    assert rates(world) == by_definition(visits)
