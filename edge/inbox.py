"""A body of events, and what becomes of each: the contract, the session of the token, an event id. Pure.

An event that names no session belongs to the token's. One that names another session than the token's is refused, and
so is one without a token that names a session of the edge's own making: nobody writes into another shopper's visit, or
asks what it would be shown. An event without an ``event_id`` gets one, so that whatever is
sent twice behind this point (a retry, the spool) counts once.
"""

import itertools
import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from edge.problems import Problem
from edge.tokens import MADE_HERE
from featurestore.contract.decode import read as read_event
from featurestore.contract.junk import is_junk
from featurestore.contract.scan import scan
from featurestore.errors import InvalidEvent


class Verdict(msgspec.Struct, omit_defaults=True, frozen=True):
    """What became of one event, in the order sent; ``fields`` are those that were repaired, or left out."""

    status: Literal["accepted", "repaired", "refused"]
    fields: list[str] = []
    reason: str = ""


class Envelope(msgspec.Struct):
    """Several events and what they share."""

    events: list[msgspec.Raw]
    sent_ts: int | None = None
    token: str = ""


class _Peek(msgspec.Struct):
    """What is looked at before the contract: absent is not the same as null."""

    session_id: Any = msgspec.UNSET
    event_id: Any = msgspec.UNSET
    sent_ts: Any = msgspec.UNSET
    visitor_id: Any = msgspec.UNSET
    events: Any = msgspec.UNSET
    token: str = ""


class Taken(NamedTuple):
    """One event that the contract accepts, as it is produced; the key is its session id."""

    key: bytes
    value: bytes


ACCEPTED: Final = Verdict("accepted")
MANY: Final = 6
"""From so many events on, one compiled pass is faster than a reader that makes an object of each."""
WHITE: Final = b" \t\r\n"
_peek: Final = msgspec.json.Decoder(_Peek).decode
_envelope: Final = msgspec.json.Decoder(Envelope).decode
_raw: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_process: Final = secrets.token_hex(5)
_numbers: Final = itertools.count(1)


def read(body: bytes, most_events: int) -> Envelope:
    """The events of a body: one, a list, or an `Envelope`.

    Raises:
        Problem: 400 it is none of these, 413 too many events.
    """
    start = body.lstrip(WHITE)[:1]
    try:
        if start == b"[":
            envelope = Envelope(_list(body))
        elif start == b"{":
            peek = _peek(body)
            one = peek.events is msgspec.UNSET
            envelope = Envelope([msgspec.Raw(body.strip(WHITE))], None, peek.token) if one else _envelope(body)
        else:
            raise Problem(400, "not_json", "the body is no JSON object and no list of them, in UTF-8")
    except msgspec.ValidationError:
        raise Problem(400, "bad_body", 'the body is no event, no list of events and no {"events": [...]}') from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "not_json", "the body is not JSON in UTF-8") from None
    if len(envelope.events) > most_events:
        raise Problem(413, "too_many_events", f"at most {most_events} events a request are read; send fewer")
    return envelope


def take(envelope: Envelope, session_id: str, *, private: bool) -> Iterator[tuple[Verdict, Taken | None]]:
    """What becomes of each event of a body.

    Args:
        envelope: the events, and what they share.
        session_id: of the token, "" where there is none.
        private: leave out the visitor: the browser says so (Sec-GPC).
    """
    values = [bytes(raw) for raw in envelope.events]
    ready = [_ready(value, envelope, session_id, private=private) for value in values]
    own = session_id.encode()
    needs_token = MADE_HERE.encode()
    for value, whole, key in zip(values, ready, (_scanned if len(ready) >= MANY else _read)(ready), strict=True):
        if key and (key == own if own else not key.startswith(needs_token)):
            yield ACCEPTED, Taken(key, whole)
        else:
            yield _looked_into(value, envelope, session_id, private=private)


def warm_up() -> None:
    """Compile what reads many events: it must not happen while pages wait."""
    _scanned([])


def new_event_id() -> str:
    """An id that no other event has: of this process, and counted."""
    return f"{_process}{next(_numbers):x}"


def _ready(value: bytes, envelope: Envelope, session_id: str, *, private: bool) -> bytes:
    """An event with the fields that it lacks; b"" where something would have to be replaced, or may have to be.

    `_looked_into` says what events mean. A test holds this way and that one to the same answers.
    """
    if b"\\" in value or b'"token"' in value or (private and b'"visitor_id"' in value) or value[-1:] != b"}":
        return b""  # a field's name may be written with escapes
    added = b""
    if session_id and b'"session_id"' not in value:
        added = b',"session_id":' + msgspec.json.encode(session_id)
    if b'"event_id"' not in value:
        added += b',"event_id":"%b"' % new_event_id().encode()
    if envelope.sent_ts is not None and b'"sent_ts"' not in value:
        added += b',"sent_ts":%d' % envelope.sent_ts
    return value[:-1] + added + b"}" if added else value


def _read(values: Sequence[bytes]) -> Iterator[bytes]:
    """The session id of each value that is an event without a fault, and has an id; b"" for others."""
    for value in values:
        try:
            event, problems = read_event(value)
        except InvalidEvent:
            yield b""
        else:
            yield b"" if problems or event.event_id is None else event.session_id.encode()


def _scanned(values: Sequence[bytes]) -> Iterator[bytes]:
    """The same in one compiled pass, which pays for a few."""
    n = len(values)
    raw, ends = b"".join(values), np.cumsum(np.fromiter(map(len, values), np.int64, n))
    found = scan(raw, ends, np.zeros(n, np.int64))
    good = found.read & (found.rows["event_id"] != 0)
    for start, end in zip(
        np.where(good, found.starts, 0).tolist(), np.where(good, found.ends, 0).tolist(), strict=True
    ):
        yield raw[start:end]


def _looked_into(value: bytes, envelope: Envelope, session_id: str, *, private: bool) -> tuple[Verdict, Taken | None]:
    try:
        peek = _peek(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Half a surrogate pair somewhere, or a token that is no text, costs its field, as in the worker.
        told = _told(value)
        if told is None:
            return Verdict("refused", reason="schema: an event is a JSON object with fields of the contract"), None
        value = json.dumps(told).encode()
        peek = _Peek(**{name: told[name] for name in _Peek.__struct_fields__ if name in told and name != "token"})
    if session_id and peek.session_id not in (msgspec.UNSET, None, session_id):
        return Verdict("refused", reason="session: the token belongs to another session"), None
    value = _completed(value, peek, envelope, session_id, private=private)
    try:
        event, problems = read_event(value)
    except InvalidEvent as error:
        return Verdict("refused", reason=str(error)), None
    if not session_id and event.session_id.startswith(MADE_HERE):
        return Verdict("refused", reason="session: give this session's token"), None
    verdict = Verdict("repaired", fields=[name for name, _ in problems]) if problems else ACCEPTED
    return verdict, Taken(event.session_id.encode(), value)


def _told(value: bytes) -> dict[str, Any] | None:
    """The object, read by a more patient reader, without its token; None where it is none."""
    try:
        told = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    told.pop("token", None)
    return told


def _completed(value: bytes, peek: _Peek, envelope: Envelope, session_id: str, *, private: bool) -> bytes:
    added: dict[str, Any] = {}
    if session_id and peek.session_id in (msgspec.UNSET, None):
        added["session_id"] = session_id
    if peek.event_id in (msgspec.UNSET, None) or (isinstance(peek.event_id, str) and is_junk(peek.event_id)):
        added["event_id"] = new_event_id()
    if envelope.sent_ts is not None and peek.sent_ts is msgspec.UNSET:
        added["sent_ts"] = envelope.sent_ts
    left_out = {"token"} if peek.token else set()
    if private and peek.visitor_id is not msgspec.UNSET:
        left_out.add("visitor_id")
    if left_out or any(getattr(peek, name) is not msgspec.UNSET for name in added):
        return _rewritten(value, left_out, added)
    if not added:
        return value
    return _with(value, added)


def _rewritten(value: bytes, left_out: set[str], added: dict[str, Any]) -> bytes:
    """An object without some fields and with others; what stays keeps its bytes, such as numbers of any length."""
    fields: dict[str, bytes]
    try:
        fields = {name: bytes(raw) for name, raw in _raw(value).items()}
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields = {name: json.dumps(told).encode() for name, told in json.loads(value).items()}  # `_told` wrote it
    fields = {name: field for name, field in fields.items() if name not in left_out}
    fields |= {name: msgspec.json.encode(field) for name, field in added.items()}
    return b"{%b}" % b",".join(b"%b:%b" % (json.dumps(name).encode(), field) for name, field in fields.items())


def _with(value: bytes, added: dict[str, Any]) -> bytes:
    """An object in JSON with fields that it has not."""
    end = value.rstrip()[:-1].rstrip()
    comma = b"" if end.endswith(b"{") else b","
    return end + comma + msgspec.json.encode(added)[1:]
