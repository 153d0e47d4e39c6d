"""The least rights of docs/guarantees.md in Kafka: the lists suffice, and without any one right a message names it."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from featurestore.contract.partitioner import PARTITIONER
from tests.conftest import StartRedis
from tests.faults.rights_page import kafka_rights
from tests.run_services import RunServices
from tests.services import KafkaBroker, RedisServer, create_topics, free_port, read_topic
from tests.services.kafka_rights import PASSWORD, KafkaRights, access, certificate
from tests.services.process import wait_for
from worker.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {"clicks": 2, "decisions": 1, "sessions": 1, "clicks.dlq": 1, "exposures": 1}


@pytest.fixture(scope="module")
def guarded(services: RunServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaBroker, str, Path]]:
    """A broker with rights, the address for users, and the certificate that they trust."""
    folder = tmp_path_factory.mktemp("guarded")
    trusted, both = certificate(folder)
    port = free_port()
    broker = services.guarded_kafka(folder / "broker", port, port, both)
    create_topics(broker.bootstrap, TOPICS)
    yield broker, f"127.0.0.1:{port}", trusted
    broker.stop()


def environment(address: str, trusted: Path, user: str, store: RedisServer) -> dict[str, str]:
    values = {"kafka": address, "redis": store.url, **access(user, trusted)}
    return os.environ | {f"CLICKSTAGE_{name.upper()}": value for name, value in values.items()}


def produce(broker: KafkaBroker, number: int) -> None:
    """A click and a record that is none."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": PARTITIONER})
    now = time.time_ns() // 1_000_000
    click = {"session_id": f"s{number}", "type": "click", "ts": now}
    producer.produce("clicks", json.dumps(click), f"s{number}", timestamp=now)
    producer.produce("clicks", "no event", f"s{number}")
    assert producer.flush(20) == 0


COMMANDS = {
    "check": ["check"],
    "list": ["dlq", "list"],
    "redrive": ["dlq", "redrive", "--force", "--again"],
    "erase": ["erase", "--session", "s1"],
}


@pytest.mark.parametrize("who", COMMANDS)
def test_the_rights_of_a_command_suffice_and_each_is_needed(
    guarded: tuple[KafkaBroker, str, Path], own_redis: StartRedis, who: str
) -> None:
    """Exit 0 and no complaint; without one of them another exit or an advice, which names topic or group."""
    broker, address, trusted = guarded
    store, rights, user = own_redis("redis"), KafkaRights(broker.bootstrap), f"{who}-user"
    rights.add_user(user)
    rights.allow(user, listed := kafka_rights(who))
    produce(broker, 1)
    letter = Producer({"bootstrap.servers": broker.bootstrap})
    letter.produce("clicks.dlq", "no event", headers=[("__connect.errors.reason", b"schema")])
    assert letter.flush(20) == 0

    def ran() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "worker", *COMMANDS[who]],
            env=environment(address, trusted, user, store),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert PASSWORD not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    code, said = ran()
    assert code in {ExitCode.OK, ExitCode.UNSAFE} if who == "check" else code == ExitCode.OK, said
    assert "let this user" not in said
    for right in listed:
        rights.revoke(user, [right])
        code, said = ran()
        assert code != ExitCode.OK or "let this user" in said, f"without {right}: {said}"
        assert right.name in said, f"without {right}: {said}"
        rights.allow(user, [right])
    code, said = ran()
    assert "let this user" not in said


def start(arguments: list[str], values: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "worker", *arguments]
        return subprocess.Popen(command, env=values, cwd=ROOT, stdout=sink, stderr=sink)


def test_the_rights_of_a_worker_suffice_and_each_is_needed(
    guarded: tuple[KafkaBroker, str, Path], own_redis: StartRedis, tmp_path: Path
) -> None:
    """It decides and sends dead letters; without one of them it ends, and says which topic or group."""
    broker, address, trusted = guarded
    store, rights = own_redis("redis"), KafkaRights(broker.bootstrap)
    rights.add_user("worker")
    rights.allow("worker", listed := kafka_rights("worker"))
    values = environment(address, trusted, "worker", store) | {
        "CLICKSTAGE_METRICS_PORT": "0",
        "CLICKSTAGE_SESSION_TIMEOUT_S": "6",
        "CLICKSTAGE_STUCK_AFTER_S": "8",
    }
    worker = start(["worker"], values, log := tmp_path / "worker.log")
    before = len(read_topic(broker.bootstrap, "clicks.dlq"))
    produce(broker, 2)
    with store.client() as client:
        assert wait_for(lambda: bool(client.exists("decision:s2")), 60), log.read_text()
    assert wait_for(lambda: len(read_topic(broker.bootstrap, "clicks.dlq")) > before, 30), log.read_text()
    # WRITE on an output topic goes under the running worker: it waits, says so, and goes on when it is back.
    write = next(right for right in listed if right.name == "decisions")
    rights.revoke("worker", [write])
    said = len(log.read_text())
    produce(broker, 3)
    assert wait_for(lambda: "AUTHORIZATION" in log.read_text()[said:], 60), log.read_text()[said:]
    assert worker.poll() is None
    rights.allow("worker", [write])
    known = len(read_topic(broker.bootstrap, "decisions"))
    produce(broker, 4)
    assert wait_for(lambda: len(read_topic(broker.bootstrap, "decisions")) > known, 60), log.read_text()[said:]
    worker.terminate()
    assert worker.wait(30) == ExitCode.OK, log.read_text()
    assert "Traceback" not in log.read_text()
    for number, right in enumerate(listed):
        rights.revoke("worker", [right])
        log = tmp_path / f"worker-{number}.log"
        without = start(["worker"], values, log)
        try:
            assert without.wait(90) in {ExitCode.USAGE, ExitCode.UNSAFE, ExitCode.STUCK}, f"{right}: {log.read_text()}"
        finally:
            without.kill()
            without.wait()
        assert right.name in log.read_text(), f"without {right}: {log.read_text()}"
        rights.allow("worker", [right])


def test_the_rights_of_an_edge_suffice_and_each_is_needed(
    guarded: tuple[KafkaBroker, str, Path], own_redis: StartRedis, tmp_path: Path
) -> None:
    """It takes events; without one of them it says which topic, and takes events again once it is given back."""
    broker, address, trusted = guarded
    store, rights = own_redis("redis"), KafkaRights(broker.bootstrap)
    rights.add_user("edge")
    rights.allow("edge", listed := kafka_rights("edge"))
    event = {"session_id": "e1", "type": "page_view", "ts": time.time_ns() // 1_000_000, "page": "/"}
    port = free_port()

    @contextmanager
    def running(log: Path) -> Iterator[None]:
        values = environment(address, trusted, "edge", store)
        edge = start(["edge", "--edge-port", str(port), "--exposures-topic", "exposures"], values, log)
        try:
            yield
        finally:
            edge.terminate()
            edge.wait(30)

    def taken() -> bool:
        try:
            return _post(port, "/v1/events?key=demo", event)[0] == 202
        except (OSError, ValueError):
            return False

    with running(tmp_path / "edge.log"):
        assert wait_for(taken, 40), (tmp_path / "edge.log").read_text()
    for number, right in enumerate(listed):
        rights.revoke("edge", [right])
        log = tmp_path / f"edge-{number}.log"
        with running(log):
            taken()
            assert wait_for(lambda: right.name in log.read_text(), 40), f"without {right}"  # noqa: B023
            rights.allow("edge", [right])
            assert wait_for(taken, 40), f"{right} came back: {log.read_text()}"


def _post(port: int, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
