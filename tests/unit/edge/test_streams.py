"""Streams as a server sees them: places, heartbeats, decisions; each page at its own speed."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import pytest

from decisions.shipped import load_bundle, load_policy
from edge.document import Presenter
from edge.metrics import EdgeMetrics
from edge.problems import Problem
from edge.push import HEARTBEAT, Hub, Stream
from edge.requests import Receive

BEAT_S: Final = 0.05
PATIENCE_S: Final = 10.0

Message = MutableMapping[str, Any]
Tell = Callable[[list[tuple[str, bytes | None]]], None]


class Changes:
    """Stands where the watch of Redis does, and tells what the test says."""

    def __init__(self, told: Tell) -> None:
        self.told = told
        self.keys: set[str] = set()

    def add(self, keys: tuple[str, ...]) -> None:
        self.keys.update(keys)

    def remove(self, keys: tuple[str, ...]) -> None:
        self.keys.difference_update(keys)

    def close(self) -> None:
        pass


class Page:
    """What the server has of one page: `sent` to it, and whether it takes more."""

    def __init__(self, *, takes: bool = True) -> None:
        self.sent: list[bytes] = []
        self.gone = asyncio.Event()
        self._takes = takes

    async def send(self, message: Message) -> None:
        self.sent.append(message["body"])
        if not self._takes:
            await asyncio.Event().wait()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}


@pytest.fixture(scope="module")
def presenter() -> Presenter:
    return Presenter(load_policy(None, load_bundle(None).heads.variables))


def _run(presenter: Presenter, most: int, test: Callable[[Hub, Changes], Awaitable[None]]) -> None:
    async def run() -> None:
        made: list[Changes] = []

        def watch(told: Tell) -> Any:
            made.append(Changes(told))
            return made[0]

        hub = Hub(lambda session: (f"d:{session}", f"w:{session}"), watch, presenter, EdgeMetrics(), most, BEAT_S)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await test(hub, made[0])
        finally:
            hub.close()

    asyncio.run(run())


def _open(hub: Hub, page: Page, session: str) -> "asyncio.Task[None]":
    receive: Receive = page.receive

    async def serve() -> None:
        await hub.serve(Stream(session, page.send, ("", -1)), receive)

    return asyncio.get_running_loop().create_task(serve())


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what it waits for tells nobody
        await asyncio.sleep(0.002)


def _decision(seq: int) -> bytes:
    return json.dumps(
        {"v": 2, "source": "s", "seq": seq, "action": "none", "decided_at": 1, "expires_at": 2**50}
    ).encode()


def test_a_quiet_page_gets_heartbeats_also_while_another_takes_nothing(presenter: Presenter) -> None:
    async def test(hub: Hub, _: Changes) -> None:
        stuck, quiet = Page(takes=False), Page()
        for page in (stuck, quiet):
            _open(hub, page, "both")
        await _until(lambda: len(quiet.sent) >= 3)
        assert set(quiet.sent) == {HEARTBEAT}
        assert stuck.sent == [HEARTBEAT], "it is not written to again before it has taken that"

    _run(presenter, 2, test)


def test_a_page_that_takes_nothing_holds_up_no_decision_and_gathers_none(presenter: Presenter) -> None:
    async def test(hub: Hub, changes: Changes) -> None:
        stuck, quick = Page(takes=False), Page()
        for page in (stuck, quick):
            _open(hub, page, "both")
        await _until(lambda: "d:both" in changes.keys)
        for seq in itertools.count(1):
            changes.told([("d:both", _decision(seq))])
            await asyncio.sleep(0)
            if seq == 200:
                break
        await _until(lambda: any(b"id: s:200\n" in event for event in quick.sent))
        assert len(stuck.sent) == 1

    _run(presenter, 2, test)


def test_there_are_as_many_places_as_the_setting_says_and_one_that_is_freed_is_taken_again(
    presenter: Presenter,
) -> None:
    async def test(hub: Hub, _: Changes) -> None:
        hub.take_place()
        hub.take_place()
        with pytest.raises(Problem) as refused:
            hub.take_place()
        assert refused.value.status == 503
        assert refused.value.code == "too_many_streams"
        assert int(refused.value.headers["Retry-After"]) >= 1
        hub.give_place()
        hub.take_place()

    _run(presenter, 2, test)


def test_of_a_session_without_a_page_nothing_is_kept(presenter: Presenter) -> None:
    async def test(hub: Hub, changes: Changes) -> None:
        page = Page()
        serving = _open(hub, page, "left")
        await _until(lambda: "d:left" in changes.keys)
        changes.told([("d:left", _decision(1))])
        await _until(lambda: any(b"id: s:1\n" in event for event in page.sent))
        page.gone.set()
        await serving
        assert changes.keys == set()
        changes.told([("d:left", _decision(2)), ("w:left", b"1")])
        await asyncio.sleep(0.01)
        assert not any(b"id: s:2\n" in event for event in page.sent)

    _run(presenter, 1, test)
