"""The edge as others deploy it: with TLS of its own."""

import http.client
import ssl
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest

from tests.integration.edges import EdgeProcess
from tests.integration.shopfloor import now_ms
from tests.services import RedisServer, create_topics
from tests.services.kafka_broker import Kafka
from tests.services.kafka_rights import certificate


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
