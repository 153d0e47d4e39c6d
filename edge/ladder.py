"""What may be shown of a session: the fresh decision, the last known one, or the neutral action. Pure.

The rules are those of every reader (docs/decisions-for-readers.md): another source is always newer, a smaller seq of
the same source is refused, and an expired one is not shown, nor any that is older.
"""

from collections import OrderedDict
from typing import Final, Literal, NamedTuple

import msgspec

MOST_SESSIONS: Final = 20_000
VERSIONS: Final = frozenset({1, 2})

Rung = Literal["fresh", "last_known", "neutral", "inline"]


class Order(msgspec.Struct, frozen=True):
    """What a reader needs of a document to tell which is newer."""

    v: int
    source: str
    seq: int
    action: str
    decided_at: int
    expires_at: int

    def refuses(self, other: "Order") -> bool:
        """Whether the other one is older."""
        return self.source == other.source and other.seq < self.seq


class Known(NamedTuple):
    """The newest decision seen, as its bytes and what orders it."""

    order: Order
    document: bytes


_decode: Final = msgspec.json.Decoder(Order).decode


def read(document: bytes) -> Known | None:
    """A document, None where it is not understood."""
    try:
        order = _decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Known(order, document) if order.v in VERSIONS else None


class Ladder:
    """Remembers the newest decision of the latest sessions."""

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        self._most = most
        self._known: OrderedDict[str, Known] = OrderedDict()

    def climb(self, session: str, answer: bytes | None, now_ms: int, *, answered: bool) -> tuple[Rung, Known | None]:
        """What to show, and on which rung it stands; None on the neutral one.

        Args:
            session: whose.
            answer: the stored document, None where there is none.
            now_ms: the wall clock.
            answered: whether the store answered at all.
        """
        read_now = read(answer) if answer is not None else None
        known = self._newest(session, read_now, gone=answered and answer is None)
        if known is None or now_ms >= known.order.expires_at:
            return "neutral", None
        return ("fresh" if answered and known is read_now else "last_known"), known

    def _newest(self, session: str, answer: Known | None, *, gone: bool) -> Known | None:
        known = self._known.get(session)
        if gone and known is not None:
            # Its place in the log stays, so that an older decision is still refused.
            known = known._replace(order=msgspec.structs.replace(known.order, expires_at=0))
        elif answer is not None and not (known is not None and known.order.refuses(answer.order)):
            known = answer
        if known is not None:
            self._known[session] = known
            self._known.move_to_end(session)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return known
