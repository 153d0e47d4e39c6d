"""Columns: many strings in one buffer, the same as a list of them; told apart, looked up and sent without objects."""

from itertools import accumulate, chain, pairwise
from typing import Any, cast

import hiredis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.columns.column import Blobs, Texts
from featurestore.columns.hash_join import group, match
from featurestore.columns.hashing import hash64
from featurestore.store.redis import resp

_names = st.lists(st.text(max_size=12), max_size=30)
_few = st.lists(st.sampled_from(["a", "b", "ab", "é", "", "a\0b"]), max_size=30)


@given(_names)
def test_a_column_is_the_list_of_its_strings(names: list[str]) -> None:
    column = Texts.of(names)
    assert list(column) == names
    assert len(column) == len(names)
    assert [column[i] for i in range(len(names))] == names
    assert list(column[1:3]) == names[1:3]
    rows = np.array([i for i in range(len(names)) if i % 3 != 1][::-1], np.int64)
    assert list(column.take(rows)) == [names[i] for i in rows.tolist()]
    assert Texts.of(column) is column


@given(st.lists(st.binary(max_size=12), max_size=20))
def test_bytes_come_out_as_they_went_in(blobs: list[bytes]) -> None:
    assert list(Blobs.of(blobs)) == blobs
    assert list(Blobs.joined(blobs)) == blobs


@given(st.lists(_names, max_size=5))
def test_columns_are_chained_wherever_their_strings_lie(lists: list[list[str]]) -> None:
    everything = [name for names in lists for name in names]
    assert list(Texts.chained([Texts.of(names) for names in lists])) == everything
    one = Texts.of(everything)
    edges = [0, *accumulate(map(len, lists))]
    chained = Texts.chained([one.take(slice(a, b)) for a, b in pairwise(edges)])
    assert list(chained) == everything
    assert chained.raw is one.raw or not everything


@given(st.lists(_few, max_size=4))
def test_the_same_string_of_a_span_has_the_same_number_in_the_order_of_appearance(lists: list[list[str]]) -> None:
    names = list(chain.from_iterable(lists))
    spans = list(pairwise([0, *accumulate(map(len, lists))]))
    slots, firsts, edges = group(hash64(names), Texts.of(names), np.array(spans, np.int64).reshape(-1, 2))
    wanted: list[tuple[int, str]] = []
    for number, part in enumerate(lists):
        wanted += dict.fromkeys((number, name) for name in part)
        assert edges[number] == len(wanted)
    numbered = [wanted.index((number, name)) for number, part in enumerate(lists) for name in part]
    assert slots.tolist() == numbered
    assert [names[i] for i in firsts.tolist()] == [name for _, name in wanted]
    assert firsts.tolist() == [numbered.index(k) for k in range(len(wanted))]


def test_strings_are_told_apart_by_their_bytes_not_by_their_hashes() -> None:
    """Whoever chooses session ids may choose some whose hashes are equal."""
    names, same = ["x", "y", "x"], np.full(3, 5, np.uint64)
    slots, firsts, _ = group(same, Texts.of(names), np.array([[0, 3]]))
    assert slots.tolist() == [0, 1, 0]
    assert firsts.tolist() == [0, 1]
    known = Texts.of(["y", "z"])
    assert match(same[:2], known, same, Texts.of(names), np.array([[0, 2, 0, 3]])).tolist() == [[1, 0]]


def _span(n: int) -> st.SearchStrategy[tuple[int, int]]:
    """First and end of some of n."""
    return st.tuples(st.integers(0, n), st.integers(0, n)).map(lambda ends: (min(ends), max(ends)))


@given(_few, _few, st.data())
def test_a_string_is_found_where_it_stands(known: list[str], names: list[str], data: st.DataObject) -> None:
    different = list(dict.fromkeys(known))
    cut = data.draw(st.integers(0, len(names)))
    spans = [(*data.draw(_span(len(different))), *ends) for ends in ((0, cut), (cut, len(names)))]
    found = match(hash64(different), Texts.of(different), hash64(names), Texts.of(names), np.array(spans))
    assert found.tolist() == [
        [i, different.index(names[i])]
        for first, end, *span in spans
        for i in range(*span)
        if names[i] in different[first:end]
    ]


def _packed(*arguments: Any) -> bytes:
    """As the client packs a command."""
    return cast("bytes", hiredis.pack_command(arguments))


@given(st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=120)), max_size=12))
def test_packed_commands_are_those_of_the_client(pairs: list[tuple[str, bytes]]) -> None:
    """To the byte."""
    names, values = Texts.of([name for name, _ in pairs]), Blobs.of([value for _, value in pairs])
    flat = [part for pair in pairs for part in pair]
    made = resp.command(["HSET", "key", 7, b"\xff"], resp.pairs(names, values), resp.each(names, b"p:"))
    prefixed = [f"p:{name}" for name, _ in pairs]
    assert b"".join(made.wire) == _packed("HSET", "key", 7, b"\xff", *flat, *prefixed)
    assert made.answers == 1
    many = resp.commands(["SET"], names, values, ["PX", 5], b"d:")
    wanted = [_packed("SET", f"d:{name}", value, "PX", 5) for name, value in pairs]
    assert b"".join(many.wire) == b"".join(wanted)
    assert many.answers == len(pairs)
    together = resp.together([made, many])
    assert b"".join(together.wire) == b"".join([*made.wire, *many.wire])
    assert together.answers == 1 + len(pairs)


@given(st.lists(st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=120)), max_size=12), max_size=4))
def test_commands_of_many_keys_are_those_of_the_client(lists: list[list[tuple[str, bytes]]]) -> None:
    """To the byte; a key without strings has no command."""
    keys = [f"key{'k' * i}" for i in range(len(lists))]
    names = [Texts.of([name for name, _ in pairs]) for pairs in lists]
    values = [Blobs.of([value for _, value in pairs]) for pairs in lists]
    paired, alone = resp.keyed("HSET", keys, names, values), resp.keyed("HMGET", keys, names)
    some = [(key, pairs) for key, pairs in zip(keys, lists, strict=True) if pairs]
    flat = [_packed("HSET", key, *(part for pair in pairs for part in pair)) for key, pairs in some]
    assert b"".join(paired.wire) == b"".join(flat)
    assert b"".join(alone.wire) == b"".join(_packed("HMGET", key, *(name for name, _ in pairs)) for key, pairs in some)
    assert paired.answers == alone.answers == len(some)


def test_a_few_strings_of_a_long_buffer_are_those_strings() -> None:
    """Also where the others are not ASCII, and one by one; counted from the end as lists do."""
    whole = Texts.of(["plain", "s\u00e9ance", "x"] * 100)
    few = whole.take(np.array([0, 1, 299]))
    assert few.strings() == [few[0], few[1], few[-1]] == ["plain", "s\u00e9ance", "x"]
    assert Blobs.of([b"a", b"\xff"] * 100)[-1] == b"\xff"
    with pytest.raises(IndexError):
        whole[300]
