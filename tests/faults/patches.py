"""What is changed in a worker under test: shorter sessions, points at which it fails, and deliberate mutations.

Applied in the worker's own process, after its modules are loaded and before anything is built.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import decisions.core
import decisions.engine
import featurestore.store.cluster.cross_slot_outbox
import worker.pipeline.preparation
import worker.wiring
from featurestore.contract.event import TICK
from featurestore.session.fold import FoldConfig
from featurestore.store import outbox
from featurestore.store.cluster.store import ClusterSessionStore
from featurestore.store.protocols import FENCED
from featurestore.store.redis import resp
from featurestore.store.redis.store import Fences, RedisSessionStore, Script
from worker.clock import SystemClock
from worker.kafka.source import KafkaSource
from worker.partitions.ownership import Ownership
from worker.pipeline.fencing import Fencing
from worker.pipeline.flow import Flow
from worker.pipeline.outputs import Outputs

FOLD: Final = FoldConfig(idle_after_ms=1_500, idle_mean_ms=500, gap_cap_ms=3_500, session_gap_ms=4_500)
"""Sessions that are silent after two seconds and over after four and a half, so that a test sees all of a life."""

MUTATION: Final = "CLICKSTAGE_TEST_MUTATION"

STEPS: Final[dict[str, tuple[Any, str]]] = {
    "poll": (KafkaSource, "poll"),
    "decode": (worker.pipeline.preparation, "decode"),
    "load": (RedisSessionStore, "begin_load"),
    "fold": (decisions.core, "fold"),
    "decide": (decisions.engine.Engine, "run"),
    "flush": (Flow, "flush"),
    "write": (RedisSessionStore, "begin_write"),
    "answer": (Fencing, "answers"),
    "commit": (KafkaSource, "commit"),
}
"""The steps of the loop and the call that ends each."""


def short_sessions() -> None:
    """Make the worker fold under `FOLD`."""
    worker.wiring.fold_config = lambda bundle: FOLD


def fail_after(step: str, nth: int, what: str) -> None:
    """End (``kill``) or freeze (``stop``) the process right after the nth time that ``step`` did something."""
    owner, name = STEPS[step]
    whole = getattr(owner, name)
    left = nth

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        result = whole(*args, **kwargs)
        left -= 1 if result or step == "flush" else 0
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        return result

    setattr(owner, name, call)


def stop_before_write(nth: int) -> None:
    """Freeze with a batch in flight, decided and flushed, right before the fenced script."""
    whole = RedisSessionStore.begin_write
    left = nth

    def begin_write(self: RedisSessionStore, writes: Any, ttl: int) -> Any:
        nonlocal left
        counts = any(w.sessions for w in writes)
        left -= counts
        if counts and left == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        return whole(self, writes, ttl)

    _replace(RedisSessionStore, "begin_write", begin_write)


def fail_at_timers(nth: int) -> None:
    """Die once decisions of the nth round of timers are made and nothing of them is written."""
    whole = decisions.engine.Engine.run
    left = nth

    def run(self: Any, batch: Any, *args: Any) -> Any:
        nonlocal left
        result = whole(self, batch, *args)
        left -= 1 if batch.events.size and list(batch.sessions) != ["w"] and (batch.events["kind"] == TICK).all() else 0
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    _replace(decisions.engine.Engine, "run", run)


def clock_off_by(ms: int, after_s: float = 0.0) -> None:
    """Set the worker's wall clock wrong, from the start or after a while."""
    begin = time.monotonic() + after_s

    def now_ms(_self: SystemClock) -> int:
        return time.time_ns() // 1_000_000 + (ms if time.monotonic() >= begin else 0)

    _replace(SystemClock, "now_ms", now_ms)


def slow_scoring(seconds: float, nth: int) -> None:
    """Let the nth batch take ``seconds``."""
    whole = decisions.engine.Engine.run
    left = nth

    def run(self: Any, *args: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            time.sleep(seconds)
        return whole(self, *args)

    _replace(decisions.engine.Engine, "run", run)


def die_before_decisions(nth: int) -> None:
    """Die once the nth batch that decides anything is applied, and nothing of it is written to other slots."""
    whole = ClusterSessionStore._take_off
    left = nth

    def take_off(self: ClusterSessionStore, commands: Any) -> None:
        nonlocal left
        all_of_them = list(commands)
        left -= bool(all_of_them)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(self, iter(all_of_them))

    _replace(ClusterSessionStore, "_take_off", take_off)


def decisions_live(ms: int) -> None:
    """Let a decision live longer than the short sessions do."""
    _replace(decisions.engine.Engine, "decision_ttl_ms", ms)


def callback_raises(name: str) -> None:
    """Let the body of one of the Kafka clients' callbacks raise."""
    if name == "logger":

        def refuse(_record: logging.LogRecord) -> bool:
            raise RuntimeError("a test lets the logger raise")

        logger = logging.getLogger("worker.kafka")
        logger.setLevel(logging.DEBUG)
        logger.addFilter(refuse)
        return

    def body(_self: Any, *_args: Any) -> None:
        raise RuntimeError("a test lets this callback raise")

    _replace(Outputs if name == "_delivered" else KafkaSource, name, body)


def keep_messages() -> None:
    """Keep every message referenced, which librdkafka's close may wait for."""
    whole = KafkaSource._polled
    kept: list[Any] = []

    def sort(self: KafkaSource, messages: list[Any]) -> Any:
        kept.extend(messages)
        return whole(self, messages)

    _replace(KafkaSource, "_polled", sort)


def close_hangs(seconds: float) -> None:
    """Let the consumer's close take ``seconds``."""
    _replace(KafkaSource, "close", lambda self: time.sleep(seconds))


def fork_in_poll(nth: int) -> None:
    """Fork at the nth poll; the child goes on as if nothing had happened, and its exit code is printed."""
    whole = KafkaSource.poll
    left = nth

    def poll(self: KafkaSource, most: int, wait_s: float) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and (child := os.fork()):
            threading.Thread(target=_await, args=(child,), daemon=True).start()
        return whole(self, most, wait_s)

    _replace(KafkaSource, "poll", poll)


def _await(child: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.stderr.write(f"the forked child ended with {code}\n")
    sys.stderr.flush()


# -- mutations: the protocol with one of its parts taken out -----------------------------------------------------------


def no_epoch_compare() -> None:
    _no_transactions()
    _edit_script("write", "if meta[1] ~= ARGV[1] then return {-1, meta[1] or ''} end", "")


def no_offset_compare() -> None:
    _no_transactions()
    _edit_script("write", "if applied ~= ARGV[2] then return {-2, applied} end", "")


def no_watch() -> None:
    """A transaction trusts what was read of the fences, whoever has touched them since."""
    whole = Fences._commands

    def commands(self: Fences) -> list[Any]:
        found: list[Any] = whole(self)
        for packed in found:
            watches = [i for i, wire in enumerate(packed.wire) if b"\r\nWATCH\r\n" in wire]
            if len(watches) != 1:
                raise LookupError("the fences are watched in another way: the mutation does not know it any more")
            packed.wire[watches[0]] = b"".join(resp.command(["PING"]).wire)
        return found

    _replace(Fences, "_commands", commands)


def no_reacquire() -> None:
    whole = Ownership.refused

    def refused(self: Ownership, partition: Any, shard: Any, result: Any) -> None:
        whole(self, partition, shard, result)
        if result.status == FENCED:
            partition.retries(float("inf"))

    Ownership.refused = refused  # type: ignore[method-assign]


def counter_epoch() -> None:
    _edit_script(
        "acquire",
        "math.max(tonumber(string.match(stored, '^(%d+)')) + 1, tonumber(ARGV[1]), tonumber(ARGV[2]) + 1)",
        "tonumber(string.match(stored, '^(%d+)')) + 1",
    )
    _edit_script(
        "acquire", "local epoch = string.format('%.0f', number) .. ':' .. ARGV[3]", "local epoch = number .. ':'"
    )


def no_outbox() -> None:
    """Not one of the mutations: the benchmark of what the guarantees cost takes it out as well."""
    _replace(outbox, "encode", lambda _offset, _outputs, _version=0: b"")


def no_flush() -> None:
    _replace(Outputs, "acknowledged", lambda self: self.given)


def no_landing() -> None:
    """What a dead owner left to write to other slots is not looked at."""
    featurestore.store.cluster.cross_slot_outbox.stored = lambda reply: (
        featurestore.store.cluster.cross_slot_outbox.Left({}, 0, {})
    )


MUTATIONS: Final[dict[str, Callable[[], None]]] = {
    "no_epoch_compare": no_epoch_compare,
    "no_offset_compare": no_offset_compare,
    "no_watch": no_watch,
    "no_reacquire": no_reacquire,
    "counter_epoch": counter_epoch,
    "no_flush": no_flush,
    "no_landing": no_landing,
}


@contextmanager
def edited() -> Iterator[None]:
    """Put an unchanged `Script` back at the end."""
    whole = Script.__init__
    try:
        yield
    finally:
        _replace(Script, "__init__", whole)


def _no_transactions() -> None:
    """Every write goes by the script."""
    _replace(Fences, "stand", lambda _self, _writes: False)


def _edit_script(name: str, old: str, new: str) -> None:
    whole = Script.__init__

    def init(self: Script, *names: str) -> None:
        whole(self, *names)
        if names[-1] == name:
            if old not in self.text:
                raise LookupError(f"{name}.lua has changed: the mutation does not know it any more")
            object.__setattr__(self, "text", self.text.replace(old, new))

    _replace(Script, "__init__", init)


def _replace(owner: Any, name: str, by: Any) -> None:
    setattr(owner, name, by)


def mutate() -> None:
    """Apply the mutation that the environment names, if any."""
    if name := os.environ.get(MUTATION):
        MUTATIONS[name]()


def apply(patches: list[list[Any]]) -> None:
    """Apply ``[name, *arguments]`` each, and the mutation."""
    known: dict[str, Callable[..., None]] = {
        "short_sessions": short_sessions,
        "fail_after": fail_after,
        "stop_before_write": stop_before_write,
        "fail_at_timers": fail_at_timers,
        "clock_off_by": clock_off_by,
        "slow_scoring": slow_scoring,
        "die_before_decisions": die_before_decisions,
        "decisions_live": decisions_live,
        "callback_raises": callback_raises,
        "keep_messages": keep_messages,
        "close_hangs": close_hangs,
        "fork_in_poll": fork_in_poll,
    }
    mutate()
    for name, *arguments in patches:
        known[name](*arguments)
