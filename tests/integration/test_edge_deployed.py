"""The edge as others deploy it: with TLS of its own, and in front of a Redis Cluster."""

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection
from typing import Any, Final

import pytest

from tests.integration.edges import EdgeProcess
from tests.integration.shopfloor import Shopfloor, now_ms
from tests.run_services import RunServices
from tests.services import ClusterServers, RedisServer, create_topics, delete_topics
from tests.services.kafka_broker import Kafka
from tests.services.kafka_rights import certificate
from tests.services.process import wait_for

BUCKETS: Final = "4"


def _event(kind: str = "page_view", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "ts": now_ms(), "page": f"/{kind}", **fields}


@pytest.mark.parametrize("flavour", ["redis"])
def test_tls_of_its_own(kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path) -> None:
    """A browser speaks HTTP/2 with it, others HTTP/1.1; streams go through; without TLS, or without trust, nobody."""
    create_topics(kafka.bootstrap, {unique: 1})
    trusted, _ = certificate(tmp_path)
    flags = ["--kafka", kafka.bootstrap, "--redis", redis_server.url, "--topic", unique, "--group", unique]
    own = ["--edge-tls-cert", str(trusted), "--edge-tls-key", str(tmp_path / "key.pem")]
    edge = EdgeProcess("edge", tmp_path / "edge", [*flags, *own], ssl.create_default_context(cafile=trusted))
    edge.start_waiting()
    try:
        page = edge.page()
        stream = page.stream()
        assert stream.status == 200
        assert page.send(_event()).status == 202
        assert page.withdraw().status == 204
        assert [event for event, _, _ in stream] == ["withdrawn"]
        browser = ssl.create_default_context(cafile=trusted)
        browser.set_alpn_protocols(["h2", "http/1.1"])
        with browser.wrap_socket(create_connection(("127.0.0.1", edge.port)), server_hostname="127.0.0.1") as secure:
            assert secure.selected_alpn_protocol() == "h2"
        with pytest.raises(ssl.SSLCertVerificationError), create_connection(("127.0.0.1", edge.port)) as plain:
            ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")
        open_connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=10)
        open_connection.request("GET", "/healthz")
        with pytest.raises((http.client.HTTPException, OSError)):
            open_connection.getresponse()
        open_connection.close()
    finally:
        edge.stop()


@pytest.mark.nightly
@pytest.mark.parametrize("flavour", ["redis"])
def test_a_topic_that_is_made_anew_is_followed(
    kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path
) -> None:
    """Inline decisions come from the states of the topic that the workers read now, without a restart."""
    create_topics(kafka.bootstrap, {unique: 1})
    flags = ["--kafka", kafka.bootstrap, "--redis", redis_server.url, "--topic", unique, "--group", unique]
    edge = EdgeProcess("edge", tmp_path / "edge", flags).start_waiting()

    def source() -> str:
        answer = edge.page().send(_event(), query="&decide=1")
        return str((answer.json.get("decision") or {}).get("source", "")) if answer.status == 202 else ""

    try:
        first = source()
        assert first
        delete_topics(kafka.bootstrap, unique)
        create_topics(kafka.bootstrap, {unique: 3})
        assert wait_for(lambda: source() not in {"", first}, 60)
    finally:
        edge.stop()


@pytest.fixture
def cluster_floor(
    kafka: Kafka, services: RunServices, unique: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Shopfloor, ClusterServers]]:
    """A shop whose store is a Redis Cluster."""
    servers = services.cluster("redis", lambda: tmp_path_factory.mktemp("cluster"))
    servers.empty()
    made = Shopfloor(kafka.bootstrap, servers, unique, tmp_path, "--buckets", BUCKETS)
    yield made, servers
    made.close()


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_in_front_of_a_redis_cluster(
    cluster_floor: tuple[Shopfloor, ClusterServers], kafka: Kafka, tmp_path: Path
) -> None:
    """Sessions of every node are collected, decided inline, read, pushed and withdrawn."""
    floor, servers = cluster_floor
    flags = ["--kafka", kafka.bootstrap, "--redis", servers.url, "--topic", floor.topic, "--group", floor.topic]
    edge = EdgeProcess("edge", tmp_path / "edge", [*flags, "--buckets", BUCKETS]).start_waiting()
    try:
        floor.worker().start()
        pages = [edge.page() for _ in range(12)]
        streams = [page.stream() for page in pages]
        told = [page.send(_event(), query="&decide=1").json["decision"] for page in pages]
        assert not [decision for decision in told if "seq" not in decision]
        for stream, decision in zip(streams, told, strict=True):
            pushed = next(iter(stream))[2]
            same = ("seq", "stage", "probabilities", "action")
            assert [pushed[name] for name in same] == [decision[name] for name in same]
        for page in pages:
            read = page.decision().json
            assert read["answer"] == "fresh"
            assert "behind_ms" not in read
            assert page.withdraw().status == 204
            assert page.decision().status == 410
        assert [[event for event, _, _ in stream][-1] for stream in streams] == ["withdrawn"] * len(pages)
        floor.until(
            lambda: not any(floor.decision(page.session_id) for page in pages), "the worker has forgotten the sessions"
        )
    finally:
        edge.stop()
