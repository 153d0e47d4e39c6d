"""Faults of the Kafka clients: callbacks that raise, a close that hangs, a coordinator that errs, a slow broker."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from tests.conftest import StartKafka
from tests.faults.conftest import MakeRig
from tests.faults.kafka_proxy import (
    CONSUMER_GROUP_HEARTBEAT,
    COORDINATOR,
    HEARTBEAT,
    OFFSET_COMMIT,
    OFFSET_FETCH,
    KafkaProxy,
)
from tests.faults.rig import Rig
from tests.faults.worker_process import Worker
from tests.run_services import RunServices
from tests.services import KafkaBroker, create_topics, free_port
from tests.services.process import wait_for
from worker.errors import ExitCode
from worker.kafka.source import KafkaSource
from worker.settings import Settings

COORDINATOR_ERRORS = (16, 14, 15, 27, 22, 25, 113)
"""Not coordinator, loading, not available, rebalancing, illegal generation, unknown member, stale member epoch."""

NO_SUCH_ANSWER = (27, 22, 113)
"""Those that a heartbeat of the newer protocol is never answered with: the client then gives up for good."""


def supervise(bench: Rig) -> list[Worker]:
    """Start a worker for each whose client gave up, whenever the rig waits; those that left.

    The newer protocol's client gives up on more than what a test injects. Seen was an INVALID_REQUEST of the broker's
    own, to which a race in the client leads when it joins again (confluentinc/librdkafka#5541 is one of the kind).
    """
    left: list[Worker] = []

    def look() -> None:
        for worker in [one for one in bench.workers if one.status == ExitCode.UNSAFE and one not in left]:
            assert "the Kafka client gave up" in worker.log, worker.tail()
            left.append(worker)
            bench.start(ready=False)

    bench.meanwhile = look
    return left


@pytest.mark.parametrize("body", ["_assigned", "_revoked", "_delivered", "logger"])
def test_callback_raises(rig: MakeRig, body: str) -> None:
    """6: an error inside a callback ends the worker as a bug, and what was being fetched is fetched again."""
    bench = rig(f"6 callback raises: {body.strip('_')}", 6)
    bench.send()
    logging = {"kafka_config": "debug=cgrp"} if body == "logger" else {}
    for _ in range(2):
        failing = bench.start(patches=[["callback_raises", body]], ready=False, **logging)
        failing.may_fail = True
        if body == "_revoked":
            bench.serving()
            bench.start()  # takes some of its partitions
        if body == "_delivered":
            bench.serving()
            bench.refuse("decisions_topic", yes=True)  # only failures are reported
        assert failing.ended(30) == ExitCode.INTERNAL, failing.tail()
        assert "a test lets" in failing.log
        bench.injected += 1
        bench.refuse("decisions_topic", yes=False)
        if body == "_revoked":
            bench.recovered()
            bench.workers[-1].stop()
    bench.start()
    bench.recovered()
    bench.judge()


def test_close_hangs(rig: MakeRig) -> None:
    """8: a close that never comes back is cut off, and says so."""
    bench = rig("8 close() hangs", 8)
    bench.send()
    worker = bench.start(patches=[["close_hangs", 60.0], ["keep_messages"]], shutdown_s=3)
    bench.serving()
    assert worker.stop() == ExitCode.SHUTDOWN
    assert "shutdown overran its time" in worker.log
    bench.injected += 1
    bench.start()
    bench.recovered()
    bench.judge()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_stopped_without_a_broker(rig: MakeRig, own_kafka: StartKafka, tmp_path: Path, how: str) -> None:
    """8: the broker is gone, messages are still referenced, partitions are being taken anew: gone within 15 s."""
    broker = own_kafka()
    bench = rig(f"8 stopped, broker {how}", 9, bootstrap=broker.bootstrap)
    traffic = bench.send()
    worker = bench.start(patches=[["keep_messages"]])
    bench.serving()
    snapshot = bench.server.snapshot(tmp_path / "snapshot")
    time.sleep(1)
    traffic.stop()
    bench.caught_up()
    broker.kill9() if how == "killed" else broker.freeze()
    bench.server.roll_back(snapshot)
    time.sleep(2)
    began = time.monotonic()
    assert worker.stop() in {ExitCode.OK, ExitCode.SHUTDOWN}
    assert time.monotonic() - began < 15
    broker.start() if how == "killed" else broker.thaw()
    bench.injected += 1
    bench.start()
    bench.recovered()
    bench.judge()


@pytest.fixture
def proxied(services: RunServices, tmp_path: Path) -> Iterator[tuple[KafkaBroker, KafkaProxy]]:
    """A broker with a second listener, which only the proxy leads to."""
    proxy = KafkaProxy()
    broker = services.proxied_kafka(tmp_path / "kafka", proxy.port, behind := free_port())
    proxy.target = behind
    yield broker, proxy
    broker.stop()
    proxy.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_coordinator_errors(rig: MakeRig, proxied: tuple[KafkaBroker, KafkaProxy], protocol: str) -> None:
    """10: the coordinator answers with errors: no reset, no crash, and the worker is a member again."""
    broker, proxy = proxied
    bench = rig(f"10 coordinator errors ({protocol})", 10, bootstrap=broker.bootstrap)
    bench.environment |= {"group_protocol": protocol, "kafka": f"127.0.0.1:{proxy.port}", "commit_every_s": "0.2"}
    left = supervise(bench)
    bench.start()
    bench.send()
    bench.serving()
    heartbeat, fatal = (HEARTBEAT, ()) if protocol == "classic" else (CONSUMER_GROUP_HEARTBEAT, NO_SUCH_ANSWER)
    for code in COORDINATOR_ERRORS:
        proxy.push(OFFSET_FETCH, [code])
        proxy.push(OFFSET_COMMIT, [code])
        bench.until(lambda: not proxy.errors[OFFSET_COMMIT], "the commit's error is answered")
        before = len(left)
        proxy.push(heartbeat, [code])  # last: a fatal one ends the worker
        bench.until(lambda: not proxy.errors[heartbeat], "the heartbeat's error is answered")
        if code in fatal:
            bench.until(lambda: len(left) > before, "the worker leaves, and another is started", 15)  # noqa: B023
        bench.recovered()
    assert len(left) >= len(fatal)
    bench.start(ready=False)  # takes partitions, so offsets are fetched
    bench.until(lambda: not proxy.errors[OFFSET_FETCH], "the errors of fetching offsets are answered")
    bench.injected = proxy.injected.total()
    assert proxy.injected.keys() >= {(OFFSET_COMMIT, code) for code in COORDINATOR_ERRORS}
    bench.recovered()
    bench.until(lambda: all(w.status is None for w in bench.workers if w not in left), "every other worker runs")
    assert protocol == "consumer" or not left
    bench.judge()


def test_coordinator_that_stops_answering(rig: MakeRig, proxied: tuple[KafkaBroker, KafkaProxy]) -> None:
    """The rest of Kafka answers: the worker is not ready, takes a new client, and leaves if that does not help."""
    broker, proxy = proxied
    bench = rig("21 coordinator that stops answering", 21, bootstrap=broker.bootstrap)
    bench.environment |= {"kafka": f"127.0.0.1:{proxy.port}", "session_timeout_s": "6", "stuck_after_s": "24"}
    worker = bench.start()
    bench.send(rate=50)
    bench.serving()
    proxy.silent = COORDINATOR
    bench.injected += 1
    bench.until(lambda: "starting over with a new client" in worker.log, "a new client is taken", 90)
    assert worker.http("/live") == "stuck\n"
    worker.may_fail = True
    assert worker.ended(60) == ExitCode.STUCK
    proxy.silent = frozenset()
    bench.start(ready=False)
    bench.recovered()
    bench.judge()


def test_a_lost_answer_is_soon_asked_for_again(proxied: tuple[KafkaBroker, KafkaProxy], unique: str) -> None:
    """Who takes a partition asks where the group stands: an answer that never came costs seconds, not a minute."""
    broker, proxy = proxied
    create_topics(broker.bootstrap, {unique: 1})
    source = KafkaSource(Settings(kafka=f"127.0.0.1:{proxy.port}", topic=unique, group=unique))
    proxy.silent = COORDINATOR
    with pytest.raises(KafkaException):
        source.coordinator_answers()
    proxy.silent = frozenset()

    def known() -> bool:
        with suppress(KafkaException):
            return source.committed(0) is None
        return False

    assert wait_for(known, 20)
    source.close()


def test_slow_broker(rig: MakeRig, proxied: tuple[KafkaBroker, KafkaProxy]) -> None:
    """11: every answer of the broker takes 1.5 s: the worker is slow, keeps its place, and loses nothing."""
    broker, proxy = proxied
    bench = rig("11 slow broker, 1.5 s", 11, bootstrap=broker.bootstrap)
    bench.environment |= {"kafka": f"127.0.0.1:{proxy.port}", "session_timeout_s": "6"}
    worker = bench.start()
    bench.send()
    bench.serving()
    proxy.delay_s = 0.75
    time.sleep(6)
    bench.injected += 1
    slow = bench.caught_up("it goes on, slowly")
    proxy.delay_s = 0.0
    bench.recovered()
    assert slow < 20
    assert worker.log.count("reading from offset") == bench.partitions, "a partition was taken away"
    bench.judge()
