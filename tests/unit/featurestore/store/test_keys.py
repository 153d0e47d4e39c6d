"""Every key: who may meet whom."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from featurestore.store.keys import Namespace, Shard, decision_key, slot_of

SPACE = Namespace("prod", "clickstage", "id1")


def test_the_keys_are_what_operators_grep_for() -> None:
    shard = Shard(3)
    assert SPACE.meta(shard) == "cs:{prod:clickstage:1:id1:3:0}:meta"
    assert SPACE.states(shard) == "cs:{prod:clickstage:1:id1:3:0}:states"
    assert SPACE.idle(shard) == "cs:{prod:clickstage:1:id1:3:0}:idle"
    assert SPACE.ends(shard) == "cs:{prod:clickstage:1:id1:3:0}:ends"
    assert SPACE.ending(shard, 853_000_000) == "cs:{prod:clickstage:1:id1:3:0}:ends:853000000"
    assert SPACE.outboxes(shard) == "cs:{prod:clickstage:1:id1:3:0}:outboxes"
    assert SPACE.visitor(255) == "cs:prod:visitor:00000000000000ff"
    assert SPACE.erased() == "cs:prod:erased"
    assert decision_key("s1") == "decision:s1"


def test_one_shards_keys_share_a_hash_tag_and_no_two_shards_do() -> None:
    def tag(key: str) -> str:
        return key[key.index("{") : key.index("}")]

    tags = set()
    for shard in (Shard(0), Shard(0, 1), Shard(1)):
        parts = {tag(make(shard)) for make in (SPACE.meta, SPACE.states, SPACE.idle, SPACE.ends, SPACE.outboxes)}
        assert len(parts) == 1
        tags |= parts
    assert len(tags) == 3


def test_another_deployment_group_topic_or_schema_shares_no_state() -> None:
    spaces = [
        SPACE,
        Namespace("test", "clickstage", "id1"),
        Namespace("prod", "other", "id1"),
        Namespace("prod", "clickstage", "id2"),
        Namespace("prod", "clickstage", "id1", 2),
    ]
    assert len({space.meta(Shard(0)) for space in spaces}) == len(spaces)


def test_a_deployment_with_a_prefix_of_its_own_names_itself() -> None:
    """Its decisions are never taken for another one's, in Redis or in the log."""
    own = replace(SPACE, prefix="rehearsal:")
    assert own.decision("s1") == decision_key("s1", "rehearsal:") == "rehearsal:s1"
    assert (SPACE.source, own.source) == ("id1", "id1.rehearsal")


@given(st.text(max_size=40))
def test_what_says_that_a_key_is_gone_lies_in_the_keys_slot(name: str) -> None:
    """Whatever braces the session id holds."""
    key = decision_key(name)
    assert slot_of(SPACE.gone(key)) == slot_of(key)


def test_all_keys_of_a_shard_lie_in_one_slot() -> None:
    assert len({slot_of(key) for key in [*SPACE.all_of(Shard(3, 1)), SPACE.ending(Shard(3, 1), 7)]}) == 1
    assert len({slot_of(SPACE.meta(Shard(p, b))) for p in range(4) for b in range(8)}) > 28
