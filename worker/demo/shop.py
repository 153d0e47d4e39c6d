"""Simulated shoppers that publish to Kafka, as a web tier would, and remember what they sent."""

import threading
from typing import Final

from models.simulator.simulator import SimConfig, live
from worker.kafka.sender import NotDelivered, Sender
from worker.pipeline.outputs import RELIABLE

POISON_EVERY: Final = 1_500
"""Every how many records one is not an event, so that the dead letters have something to show."""

MIX: Final = {"bouncer": 0.05, "browser": 0.4, "evaluator": 8.0, "buyer": 4.0, "abandoner": 2.0}
"""Fewer who leave at once than a real shop has: each stage is to be seen within half a minute."""

_POISON: Final = b'{"session_id": "broken", "type": "page_view", "ts": "yesterday"}'


class Shop:
    """Publishes from its own thread until `stop`.

    Args:
        bootstrap: Kafka.
        topic: of clicks.
        shoppers: sessions at a time.
        seed: of the simulation.
    """

    def __init__(self, bootstrap: str, topic: str, shoppers: int, seed: int) -> None:
        self._sender = Sender({"bootstrap.servers": bootstrap, **RELIABLE, "linger.ms": 2})
        self._topic = topic
        self._shoppers = shoppers
        config = SimConfig(sessions=1_000_000, seed=seed, start_ms=0, duplicates=0.0, mix=MIX)
        self._config = config
        self._stop = threading.Event()
        self.sessions: set[str] = set()
        self.produced = 0
        self.poisoned = 0
        self.backlog: int | None = None  # records sent to open the shop full, once that is done
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="shop", daemon=True)

    def start(self) -> None:
        """Open the shop."""
        self._thread.start()

    def stop(self) -> None:
        """Close it, and wait until all that was sent is in Kafka."""
        self._stop.set()
        self._thread.join()
        missing = self._sender.finish(10)
        if self._failure is not None:
            raise self._failure
        if missing:
            raise NotDelivered(f"the embedded Kafka does not have {missing} records ({self._sender.why()})")

    def _run(self) -> None:
        try:
            self._publish()
        except BaseException as error:
            self._failure = error

    def _publish(self) -> None:
        for batch in live(self._config, shoppers=self._shoppers, warm_s=240.0, sleep=self._wait):
            for key, value, at_ms in batch:
                self._send(key, value, at_ms)
                self.sessions.add(key.decode())
                if self.produced % POISON_EVERY == 0:
                    self._send(b"broken", _POISON, at_ms)
                    self.poisoned += 1
            self._sender.poll()
            if not batch and self.backlog is None:
                self.backlog = self.produced
            if self._stop.is_set():
                return

    def _wait(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _send(self, key: bytes, value: bytes, at_ms: int) -> None:
        # The shop opens with its last minutes played at once: their records are as old as they would be. Later ones
        # happen when they are sent: the latency that is shown is not this thread's.
        self._sender.send(self._topic, value, key, timestamp=at_ms if self.backlog is None else 0)
        self.produced += 1
