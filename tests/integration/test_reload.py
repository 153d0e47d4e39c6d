"""Marketing saves a policy while the worker runs: taken over without losing an event, or refused with file and line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from decisions.policy import Policy
from decisions.shipped import DEFAULT_POLICY
from featurestore.session.observation import SEQ_STEP
from tests.integration.shopfloor import Shopfloor, now_ms, unique_documents
from tests.services import RedisServer
from tests.services.kafka_broker import Kafka

RELOADS = "clickstage_policy_reloads_total"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(DEFAULT_POLICY.read_text())
    return path


@pytest.fixture
def floor(kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path, policy: Path) -> Iterator[Shopfloor]:
    made = Shopfloor(kafka.bootstrap, redis_server, unique, tmp_path, "--policy", str(policy))
    yield made
    made.close()


def with_banner(text: str, label: str) -> str:
    """The policy with another wording of one action: another hash, the same decisions."""
    assert "label: Trending products" in text
    return text.replace("label: Trending products", f"label: {label}")


@pytest.mark.parametrize("flavour", ["valkey"])
def test_a_saved_policy_decides_from_the_next_batch_on(floor: Shopfloor, policy: Path) -> None:
    """Every event is decided once, under the old hash or the new; a wrong file changes nothing and says file:line."""
    text = policy.read_text()
    worker = floor.worker().start()
    hashes = [Policy.from_text(text).hash]
    sent = 0

    def crowd() -> None:
        """Fifty clicks of fifty shoppers, all at once."""
        nonlocal sent
        events = [
            {"session_id": f"{floor.topic}-{i}", "type": "view_item", "ts": now_ms(), "page": f"/p/{sent}"}
            for i in range(50)
        ]
        sent += floor.send(events)

    def reloads(outcome: str, times: int) -> bool:
        crowd()
        return worker.metric(f'{RELOADS}{{outcome="{outcome}"}}') >= times

    crowd()
    for i, label in enumerate(["What others look at", "Popular now"], 1):
        policy.write_text(with_banner(text, label))
        hashes.append(Policy.from_file(policy).hash)
        floor.until(lambda times=i: reloads("ok", times), "the change is taken over")  # type: ignore[misc]
        crowd()
    wrong = text.replace("  Explorer:", "  Exporer:")
    policy.write_text(wrong)
    floor.until(lambda: reloads("refused", 1), "the wrong file is refused")
    crowd()
    line = 1 + wrong.splitlines().index("  Exporer:")
    log = worker.log.read_text()
    assert f"{policy}:{line}: " in log, log
    assert "did you mean 'Explorer'?" in log
    floor.until(lambda: worker.metric('clickstage_events_total{outcome="applied"}') >= sent, "all is applied")

    def decided() -> dict[tuple[str, str, int], str]:
        found = unique_documents(floor.decisions())
        return {identity: document["policy"] for identity, document in found.items() if identity[2] % SEQ_STEP == 0}

    floor.until(lambda: len(decided()) >= sent, "every event is decided")
    assert len(decided()) == sent
    assert set(decided().values()) == set(hashes), "three policies decided; the wrong one never did"
    assert worker.metric(f'{RELOADS}{{outcome="refused"}}') == 1, "refused once, not once a second"
    now_showing = floor.decision(f"{floor.topic}-0")
    assert now_showing is not None
    assert now_showing["policy"] == hashes[-1], "the last good policy stays in use"
