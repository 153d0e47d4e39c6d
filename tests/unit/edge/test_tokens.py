"""Session tokens: only the edge makes them, each is of one session, and each ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.tokens import MADE_HERE, BadToken, Tokens, new_session_id

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
NOW = 1_780_000_000


def test_a_token_says_whose_it_is_and_until_when() -> None:
    tokens = Tokens({"k": OLD})
    assert tokens.check(tokens.issue("abc", NOW + 5), NOW) == ("abc", NOW + 5)


def test_a_session_id_is_128_random_bits() -> None:
    made = {new_session_id() for _ in range(1_000)}
    assert len(made) == 1_000
    assert {len(bytes.fromhex(one.removeprefix(MADE_HERE))) for one in made} == {16}


def test_an_expired_token_proves_nothing() -> None:
    tokens = Tokens({"k": OLD})
    with pytest.raises(BadToken, match="expired"):
        tokens.check(tokens.issue("abc", NOW), NOW)


@given(st.data())
def test_a_token_with_any_character_changed_proves_nothing(data: st.DataObject) -> None:
    tokens = Tokens({"k": OLD, "k2": NEW})
    token = tokens.issue("3f1c" * 8, NOW + 100)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(exclude_characters=token[place]))
    with pytest.raises(BadToken):
        tokens.check(token[:place] + other + token[place + 1 :], NOW)


@given(st.text(max_size=400))
def test_no_text_is_taken_for_a_token(text: str) -> None:
    """And none raises anything but `BadToken`."""
    with pytest.raises(BadToken):
        Tokens({"k": OLD}).check(text, NOW)


def test_a_rotated_key_still_counts_and_a_retired_one_does_not() -> None:
    token = Tokens({"old": OLD}).issue("abc", NOW + 5)
    assert Tokens({"new": NEW, "old": OLD}).check(token, NOW).session_id == "abc"
    assert Tokens({"new": NEW, "old": OLD}).issue("abc", NOW + 5).startswith("new.")
    with pytest.raises(BadToken, match="retired"):
        Tokens({"new": NEW}).check(token, NOW)
