"""Who else uses this Redis is said: sharing visitors or decisions is never silent."""

import pytest

from featurestore.store.keys import Namespace
from worker.checks.findings import ADVICE, GOOD
from worker.checks.shared_check import Deployment, shared_findings

OWN = Namespace("prod", "clickstage", "t1")
ITSELF = {"prod:clickstage:t1": Deployment("clicks", 1), "prod:clickstage:t0": Deployment("clicks", 1)}


def test_a_group_is_alone_with_itself_and_with_its_topic_before_it_was_created_anew() -> None:
    [found] = shared_findings(ITSELF, OWN, "clicks")
    assert found.level == GOOD


@pytest.mark.issue(20, line=9)
def test_another_group_or_topic_of_the_env_shares_visitors() -> None:
    others = {"prod:trial:t1": Deployment("clicks", 1), "prod:clickstage:t2": Deployment("shoes", 1)}
    found = list(shared_findings(ITSELF | others, OWN, "clicks"))
    assert [f.level for f in found] == [ADVICE, ADVICE]
    assert "group clickstage on topic shoes (last start 1970-01-01)" in found[0].what
    assert "group trial on topic clicks" in found[1].what
    assert all("profiles" in f.what and "CLICKSTAGE_ENV" in f.remedy for f in found)


@pytest.mark.issue(20, line=9, sibling=True)
def test_another_env_in_this_redis_shares_decisions_only() -> None:
    [found] = shared_findings(ITSELF | {"test:clickstage:t1": Deployment("clicks", 1)}, OWN, "clicks")
    assert found.level == ADVICE
    assert "decision:<session_id>" in found.what
    assert "profiles" not in found.what
