"""Questions that wait are answered together, each by its own answer."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import pytest

from edge.batcher import Batcher, Busy

MOST_WAITING: Final = 4


class Work:
    """Doubles numbers; remembers the batches, and goes on only when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.let = threading.Event()
        self.let.set()

    def double(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.let.wait(5.0)
        if -1 in numbers:
            raise ValueError("minus one")
        return [2 * number for number in numbers]


async def _begun(batcher: Batcher[int, int], work: Work, number: int) -> "asyncio.Task[int]":
    """A question that the thread works at until it is let."""
    work.let.clear()
    task = asyncio.ensure_future(batcher.ask(number))
    while not work.batches:  # noqa: ASYNC110 - the thread tells nobody that it has begun
        await asyncio.sleep(0.001)
    return task


async def _behind(batcher: Batcher[int, int], work: Work, numbers: Sequence[int]) -> list[int | BaseException]:
    """The answers to questions that come while the thread works at another one."""
    begun = await _begun(batcher, work, 0)
    waiting = [asyncio.ensure_future(batcher.ask(number)) for number in numbers]
    await asyncio.sleep(0)
    work.let.set()
    assert await begun == 0
    return await asyncio.gather(*waiting, return_exceptions=True)


def _run(
    test: Callable[[Batcher[int, int], Work], Coroutine[Any, Any, None]], most: int = 10, pauses: float = 0.0
) -> list[list[int]]:
    """The batches that a test led to."""

    async def run() -> list[list[int]]:
        work = Work()
        batcher = Batcher("doubles", work.double, most, MOST_WAITING, pauses)
        try:
            await asyncio.wait_for(test(batcher, work), 5.0)
        finally:
            work.let.set()
            await asyncio.to_thread(batcher.close)
        return work.batches

    return asyncio.run(run())


@pytest.mark.parametrize("pauses", [0.0, 3.0])
def test_what_waits_while_the_thread_works_is_one_batch_and_each_gets_its_answer(pauses: float) -> None:
    async def test(batcher: Batcher[int, int], work: Work) -> None:
        assert await _behind(batcher, work, (1, 2, 3)) == [2, 4, 6]

    assert _run(test, pauses=pauses) == [[0], [1, 2, 3]]


def test_a_batch_has_its_limit_and_the_rest_follows() -> None:
    async def test(batcher: Batcher[int, int], work: Work) -> None:
        assert await _behind(batcher, work, (1, 2, 3)) == [2, 4, 6]

    assert _run(test, most=2) == [[0], [1, 2], [3]]


def test_what_the_work_raises_everybody_of_the_batch_gets_and_the_next_one_is_answered() -> None:
    async def test(batcher: Batcher[int, int], work: Work) -> None:
        assert [type(found) for found in await _behind(batcher, work, (-1, 1))] == [ValueError, ValueError]
        assert await batcher.ask(2) == 4

    _run(test)


def test_who_gives_up_takes_no_answer_from_others() -> None:
    async def test(batcher: Batcher[int, int], work: Work) -> None:
        begun = await _begun(batcher, work, 0)
        first, second = (asyncio.ensure_future(batcher.ask(number)) for number in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        begun.cancel()
        work.let.set()
        assert await second == 4
        assert first.cancelled()

    assert _run(test) == [[0], [1, 2]]


def test_more_than_may_wait_is_refused_and_what_waits_at_the_end_is_answered() -> None:
    async def test(batcher: Batcher[int, int], work: Work) -> None:
        begun = await _begun(batcher, work, 0)
        waiting = [asyncio.ensure_future(batcher.ask(number)) for number in range(1, MOST_WAITING + 1)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await batcher.ask(MOST_WAITING + 1)
        work.let.set()
        await asyncio.to_thread(batcher.close)
        assert await asyncio.gather(begun, *waiting) == [0, 2, 4, 6, 8]

    _run(test)
