"""The output topics: one entry a stream, which everything that produces, stores, checks or documents them reads.

A new stream is an entry here, a setting of its name in `worker.settings`, and whoever makes its documents
(`decisions.effects.PRODUCERS`). Codes are persisted in outboxes: append, never reuse or renumber.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from featurestore.errors import UnknownStream


class Stream(NamedTuple):
    """One output topic.

    Attributes:
        code: what outboxes call it.
        name: what people call it, and the topic's default name.
        setting: of its topic; an empty one leaves the stream out.
        key: field of the document that is the record's key.
        schema: name of the document's published schema, ``docs/schemas/<schema>.schema.json``.
        codec: how outboxes keep its documents: ``packed`` (`featurestore.store.packed`) or ``plain``, as they are.
        holds: what is in it, in words.
    """

    code: int
    name: str
    setting: str
    key: str
    schema: str
    codec: Literal["packed", "plain"]
    holds: str


DECISIONS: Final = 0
SESSIONS: Final = 1

STREAMS: Final = (
    Stream(DECISIONS, "decisions", "decisions_topic", "session_id", "decision", "packed", "every decision"),
    Stream(SESSIONS, "sessions", "sessions_topic", "session_id", "session-summary", "plain", "one summary a session"),
)

_BY_CODE: Final[Mapping[int, Stream]] = {stream.code: stream for stream in STREAMS}


def stream_of(code: int) -> Stream:
    """The stream with this code.

    Raises:
        UnknownStream: a later release may have written it.
    """
    if code not in _BY_CODE:
        raise UnknownStream(f"output stream {code} is unknown to this release; run the one that wrote it")
    return _BY_CODE[code]
