# ruff: noqa: INP001 - no package: one file to copy
"""What to show a shopper, read from Clickstage's decisions in Redis. Copy this file; it needs redis-py alone.

    actions = ShopperActions(redis.Redis(host="...", socket_timeout=0.05, socket_connect_timeout=0.05))
    actions.show("session-id")      # "free-shipping-nudge", or "none"
    actions.decision("session-id")  # the whole document as a dict, or None where there is nothing to show

The ladder: the fresh decision; without an answer the last known one, while it lives; else the neutral action.
"""

import hashlib
import hmac
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import redis

VERSIONS = (1, 2)  # 2 has "outcomes" as well


class Known(NamedTuple):
    """The newest decision of a session that this process has seen."""

    source: str
    seq: int
    action: str
    expires_at: int
    document: dict[str, Any]


class ShopperActions:
    """Reads decisions and remembers the last one of each session; safe to share between threads.

    Args:
        client: give it short timeouts: a page must not wait for a Redis that is away.
        neutral: what to show when nothing else may be shown.
        id_key: the workers' CLICKSTAGE_ID_KEY, if they hash ids.
        sessions: of how many sessions to remember the last decision.
        now_ms: wall clock; it should be synchronised (NTP), since offers end by it.
        prefix: the workers' CLICKSTAGE_DECISION_PREFIX, if they have one of their own.
    """

    def __init__(
        self,
        client: "redis.Redis",
        neutral: str = "none",
        id_key: str = "",
        sessions: int = 10_000,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        prefix: str = "decision:",
    ) -> None:
        self._client = client
        self._neutral = neutral
        self._id_key = bytes.fromhex(id_key)
        self._prefix = prefix
        self._sessions = sessions
        self._now_ms = now_ms
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._lock = threading.Lock()

    def show(self, session_id: str) -> str:
        """The action to show now; raises nothing, and blocks no longer than the client's timeouts."""
        known = self._climb(session_id)
        return known.action if known is not None else self._neutral

    def decision(self, session_id: str) -> dict[str, Any] | None:
        """The whole decision that may be shown now: stage, reasons, when it ends; None for the neutral one."""
        known = self._climb(session_id)
        return known.document if known is not None else None

    def _climb(self, session_id: str) -> Known | None:
        key = self._key(session_id)
        try:
            document: Any = self._client.get(key)
            answer = _read(document)
        except (redis.RedisError, ValueError, KeyError, TypeError):
            answered, answer = False, None  # away, too slow, or something this reader does not understand
        else:
            answered = True
        known = self._newest(key, answered, answer)
        return known if known is not None and self._now_ms() < known.expires_at else None

    def _newest(self, key: str, answered: bool, answer: Known | None) -> Known | None:
        with self._lock:
            known = self._known.get(key)
            if answered and answer is None:
                # The session has ended, or its shopper withdrew consent: what was known must not be shown. Its place
                # in the log stays, so that an older decision is still refused.
                known = known._replace(expires_at=0) if known is not None else None
            elif answer is not None and not (known and answer.source == known.source and answer.seq < known.seq):
                known = answer  # another source is a topic created anew: its numbers begin anew
            if known is not None:
                self._known[key] = known
                self._known.move_to_end(key)
                while len(self._known) > self._sessions:
                    self._known.popitem(last=False)
            return known

    def _key(self, session_id: str) -> str:
        if self._id_key:
            message = b"session:" + session_id.encode()
            session_id = hmac.digest(self._id_key, message, hashlib.sha256)[:16].hex()
        return self._prefix + session_id


def _read(document: str | bytes | None) -> Known | None:
    if document is None:
        return None
    d = json.loads(document)
    if d["v"] not in VERSIONS:
        raise ValueError("another version of the document")
    return Known(str(d["source"]), int(d["seq"]), str(d["action"]), int(d["expires_at"]), d)
