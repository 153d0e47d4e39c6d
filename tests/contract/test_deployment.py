"""Which deployment owns decisions and output topics, on every store."""

from typing import Any

import pytest
import redis

from featurestore.errors import Foreign
from featurestore.store.deployment import Deployment, claim, claimed, look, owner
from featurestore.store.keys import owner_of_prefix

PROD = Deployment("prod", "clickstage", "clicks")
SHADOW = Deployment("prod", "shadow", "clicks")
WANTED = claimed("decision:", "kafka-1", ["decisions", "sessions"])


def test_the_first_deployment_owns_and_its_own_workers_share(redis_client: "redis.Redis") -> None:
    claim(redis_client, PROD, WANTED)
    claim(redis_client, PROD, WANTED)
    look(redis_client, PROD, "decision:")
    assert owner(redis_client, owner_of_prefix("decision:")) == PROD


def test_a_second_one_is_refused_by_name_until_all_is_its_own(redis_client: "redis.Redis") -> None:
    claim(redis_client, PROD, WANTED)
    with pytest.raises(Foreign) as refused:
        claim(redis_client, SHADOW, WANTED)
    for part in (str(PROD), str(SHADOW), "decisions at decision:*", "topic sessions", "CLICKSTAGE_DECISION_PREFIX"):
        assert part in str(refused.value)
    with pytest.raises(Foreign, match="topic decisions"):
        claim(redis_client, SHADOW, claimed("shadow:", "kafka-1", ["decisions"]))
    claim(redis_client, SHADOW, claimed("shadow:", "kafka-1", ["shadow.decisions"]))
    claim(redis_client, SHADOW, claimed("shadow:", "kafka-2", ["decisions"]))
    with pytest.raises(Foreign, match="group=shadow"):
        look(redis_client, PROD, "shadow:")


def test_nobody_owns_what_nobody_has_claimed_or_what_cannot_be_read(redis_client: "redis.Redis") -> None:
    look(redis_client, PROD, "decision:")
    stored: Any = b"{not ours"
    redis_client.set(owner_of_prefix("decision:"), stored)
    look(redis_client, PROD, "decision:")
