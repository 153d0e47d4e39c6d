"""A coroutine that begins at once and goes on in a task only if it has to wait."""

import asyncio
from typing import Any

import pytest

from edge.push import _continued


async def _begun(work: Any) -> "asyncio.Task[None]":
    """Begin as the hub does."""
    waits_for = work.send(None)
    return asyncio.get_running_loop().create_task(_continued(work, waits_for))


def test_what_waits_twice_goes_on_with_what_it_waited_for() -> None:
    async def run() -> list[int]:
        loop = asyncio.get_running_loop()
        first, second = loop.create_future(), loop.create_future()
        heard: list[int] = []

        async def work() -> None:
            heard.append(await first)
            await asyncio.sleep(0)
            heard.append(await second)

        task = await _begun(work())
        loop.call_later(0.001, first.set_result, 1)
        loop.call_later(0.002, second.set_result, 2)
        await task
        return heard

    assert asyncio.run(run()) == [1, 2]


def test_what_it_waits_for_may_fail_and_it_may_be_cancelled() -> None:
    async def run(failing: bool) -> list[str]:
        waited = asyncio.get_running_loop().create_future()
        ended: list[str] = []

        async def work() -> None:
            try:
                await waited
            except (ConnectionError, asyncio.CancelledError) as error:
                ended.append(type(error).__name__)
                raise

        task = await _begun(work())
        if failing:
            waited.set_exception(ConnectionError())
        else:
            asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(ConnectionError if failing else asyncio.CancelledError):
            await task
        return ended

    assert asyncio.run(run(True)) == ["ConnectionError"]
    assert asyncio.run(run(False)) == ["CancelledError"]
