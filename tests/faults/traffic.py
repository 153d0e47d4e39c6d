"""Shoppers whose every event can be told apart, so that a lost or a doubled one shows in the session's own summary.

Each event of a session has a page of its own: a summary whose ``pages_viewed`` differs from the number of events sent
has lost some, one whose ``events`` exceeds ``pages_viewed`` has counted some twice. Sessions pause long enough to be
silent, or leave and come back, with a margin to the deadlines of `patches.FOLD` that a slow machine does not eat up.
"""

import heapq
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, Producer

from worker.pipeline.outputs import RELIABLE

TYPES = ("page_view", "view_item", "view_item", "search", "add_to_cart", "remove_from_cart", "view_cart", "scroll")
SHORT_GAP_S = (0.1, 0.7)
SILENT_GAP_S = (2.9, 3.3)
RETURN_GAP_S = (5.4, 6.0)


@dataclass(order=True)
class _Shopper:
    at: float
    name: str = field(compare=False)
    left: int = field(compare=False)
    sent: int = field(compare=False, default=0)


class Traffic:
    """Produces until told to stop.

    Args:
        bootstrap: the broker.
        topic: of the clicks.
        seed: of everything random.
        prefix: of session ids; unique on the broker.
        rate: events a second, about.
        twins: share of events that are sent twice with one event id.
        partitioner: of the producer.
        held_ms: how long the producer holds records back before it sends them.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        seed: int,
        prefix: str,
        *,
        rate: float = 300,
        twins: float = 0.0,
        partitioner: str = "murmur2_random",
        held_ms: int = 2,
    ) -> None:
        self._topic = topic
        self._rng = random.Random(seed)
        self._prefix = prefix
        self._twins = twins
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                **RELIABLE,
                "partitioner": partitioner,
                "message.timeout.ms": 0,
                "linger.ms": held_ms,
                "log_level": 0,
            }
        )
        self._crowd = int(rate * 0.47)
        self._born = 0
        self._stopped = threading.Event()
        self.failures: list[KafkaError] = []
        self.sent: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    @property
    def events(self) -> int:
        """Distinct events sent so far."""
        return self.sent.total()

    def start(self) -> "Traffic":
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop and wait until Kafka has acknowledged everything."""
        self._stopped.set()
        self._thread.join()
        if self._producer.flush(60):
            raise TimeoutError("the traffic of the test could not be delivered")
        if self.failures:
            raise RuntimeError(f"the traffic of the test was refused: {self.failures[0]}")

    def backlog(self, seconds: float, *, rate: float, padding: int) -> int:
        """Stop, then produce so many seconds of traffic at once, at the times that it would have had; bytes sent.

        Args:
            seconds: up to now.
            rate: events a second, about.
            padding: bytes added to each event.
        """
        self.stop()
        now = time.time()
        fill = "x" * padding
        sent = 0
        shoppers = [self._shopper(now - seconds + self._rng.uniform(0, 0.7)) for _ in range(int(rate * 0.47))]
        heapq.heapify(shoppers)
        while (shopper := heapq.heappop(shoppers)).at < now:
            sent += self._event(shopper, round(shopper.at * 1000), fill)
            shopper.left -= 1
            if not shopper.left:
                shopper = self._shopper(shopper.at)
            shopper.at += self._gap()
            heapq.heappush(shoppers, shopper)
        self._producer.flush(60)
        return sent

    def send(self, value: bytes | None, key: str | bytes | None = "poison", **options: Any) -> None:
        """Produce one record as it is."""
        self._producer.produce(self._topic, value, key, on_delivery=self._delivered, **options)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for what was sent."""
        self._producer.flush(30)

    def _run(self) -> None:
        now = time.monotonic()
        shoppers = [self._shopper(now + self._rng.uniform(0, 0.7)) for _ in range(self._crowd)]
        heapq.heapify(shoppers)
        while shoppers and not self._stopped.is_set():
            now = time.monotonic()
            if shoppers[0].at > now:
                self._producer.poll(0)
                time.sleep(min(shoppers[0].at - now, 0.01))
                continue
            shopper = heapq.heappop(shoppers)
            self._event(shopper)
            shopper.left -= 1
            if shopper.left:
                shopper.at = now + self._gap()
            else:
                shopper = self._shopper(now + self._rng.uniform(*SHORT_GAP_S))
            heapq.heappush(shoppers, shopper)

    def _shopper(self, at: float) -> _Shopper:
        self._born += 1
        return _Shopper(at, f"{self._prefix}-{self._born}", self._rng.randint(6, 30))

    def _gap(self) -> float:
        dice = self._rng.random()
        if dice < 0.03:
            return self._rng.uniform(*SILENT_GAP_S)
        if dice < 0.05:
            return self._rng.uniform(*RETURN_GAP_S)
        return self._rng.uniform(*SHORT_GAP_S)

    def _event(self, shopper: _Shopper, ts: int | None = None, fill: str = "") -> int:
        shopper.sent += 1
        ts = time.time_ns() // 1_000_000 if ts is None else ts
        event: dict[str, object] = {
            "session_id": shopper.name,
            "type": self._rng.choice(TYPES),
            "ts": ts,
            "event_id": f"{shopper.name}/{shopper.sent}",
            "page": f"/{shopper.sent}",
            "price": self._rng.randint(1, 90) + 0.5,
        }
        value = json.dumps(event | {"fill": fill} if fill else event).encode()
        for _ in range(2 if self._rng.random() < self._twins else 1):
            self._produce(value, shopper.name, ts)
        self.sent[shopper.name] += 1
        return len(value)

    def _produce(self, value: bytes, key: str, timestamp_ms: int) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, key, timestamp=timestamp_ms, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self.failures.append(error)
