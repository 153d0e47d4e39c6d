"""The reader's ladder, on histories of every kind; its rules are the readers' (docs/decisions-for-readers.md)."""

import json

from hypothesis import given
from hypothesis import strategies as st

from edge.document import exposure_id
from edge.ladder import Ladder, read

NOW = 1_000


def _document(seq: int, action: str = "a", source: str = "t", expires_at: int = NOW + 1) -> bytes:
    fields = {"v": 1, "source": source, "seq": seq, "action": action, "decided_at": NOW, "expires_at": expires_at}
    return json.dumps(fields).encode()


def _shown(ladder: Ladder, answer: bytes | None, *, answered: bool = True, now: int = NOW) -> tuple[str, str]:
    rung, known = ladder.climb("s", answer, now, answered=answered)
    return rung, known.order.action if known else ""


def test_a_fresh_decision_is_shown_and_remembered_while_it_lives() -> None:
    ladder = Ladder()
    assert _shown(ladder, _document(1)) == ("fresh", "a")
    assert _shown(ladder, None, answered=False) == ("last_known", "a")
    assert _shown(ladder, None, answered=False, now=NOW + 1) == ("neutral", "")


def test_an_older_decision_is_refused_and_another_source_is_newer() -> None:
    ladder = Ladder()
    _shown(ladder, _document(5, "new"))
    assert _shown(ladder, _document(4, "old")) == ("last_known", "new")
    assert _shown(ladder, _document(1, "anew", source="u")) == ("fresh", "anew")


def test_what_is_gone_is_not_shown_and_its_place_is_kept() -> None:
    ladder = Ladder()
    _shown(ladder, _document(5))
    assert _shown(ladder, None) == ("neutral", "")
    assert _shown(ladder, None, answered=False) == ("neutral", "")
    assert _shown(ladder, _document(4)) == ("neutral", "")
    assert _shown(ladder, _document(6, "b")) == ("fresh", "b")


def test_a_document_that_is_not_understood_is_no_answer() -> None:
    assert read(b"{") is None
    assert read(b'{"v":9,"source":"t","seq":1,"action":"a","decided_at":1,"expires_at":2}') is None
    ladder = Ladder()
    _shown(ladder, _document(5))
    assert _shown(ladder, b"junk") == ("last_known", "a")


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=30))
def test_nobody_sees_an_older_decision_after_a_newer_one(steps: list[tuple[int, bool]]) -> None:
    ladder, newest = Ladder(), -1
    for seq, answered in steps:
        _, known = ladder.climb("s", _document(seq) if answered else None, NOW, answered=answered)
        if known is not None:
            assert known.order.seq >= newest
            newest = known.order.seq


def test_memory_is_bounded() -> None:
    ladder = Ladder(most=2)
    for session in "abc":
        ladder.climb(session, _document(1), NOW, answered=True)
    assert ladder.climb("a", None, NOW, answered=False)[1] is None
    assert ladder.climb("c", None, NOW, answered=False)[1] is not None


def test_an_exposure_id_names_an_action_of_a_session() -> None:
    assert exposure_id("s", "a") == exposure_id("s", "a")
    assert len({exposure_id(*words) for words in [("s", "a"), ("s2", "a"), ("s", "b"), ("sa", "")]}) == 4
