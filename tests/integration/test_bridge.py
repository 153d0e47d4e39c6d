"""The bridge on real Kafka: killed between, each record of another tracker's topic is on `clicks` once."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Producer

from featurestore.contract.partitioner import partition_of
from tests.integration.shopfloor import ClickstageProcess
from tests.services import create_topics, produce_bomb, read_topic
from tests.services.kafka_broker import Kafka
from tests.services.process import wait_for
from worker.cli import main
from worker.errors import ExitCode

PARTITIONS = 4
RECORDS = 30_000
BAD_EVERY = 2_500
COMMITTED = 'clickstage_bridge_transactions_total{outcome="committed"}'


class BridgeProcess(ClickstageProcess):
    """One ``clickstage bridge``; it is ready once it has its partitions."""

    verb = "bridge"

    def works(self) -> bool:
        """Whether it is in the middle of its work."""
        return self.metric(COMMITTED) >= 2


def _payload(number: int) -> bytes:
    """A GA4 payload of one event, whose page says which one; every so often something that is none."""
    if number % BAD_EVERY == 0:
        return b"%d is no JSON {" % number
    event = {"name": "page_view", "params": {"session_id": 1, "page_location": f"/p/{number}"}}
    return json.dumps({"client_id": f"c{number % 97}", "events": [event]}).encode()


def test_a_bridge_that_is_killed_in_between_bridges_each_record_once(kafka: Kafka, unique: str, tmp_path: Path) -> None:
    """Twice by SIGKILL in the middle of the work, and the next one goes on where transactions were committed."""
    names = (f"{unique}.ga4", unique, f"{unique}.dlq")
    create_topics(kafka.bootstrap, dict.fromkeys(names, PARTITIONS))
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    begun = time.time_ns() // 1_000_000
    for number in range(RECORDS):
        producer.produce(names[0], _payload(number), str(number), timestamp=begun - RECORDS + number)
    assert producer.flush(30) == 0
    flags = ["--from", "ga4", "--topic", names[0], "--to", names[1], "--dlq-topic", names[2], "--group", unique]
    flags += ["--kafka", kafka.bootstrap, "--session-timeout-s", "6", "--instance", "one"]
    bridges = [BridgeProcess(f"bridge-{n}", tmp_path / f"bridge-{n}", flags) for n in range(3)]
    try:
        for bridge in bridges[:2]:
            bridge.start()
            assert wait_for(bridge.works, 60), bridge.log_tail()
            bridge.kill9()
            assert len(read_topic(kafka.bootstrap, names[1])) < RECORDS // 2, "it is killed in the middle"
        bridges[2].start()
        bad = len(range(0, RECORDS, BAD_EVERY))
        assert wait_for(lambda: len(read_topic(kafka.bootstrap, names[1])) >= RECORDS - bad, 60), bridges[2].log_tail()
        assert wait_for(lambda: len(read_topic(kafka.bootstrap, names[2])) >= bad, 30), bridges[2].log_tail()
        time.sleep(1.0)
    finally:
        for bridge in bridges:
            bridge.stop()
    events = read_topic(kafka.bootstrap, names[1])
    pages = Counter(json.loads(m.value() or b"")["page"] for m in events)
    assert pages == {f"/p/{number}": 1 for number in range(RECORDS) if number % BAD_EVERY}
    for message in events:
        event = json.loads(message.value() or b"")
        assert (message.key() or b"").decode() == event["session_id"]
        assert message.partition() == partition_of(event["session_id"], PARTITIONS)
        assert message.timestamp()[1] == begun - RECORDS + int(event["page"][3:]) == event["ts"], "it arrived as it did"
    letters = [(m.value(), dict(m.headers() or [])) for m in read_topic(kafka.bootstrap, names[2])]
    assert sorted(value or b"" for value, _ in letters) == sorted(_payload(n) for n in range(0, RECORDS, BAD_EVERY))
    assert {headers["__connect.errors.reason"] for _, headers in letters} == {b"not_json"}
    assert {headers["__connect.errors.topic"] for _, headers in letters} == {names[0].encode()}
    assert "Traceback" not in "".join(bridge.log.read_text() for bridge in bridges)


@pytest.mark.nightly
def test_a_batch_that_cannot_be_unpacked_is_one_letter(kafka: Kafka, unique: str, tmp_path: Path) -> None:
    """120 MB of nothing, some kilobytes as zstd packs them: the client takes 100, and says so without end."""
    names = (f"{unique}.ga4", unique, f"{unique}.dlq")
    create_topics(kafka.bootstrap, dict.fromkeys(names, 1))
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in (1, 2):
        producer.produce(names[0], _payload(number), "k")
        assert producer.flush(60) == 0
        if number == 1:
            produce_bomb(kafka.bootstrap, names[0])
    flags = ["--from", "ga4", "--topic", names[0], "--to", names[1], "--dlq-topic", names[2], "--group", unique]
    bridge = BridgeProcess("bridge", tmp_path / "bridge", [*flags, "--kafka", kafka.bootstrap])
    try:
        bridge.start()
        assert wait_for(lambda: len(read_topic(kafka.bootstrap, names[1])) == 2, 60), bridge.log_tail()
    finally:
        bridge.stop()
    [letter] = read_topic(kafka.bootstrap, names[2])
    headers = dict(letter.headers() or [])
    assert headers["__connect.errors.reason"] == b"unreadable"
    assert headers["__connect.errors.offset"] == headers["__connect.errors.first.offset"] == b"1"


def test_a_bridge_says_what_is_missing(kafka: Kafka, unique: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--from", "segment", "--kafka", kafka.bootstrap, "--to", unique, "--dlq-topic", f"{unique}.dlq"]
    create_topics(kafka.bootstrap, {unique: 1, f"{unique}.dlq": 1})
    assert main(["bridge", *flags, "--topic", "nowhere"]) == ExitCode.USAGE
    assert "has no topic nowhere" in capsys.readouterr().err
    assert main(["bridge", *flags, "--topic", unique]) == ExitCode.USAGE
    assert "is where the bridge writes" in capsys.readouterr().err
