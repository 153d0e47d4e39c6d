"""A batch as the commands of a transaction: the steps of `write_ops`, phase by phase.

The steps of a phase are put together for all shards in one compiled pass, so that a partition more costs little.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from featurestore.columns.column import Blobs, Texts
from featurestore.store.redis import resp
from featurestore.store.redis.lua import script_text
from featurestore.store.redis.resp import Packed
from featurestore.store.write_ops import Argument, Bulk, Each, Extend, Phase, Run, Step

EXTEND: Final = script_text("profile", "extend")


def transaction(writes: Iterable[Iterable[Step]]) -> Iterator[Packed]:
    """The steps of several shards' writes, as commands to stand between MULTI and EXEC."""
    phases: list[list[Step]] = [[] for _ in Phase]
    for steps in writes:
        for step in steps:
            phases[step.phase].append(step)
    for same in phases:
        if same:
            yield from _together(same)


def _together(steps: Sequence[Step]) -> Iterator[Packed]:
    """The steps of one phase: of whatever kind, all in one go."""
    runs = [step for step in steps if type(step) is Run]
    if runs:
        yield Packed([_run(step) for step in runs], len(runs))
    if len(runs) < len(steps):
        yield from _columns([step for step in steps if type(step) is not Run])


def _columns(steps: Sequence[Step]) -> Iterator[Packed]:
    bulks = [step for step in steps if isinstance(step, Bulk)]
    if bulks:
        values = [step.values for step in bulks if step.values is not None]
        keys, names = [step.key.text for step in bulks], [step.names for step in bulks]
        yield resp.keyed(bulks[0].verb, keys, names, values or None)
    decisions = [step for step in steps if isinstance(step, Each)]
    if decisions:
        yield _each(decisions)
    profiles = [step for step in steps if isinstance(step, Extend)]
    if profiles:
        pairs = [pair for step in profiles for pair in step.profiles]
        visitors, entries = zip(*pairs, strict=True)
        head, life = profiles[0].head, profiles[0].life_s
        yield resp.command(["EVAL", EXTEND, len(visitors), *visitors, life, head, *entries])


def _each(steps: Sequence[Each]) -> Packed:
    sessions = Texts.chained([step.sessions for step in steps])
    first = steps[0]
    if first.values is None:  # DEL takes them all at once
        return resp.command([first.verb], resp.each(sessions, first.prefix))
    values = Blobs.chained([step.values for step in steps if step.values is not None])
    return resp.commands([first.verb], sessions, values, first.tail, first.prefix)


def _run(step: Run) -> bytes:
    if step.verb == "EXPIRE":
        return _same(step.verb, step.key.text, step.arguments)
    begin = _begin(step.verb, step.key.text, 2 + len(step.arguments))
    return b"".join((begin, resp.given(*step.arguments).wire)) if step.arguments else begin


@lru_cache(maxsize=4_096)
def _begin(verb: str, key: str, count: int) -> bytes:
    """What a command on a key begins with."""
    return b"".join((b"*%d\r\n" % count, resp.given(verb, key).wire))


@lru_cache(maxsize=4_096)
def _same(verb: str, key: str, arguments: tuple[Argument, ...]) -> bytes:
    """What is the same in every write is put together once."""
    return b"".join((_begin(verb, key, 2 + len(arguments)), resp.given(*arguments).wire))
