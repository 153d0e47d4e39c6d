"""A second deployment on one Kafka and one Redis: refused by name, then beside the first one under its own prefix."""

import json
import subprocess
import sys

import pytest

from featurestore.store.deployment import Deployment
from tests.integration.shopfloor import ROOT, Shopfloor, clicks, now_ms
from tests.services import RedisServer, create_topics, read_topic
from tests.services.kafka_broker import Kafka
from worker.errors import ExitCode


@pytest.mark.parametrize("flavour", ["redis"])
@pytest.mark.issue(20, line=9, sibling=True)
def test_a_second_deployment_needs_a_prefix_of_its_own(
    floor: Shopfloor, kafka: Kafka, redis_server: RedisServer, unique: str
) -> None:
    """Else every decision would be the second one's, under the identities of the first."""
    own = [f"{unique}.own.decisions", f"{unique}.own.sessions"]
    create_topics(kafka.bootstrap, dict.fromkeys(own, 1))
    second = [*floor.flags, "--group", f"{unique}.second"]
    apart = [*second, "--decision-prefix", "rehearsal:", "--decisions-topic", own[0], "--sessions-topic", own[1]]
    floor.worker().start()
    floor.worker().start()  # workers of one deployment share what it owns
    floor.send(clicks("s1", now_ms()))
    floor.until(lambda: floor.decision("s1") is not None, "the first one has decided")

    command = [sys.executable, "-m", "worker"]
    refused = subprocess.run([*command, "worker", *second], capture_output=True, text=True, check=False, cwd=ROOT)
    assert refused.returncode == ExitCode.USAGE
    for part in (Deployment("prod", unique, unique), Deployment("prod", f"{unique}.second", unique)):
        assert str(part) in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr

    floor.worker(*apart).start()
    floor.until(lambda: bool(floor.client.exists("rehearsal:s1")), "the second one has decided")
    found = [json.loads(message.value() or b"") for message in read_topic(kafka.bootstrap, own[0])]
    assert {document["source"] for document in found} == {f"{floor.namespace.source}.rehearsal"}
    assert {document["source"] for document in floor.decisions()} == {floor.namespace.source}
    names = ("--kafka", kafka.bootstrap, "--redis", redis_server.url, "--group", f"{unique}.second", "--topic", unique)
    topics = ("--decisions-topic", own[0], "--sessions-topic", own[1], "--dlq-topic", f"{unique}.dlq")
    looked = subprocess.run(
        [*command, "inspect", "s1", *names, *topics, "--decision-prefix", "rehearsal:"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert ".rehearsal" in looked.stdout
