"""Residuals: what is left of a field when the other fields' prediction of it is taken away.

A record keeps only the bytes that are not zero (`codec`), so a field costs nothing where its prediction holds. Where it
does not, the field still comes back exactly: a prediction is subtracted modulo the size of the field, or by XOR.
FORMAT.md lists all of them.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled, inlined
from featurestore.session.layout import MAX_STAGES, MAX_TYPES, N_GAPS, N_RECENT, NEWEST

USUAL_LIFE_MS: Final = 1_800_000
"""A session's deadline mostly lies so long after its last event: the default of ``session_gap_ms``."""
_UNKNOWN: Final = np.uint32(0x7FC00000)
"""A bounce rate that is not known: NaN."""

MONEY: Final = (
    *(("cart_value", 100.0), ("purchase_value", 100.0), ("refund_value", 100.0), ("price_sum", 100.0)),
    *(("price_squares", 10_000.0), ("price_min", 100.0), ("price_max", 100.0)),
)
"""Field, and the parts of a unit that it mostly is a whole number of. Not negative."""
_AMOUNT_BITS: Final = np.uint64(44)
_MOST: Final = float(2**44)
_MOST_OFF: Final = 7
_TOP: Final = np.uint64(1 << 63)

_T_MIN: Final = NEWEST.place("t_min") // 8
_LAST_INT: Final = NEWEST.place("last_int") // 8
_ARRIVAL: Final = NEWEST.place("arrival") // 8
_ARMED: Final = NEWEST.place("armed") // 8
_STAGE_SINCE: Final = NEWEST.place("memory.stage_since") // 8
_GAP_SUM: Final = NEWEST.place("gap_sum") // 4
_GAPS: Final = NEWEST.place("gaps") // 4
_BOUNCE: Final = NEWEST.place("bounce") // 4
_STAGE_MS: Final = NEWEST.place("memory.stage_ms") // 4
_GAP_N: Final = NEWEST.place("gap_n") // 2
_NUM_CLICKS: Final = NEWEST.place("num_clicks") // 2
_COUNTS: Final = NEWEST.place("counts") // 2
_DWELL: Final = NEWEST.place("dwell") // 2
_HOUR: Final = NEWEST.place("first_hour")
_WEEKDAY: Final = NEWEST.place("first_weekday")
_RECENT: Final = NEWEST.place("recent")
_RECENT_AT: Final = NEWEST.place("recent_at")
_MONEY: Final = np.array([NEWEST.place(name) // 8 for name, _ in MONEY])
_PARTS: Final = np.array([parts for _, parts in MONEY])


TAKEN: Final = (
    ("`counts`", "one is subtracted for each time that `recent` names the type"),
    ("`dwell` of the last `min(gap_n, 5)` interactions", "XOR the gap before each, in tenths of a second"),
    ("`gap_sum`", "the sum of `gaps` is subtracted"),
    (
        "`gaps`, the newest, unless `gap_n` is 0",
        "itself, the other gaps and what is kept of `gap_sum` are subtracted from `last_int - t_min`",
    ),
    ("`gap_n`", "`num_clicks - 1` is subtracted if it is positive"),
    ("`armed`", f"0 becomes `arrival + {USUAL_LIFE_MS}`, and that becomes 0"),
    (
        "`memory.stage_ms`, the first, unless `memory.stage_since` is 0",
        "`memory.stage_since - t_min` is subtracted, the other stages' times are added",
    ),
    ("`first_hour`, `first_weekday`", "XOR those of `t_min`"),
    ("`bounce`", f"its bits XOR 0x{int(_UNKNOWN):X}, which is NaN"),
)
"""Field, and how its prediction is taken away, for FORMAT.md; each modulo the size of the field."""


class Views(NamedTuple):
    """A head as elements of one, two, four and eight bytes: the same memory."""

    one: NDArray[np.uint8]
    two: NDArray[np.uint16]
    four: NDArray[np.uint32]
    words: NDArray[np.uint64]
    times: NDArray[np.int64]
    amounts: NDArray[np.float64]


@compiled
def views(words: NDArray[np.uint64]) -> Views:
    """The views of a head, made once for all heads that are put there."""
    return Views(
        words.view(np.uint8),
        words.view(np.uint16),
        words.view(np.uint32),
        words,
        words.view(np.int64),
        words.view(np.float64),
    )


@inlined
def take_predictions(head: Views) -> None:
    """Leave the residuals of a head, in place."""
    _count_recent(head, -1)
    _dwell(head)
    two, four = head.two, head.four
    gap_n = int(two[_GAP_N])
    gaps = _sum(four, _GAPS, N_GAPS)
    four[_GAP_SUM] = int(four[_GAP_SUM]) - gaps
    if gap_n > 0:
        _newest_gap(head, gap_n, gaps)
    two[_GAP_N] = gap_n - max(int(two[_NUM_CLICKS]) - 1, 0)
    _deadline(head.times)
    _first_stage(head, -1)
    _calendar(head)
    four[_BOUNCE] ^= _UNKNOWN
    for j in range(_MONEY.size):
        if head.words[_MONEY[j]] != 0:
            _to_parts(head, _MONEY[j], _PARTS[j])


@inlined
def add_predictions(head: Views) -> None:
    """Undo `take_predictions`."""
    two, four = head.two, head.four
    for j in range(_MONEY.size):
        if head.words[_MONEY[j]] != 0:
            _from_parts(head, _MONEY[j], _PARTS[j])
    four[_BOUNCE] ^= _UNKNOWN
    _calendar(head)
    _first_stage(head, 1)
    _deadline(head.times)
    gap_n = (int(two[_GAP_N]) + max(int(two[_NUM_CLICKS]) - 1, 0)) & 0xFFFF
    two[_GAP_N] = gap_n
    if gap_n > 0:
        _newest_gap(head, gap_n, _sum(four, _GAPS, N_GAPS))
    four[_GAP_SUM] = int(four[_GAP_SUM]) + _sum(four, _GAPS, N_GAPS)
    _dwell(head)
    _count_recent(head, 1)


@inlined
def _sum(four: NDArray[np.uint32], start: int, size: int) -> int:
    total = 0
    for j in range(start, start + size):
        total += int(four[j])
    return total


@inlined
def _count_recent(head: Views, sign: int) -> None:
    """``counts`` without the last interactions, which ``recent`` names."""
    counts = head.two
    for j in range(N_RECENT):
        code = int(head.one[_RECENT + j])
        if 0 < code <= MAX_TYPES:
            counts[_COUNTS + code - 1] = int(counts[_COUNTS + code - 1]) + sign


@inlined
def _dwell(head: Views) -> None:
    """``dwell`` of the last interactions XOR the gaps before them, which is the same twice."""
    gap_n, at = int(head.two[_GAP_N]), int(head.one[_RECENT_AT])
    for k in range(min(gap_n, N_GAPS)):
        tenths = min(int(head.four[_GAPS + (gap_n - 1 - k) % N_GAPS]) // 100, 0xFFFF)
        head.two[_DWELL + (at - 1 - k) % N_RECENT] ^= np.uint16(tenths)


@inlined
def _newest_gap(head: Views, gap_n: int, gaps: int) -> None:
    """The newest gap as what the others and ``gap_sum`` leave of the time up to the last interaction; its own inverse.

    ``gap_sum`` is a residual here, and ``gaps`` the sum of all in the ring.
    """
    at = _GAPS + (gap_n - 1) % N_GAPS
    span = head.times[_LAST_INT] - head.times[_T_MIN]
    head.four[at] = span - int(head.four[_GAP_SUM]) - gaps


@inlined
def _deadline(times: NDArray[np.int64]) -> None:
    """``armed`` where it usually is becomes 0, and 0 what it usually is; its own inverse."""
    usual = times[_ARRIVAL] + USUAL_LIFE_MS
    if times[_ARMED] == usual:
        times[_ARMED] = 0
    elif times[_ARMED] == 0:
        times[_ARMED] = usual


@inlined
def _first_stage(head: Views, sign: int) -> None:
    """The time in the first stage without what the others leave of the time up to the stage's beginning."""
    times, four = head.times, head.four
    if times[_STAGE_SINCE] != 0:
        others = _sum(four, _STAGE_MS + 1, MAX_STAGES - 1)
        four[_STAGE_MS] = int(four[_STAGE_MS]) + sign * (times[_STAGE_SINCE] - times[_T_MIN] - others)


@inlined
def _calendar(head: Views) -> None:
    """Hour and weekday of the first event XOR those of ``t_min``; its own inverse."""
    t_min = head.times[_T_MIN]
    head.one[_HOUR] ^= np.uint8(t_min // 3_600_000 % 24)
    head.one[_WEEKDAY] ^= np.uint8((t_min // 86_400_000 + 3) % 7)


@inlined
def _to_parts(head: Views, at: int, parts: float) -> None:
    """An amount as the number of its parts, and by how many units in the last place a sum of such amounts is off.

    Anything else is kept with its highest bit flipped, which no number of parts has.
    """
    words, amounts, signed = head.words, head.amounts, head.times
    amount = amounts[at]
    bits = signed[at]
    if amount > 0 and amount * parts < _MOST:
        number = np.rint(amount * parts)
        amounts[at] = number / parts
        off = bits - signed[at]
        if -_MOST_OFF <= off <= _MOST_OFF:
            words[at] = np.uint64(number) | np.uint64(off << 1 ^ off >> 63) << _AMOUNT_BITS
            return
    signed[at] = bits
    words[at] ^= _TOP


@inlined
def _from_parts(head: Views, at: int, parts: float) -> None:
    """Undo `_to_parts`."""
    code = head.words[at]
    off = np.int64(code >> _AMOUNT_BITS)
    if off > 2 * _MOST_OFF + 1:
        head.words[at] ^= _TOP
        return
    number = code & ((np.uint64(1) << _AMOUNT_BITS) - np.uint64(1))
    head.amounts[at] = np.float64(number) / parts
    head.times[at] += off >> 1 ^ -(off & 1)
