"""Whatever a record's key, value and headers weigh, its dead letter fits, and says what was cut."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from worker.kafka.letters import OVERHEAD, PER_HEADER, PREFIX, Letter, fitted, was_cut

OWN = [(f"{PREFIX}{name}", b"x" * 30) for name in ("topic.id", "partition", "offset", "reason", "exception.message")]
SIZES = st.one_of(st.integers(0, 3_000), st.integers(0, 3_000_000))


def blob(size: int | None) -> bytes | None:
    return None if size is None else bytes(n % 251 for n in range(min(size, 997))).ljust(size, b"a")


@st.composite
def letters(draw: st.DrawFn) -> Letter:
    key, value = (blob(draw(st.none() | SIZES)) for _ in range(2))
    headers = [(f"h{n}", blob(draw(st.none() | SIZES))) for n in range(draw(st.integers(0, 4)))]
    return Letter(key, value, headers, OWN)


def weight(letter: Letter) -> int:
    headers = sum(len(name) + len(value or b"") + PER_HEADER for name, value in letter.headers)
    return len(letter.key or b"") + len(letter.value or b"") + headers + OVERHEAD


@given(letters(), st.integers(600, 2_000_000))
def test_a_letter_fits_and_keeps_where_it_stood(letter: Letter, limit: int) -> None:
    cut = fitted(letter, limit)
    assert weight(cut) <= limit
    names = {name for name, _ in cut.own}
    assert {f"{PREFIX}{name}" for name in ("topic.id", "partition", "offset", "reason")} <= names
    if weight(letter) <= limit:
        assert cut == letter
        assert not was_cut(cut.headers)


@given(letters(), st.integers(2_048, 2_000_000))
def test_what_was_cut_is_a_beginning_with_its_size_and_hash(letter: Letter, limit: int) -> None:
    cut = fitted(letter, limit)
    said = dict(cut.own)
    for what, whole, kept in (("key", letter.key, cut.key), ("value", letter.value, cut.value)):
        if kept == whole:
            assert f"{PREFIX}{what}.original.bytes" not in said
        else:
            assert whole is not None
            assert whole.startswith(kept or b"")
            assert said[f"{PREFIX}{what}.original.bytes"] == str(len(whole)).encode()
            assert said[f"{PREFIX}{what}.original.sha256"] == hashlib.sha256(whole).hexdigest().encode()
    assert list(cut.original) == list(letter.original)[: len(cut.original)]
    assert (len(cut.original) < len(letter.original)) == (f"{PREFIX}headers.original.bytes" in said)


@given(letters(), st.integers(100_000, 2_000_000))
def test_a_letter_cut_again_tells_of_its_first_form(letter: Letter, limit: int) -> None:
    once = fitted(letter, limit)
    twice = fitted(once, limit // 2)
    before = {name: value for name, value in once.own if ".original." in name}
    assert before.items() <= dict(twice.own).items()


@given(letters())
def test_halving_ends_with_the_smallest_letter(letter: Letter) -> None:
    steps = 0
    while True:
        smaller = fitted(letter, letter.size // 2)
        if smaller.size >= letter.size:
            break
        letter, steps = smaller, steps + 1
    assert steps < 30
    assert letter.size < 600
