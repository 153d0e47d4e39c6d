"""What several integration tests start with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.shopfloor import Shopfloor
from tests.services import RedisServer
from tests.services.kafka_broker import Kafka


@pytest.fixture
def floor(kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path) -> Iterator[Shopfloor]:
    """Topics and processes of a test's own; whatever happens, its processes are stopped."""
    made = Shopfloor(kafka.bootstrap, redis_server, unique, tmp_path)
    yield made
    made.close()
