"""Too many bad records hold their partition, across restarts, until an operator lets it go on; others are served."""

import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from featurestore.contract.partitioner import partition_of
from tests.integration.shopfloor import PARTITIONS, Shopfloor, WorkerProcess, now_ms
from tests.services import RedisServer, read_topic
from tests.services.kafka_broker import Kafka
from worker.checks.shared_check import note_deployment
from worker.cli import main
from worker.errors import ExitCode

pytestmark = pytest.mark.parametrize("flavour", ["redis"])
BAD = 1_200
LIMIT = 500
GOOD = "good"
HELD = partition_of(GOOD, PARTITIONS)
ELSEWHERE = [name for name in map("other{}".format, range(20)) if partition_of(name, PARTITIONS) != HELD]


class Alive(WorkerProcess):
    """A worker that is started once it lives: with a held partition it does not become ready."""

    def answers(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/live", timeout=5) as page:
            return bool(page.status == 200)

    def trouble(self) -> str:
        """What /ready says while it is not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5):
                return ""
        except urllib.error.HTTPError as error:
            return error.read().decode()


def _offsets(kafka: Kafka, floor: Shopfloor) -> list[int]:
    """Where the records of the dead letters stood, sorted."""
    letters = [dict(m.headers() or []) for m in read_topic(kafka.bootstrap, f"{floor.topic}.dlq")]
    assert all(headers["__connect.errors.partition"] == str(HELD).encode() for headers in letters)
    return sorted(int(headers["__connect.errors.offset"] or b"") for headers in letters)


@pytest.mark.issue(20, line=12)
def test_a_partition_of_bad_records_is_held_through_a_crash_and_then_let_go_on(
    floor: Shopfloor,
    kafka: Kafka,
    redis_server: RedisServer,
    unique: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1,200 bad records and a good one behind them: 500 letters, whoever reads; with `dlq pass` all, each once."""
    names = ("--topic", unique, "--dlq-topic", f"{unique}.dlq", "--decisions-topic", f"{unique}.decisions")
    where = ("--group", unique, "--kafka", kafka.bootstrap, "--redis", redis_server.url)
    access = (*names, "--sessions-topic", f"{unique}.sessions", *where)
    flags = [*access, "--session-timeout-s", "6", "--metrics-host", "127.0.0.1"]
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(BAD):
        producer.produce(unique, f"<xml n='{number}'/>", "poison", partition=HELD)
    assert producer.flush(30) == 0
    click = {"type": "view_item", "page": "/p"}
    floor.send({"session_id": session, "ts": now_ms(), **click} for session in (GOOD, ELSEWHERE[0]))
    one, two = (Alive(f"held-{n}", tmp_path / f"held-{n}", flags) for n in (1, 2))
    try:
        one.start()
        floor.until(lambda: one.metric("clickstage_held_partitions") == 1.0, one.log_tail())
        floor.until(lambda: floor.decision(ELSEWHERE[0]) is not None, "another partition is served")
        floor.until(lambda: f"partition {HELD} is held: {LIMIT} records in a row" in one.trouble(), "it is not ready")
        assert _offsets(kafka, floor) == list(range(LIMIT))
        one.kill9()
        two.start()
        floor.until(lambda: two.metric("clickstage_held_partitions") == 1.0, two.log_tail())
        floor.send([{"session_id": ELSEWHERE[1], "ts": now_ms(), **click}])
        floor.until(lambda: floor.decision(ELSEWHERE[1]) is not None, "another partition is served after the crash")
        assert _offsets(kafka, floor) == list(range(LIMIT)), "no further record is refused, no letter is written again"
        assert floor.decision(GOOD) is None
        note_deployment(floor.client, replace(floor.namespace, group="trial"), unique)
        assert main(["check", *access]) == ExitCode.UNSAFE
        said = capsys.readouterr().out
        assert f"partition {HELD} is held at offset {LIMIT} since " in said
        assert f"`clickstage dlq pass --partition {HELD}`" in said
        assert f"env prod is also that of group trial on topic {unique}" in said
        assert main(["dlq", "pass", *access]) == ExitCode.OK
        was = f"partition {HELD} was held at offset {LIMIT}; records before offset {BAD + 1} pass\n"
        assert capsys.readouterr().out == was
        floor.until(lambda: floor.decision(GOOD) is not None, two.log_tail())
        floor.until(lambda: two.trouble() == "", "it is ready again")
        assert _offsets(kafka, floor) == list(range(BAD)), "every bad record has one letter"
        assert main(["dlq", "pass", *access]) == ExitCode.OK
        assert capsys.readouterr().out == "no partition is held\n"
        logged = two.log.read_text()
        assert "clickstage dlq pass --partition" in logged
        assert "Traceback" not in logged
        assert "<xml" not in logged
    finally:
        for worker in (one, two):
            worker.stop()
