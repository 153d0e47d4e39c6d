"""The steps of a write as arguments of `scripts/write.lua`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from featurestore.columns.column import Blobs, Texts
from featurestore.store.protocols import ShardWrite
from featurestore.store.redis import resp
from featurestore.store.write_ops import Argument, Bulk, Each, Extend, Key, Rotate, Run, Step

Call = tuple[Sequence[Argument], Sequence[resp.Arguments]]
"""Arguments of a script: one by one, then by the thousand."""

WRITE: Final = ("profile", "write")
"""The script, behind what it shares with others."""


def call(write: ShardWrite, steps: Iterable[Step], keys: Sequence[Key | str]) -> Call:
    """The call that carries out a write's steps behind its fence.

    Args:
        write: whose fence it is.
        steps: of the write.
        keys: that the script names; the first is that of the fence.
    """
    names = [key if isinstance(key, str) else key.text for key in keys]
    seen = "" if write.expected is None else write.expected
    after = "" if write.applied is None else write.applied
    parts = [part for step in steps for part in _spelled(step)]
    return [len(names), *names, write.epoch, seen, after, write.number], parts


def _spelled(step: Step) -> Iterator[resp.Arguments]:
    match step:
        case Run(_, verb, key, arguments):
            yield resp.given(verb, key.text, len(arguments), *arguments)
        case Bulk(_, verb, key, names, values):
            yield resp.given(verb, key.text, len(names) * (1 if values is None else 2))
            yield resp.each(names) if values is None else resp.pairs(names, values)
        case Each(_, verb, prefix, sessions, values, tail):
            yield resp.given("each", verb, len(sessions), 1 if values is None else 2, len(tail), *tail)
            yield resp.each(sessions, prefix) if values is None else resp.pairs(sessions, values, prefix)
        case Extend(_, profiles, life_s, head):
            yield resp.given("extend", head, len(profiles), life_s)
            keys = Texts.of([key for key, _ in profiles])
            yield resp.pairs(keys, Blobs.of([entry for _, entry in profiles]))
        case Rotate(_, key, to):
            yield resp.given("rotate", key.text, 1, to.text)
