"""What a redrive notes beside its committed offset: exactly what was sent, in the bytes that Kafka keeps."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from worker.kafka.sent_offsets import NOTE_CHARS, SentOffsets

offsets = st.integers(0, 300)


@given(begin=offsets, added=st.lists(st.tuples(offsets, st.integers(0, 20))))
def test_it_is_a_set_of_offsets(begin: int, added: list[tuple[int, int]]) -> None:
    """Whatever the order: the first offset that was not sent, and ranges that do not touch."""
    sent = SentOffsets(begin)
    model = set(range(begin))
    for first, length in added:
        sent.add(first, first + length)
        model |= set(range(first, first + length))
    assert {offset for offset in range(400) if offset in sent} == model
    assert sent.begin == min(set(range(400)) - model)
    ends = [sent.begin - 1] + [end for _, end in sent.ranges]
    assert all(first > end for end, (first, _) in zip(ends, sent.ranges, strict=False))


@given(begin=offsets, added=st.lists(st.tuples(offsets, st.integers(1, 100_000)), max_size=20))
def test_a_note_gives_back_what_was_noted(begin: int, added: list[tuple[int, int]]) -> None:
    sent = SentOffsets(begin)
    for first, length in added:
        sent.add(first, first + length)
    again = SentOffsets.of(sent.begin, sent.note())
    assert (again.begin, again.ranges) == (sent.begin, sent.ranges)


@given(st.text(max_size=30).map(lambda text: "1:" + text) | st.text(max_size=30) | st.none())
def test_a_note_that_cannot_be_read_counts_as_none(note: str | None) -> None:
    """Somebody else may have committed to the group."""
    assert SentOffsets.of(7, note).begin == 7


def test_a_note_is_never_longer_than_kafka_takes_and_keeps_what_comes_first() -> None:
    sent = SentOffsets(0)
    draw = Random(5)  # lengths that do not compress
    at = 0
    for _ in range(4_000):
        first = at + draw.randint(1, 100)
        at = first + draw.randint(1, 100)
        sent.add(first, at)
    assert not sent.fits
    note = sent.note()
    kept = SentOffsets.of(0, note).ranges
    assert len(note) <= NOTE_CHARS
    assert 500 < len(kept) < len(sent.ranges)
    assert kept == sent.ranges[: len(kept)]
