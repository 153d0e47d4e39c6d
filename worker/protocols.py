"""What the loop needs of Kafka and of whoever counts: the seams at which tests put their own.

`kafka.source.KafkaSource`, `pipeline.outputs.Outputs` and `pipeline.observe.Observer` are the real ones. The store's
protocols are in `featurestore.store.protocols`.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from decisions.effects import Result
from decisions.intake import Decoded, Plan
from featurestore.store.outbox import Output
from worker.clock import Clock
from worker.kafka.letters import Letter
from worker.kafka.polled import Polled
from worker.kafka.source import Bounds, Changes
from worker.metrics.metrics import Metrics


class Consumer(Protocol):
    """One topic, read as a member of a group; each method is described at `KafkaSource`."""

    def poll(self, most: int, wait_s: float) -> Polled:
        """What is there, at most ``most`` records; waits up to ``wait_s`` for the first."""
        ...

    def changes(self) -> Changes:
        """What happened to the assignment since the last call."""
        ...

    def owns(self, partition: int) -> bool:
        """Whether the group still gives us this partition."""
        ...

    def start_at(self, partition: int, offset: int) -> None:
        """Read on from ``offset``."""
        ...

    def pause(self, partitions: Sequence[int]) -> None:
        """Stop fetching; polling goes on and keeps the membership."""
        ...

    def bounds(self, partition: int, *, fresh: bool = False, wait_s: float = 5.0) -> Bounds | None:
        """Kept offsets; only with ``fresh`` does it block, for up to ``wait_s``. None while unknown."""
        ...

    def ends(self, partitions: Sequence[int]) -> Future[dict[int, int]]:
        """Ask Kafka where its log ends, and return at once."""
        ...

    def committed(self, partition: int) -> int | None:
        """The group's committed offset, None where there is none."""
        ...

    def offset_at(self, partition: int, epoch_ms: int) -> int | None:
        """The first offset whose record is not older; None if all are."""
        ...

    def will_commit(self, partition: int, offset: int) -> None:
        """``offset`` is the next to read, once everything before it is applied."""
        ...

    def commit(self, *, wait: bool = False) -> bool:
        """Commit what `will_commit` named; False if Kafka refused."""
        ...

    def renew(self) -> None:
        """Start over with a new client; every partition is lost until the group gives it again."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class Producer(Protocol):
    """Takes outputs and says what of them is safe; each method is described at `Outputs`."""

    given: int

    def send(self, outputs: Sequence[Output]) -> int:
        """Queue the outputs of a batch; `given` after it."""
        ...

    def send_letter(self, letter: Letter) -> None:
        """Queue a dead letter, cut to what its topic takes."""
        ...

    def settled(self, wait_s: float) -> bool:
        """Wait up to ``wait_s`` until everything is acknowledged; whether it is."""
        ...

    def acknowledged(self) -> int:
        """`given` as it was when all that had been given is now acknowledged. Never blocks."""
        ...

    def room(self) -> bool:
        """Whether more may be given before what is under way is acknowledged."""
        ...

    def close(self, wait_s: float) -> bool:
        """Deliver what can be delivered in time; whether that was all."""
        ...


class Stopwatch(Protocol):
    """Splits the time of a batch over the steps of the loop."""

    def lap(self, step: str) -> None:
        """The time since the last lap belongs to ``step``."""
        ...


class BatchObserver(Protocol):
    """Is told what batches brought; each method is described at `Observer`."""

    metrics: Metrics

    def watch(self, clock: Clock) -> Stopwatch:
        """A stopwatch for one batch."""
        ...

    def decoded(self, decoded: Decoded) -> None:
        """Note what a batch says about its senders."""
        ...

    def batch(self, plan: Plan, result: Result | None, read: int, bad: int, now_ms: int) -> None:
        """Count a batch that has been written."""
        ...

    def timers(self, result: Result) -> None:
        """Count what silence brought."""
        ...

    def lag(self, behind: dict[int, int], owned: int) -> None:
        """Events not yet applied, per partition, and how many partitions the worker owns."""
        ...

    def tick(self, *, ready: bool) -> None:
        """Once a second or so."""
        ...
