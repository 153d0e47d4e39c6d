"""Faults of the input: poison, duplicates, disorder, silence, wrong clocks, sessions split over partitions."""

import json
import random
import time
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from featurestore.contract.decode import read
from featurestore.errors import InvalidEvent
from tests.faults.conftest import MakeRig
from tests.faults.patches import FOLD
from tests.faults.rig import SENDERS_TIME, headers_of
from tests.services import produce_bomb
from tests.services.process import wait_for

POISON = (
    b"",
    b"{no json",
    b"[]",
    b"null",
    b'{"session_id": "x"}',
    b'{"session_id": true, "type": "click", "ts": 1}',
    b'{"session_id": "x", "type": "click", "ts": "now"}',
    b'{"session_id": "x", "type": "click", "ts": NaN}',
    b'{"session_id": "", "type": "click", "ts": 1}',
    b'{"session_id": "x", "type": "click", "ts": 1e400}',
    b"[" * 20_000,
    b'{"session_id": "' + b"x" * 70_000 + b'", "type": "click", "ts": 1}',
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b"\xff\xfe\x00\x01",
    b'{"session_id": "x\xff", "type": "click", "ts": 1}',
)
MENDED = (
    b'{"session_id": 7, "type": "click", "ts": 1}',
    b'{"session_id": "x", "type": "click", "ts": 1, "price": -1}',
    b'{"session_id": "x", "type": "click", "ts": "2"}',
)
"""Events with a fault that costs a field at most: they count, and make no dead letter."""


def test_the_poison_is_poison() -> None:
    """What the contract learns to mend belongs to the mended: the rig would take its events for doubled ones."""
    for poison in POISON:
        with pytest.raises(InvalidEvent):
            read(poison)
    assert all(read(value).problems for value in MENDED)


def test_poison(rig: MakeRig) -> None:
    """17: every record that is no event is a dead letter once, as it came; tombstones and mended events are none."""
    rng = random.Random(17)
    bench = rig("17 poison", 17)
    bench.start(batch_max=200)
    traffic = bench.send()
    bench.serving()
    sent = []
    for _ in range(4):
        for poison in POISON:
            key = rng.choice([None, b"", b"k\xff"])
            traffic.send(poison, key, headers=[("trace", b"\x00\x01")])
            sent.append((key, poison))
            bench.injected += 1
        for value in MENDED:
            traffic.send(value, b"k")
        traffic.send(None, b"tombstone")
        time.sleep(0.3)
    traffic.flush()
    bench.recovered()
    bench.workers[0].kill9()
    bench.start()
    bench.recovered()
    bench.judge(letters=len(sent))
    letters = bench.letters().values()
    assert sorted((m.key() or b"", m.value() or b"") for m in letters) == sorted((k or b"", v) for k, v in sent)
    for letter in letters:
        headers = headers_of(letter)
        assert headers["trace"] == b"\x00\x01"
        assert headers["__connect.errors.topic"].decode() == bench.topics["topic"]
        assert b"xxxx" not in headers["__connect.errors.exception.message"]


def test_a_record_too_large_for_the_dead_letters(rig: MakeRig) -> None:
    """17: a record that fills the topic's limit has no room for headers; it is cut, said so, and blocks nothing."""
    bench = rig("17 poison of 1 MB and more", 18)
    bench.start()
    bench.send(rate=100)
    bench.serving()
    large = Producer({"bootstrap.servers": bench.bootstrap, "message.max.bytes": 4_000_000})
    for size in (1_000_000, 3_500_000):
        large.produce(bench.topics["topic"], b"x" * size, "large")
        bench.injected += 1
    large.flush()
    bench.recovered()
    bench.judge(letters=2)
    assert len(bench.letters()) == 2


KB = 1_000
SHAPES: Final[dict[str, Any]] = {
    "key": lambda rng: (b"k" * rng.choice([600 * KB, 2_000 * KB]), b"not json", []),
    "headers": lambda rng: (b"k", b"not json", [(f"h{n}", b"h" * 100 * KB) for n in range(rng.choice([9, 12]))]),
    "key and value": lambda rng: (rng.randbytes(150 * KB), rng.randbytes(890 * KB), []),
    "value": lambda rng: (b"k", rng.choice([b"v" * 3_000 * KB, rng.randbytes(980 * KB)]), []),
    "all": lambda rng: (rng.randbytes(300 * KB), rng.randbytes(300 * KB), [("h", rng.randbytes(390 * KB))]),
    "small": lambda rng: (b"k", b"not json", [("h", None)]),
}
"""Bad records of sizes that a broker with Kafka's defaults takes, compressed or not."""


@pytest.mark.parametrize(
    ("limit", "told"),
    [(1_048_588, True), (40_000, True), (40_000, False)],
    ids=["Kafka's default", "a narrow topic", "a topic that was narrowed under the worker"],
)
def test_no_size_of_key_value_or_headers_stops_a_worker(rig: MakeRig, limit: int, *, told: bool) -> None:
    """17: any shape, compressed by any codec; each has one letter that fits, and events beside it are applied."""
    bench = rig(f"17 oversize keys, values and headers, {limit} bytes", 21, record_time=SENDERS_TIME)
    if told:
        bench.limit("dlq_topic", limit)
    worker = bench.start()
    bench.send(rate=50)
    bench.serving()
    bench.limit("dlq_topic", limit)
    rng = random.Random(21)
    old_ms = time.time_ns() // 1_000_000 - 60 * 86_400_000
    for codec in ("none", "gzip", "zstd", "lz4", "snappy"):
        config = {"bootstrap.servers": bench.bootstrap, "message.max.bytes": 4_000_000, "compression.type": codec}
        producer = Producer(config)
        for make in SHAPES.values():
            key, value, headers = make(rng)
            producer.produce(bench.topics["topic"], value, key, headers=headers, timestamp=old_ms)
            bench.injected += 1
        assert producer.flush(30) == 0
    bench.recovered()
    assert worker.status is None, worker.tail()
    bench.judge(letters=bench.injected)
    letters = bench.letters()
    assert len(letters) == bench.injected
    for letter in letters.values():
        said = headers_of(letter)
        assert letter.timestamp()[1] > old_ms + 59 * 86_400_000, "its own time, or retention deletes it at once"
        assert int(said["__connect.errors.timestamp"]) == old_ms
        if len(letter.value() or b"") > 8 and "__connect.errors.value.original.bytes" in said:
            assert len(said["__connect.errors.value.original.sha256"]) == 64


def test_a_batch_that_cannot_be_unpacked_stops_nothing(rig: MakeRig) -> None:
    """24.1: it becomes one letter without content, whatever its records are; what comes before and behind it counts."""
    bench = rig("24.1 batches that cannot be unpacked", 25)
    worker = bench.start()
    traffic = bench.send(rate=50)
    bench.serving()
    for records in (1, 11):
        produce_bomb(bench.bootstrap, bench.topics["topic"], records)
        bench.injected += 1
    bench.until(lambda: len(bench.letters()) == 2, "both batches are letters", 60)
    traffic.stop()
    bench.until(lambda: bench.applied() == bench.ends(), "what comes behind them is applied", 30)
    assert worker.status is None, worker.tail()
    spans: list[int] = []
    for letter in bench.letters().values():
        said = headers_of(letter)
        assert said["__connect.errors.reason"] == b"unreadable"
        assert letter.value() is None
        spans.append(int(said["__connect.errors.offset"]) - int(said["__connect.errors.first.offset"]) + 1)
    assert sorted(spans) == [1, 11]
    assert worker.stop() == 0
    again = bench.start()
    bench.send(rate=50)
    bench.serving()
    assert again.status is None, again.tail()
    assert len(bench.letters()) == 2
    bench.note()


@pytest.mark.issue(20, line=12)
def test_nothing_but_poison(rig: MakeRig) -> None:
    """17: partitions full of what is no event are held, each on its own; the worker stays, and nothing more is read."""
    bench = rig("17 nothing but poison", 17)
    worker = bench.start(dlq_max_consecutive=100)
    producer = Producer({"bootstrap.servers": bench.bootstrap})
    for number in range(1_000):
        producer.produce(bench.topics["topic"], f"poison {number}", "k")
    producer.flush()
    bench.injected = 1_000
    assert wait_for(lambda: worker.metrics().get("held_partitions") == 1.0, 30), worker.tail()
    assert worker.status is None
    assert len(bench.letters()) == 100
    assert "100 records in a row are no events" in worker.log
    assert "Traceback" not in worker.log
    bench.note()


def test_producer_duplicates(rig: MakeRig) -> None:
    """19: an event sent twice with one event_id counts once."""
    bench = rig("19 producer duplicates", 19)
    worker = bench.start()
    traffic = bench.send(twins=0.05)
    bench.serving()
    time.sleep(3)
    traffic.stop()
    bench.caught_up()
    sent = sum(bench.ends().values()) - traffic.events
    bench.injected = sent
    assert sent > 20
    assert worker.metrics()["duplicates_skipped_total"] == sent
    bench.judge()


def test_out_of_order_and_late(rig: MakeRig) -> None:
    """20, 40: shuffled, hours late, from 1970 and from 2099: one pass over the same log says the same."""
    rng = random.Random(20)
    bench = rig("20 shuffled, late, wrong clocks", 20)
    worker = bench.start()
    producer = Producer({"bootstrap.servers": bench.bootstrap, "partitioner": "murmur2_random"})
    began = time.time_ns() // 1_000_000
    for n in range(3_000):
        now = time.time_ns() // 1_000_000
        ts = rng.choice([now] * 40 + [now - 1_500, now - 7_200_000, 0, 4_070_908_800_000, now + 1_000])
        name = f"s-{bench.unique}-{rng.randrange(40)}"
        event = {"session_id": name, "type": "page_view", "ts": ts, "page": f"/{n}", "event_id": f"{n}"}
        producer.produce(bench.topics["topic"], json.dumps(event), name)
        producer.poll(0)
        bench.injected += ts != now
        time.sleep(0.001)
    producer.flush()
    bench.caught_up()
    assert worker.metrics()["late_events_total"] > 100
    assert time.time_ns() // 1_000_000 - began < 60_000
    bench.judge()


def test_producers_that_are_late(rig: MakeRig) -> None:
    """20: clicks that come seconds after they happened, some after their silence: a pass over the log says the same."""
    bench = rig("20 producers late by up to 2.5 s", 23)
    bench.start()
    bench.send(rate=100, held_ms=2_500)
    bench.serving()
    time.sleep(5)
    bench.injected = 1
    bench.judge()
    silences = [d for d in map(json.loads, bench.documents("decisions_topic")) if d["seq"] % 256 not in {0, 255}]
    assert silences


@pytest.mark.issue(20, line=5)
def test_a_session_on_two_partitions(rig: MakeRig) -> None:
    """21: clients that partition differently split sessions; each half is counted exactly, none is lost."""
    bench = rig("21 mixed partitioners", 21)
    bench.start()
    bench.send(partitioner="consistent_random")
    bench.serving()
    time.sleep(2)
    bench.injected = 1
    bench.judge()


def test_silence_fires_once_and_in_time(rig: MakeRig) -> None:
    """37: with no events at all, each open session is called silent once, soon after its deadline."""
    bench = rig("37 silence", 37)
    bench.start()
    bench.start()
    traffic = bench.send(rate=300)
    bench.serving()
    time.sleep(1)
    traffic.stop()
    bench.injected = 1
    stopped = time.monotonic()
    bench.quiet()
    assert time.monotonic() - stopped < FOLD.session_gap_ms / 1000 + 5
    bench.judge()
    silences = [d for d in map(json.loads, bench.documents("decisions_topic")) if d["seq"] % 256 not in {0, 255}]
    assert silences
    slowest = max(d["decided_at"] - d["event_ts"] for d in silences if d["event_ts"] > d["decided_at"] - 60_000)
    assert slowest < 5_000


def test_crash_between_timer_and_decision(rig: MakeRig) -> None:
    """39: a worker killed right after deadlines were found due: each decision exists once by identity."""
    bench = rig("39 crash between timer and decision", 39)
    traffic = bench.send(rate=200)
    bench.start()
    bench.serving()
    time.sleep(1)
    traffic.stop()
    bench.caught_up()
    bench.workers[0].kill9()
    for _ in range(3):  # all that is due is one round: each worker finds the same again
        worker = bench.start(patches=[["fail_at_timers", 1]], ready=False)
        assert worker.ended(30) == -9
        bench.injected += 1
    bench.start()
    bench.judge()
