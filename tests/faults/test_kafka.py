"""Faults of Kafka: the broker away, records gone, topics re-created or refused, offsets moved."""

import random
import time

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.conftest import StartKafka
from tests.faults.conftest import MakeRig
from tests.faults.rig import PARTITIONS, place
from tests.services import create_topics, delete_topics, read_topic
from worker.errors import ExitCode


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_broker_killed(rig: MakeRig, own_kafka: StartKafka, protocol: str) -> None:
    """9: the broker dies and comes back; the worker waits without turning in circles, and is itself again."""
    broker = own_kafka()
    bench = rig(f"9 broker kill -9 ({protocol})", 9, bootstrap=broker.bootstrap)
    bench.environment |= {"group_protocol": protocol, "timers": "event"}
    worker = bench.start()
    bench.send(rate=300)
    bench.serving()
    for pause in (0.5, 3.0):
        time.sleep(1)
        broker.kill9()
        time.sleep(pause)
        broker.start()
        bench.injected += 1
        bench.recovered()
    assert worker.status is None
    assert bench.traffic is not None
    bench.traffic.stop()
    bench.caught_up()
    worker.stop()
    bench.start(timers="live")  # what the producer held back while the broker was away is no matter any more
    bench.judge()


def test_broker_away_is_no_silence(rig: MakeRig, own_kafka: StartKafka) -> None:
    """38: while the broker is away nobody is called idle, since nothing can be heard."""
    broker = own_kafka()
    bench = rig("38 broker frozen: no false Drop-Off", 38, bootstrap=broker.bootstrap)
    worker = bench.start()
    traffic = bench.send(rate=300)
    bench.serving()
    time.sleep(1)
    before = worker.metrics().get('timers_fired_total{kind="silence"}', 0)
    broker.freeze()
    time.sleep(1)
    settled = worker.metrics().get('timers_fired_total{kind="silence"}', 0)
    time.sleep(3)
    fired = worker.metrics().get('timers_fired_total{kind="silence"}', 0)
    broker.thaw()
    assert fired == settled >= before, f"{fired - settled} sessions were called idle while the broker was away"
    bench.injected += 1
    traffic.stop()
    bench.recovered()
    bench.note()


def test_records_gone_by_retention(rig: MakeRig) -> None:
    """12: the log begins after the wanted offset: counted and logged, never skipped in silence."""
    bench = rig("12 retention gap", 12)
    bench.start()
    bench.send()
    bench.serving()
    bench.workers[0].stop()
    time.sleep(2)
    admin = AdminClient({"bootstrap.servers": bench.bootstrap})
    applied, cut = bench.applied(), {}
    for number, end in bench.ends().items():
        cut[number] = (applied[number] + end) // 2
    before = read_topic(bench.bootstrap, bench.topics["topic"])
    parts = [TopicPartition(bench.topics["topic"], n, offset) for n, offset in cut.items()]
    for done in admin.delete_records(parts).values():
        done.result(20)
    bench.injected += 1
    worker = bench.start()
    bench.recovered()
    metrics = worker.metrics()
    assert metrics["log_gaps_total"] == PARTITIONS
    assert metrics["lost_offsets_total"] == sum(cut[n] - applied[n] for n in cut)
    assert "Retention is shorter than the outage" in worker.log
    # What was applied before the cut counts, though it is gone from the log; what lay between is lost, as counted.
    bench.gone = [m for m in before if place(m)[1] < applied[place(m)[0]]]
    bench.unsent(m for m in before if applied[place(m)[0]] <= place(m)[1] < cut[place(m)[0]])
    bench.judge()


@pytest.mark.parametrize("refill", [40, 6_000], ids=["fewer records", "more records"])
def test_topic_created_anew(rig: MakeRig, refill: int) -> None:
    """13, 14: the topic is deleted and created again while the worker runs; it leaves, its successor reads all."""
    bench = rig(f"14 topic re-created, {refill} records", 14)
    worker = bench.start()
    traffic = bench.send()
    bench.serving()
    traffic.stop()
    bench.caught_up()
    delete_topics(bench.bootstrap, bench.topics["topic"])
    bench.create_clicks()
    bench.injected += 1
    bench.use_topic()
    bench.seed += 100
    again = bench.send(rate=refill / 3)
    assert worker.ended(30) == ExitCode.UNSAFE
    assert "was created anew" in worker.log
    bench.start()
    bench.recovered()
    again.stop()
    bench.judge()


def test_partition_count_raised(rig: MakeRig) -> None:
    """15: no worker starts on another count than the keys were made under; one that runs tells, and loses nothing."""
    bench = rig("15 partitions raised", 15)
    worker = bench.start(kafka_config="topic.metadata.refresh.interval.ms=500")
    bench.send()
    bench.serving()
    time.sleep(1)
    assert bench.traffic is not None
    bench.traffic.stop()
    bench.quiet()  # a session that is open would go on under the same name in another partition
    admin = AdminClient({"bootstrap.servers": bench.bootstrap})
    for done in admin.create_partitions([NewPartitions(bench.topics["topic"], PARTITIONS + 2)]).values():
        done.result(20)
    bench.injected += 1
    bench.partitions = PARTITIONS + 2
    bench.seed += 100
    late = bench.start(ready=False)
    bench.until(lambda: "has 6 partitions now" in worker.log, "the running worker tells", 20)
    assert late.ended(20) == ExitCode.USAGE
    assert "drain" in late.log
    bench.send()
    bench.serving()  # the new partitions too
    bench.recovered()
    bench.judge()


@pytest.mark.parametrize("where", ["back", "forward", "deleted"])
def test_group_offsets_moved(rig: MakeRig, where: str) -> None:
    """16: somebody moves the group's offsets: what Redis says is applied decides."""
    bench = rig(f"16 group offsets {where}", 16)
    bench.start()
    bench.send()
    bench.serving()
    bench.workers[0].stop()
    if where == "deleted":
        admin = AdminClient({"bootstrap.servers": bench.bootstrap})
        for done in admin.delete_consumer_groups([bench.unique]).values():
            done.result(20)
    else:
        outsider = Consumer({"bootstrap.servers": bench.bootstrap, "group.id": bench.unique})
        offsets = [
            TopicPartition(bench.topics["topic"], n, 0 if where == "back" else end + 200)
            for n, end in bench.ends().items()
        ]
        outsider.commit(offsets=offsets, asynchronous=False)
        outsider.close()
    bench.injected += 1
    bench.start()
    bench.recovered()
    bench.judge()


def test_dead_letters_refused(rig: MakeRig) -> None:
    """18: while the dead letters cannot be written nothing passes them; afterwards each is there once."""
    bench = rig("18 dead letters refused", 18)
    bench.start()
    traffic = bench.send()
    bench.serving()
    bench.refuse("dlq_topic", yes=True)
    for number in range(PARTITIONS):
        traffic.send(b"{no json", partition=number)
    traffic.flush()
    ends = bench.ends()
    time.sleep(3)
    assert all(bench.applied()[n] < end for n, end in ends.items()), "the applied offset passed a lost dead letter"
    bench.refuse("dlq_topic", yes=False)
    bench.injected += 1
    bench.recovered()
    bench.judge(letters=PARTITIONS)


def test_decisions_refused_and_the_worker_killed(rig: MakeRig) -> None:
    """18: decisions that Kafka has not acknowledged are produced by whoever comes next."""
    bench = rig("18 decisions refused, worker killed", 19)
    bench.send()
    bench.start()
    bench.serving()
    for _ in range(2):
        bench.refuse("decisions_topic", yes=True)
        time.sleep(2)
        bench.workers[-1].kill9()
        bench.refuse("decisions_topic", yes=False)
        bench.injected += 1
        bench.start()
        bench.recovered()
    bench.judge()


def test_decisions_topic_missing(rig: MakeRig) -> None:
    """18: an output topic is deleted under the worker and comes back: the worker waits, and goes on."""
    bench = rig("18 sessions topic deleted for a while", 20)
    worker = bench.start()
    bench.send()
    bench.serving()
    time.sleep(1)
    delete_topics(bench.bootstrap, bench.topics["sessions_topic"])
    time.sleep(2)
    create_topics(bench.bootstrap, {bench.topics["sessions_topic"]: PARTITIONS})
    bench.injected += 1
    bench.recovered()
    assert worker.status is None
    bench.note()


def test_worker_away_then_back(rig: MakeRig) -> None:
    """38: after a pause of the worker, catching up calls nobody idle who was not."""
    bench = rig("38 lag, then catch-up", 38)
    bench.start()
    bench.send()
    bench.serving()
    for _ in range(2):
        bench.workers[-1].kill9() if random.Random(38).random() < 0.5 else bench.workers[-1].stop()
        time.sleep(4)
        bench.start()
        bench.injected += 1
        bench.recovered()
    bench.judge()
