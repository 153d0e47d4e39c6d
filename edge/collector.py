"""``POST /v1/events``: events in, a verdict for each, answered once Kafka (or the spool) has the accepted ones."""

import time
from typing import Any, Final

import msgspec

from edge import inbox
from edge.deciding import Deciding
from edge.gate import Gate, bearer
from edge.inbox import Taken, Verdict
from edge.metrics import EdgeMetrics
from edge.pending import Pending
from edge.problems import Problem, unavailable
from edge.publisher import NotKept, Overloaded, Publisher, Record
from edge.replies import Reply, json_reply
from edge.requests import Request
from edge.settings import EdgeSettings
from edge.shops import Shop

JSON_TYPES: Final = frozenset({"", "application/json", "text/plain"})


class Receipt(msgspec.Struct, omit_defaults=True):
    """The answer to events."""

    accepted: int
    refused: int
    now: int
    verdicts: list[Verdict]
    decision: dict[str, Any] | None = None


class Collector:
    """Takes events."""

    def __init__(
        self,
        settings: EdgeSettings,
        gate: Gate,
        publisher: Publisher,
        pending: Pending,
        metrics: EdgeMetrics,
        deciding: Deciding,
    ) -> None:
        self._settings = settings
        self._gate = gate
        self._publisher = publisher
        self._pending = pending
        self._deciding = deciding
        self._most_bytes = settings.edge_body_kb * 1024
        self._accepted = metrics.tally(metrics.events.labels("accepted"))
        self._refused = metrics.tally(metrics.events.labels("refused"))

    async def events(self, request: Request) -> Reply:
        """See the module."""
        shop = self._gate.shop(request)
        taken, verdicts, session_id = await self.read(request, shop)
        receipt = Receipt(len(taken), len(verdicts) - len(taken), 0, verdicts)
        if request.query.get("decide") == "1" and taken:
            receipt.decision = await self._decided(taken, session_id or taken[-1].key.decode())
        else:
            await self._keep(self._records(taken))
        receipt.now = time.time_ns() // 1_000_000
        return json_reply(202 if taken or not verdicts else 422, receipt)

    async def decide(self, request: Request) -> Reply:
        """``POST /v1/decide``: the decision that these events would lead to. They are sent nowhere."""
        taken, verdicts, session_id = await self.read(request, self._gate.shop(request), counted=False)
        if not taken:
            raise Problem(422, "no_event", verdicts[0].reason if verdicts else "send at least one event")
        session_id = session_id or taken[-1].key.decode()
        key = session_id.encode()
        values = [one.value for one in taken if one.key == key]
        return json_reply(200, await self._deciding.after(session_id, values))

    async def read(
        self, request: Request, shop: Shop, *, counted: bool = True
    ) -> tuple[list[Taken], list[Verdict], str]:
        """The accepted events of a request, the verdicts on all, and the token's session ("" for none).

        Raises:
            Problem: the request as a whole is refused.
        """
        json_body(request)
        body = await request.body(self._most_bytes, self._settings.edge_body_s)
        envelope = inbox.read(body, self._settings.edge_events_most)
        token = bearer(request) or envelope.token
        session_id = (await self._gate.claim(token)).session_id if token else ""
        private = request.header(b"sec-gpc") == "1"
        self._gate.charge(shop, request, session_id, len(envelope.events))
        taken: list[Taken] = []
        verdicts: list[Verdict] = []
        for verdict, one in inbox.take(envelope, session_id, private=private):
            verdicts.append(verdict)
            if one is not None:
                taken.append(one)
        if counted:
            self._accepted.inc(len(taken))
            self._refused.inc(len(verdicts) - len(taken))
        return taken, verdicts, session_id

    async def keep(self, taken: list[Taken], refused: int) -> None:
        """Send events that came by another protocol; return once they are safe.

        Raises:
            Problem: 503.
        """
        self._accepted.inc(len(taken))
        self._refused.inc(refused)
        await self._keep(self._records(taken))

    def _records(self, taken: list[Taken]) -> list[Record]:
        at_ms = time.time_ns() // 1_000_000
        topic = self._settings.topic
        return [Record(topic, key, value, at_ms) for key, value in taken]

    async def _keep(self, records: list[Record]) -> None:
        self._pending.sent(records)
        await kept(self._publisher, records)

    async def _decided(self, taken: list[Taken], session_id: str) -> dict[str, Any] | None:
        """Decide while Kafka takes the events; both have to be done before the answer."""
        records = self._records(taken)
        self._pending.sent(records)
        return await self._deciding.sent(session_id, kept(self._publisher, records))


async def kept(publisher: Publisher, records: list[Record]) -> None:
    """Send records; return once they are safe.

    Raises:
        Problem: 503, with Retry-After.
    """
    try:
        await publisher.send(records)
    except Overloaded:
        raise Problem(503, "overloaded", "too much is under way to Kafka; nothing was kept", retry_after_s=1) from None
    except NotKept as error:
        raise unavailable(str(error), retry_after_s=2) from None


def json_body(request: Request) -> None:
    """Refuse what says that it is not JSON; beacons say text/plain.

    Raises:
        Problem: 415.
    """
    media_type = request.header(b"content-type").partition(";")[0].strip().lower()
    if media_type not in JSON_TYPES:
        raise Problem(415, "unsupported_media_type", "send JSON as application/json or text/plain")
