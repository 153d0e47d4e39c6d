"""What is loaded too early is read as the writes under way leave it."""

from collections.abc import Sequence

import numpy as np

from decisions.intake import Plan
from decisions.overlay import Overlay, apply_overlays
from featurestore.columns.column import Blobs, Texts
from featurestore.columns.hashing import hash64
from featurestore.contract.event import EVENT
from featurestore.store.keys import Shard


def _plan(*shards: Sequence[str]) -> Plan:
    """Partition 0, 1, ... with these sessions."""
    names = [name for part in shards for name in part]
    ends = np.cumsum([len(part) for part in shards]).tolist()
    spans = [(Shard(i), end - len(part), end) for i, (part, end) in enumerate(zip(shards, ends, strict=True))]
    nothing = np.empty(0, np.int64)
    return Plan(
        Texts.of(names), hash64(names), spans, np.empty(0, EVENT), nothing, [[] for _ in spans], [None] * len(spans)
    )


def _overlay(plan: Plan, put: dict[str, bytes], gone: Sequence[str] = ()) -> Overlay:
    indices = {name: index for index, name in enumerate(plan.sessions)}
    at = np.array([indices[name] for name in put], np.int64)
    return Overlay(plan, at, Blobs.of(put.values()), np.array([indices[name] for name in gone], np.int64), [])


def test_the_newest_change_of_each_session_is_read() -> None:
    older = _overlay(_plan(["a", "b", "c"], ["x", "y"]), {"a": b"a1", "b": b"b1", "x": b"x1"}, gone=["y"])
    newer = _overlay(_plan(["b", "a", "d"], ["y"]), {"a": b"a2", "y": b"y2"}, gone=["b"])
    plan = _plan(["d", "a", "b", "c", "e"], ["y", "x"])
    loaded = [b"d0", b"a0", b"b0", b"c0", None, None, None]
    assert list(apply_overlays(plan, loaded, [])) == [b"d0", b"a0", b"b0", b"c0", b"", b"", b""]
    assert list(apply_overlays(plan, loaded, [older])) == [b"d0", b"a1", b"b1", b"c0", b"", b"", b"x1"]
    assert list(apply_overlays(plan, loaded, [older, newer])) == [b"d0", b"a2", b"", b"c0", b"", b"y2", b"x1"]


def test_a_session_of_the_same_name_in_another_partition_is_another() -> None:
    change = _overlay(_plan(["a"], ["b"]), {"a": b"a1", "b": b"b1"})
    assert list(apply_overlays(_plan(["b"], ["a"]), [b"b0", None], [change])) == [b"b0", b""]
    assert list(apply_overlays(_plan([]), [], [change])) == []
