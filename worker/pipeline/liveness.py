"""Whether the worker gets on, and what is done if it does not.

A worker is well if its partitions move, or are proven to be read to their ends, or if its group does not need it. A
worker that waits because Kafka or Redis is away is not ready, but a restart would not help it. A client that does
nothing although Kafka answers is replaced after half of ``stuck_after_s`` or a session timeout, whichever is longer. If
the new one gets no partition either in the time that a group needs to miss the old one, the watchdog ends the process.
"""

import logging
from typing import Final, Protocol

from worker.clock import Clock
from worker.kafka.group_watch import Standing
from worker.partitions.ownership import Ownership
from worker.pipeline.log_ends import LogEnds
from worker.pipeline.pulse import Pulse
from worker.pipeline.standstill import Standstill
from worker.protocols import Consumer

log = logging.getLogger(__name__)

PROVEN_FOR_S: Final = 5.0
"""A partition that neither moved nor was proven to be at its end for so long is not well."""
LOOK_EVERY_S: Final = 0.25
REPLACED_MOST: Final = 3
"""Each time the worker waits for longer than a session timeout: a group that is right says so before."""


class Group(Protocol):
    """Tells what the worker is to its group while it owns nothing; `kafka.group_watch.GroupWatch`."""

    def standing(self) -> Standing:
        """What the coordinator said last."""
        ...

    def reset(self) -> None:
        """Forget the answer."""
        ...


class Liveness:
    """Looks at the partitions and the group, and tells the pulse.

    Args:
        consumer: replaced when it does nothing.
        ownership: the partitions.
        ends: what Kafka says of its log.
        group: what the worker is to it.
        pulse: is told.
        clock: time.
        renew_after_s: how long a client may do nothing.
    """

    def __init__(
        self,
        consumer: Consumer,
        ownership: Ownership,
        ends: LogEnds,
        group: Group,
        pulse: Pulse,
        clock: Clock,
        renew_after_s: float,
    ) -> None:
        self._consumer = consumer
        self._own = ownership
        self._ends = ends
        self._group = group
        self._pulse = pulse
        self._clock = clock
        self._renew_after_s = renew_after_s
        self._next = 0.0
        self._standstill = Standstill(clock, renew_after_s)

    def turn(self) -> None:
        """Look if it is time; never blocks."""
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_EVERY_S
        if self._standstill.look():  # a loop that did not turn knows nothing of its client, which may be well
            self._pulse.progressed(proven=False)
            return
        away = now - self._ends.answered_at
        if away > PROVEN_FOR_S:
            self._pulse.stands(f"Kafka has not answered for {away:.0f} s")
            self._pulse.progressed(proven=False)  # a restart would not bring it back
            return
        if (contested := self._contested()) is not None and not self._pulse.renewed:
            self._start_over(contested)
            return
        why = self._of_partitions(now) if self._own.partitions else self._without_partitions()
        self._pulse.stands(why or self._held())
        if why is None:
            self._pulse.progressed()
        elif now - self._pulse.progress >= self._renew_after_s and not self._pulse.renewed:
            self._start_over(f"{why} for {self._renew_after_s:.0f} s although Kafka answers")

    def _start_over(self, why: str) -> None:
        log.error("%s: starting over with a new client", why)
        self._pulse.stands(why)
        self._pulse.starts_over()
        self._group.reset()
        self._consumer.renew()

    def _contested(self) -> str | None:
        """Whether another owner writes a partition time and again that this worker's client takes for its own.

        One of the two clients does not know that its group has replaced it, and fetches on: seen with the ``consumer``
        protocol after its coordinator was silent. As new members both get what is theirs.
        """
        found = [p.number for p in self._own.partitions.values() if p.replaced >= REPLACED_MOST]
        return f"partition {found[0]} has another owner, though the group's client keeps it" if found else None

    def _of_partitions(self, now: float) -> str | None:
        running = self._own.running()
        if not running:  # the leases cannot be taken yet, which is told elsewhere
            self._pulse.progressed(proven=False)
            return "no partition is taken yet"
        still = [p.number for p in running if not p.held and now - p.read_at > PROVEN_FOR_S]
        return f"partition {still[0]} neither moves nor is known to be at its end" if still else None

    def _held(self) -> str | None:
        """Not ready, though all is well with the worker: only an operator can let a held partition go on."""
        held = [p for p in self._own.running() if p.held]
        return f"partition {held[0].number} is held: {held[0].refusals.why()}" if held else None

    def _without_partitions(self) -> str | None:
        standing = self._group.standing()
        if standing is Standing.SPARE:
            self._own.forget_lost()
            return None
        if standing is Standing.NEEDED:
            return "the group has given this worker no partition although it needs it"
        return "no partition, and the group's coordinator does not answer"
