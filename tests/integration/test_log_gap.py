"""Events that Kafka deletes before a running worker has read them: counted once, and the worker reads on."""

import json
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.integration.fleet import WorkerProcess, until
from tests.services import RedisServer, create_topics
from tests.services.kafka_broker import Kafka


def send(bootstrap: str, topic: str, first: int, last: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for i in range(first, last):
        event = {"session_id": "s", "type": "page_view", "ts": int(time.time() * 1000), "page": str(i)}
        producer.produce(topic, json.dumps(event), "s", 0)
    producer.flush(10)


@pytest.mark.parametrize("flavour", ["redis"])
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_gap_in_the_log_does_not_wedge_a_running_worker(
    kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path, protocol: str
) -> None:
    topics = {name: f"{unique}.{name}" for name in ("clicks", "decisions", "sessions", "dlq")}
    create_topics(kafka.bootstrap, dict.fromkeys(topics.values(), 1))
    arguments = [
        *("--kafka", kafka.bootstrap, "--redis", redis_server.url, "--group", unique, "--group-protocol", protocol),
        *("--topic", topics["clicks"], "--decisions-topic", topics["decisions"]),
        *("--sessions-topic", topics["sessions"], "--dlq-topic", topics["dlq"]),
    ]
    with WorkerProcess("worker", tmp_path, arguments) as worker:

        def applied() -> float:
            return worker.metrics()['events_total{outcome="applied"}']

        send(kafka.bootstrap, topics["clicks"], 0, 50)
        until(lambda: applied() == 50, 60, "the first events")
        worker.freeze()
        send(kafka.bootstrap, topics["clicks"], 50, 51)  # may answer the fetch that is under way
        time.sleep(1)
        send(kafka.bootstrap, topics["clicks"], 51, 200)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})  # held until the answer is there
        for deleted in admin.delete_records([TopicPartition(topics["clicks"], 0, 150)]).values():
            deleted.result(30)
        worker.thaw()
        until(lambda: applied() >= 50 + 50, 60, "the events after the gap")
        assert worker.metrics()["log_gaps_total"] == 1
        assert worker.metrics()["lost_offsets_total"] + applied() == 200
