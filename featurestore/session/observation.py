"""What a fold says of sessions: one row an observation, with its kind, and what was true then."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Observation kinds, persisted nowhere but in traces.
EVENT_ROW: Final = 0
SILENCE: Final = 1
END: Final = 2
CLEAR: Final = 3
BOT: Final = 4
UPLOAD: Final = 5
"""An event that was older than a session may be silent when it was received: it counts and decides nothing."""

OBSERVATION = np.dtype(
    [
        ("t", "<i8"),
        ("seq", "<i8"),
        ("session_index", "<i4"),
        ("event", "<i4"),
        ("kind", "u1"),
        ("late", "u1"),
        ("first", "u1"),
        ("recognised", "u1"),
    ]
)
"""One row: a session as seen at time ``t`` after event ``event`` (or the silence before it).

``first`` is 1 where the session began, ``recognised`` where its visitor became known.
"""

CONTEXT = np.dtype(
    [
        ("session", "<u8"),
        ("visitor", "<u8"),
        ("category", "<u4"),
        ("cart_value", "<f8"),
        ("cart_items", "<u2"),
        ("visitor_sessions", "<u2"),
        ("visitor_actions", "<u2"),
        ("country", "<u2"),
        ("currency", "<u2"),
        ("device", "u1"),
        ("source", "u1"),
        ("purchases", "u1"),
        ("visitor_segment", "u1"),
    ]
)
"""What the policy may ask beside the features, as it was at the observation (the state itself moves on in a batch)."""

SEQ_STEP: Final = 256
"""``seq`` = offset of the last applied event * 256 + silence rows since; the END row of a session has 255."""


class Observations(NamedTuple):
    """What a fold saw.

    Attributes:
        rows: `OBSERVATION`, in log order; shape (n,).
        features: float64 of shape (n, 9).
        context: `CONTEXT`, shape (n,).
        ended: `STATE` as it was at each END row, in the order of the END rows.
        duplicates: events skipped because the session had seen their id, or their order's.
        late: events applied although one that happened later came before.
        withdrawn: events skipped because they happened before a withdrawal of consent.
        foreign_money: amounts left out because they are in another currency than the session's.
        wide: float64 of shape (n, `views.N_WIDE`) if it was asked for, else (n, 0).
    """

    rows: NDArray[np.void]
    features: NDArray[np.float64]
    context: NDArray[np.void]
    ended: NDArray[np.void]
    duplicates: int
    late: int
    wide: NDArray[np.float64] = np.empty((0, 0))
    withdrawn: int = 0
    foreign_money: int = 0
