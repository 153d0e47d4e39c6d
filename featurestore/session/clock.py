"""When events happened: a session's clock, estimated from what arrives.

Two times matter. *Arrival* is the time of the Kafka record: silence, ends and everything that is shown are judged by
it, so that a wrong clock is never a silence. *Happened* is the sender's ``ts`` moved by the session's ``skew``: gaps
and durations are measured by it, so that a batch of an offline phone keeps its own spacing.

The skew is the time of arrival less ``ts``. A sample of it is ``arrival - sent_ts`` where an event says when
it was sent. Otherwise it is ``arrival - ts``, which includes the time in transit. So the smallest sample is the best.
When a smaller one arrives, the whole session moves with it, and the time between its events stays.
A sample that differs by more than `JITTER_MS` is

- smaller, within `BURST_MS` of the last arrival and without ``sent_ts``: the next event of a batch, oldest first
- smaller otherwise: another clock (it was set, or a second sender); it counts from here on, or, if the record goes
  back in time against several others, once the next one says the same. If records have gone back by more than
  `JITTER_MS`, those before were ahead, and the session moves with them: its first record may have an absurd time
- larger: an event that was late, though not before the session began; if the next one says the same, another clock

One pass over the log gives the same: arrival is part of the log, and nothing else is looked at.
"""

from typing import Final

import numpy as np

from featurestore.columns.jit import inlined

JITTER_MS: Final = 10_000
"""Samples of one clock differ by what events are under way; more than this is another clock, or a late event."""
BURST_MS: Final = 2_000
"""Records this close came in one upload."""
OLDEST_UPLOAD_MS: Final = 7 * 86_400_000
"""A first event that is older than this was not kept for so long: its sender's clock is wrong."""


@inlined
def arrival_of(e: np.void) -> int:
    """The time of the event's record; without one, ``ts`` stands in for it."""
    return int(e["arrival"]) if e["arrival"] != 0 else int(e["t"])


@inlined
def sample(e: np.void, arrival: int) -> int:
    """What an event says about its sender's clock, ms to add to it."""
    return int(arrival - (e["sent"] if e["sent"] != 0 else e["t"]))


@inlined
def start_clock(s: np.void, e: np.void, arrival: int) -> int:
    """The first event of a session sets its clock; when it happened."""
    s["skew"] = sample(e, arrival)
    s["other_skew"] = 0
    return int(min(e["t"] + s["skew"], arrival))


@inlined
def happened(s: np.void, e: np.void, arrival: int) -> int:
    """When an event of a live session happened; adjusts the session's clock."""
    skew = sample(e, arrival)
    rest = skew - s["skew"]
    sent = e["sent"] != 0
    doubtful = False
    burst = not sent and abs(arrival - s["arrival"]) <= BURST_MS
    again = s["other_skew"] != 0 and abs(skew - s["other_skew"]) <= JITTER_MS
    if rest < -JITTER_MS and not burst:
        # Of a record from the past, and those before that agree, it is the one that has an absurd time.
        if arrival < s["arrival"] - JITTER_MS and s["num_clicks"] > 1 and not again:
            doubtful = True
            s["other_skew"] = _kept(skew)
        else:
            if arrival < s["arrival"] - JITTER_MS:
                _move(s, rest)  # the records so far were ahead; the sender's clock shows the time between events
            s["skew"] = skew
            _believe(s, arrival)
    elif rest < 0:
        _move(s, rest)
        s["skew"] = skew
    elif rest > JITTER_MS:
        doubtful = not again or arrival - s["arrival"] <= BURST_MS
        if doubtful:
            s["other_skew"] = _kept(skew)
        else:
            s["skew"] = skew
            s["other_skew"] = 0
    if s["other_skew"] != 0 and abs(rest) <= JITTER_MS:
        _believe(s, arrival)
        s["other_skew"] = 0
    t = min(e["t"] + s["skew"], arrival)
    return int(max(t, s["t_min"]) if doubtful else t)


@inlined
def _move(s: np.void, by: int) -> None:
    """All of a session so far happened that much later; the time between its events stays."""
    s["t_min"] += by
    s["t_max"] += by
    s["last_int"] += by


@inlined
def _kept(skew: int) -> int:
    """A right clock as another one: 0 stands for none."""
    return 1 if skew == 0 else skew


@inlined
def _believe(s: np.void, arrival: int) -> None:
    """The clocks agree again: if this record is older than the newest, that one had an absurd time."""
    if arrival < s["arrival"]:
        s["arrival"] = arrival
        s["int_arrival"] = min(s["int_arrival"], arrival)


@inlined
def is_upload(s: np.void, e: np.void, arrival: int, live: bool, uploaded: bool, session_gap_ms: int) -> bool:
    """Whether an event was older than a session may be silent when it was received.

    With ``sent_ts`` the sender says so. Without, an event that lies so far behind its own session is. A first event
    that comes so late is taken for one until a later record shows a clock that goes on as the log's does, and is
    merely wrong. In a session that was live before, one of a batch is, whose events come at once and lie apart.
    """
    if e["sent"] != 0:
        return bool(e["sent"] - e["t"] > session_gap_ms)
    behind = sample(e, arrival)
    old = session_gap_ms < behind <= OLDEST_UPLOAD_MS
    if not live:
        return bool(old)
    rest = behind - s["skew"]
    if rest > session_gap_ms:
        return True
    at_once = abs(arrival - s["arrival"]) <= BURST_MS
    if uploaded:
        return bool(old and (at_once or abs(rest) > JITTER_MS))
    return bool(at_once and rest < -BURST_MS and behind > session_gap_ms)
