"""The least rights of docs/guarantees.md in Redis: the lists suffice, and without any one right a message names it."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from featurestore.contract.partitioner import PARTITIONER
from featurestore.store.tombstones import tombstone
from tests.faults.conftest import MakeRig
from tests.faults.rig import Rig
from tests.faults.rights_page import redis_rights
from tests.faults.worker_process import Worker
from tests.integration.edges import EdgeProcess, Page
from tests.services import RedisServer
from tests.services.process import wait_for
from worker.cli import main
from worker.errors import ExitCode

OLD_MS = 1_700_000_000_000


class Limited:
    """A user of one Redis, with rights that change while it is connected."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.url = f"redis://limited:secret@127.0.0.1:{server.port}/0"

    def allow(self, rule: list[str]) -> None:
        """Give it these rights and no other."""
        with self._server.client() as client:
            client.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">secret", *rule)
            client.acl_log_reset()

    def refused(self, right: str) -> bool:
        """Whether the server noted in ACL LOG, since rights were last given, that it wants this one."""
        with self._server.client(decode_responses=True) as client:
            entries: list[dict[str, str]] = client.acl_log()
        if right.startswith("+"):
            return any(entry["reason"] == "command" and entry["object"] == right[1:] for entry in entries)
        return any(entry["reason"] == "key" for entry in entries)

    def lacks(self, right: str, said: str) -> bool:
        """Whether the server wants a right, and the process said that it lacks it.

        Before 7.2 Redis does not tell a client which command of a script it refuses.
        """
        if right.startswith("+"):
            told = f"may not run '{right[1:]}'" in said or "may not run a command of a script" in said
        else:
            told = "may not touch one of the keys" in said
        return told and self.refused(right)


def without_each(rule: list[str]) -> Iterator[tuple[list[str], str]]:
    """The rule without one of its rights, and that right; each right once."""
    for right in rule:
        if right != "-@all":
            yield [one for one in rule if one != right], right


class Shoppers:
    """Sessions of visitors who come back; each is silent and over within seconds."""

    def __init__(self, bench: Rig) -> None:
        self._bench = bench
        self._producer = Producer({"bootstrap.servers": bench.bootstrap, "partitioner": PARTITIONER})
        self._born = 0

    def come(self, count: int = 6) -> list[str]:
        """Two clicks each; their sessions."""
        names = []
        for _ in range(count):
            self._born += 1
            names.append(f"v{self._born}")
            now = time.time_ns() // 1_000_000
            for step in range(2):
                event = {"session_id": names[-1], "visitor_id": "v1", "type": "page_view", "ts": now + step}
                self._producer.produce(self._bench.topics["topic"], json.dumps(event), names[-1], timestamp=now)
        assert self._producer.flush(20) == 0
        return names

    def until(self, seen: Callable[[], bool], timeout_s: float) -> bool:
        """Keep coming until it is so; whether it was in time."""

        def then() -> bool:
            self.come(2)
            return seen()

        return wait_for(then, timeout_s, 0.3)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2], ids=["redis", "valkey"])
def test_the_rights_of_a_worker_in_redis_suffice_and_each_is_needed(rig: MakeRig, seed: int) -> None:
    """All of a session's life with these commands on these keys; who lacks one names it, and goes on with it."""
    bench = rig("rights of a worker in Redis", seed)
    limited, shoppers = Limited(bench.server), Shoppers(bench)
    bench.redis_url = limited.url
    limited.allow(rule := redis_rights("worker"))
    worker = bench.start()
    for _ in range(2):
        ended = len(bench.documents("sessions_topic"))
        shoppers.come()
        bench.until(lambda ended=ended: len(bench.documents("sessions_topic")) >= ended + 6, "they have ended")  # type: ignore[misc]
    assert "may not" not in worker.log, worker.tail()
    assert "Redis failed" not in worker.log, worker.tail()
    for less, right in without_each(rule):
        said = len(worker.log)
        limited.allow(less)
        if not shoppers.until(lambda: limited.lacks(right, worker.log[said:]), 4):  # noqa: B023 - asked at once
            worker.kill9()  # it is needed at the start, or after a takeover
            worker = bench.start(ready=False)
            assert shoppers.until(lambda: limited.lacks(right, worker.log), 25), f"without {right}: {worker.tail()}"  # noqa: B023
        limited.allow(rule)
        worker = _goes_on(bench, worker, shoppers)
    assert worker.stop() == ExitCode.OK, worker.tail()
    assert "Traceback" not in "".join(one.log for one in bench.workers)


def _goes_on(bench: Rig, worker: Worker, shoppers: Shoppers) -> Worker:
    """With all rights again it decides, or the one that is started in its place does."""
    if wait_for(lambda: worker.status is not None, 0.5):
        assert worker.status == ExitCode.UNSAFE, worker.tail()
        worker = bench.start()
    [name] = shoppers.come(1)
    bench.until(lambda: bench.stored(name), "it decides again")
    return worker


COMMANDS = {
    "check": [["check"]],
    "erase": [["erase", "--session", "SESSION", "--everywhere"], ["erase", "--visitor", "v1"]],
    "pass": [["dlq", "pass", "--partition", "0"]],
}


@pytest.mark.parametrize("who", COMMANDS)
def test_the_rights_of_a_command_in_redis_suffice_and_each_is_needed(
    rig: MakeRig, who: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends well and has nothing to advise; without one of them it fails, or advises to give it."""
    bench = rig(f"rights of {who} in Redis")
    limited, shoppers = Limited(bench.server), Shoppers(bench)
    worker = bench.start()
    with bench.server.client() as client:
        shards = [shard for number in range(bench.partitions) for shard in bench.shards(number)]

        def quiet() -> list[str]:
            """Sessions that await their end; there must be others elsewhere, in whose lists they are looked for."""
            ending = [one for one in shards if client.exists(bench.namespace.ends(one))]
            found = [one for one in come for shard in ending if client.hexists(bench.namespace.states(shard), one)]
            return found if len(ending) > 1 else []

        for _ in range(9):  # whoever comes while a cold broker is slow has left before anybody could look
            come = shoppers.come(12)
            if wait_for(lambda: bool(quiet()), 5):
                break
        [session, *_] = quiet()
        worker.kill9()
        client.hset(bench.namespace.erased(), "s:0", tombstone(OLD_MS, bench.namespace.write_version))
        rest = {key: client.dump(key) for key in client.scan_iter()}
        for name, value in bench.settings(redis=limited.url).items():
            monkeypatch.setenv(name, value)

        def ran() -> tuple[list[int], str]:
            codes = []
            for command in COMMANDS[who]:
                client.flushdb()
                for key, value in rest.items():
                    client.restore(key, 0, value)
                codes.append(main([session if part == "SESSION" else part for part in command]))
            said = capsys.readouterr()
            assert "Traceback" not in said.err, said.err
            assert "secret" not in said.out + said.err
            return codes, said.out + said.err

        limited.allow(rule := redis_rights(who))
        codes, said = ran()
        assert set(codes) == {ExitCode.OK}, said
        assert "let this user" not in said
        assert "may not" not in said
        for less, right in without_each(rule):
            limited.allow(less)
            codes, said = ran()
            advised = f"let this user run {right[1:].upper()}" in said
            failed = limited.refused(right) and set(codes) != {ExitCode.OK}
            assert advised or failed, f"without {right}: {codes} {said}"


class Shop:
    """An edge under a limited user, and a page that uses all that it has."""

    def __init__(self, bench: Rig, limited: Limited, folder: Path) -> None:
        flags = [f"--{name.removeprefix('CLICKSTAGE_').lower().replace('_', '-')}={value}" for name, value in {
            "kafka": bench.bootstrap, "redis": limited.url, "group": bench.unique, "env": "test",
            "topic": bench.topics["topic"], "bundle": bench.bundle, "policy": bench.policy,
        }.items()]  # fmt: skip
        self.edge = EdgeProcess("edge", folder, flags)
        self._pages: list[Page] = []

    @property
    def log(self) -> str:
        return self.edge.log.read_text()

    def visit(self) -> bool:
        """A session from its first event to its withdrawal; whether everything was answered as it should be."""
        page = self.edge.page()
        event = {"type": "page_view", "ts": time.time_ns() // 1_000_000, "page": "/", "visitor_id": "v1"}
        sent = page.send(event, query="&decide=1")
        stream = page.stream()
        read = page.decision()
        gone = page.withdraw()
        return (sent.status, stream.status, read.status, gone.status) == (202, 200, 200, 204)


def test_the_rights_of_an_edge_in_redis_suffice_and_each_is_needed(rig: MakeRig, tmp_path: Path) -> None:
    """Collected, decided inline, read, pushed and withdrawn; without one of them the edge's log names it."""
    bench = rig("rights of an edge in Redis")
    limited = Limited(bench.server)
    limited.allow(rule := redis_rights("edge"))
    shop = Shop(bench, limited, tmp_path / "edge")
    shop.edge.start_waiting()
    try:
        assert wait_for(lambda: shop.edge.ask("GET", "/readyz").json["decisions"] is True, 60), shop.log
        assert shop.visit(), shop.log
        assert "may not" not in shop.log
        assert "not watched" not in shop.log
        for less, right in without_each(rule):
            said = len(shop.log)
            limited.allow(less)
            with bench.server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)  # what a connection begins with is tried as well

            def told(right: str = right, said: int = said) -> bool:
                shop.visit()
                return limited.lacks(right, shop.log[said:])

            assert wait_for(told, 15, 0.3), f"without {right}: {shop.log}"
            limited.allow(rule)
            assert wait_for(shop.visit, 20, 0.3), f"after {right}: {shop.log}"
    finally:
        shop.edge.stop()
    assert "Traceback" not in shop.log
