"""A batch of inline decisions alone: what the edge's deciding thread spends on it, sessions in memory."""

import time
from typing import Final

from bench.context import Context, Samples
from bench.steps import engine
from decisions.intake import Records, decode, plan
from edge.decide import Decider, question
from edge.metrics import EdgeMetrics
from featurestore.contract.ids import IdKey
from featurestore.contract.partitioner import partition_of
from featurestore.store.keys import Shard
from featurestore.store.memory import MemoryStore

PARTITIONS: Final = 4
SESSIONS: Final = 64
EVENTS: Final = 7
"""Of each stored session."""
BATCHES: Final = 200
QUESTIONS: Final = (1, 4, 16)
KINDS: Final = ("page_view", "view_item", "view_item", "add_to_cart")
BEGIN_MS: Final = 1_800_000_000_000


def inline(context: Context) -> Samples:
    """``edge.batch``: CPU time of the thread, for batches of one, four and sixteen questions of one event each."""
    decider = _decider()
    samples: Samples = {}
    for size in QUESTIONS:
        _spent(decider, size)
        for _ in range(context.runs):
            samples.setdefault(f"questions_{size}.us_per_batch", []).append(_spent(decider, size))
    return samples


def _spent(decider: Decider, size: int) -> float:
    at = BEGIN_MS + 60_000
    asked = [
        [
            question(f"bench-{(batch * size + i) % SESSIONS}", [], [_value((batch * size + i) % SESSIONS, EVENTS)], at)
            for i in range(size)
        ]
        for batch in range(BATCHES)
    ]
    begin = time.thread_time()
    for questions in asked:
        decider.decide(questions)
    return (time.thread_time() - begin) * 1e6 / BATCHES


def _decider() -> Decider:
    """Over a store in which each session has some events."""
    core = engine()
    store = MemoryStore(core.namespace)
    shards = [Shard(partition) for partition in range(PARTITIONS)]
    for shard in shards:
        store.acquire([shard], 0, 0)
    for session in range(SESSIONS):
        partition = partition_of(f"bench-{session}", PARTITIONS)
        values: list[bytes | None] = [_value(session, number) for number in range(EVENTS)]
        offsets = [session * EVENTS + number for number in range(EVENTS)]
        batch = plan(decode([Records(partition, values, offsets, [-1] * EVENTS)]), 1, lambda _: -1)
        result = core.run(batch, core.loader(store).load(batch), BEGIN_MS)
        for write in result.writes:
            store.shards[write.shard].states.update(zip(write.sessions, write.blobs, strict=True))
    decider = Decider(core, lambda: store, PARTITIONS, 1, IdKey.of(""), EdgeMetrics())
    decider.warm_up()
    return decider


def _value(session: int, number: int) -> bytes:
    kind, at = KINDS[number % len(KINDS)], BEGIN_MS + number * 5_000
    text = (
        f'{{"session_id":"bench-{session}","type":"{kind}","ts":{at},"page":"/p/{number % 17}","price":20.5,'
        f'"event_id":"e{session}-{number}"}}'
    )
    return text.encode()
