"""The launchers do what the fault suite builds on."""

import json
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer

from tests.conftest import StartKafka, StartRedis
from tests.run_services import RunServices
from tests.services import PrometheusServer, RedisServer, create_topics, delete_topics, free_port, read_topic, topic_id
from tests.services.kafka_broker import Kafka
from tests.services.process import ServerProcess, StartError, Unavailable, on_path, wait_for


def _produce(bootstrap: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for number in range(count):
        producer.produce(topic, key=f"s{number}", value=json.dumps({"n": number}))
    assert producer.flush(20) == 0


def test_a_record_comes_back_from_the_real_kafka(kafka: Kafka, unique: str) -> None:
    create_topics(kafka.bootstrap, {unique: 4})
    _produce(kafka.bootstrap, unique, 40)
    messages = read_topic(kafka.bootstrap, unique)
    assert sorted(json.loads(message.value() or b"")["n"] for message in messages) == list(range(40))
    assert {message.partition() for message in messages} == {0, 1, 2, 3}


def test_a_recreated_topic_has_another_id(kafka: Kafka, unique: str) -> None:
    create_topics(kafka.bootstrap, {unique: 1})
    first = topic_id(kafka.bootstrap, unique)
    assert first == topic_id(kafka.bootstrap, unique)
    delete_topics(kafka.bootstrap, unique)
    create_topics(kafka.bootstrap, {unique: 1})
    assert topic_id(kafka.bootstrap, unique) != first


def test_a_killed_kafka_comes_back_on_its_port_with_its_records(own_kafka: StartKafka) -> None:
    broker = own_kafka()
    address = broker.bootstrap
    create_topics(address, {"clicks": 2})
    identity = topic_id(address, "clicks")
    _produce(address, "clicks", 20)
    broker.kill9()
    broker.start()
    assert broker.bootstrap == address
    assert len(read_topic(address, "clicks")) == 20
    assert topic_id(address, "clicks") == identity


def test_redis_and_valkey_answer_with_what_their_version_says(redis_server: RedisServer, flavour: str) -> None:
    with redis_server.client(decode_responses=True) as client:
        info = client.info("server")
        version = info["valkey_version"] if flavour == "valkey" else info["redis_version"]
        assert redis_server.version == f"{flavour.capitalize()} {version}"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_killed_redis_keeps_every_acknowledged_write(own_redis: StartRedis, flavour: str) -> None:
    server = own_redis(flavour)
    with server.client() as client:
        for number in range(200):
            client.set(f"k{number}", number)
    port = server.port
    server.kill9()
    assert not server.running
    server.start()
    with server.client() as client:
        assert server.port == port
        assert client.dbsize() == 200
    server.restart()
    with server.client() as client:
        assert client.get("k199") == b"199"


def test_without_an_append_only_file_a_killed_redis_goes_back_to_its_last_save(
    own_redis: StartRedis, flavour: str
) -> None:
    server = own_redis(flavour, {"appendonly": "no"})
    with server.client() as client:
        client.set("k", "saved")
        server.save()
        client.set("k", "lost")
    server.kill9()
    server.start()
    with server.client() as client:
        assert client.get("k") == b"saved"


def test_a_redis_rolled_back_to_a_snapshot_forgets_later_writes(
    own_redis: StartRedis, flavour: str, tmp_path: Path
) -> None:
    server = own_redis(flavour)
    with server.client() as client:
        client.set("k", "before")
        snapshot = server.snapshot(tmp_path / "snapshot")
        client.set("k", "after")
    server.roll_back(snapshot)
    with server.client() as client:
        assert client.get("k") == b"before"


def test_a_frozen_redis_answers_once_it_is_thawed(own_redis: StartRedis, flavour: str) -> None:
    server = own_redis(flavour)
    server.freeze()
    with server.client(socket_timeout=0.2, retry=None) as client:
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.thaw()
        assert wait_for(server.answers, 5)


class _Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"clickstage_ready 1\n")

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_prometheus_scrapes_and_alerts(
    own_prometheus: Callable[[list[str], list[Path]], PrometheusServer], promtool: str, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text("groups: [{name: g, rules: [{alert: Up, expr: clickstage_ready == 1}]}]")
    subprocess.run([promtool, "check", "rules", str(rules)], check=True, capture_output=True)
    with ThreadingHTTPServer(("127.0.0.1", free_port()), _Metrics) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            prometheus = own_prometheus([f"127.0.0.1:{web.server_port}"], [rules])
            assert wait_for(lambda: bool(prometheus.alerts()), 20, every_s=0.2)
            assert prometheus.query("clickstage_ready")[0]["value"][1] == "1"
        finally:
            web.shutdown()
            thread.join()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    class Broken(ServerProcess):
        @property
        def command(self) -> list[str]:
            return ["sh", "-c", "echo the port is taken; exit 1"]

        def answers(self) -> bool:
            return False

    with pytest.raises(StartError, match="the port is taken"):
        Broken("broken", tmp_path).start()


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable, match="Debian package: redis-server"):
        on_path("redis-server", "redis-server")


def test_a_missing_service_skips_and_a_required_one_fails() -> None:
    def missing() -> str:
        raise Unavailable("not installed")

    with pytest.raises(pytest.skip.Exception, match="no Kafka here: not installed"):
        RunServices(required="redis")._or_skip("kafka", missing)
    with pytest.raises(pytest.fail.Exception, match="CLICKSTAGE_REQUIRE demands it"):
        RunServices(required="redis, kafka")._or_skip("kafka", missing)
