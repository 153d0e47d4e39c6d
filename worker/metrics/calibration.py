"""Whether outcomes come as often as their heads say: expected and observed, by head and tenth, at the end of a session.

Scores alone cannot tell: if half as many shoppers order, what they look at stays much the same, and so do the scores.
So each session's probabilities are kept until its end says what came after them. Added up over many sessions, a head
that is calibrated expects as many outcomes as are observed.

Events of one session share their answer, so a session counts once a tenth: at its first event there. (Which event that
is depends on the past alone. A session's mean, or its last event, would depend on how it goes on, and a calibrated head
would seem off.)

What is kept lives in this process alone and is bounded: a session is followed from its first event, if there is a place
for it. One of which events went elsewhere (its partition moved) is left out, so both sums miss the same rows.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from decisions.core import Judgement
from featurestore.columns.jit import compiled
from featurestore.contract.event import TYPE_CODE
from featurestore.session.features import FEATURES
from featurestore.session.observation import BOT, CLEAR, END, EVENT_ROW, OBSERVATION
from models.heads import Heads
from models.heads.scoring import N_TENTHS, variables
from worker.metrics.metrics import Metrics

PLACES: Final = 16_384
"""Sessions that are followed at once; a power of two."""
FORGOTTEN_MS: Final = 2 * 3_600_000
"""A session that was not heard of for so long ended elsewhere."""
_CLICKS: Final = FEATURES.index("num_clicks")
_PROBES: Final = 16

_SESSION: Final = np.dtype([("key", "<u8"), ("t", "<i8"), ("clicks", "<i8")])

# Of a session and a head, one number: its low half says in which tenths the outcome may still come, its high half in
# which it has come. Small, as each event reads those of its session, and a miss of the cache costs more than the rest.
_CAME: Final = np.uint32(16)
_OPEN: Final = np.uint32(0xFFFF)


class CalibrationMonitor:
    """Adds up expected and observed outcomes.

    Args:
        heads: of the bundle; those count whose training says what they look for and where their tenths begin.
        metrics: its series are opened for these heads.
        places: sessions that are followed at once, a power of two.
    """

    def __init__(self, heads: Heads, metrics: Metrics, places: int = PLACES) -> None:
        self._metrics = metrics
        columns = np.cumsum([0, *(len(head.outputs) for head in heads.others)]).tolist()
        followed = [
            (head, columns[i], names.tenths)
            for i, head in enumerate(heads.others)
            if (names := variables(head)[0]).tenths and isinstance(head.training.get("events"), list)
        ]
        self._columns = np.array([column for _, column, _ in followed], np.int64)
        self._tenths = np.array([tenths for *_, tenths in followed], np.float64).reshape(len(followed), N_TENTHS - 1)
        self._asked = np.zeros((len(followed), 256), np.bool_)
        self._absent = np.array([bool(head.training.get("absent")) for head, *_ in followed], np.bool_)
        for k, (head, *_) in enumerate(followed):
            named = head.training["events"]
            self._asked[k, [TYPE_CODE[str(name)] for name in named if name in TYPE_CODE]] = True  # type: ignore[union-attr]
        self._sessions = np.zeros(places, _SESSION)
        self._tenths_seen = np.zeros((places, len(followed)), np.uint32)
        self._expected = np.zeros((places, len(followed), N_TENTHS), np.float32)  # of the tenths that were seen
        axes = {"head": [head.name for head, *_ in followed], "tenth": [str(j + 1) for j in range(N_TENTHS)]}
        metrics.outcomes_expected.use_axes(axes)
        metrics.outcomes_observed.use_axes(axes)
        nobody, none = np.zeros(0, np.uint8), np.zeros(0, np.uint64)
        self._add(np.zeros(0, OBSERVATION), nobody, none, np.zeros(0), np.zeros((0, len(followed))))  # compiled now

    def observe(self, judgement: Judgement, types: NDArray[np.uint8]) -> None:
        """Follow the rows of a judgement; ``types`` (n,) are the codes of their events."""
        if self._columns.size == 0:
            return
        seen = judgement.observations
        # Made contiguous: numba compiles anew for each layout, and a single row has another one than many.
        keys, clicks = np.ascontiguousarray(seen.context["session"]), np.ascontiguousarray(seen.features[:, _CLICKS])
        self._add(seen.rows, types, keys, clicks, np.ascontiguousarray(judgement.outputs[:, self._columns]))

    def _add(
        self,
        rows: NDArray[np.void],
        types: NDArray[np.uint8],
        keys: NDArray[np.uint64],
        clicks: NDArray[np.float64],
        outputs: NDArray[np.float64],
    ) -> None:
        sums = np.zeros((2, *self._expected.shape[1:]))
        _follow(
            rows, types, keys, clicks, outputs,
            self._tenths, self._asked, self._absent, self._sessions, self._tenths_seen, self._expected, sums,
        )  # fmt: skip
        if sums.any():
            self._metrics.outcomes_expected.add(sums[0])
            self._metrics.outcomes_observed.add(sums[1])


@compiled
def _follow(
    rows: NDArray[np.void],
    types: NDArray[np.uint8],
    keys: NDArray[np.uint64],
    clicks: NDArray[np.float64],
    outputs: NDArray[np.float64],
    tenths: NDArray[np.float64],
    asked: NDArray[np.bool_],
    absent: NDArray[np.bool_],
    sessions: NDArray[np.void],
    tenths_seen: NDArray[np.uint32],
    expected: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    for m in range(rows.size):
        kind = rows[m]["kind"]
        if kind not in (EVENT_ROW, BOT, CLEAR, END):
            continue
        place = _place(sessions, keys[m], rows[m]["t"], kind == EVENT_ROW and clicks[m] <= 1)
        if place < 0:
            continue
        session, seen = sessions[place], tenths_seen[place]
        if session["key"] != keys[m]:  # a new one
            session["key"], session["clicks"] = keys[m], 0
            seen[:] = 0
        missed = clicks[m] > session["clicks"] + (1 if kind == EVENT_ROW else 0)
        if kind != EVENT_ROW or missed:
            if kind == END and not missed:
                _add_up(seen, expected[place], absent, sums)
            session["key"] = 0
            continue
        session["t"], session["clicks"] = rows[m]["t"], clicks[m]
        for k in range(seen.size):
            found = seen[k]
            if asked[k, types[m]]:
                found = found & ~_OPEN | (found & _OPEN) << _CAME
            p = outputs[m, k]
            if p == p:  # noqa: PLR0124 - NaN: the head is not asked
                j = np.uint32(0)
                for edge in tenths[k]:
                    j += np.uint32(edge <= p)
                bit = np.uint32(1) << j
                if found & (bit | bit << _CAME) == 0:
                    expected[place, k, j] = p
                    found |= bit
            seen[k] = found


@compiled
def _add_up(
    seen: NDArray[np.uint32], expected: NDArray[np.float32], absent: NDArray[np.bool_], sums: NDArray[np.float64]
) -> None:
    """Add a session that ended to the sums of what was expected and of what was observed."""
    for k in range(seen.size):
        still_open, came = seen[k] & _OPEN, seen[k] >> _CAME
        observed = still_open if absent[k] else came
        for j in range(sums.shape[2]):
            if (still_open | came) >> np.uint32(j) & np.uint32(1):
                sums[0, k, j] += expected[k, j]
                sums[1, k, j] += observed >> np.uint32(j) & np.uint32(1)


@compiled
def _place(sessions: NDArray[np.void], key: int, t: int, may_begin: bool) -> int:
    """Where the session is kept, or may begin; -1 for nowhere."""
    mask = np.uint64(sessions.size - 1)
    free = -1
    for probe in range(_PROBES):
        at = np.int64((key + np.uint64(probe)) & mask)
        if sessions[at]["key"] == key:
            return int(at)
        if free < 0 and (sessions[at]["key"] == 0 or sessions[at]["t"] < t - FORGOTTEN_MS):
            free = int(at)
    return free if may_begin else -1
