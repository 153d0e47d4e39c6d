"""Where each field of a session lies: in memory, and in a stored record (`codec`).

In memory a session is a row of `STATE` and one of `MEMORY`. Stored, the two rows up to the pages are one head, of which
only the bytes that are not zero are kept. Everything that the codec needs is derived from the tables of fields below.

To append a field, add a `Field` at the end of `STATE_FIELDS` or `MEMORY_FIELDS`. It takes the first of the spare bytes,
so no other byte moves: in a record from before the field is zero, and a worker from before carries its bytes along. A
new event type takes the next of the 64 places of ``counts``. Then run ``python -m tests.golden`` (golden bytes) and
``python -m worker.publish`` (FORMAT.md). Align a field to its size: put small ones where they fill a gap.

Everything else, such as another type for a field or another order, moves bytes. It needs a new version: copy the tables
to a module of their own, as `layout_v1` is, raise `versions.RECORD_VERSION`, and let `codec` read the version before.
(Version 2 has not been released yet: until it is, its tables may be changed in place.)
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.versions import RECORD_VERSION

MAX_TYPES: Final = 64
"""Event types that a record has room for."""
MAX_STAGES: Final = 8
MAX_PAGES: Final = 64
MAX_EVENT_IDS: Final = 64
MAX_ORDERS: Final = 8
N_GAPS: Final = 5
N_RECENT: Final = 16
N_ACTIONS: Final = 8

STATE_BYTES: Final = 512
"""Of a state up to its pages; 93 of them are spare."""
MEMORY_BYTES: Final = 192
"""Of a policy memory; 46 of them are spare."""


class Field(NamedTuple):
    """A field of a row.

    Attributes:
        name: in the row.
        kind: type of an element, as numpy writes it, little-endian.
        length: number of elements; 0 for a plain value.
        most: largest value that a valid record holds, for bytes that are used as an index or a code; None for any.
        time: whether it is epoch ms, which a record keeps as the distance from ``t_min``; 0 is no time.
    """

    name: str
    kind: str
    length: int = 0
    most: int | None = None
    time: bool = False


STATE_FIELDS: Final = (
    Field("flags", "u1", most=31),
    Field("silences", "u1"),  # silence rows since the last applied event
    Field("pages", "u1", most=MAX_PAGES),  # distinct pages
    Field("ids", "u1", most=MAX_EVENT_IDS),  # event ids held
    Field("id_at", "u1", most=MAX_EVENT_IDS - 1),  # ring position of the next id
    Field("recent_at", "u1", most=N_RECENT - 1),  # ring position of the next interaction
    Field("device", "u1", most=4),
    Field("source", "u1", most=7),
    Field("late", "u1"),  # events older than the newest before them, saturating
    Field("purchases", "u1"),
    Field("checkout", "u1"),
    Field("scroll", "u1"),
    Field("first_hour", "u1", most=23),  # UTC
    Field("first_weekday", "u1", most=6),  # Monday is 0
    Field("country", "<u2"),
    Field("offset", "<i8"),  # Kafka offset of the last applied event
    Field("t_min", "<i8"),
    Field("t_max", "<i8", time=True),
    Field("last_int", "<i8", time=True),  # time of the last interaction; before the first, t_min
    Field("armed", "<i8", time=True),  # where it stands in the idle index: at its deadline or before; 0 for nowhere
    Field("visitor", "<u8"),
    Field("gap_sum", "<u4"),  # ms, each gap capped
    Field("gaps", "<u4", N_GAPS),  # the last gaps, ms, as a ring indexed by gap_n
    Field("gap_n", "<u2"),
    Field("price_n", "<u2"),
    Field("cart_additions", "<u2"),
    Field("cart_items", "<u2"),
    Field("num_clicks", "<u2"),  # saturating
    Field("visitor_sessions", "<u2"),
    Field("visitor_actions", "<u2"),
    Field("currency", "<u2"),  # of all the money below; the first that the session names
    Field("cart_value", "<f8"),
    Field("purchase_value", "<f8"),
    Field("refund_value", "<f8"),
    Field("price_sum", "<f8"),
    Field("price_squares", "<f8"),  # of the deviations from their mean, summed: 0 while all prices are the same
    Field("price_min", "<f8"),
    Field("price_max", "<f8"),
    Field("arrival", "<i8", time=True),  # of the newest record, epoch ms
    Field("int_arrival", "<i8", time=True),  # of the last interaction; before the first, of the first event
    Field("skew", "<i8"),  # what the sender's clock lacks, ms; it places t_min, t_max and last_int
    Field("other_skew", "<i8"),  # what the last event that did not fit said instead; 0 for none
    Field("withdrawn", "<i8"),  # sender's time of the last withdrawal of consent, epoch ms; 0 for none
    Field("category", "<u4"),
    Field("bounce", "<f4"),  # NaN: unknown visitor
    Field("order_hashes", "<u4", MAX_ORDERS),  # of the newest purchases' ids, a ring
    Field("orders", "u1", most=MAX_ORDERS),
    Field("order_at", "u1", most=MAX_ORDERS - 1),  # ring position of the next order
    Field("counts", "<u2", MAX_TYPES),  # events per type, saturating
    Field("recent", "u1", N_RECENT),  # type code + 1 of the last interactions, a ring
    Field("dwell", "<u2", N_RECENT),  # tenths of a second since the interaction before
    Field("visitor_segment", "u1", most=127),  # code of what the visitor's session before was (`segments`)
)
"""The state up to its pages."""

MEMORY_FIELDS: Final = (
    Field("shown", "u1", most=MAX_STAGES),  # stage shown + 1
    Field("candidate", "u1", most=MAX_STAGES),  # stage + 1
    Field("candidate_n", "u1"),
    Field("flips", "u1"),
    Field("persuasive", "u1"),
    Field("flags", "u1"),
    Field("n_actions", "u1", most=N_ACTIONS),
    Field("spare_1", "u1"),  # free for a field of one byte
    Field("stage_since", "<i8", time=True),
    Field("offer_until", "<i8", time=True),
    Field("stage_ms", "<u4", MAX_STAGES),
    Field("action_id", "<u2", N_ACTIONS),
    Field("action_count", "u1", N_ACTIONS),
    Field("action_at", "<i8", N_ACTIONS, time=True),
    Field("action", "<u2"),
)
"""What the policy remembers of a session; zero at its start; stored beside the state."""

USUAL: Final = (
    *(("flags", 0, 1), ("silences", 0, 1), ("pages", 0, 1), ("ids", 0, 1), ("device", 0, 1), ("source", 0, 1)),
    *(("country", 0, 2), ("offset", 0, 3), ("t_min", 0, 6), ("t_max", 0, 2), ("price_n", 0, 1), ("num_clicks", 0, 1)),
    *(("currency", 0, 2), ("skew", 0, 1), ("category", 0, 4), ("counts", 0, 1), ("recent", 0, 1)),
    *(("memory.shown", 0, 1), ("memory.flips", 0, 1), ("memory.n_actions", 0, 1), ("memory.stage_since", 0, 3)),
    *(("memory.action_count", 0, 1), ("memory.action", 0, 2)),
)
"""Field, and from which of its bytes to which: in eight of ten sessions of a shop these are not zero."""

ALIKE: Final = (
    ("price_sum", "price_max", 8),
    ("price_max", "price_min", 8),
    ("int_arrival", "arrival", 8),
    ("arrival", "t_max", 8),
    ("last_int", "t_max", 8),
    ("id_at", "ids", 1),
    ("recent_at", "num_clicks", 1),
    ("memory.action_id", "memory.action", 2),
    ("memory.action_at", "memory.stage_since", 8),
)
"""The first bytes of a field are stored XOR those of another one; in this order, so the second may be changed later."""


def row_type(fields: Sequence[Field], size: int = 0, behind: Sequence[tuple[Any, ...]] = ()) -> "np.dtype[np.void]":
    """The type of a row.

    Args:
        fields: in order, without gaps.
        size: bytes to fill up with spare ones; 0 for no more than the fields take.
        behind: what follows them, as numpy writes it.

    Raises:
        ValueError: there is no room for the fields.
    """
    listed: list[Any] = [(one.name, one.kind, (one.length,)) if one.length else (one.name, one.kind) for one in fields]
    spare = size - np.dtype(listed).itemsize
    if size and spare < 0:
        raise ValueError(f"the fields take {-spare} bytes more than there are: a new state version must make room")
    if size and spare:
        listed.append(("spare", "u1", (spare,)))
    return np.dtype([*listed, *behind])


TAILS: Final = (("page_hashes", "<u4", (MAX_PAGES,)), ("id_hashes", "<u8", (MAX_EVENT_IDS,)), ("session", "<u8"))
"""Behind the head of a state: of each, a record keeps what is used; the hash of the session id is set on load."""

STATE = row_type(STATE_FIELDS, STATE_BYTES, TAILS)
"""One session in memory."""

MEMORY = row_type(MEMORY_FIELDS, MEMORY_BYTES)
"""The policy's memory of one session."""


class Tables(NamedTuple):
    """A layout as compiled code reads it. A word is eight bytes of the head; a run is some bytes within one word.

    Attributes:
        version: first byte of a record.
        check: bytes of the record's checksum, 0 for none.
        dense: whether bytes of the bitmap that are zero are left out, and what other fields predict (`residuals`).
        state_bytes: of the head, the state's part; the policy memory follows.
        memory_bytes: its part.
        pages_at: byte of a state row at which the page hashes begin.
        ids_at: the same of the event ids.
        groups: bytes of the bitmap; each stands for eight words.
        usual: runs that are stored as they are: word, shift of the run in it, bytes; shape (n, 3).
        usual_bytes: of all these.
        alike: runs that are stored XOR another one: word and shift of it, word and shift of the other, mask; (n, 5).
        times: byte at which each time begins.
        t_min: byte at which the time begins that the others are counted from.
        limits: byte, and its largest valid value; (n, 2).
        pages: byte that holds the number of pages.
        ids: byte that holds the number of event ids.
    """

    version: int
    check: int
    dense: bool
    state_bytes: int
    memory_bytes: int
    pages_at: int
    ids_at: int
    groups: int
    usual: NDArray[np.int64]
    usual_bytes: int
    alike: NDArray[np.uint64]
    times: NDArray[np.int64]
    t_min: int
    limits: NDArray[np.int64]
    pages: int
    ids: int


class Layout:
    """The layout of one version.

    Args:
        version: first byte of a record.
        fields: of the state and of the policy memory.
        sizes: bytes of both, spare ones included; 0 for no spare ones.
        usual: see `USUAL`.
        alike: see `ALIKE`.
        check: bytes of a record's checksum.
        dense: see `Tables`.

    Attributes:
        state: type of a state row.
        memory: type of a memory row.
        tables: for compiled code.
        largest: bytes that a record takes at most.
    """

    def __init__(
        self,
        version: int,
        fields: tuple[Sequence[Field], Sequence[Field]],
        sizes: tuple[int, int],
        usual: Sequence[tuple[str, int, int]],
        alike: Sequence[tuple[str, str, int]],
        *,
        check: int,
        dense: bool,
    ) -> None:
        self._fields = fields
        self.state = row_type(fields[0], sizes[0], TAILS)
        self.memory = row_type(fields[1], sizes[1])
        self.head = _at(self.state, "page_hashes")
        runs = self._usual(usual)
        size = self.head + self.memory.itemsize
        groups = -(-size // 64)
        self.tables: Final = Tables(
            version=version,
            check=check,
            dense=dense,
            state_bytes=self.head,
            memory_bytes=self.memory.itemsize,
            pages_at=self.head,
            ids_at=_at(self.state, "id_hashes"),
            groups=groups,
            usual=runs,
            usual_bytes=int(runs[:, 2].sum()),
            alike=self._alike(alike),
            times=self._times(),
            t_min=self.place("t_min"),
            limits=self._limits(),
            pages=self.place("pages"),
            ids=self.place("ids"),
        )
        bitmap = groups + (-(-groups // 8) if dense else 0)
        # Eight more: whole words are written where fewer bytes count.
        self.largest: Final = 1 + check + self.tables.usual_bytes + bitmap + 9 * 8 * groups + 12 * 64 + 8

    def place(self, name: str) -> int:
        """The byte of the head at which a field begins; those of the memory are named ``memory.<field>``."""
        field = name.removeprefix("memory.")
        return _at(self.state, name) if field == name else self.head + _at(self.memory, field)

    def _named(self) -> Iterator[tuple[str, Field]]:
        yield from ((one.name, one) for one in self._fields[0])
        yield from ((f"memory.{one.name}", one) for one in self._fields[1])

    def _usual(self, usual: Sequence[tuple[str, int, int]]) -> NDArray[np.int64]:
        runs: list[list[int]] = []
        for name, first, end in usual:
            for at, size in _within_words(end - first, self.place(name) + first):
                if runs and at % 8 and at == runs[-1][0] + runs[-1][1]:
                    runs[-1][1] += size  # goes on in the same word
                else:
                    runs.append([at, size])
        return np.array([(at // 8, 8 * (at % 8), size) for at, size in runs], np.int64).reshape(-1, 3)

    def _alike(self, alike: Sequence[tuple[str, str, int]]) -> NDArray[np.uint64]:
        rows = []
        for name, other, size in alike:
            a, b = self.place(name), self.place(other)
            done = 0
            while done < size:
                most = min(size - done, 8 - (a + done) % 8, 8 - (b + done) % 8)
                words = ((at + done) // 8 for at in (a, b))
                shifts = (8 * ((at + done) % 8) for at in (a, b))
                (word, of), (shift, by) = words, shifts
                rows.append((word, shift, of, by, (1 << 8 * most) - 1))
                done += most
        return np.array(rows, np.uint64).reshape(-1, 5)

    def _times(self) -> NDArray[np.int64]:
        found = [self.place(name) + 8 * j for name, one in self._named() if one.time for j in range(one.length or 1)]
        return np.array(found, np.int64)

    def _limits(self) -> NDArray[np.int64]:
        found = [(self.place(name), one.most) for name, one in self._named() if one.most is not None]
        return np.array(found, np.int64).reshape(-1, 2)


def _at(dtype: "np.dtype[np.void]", name: str) -> int:
    """Where a field begins in a row."""
    offset: int = dtype.fields[name][1]  # type: ignore[index] # all are structured
    return offset


def _within_words(size: int, at: int) -> Iterator[tuple[int, int]]:
    """A run cut where a word ends: where each part begins, and its size."""
    while size:
        part = min(size, 8 - at % 8)
        yield at, part
        at, size = at + part, size - part


NEWEST: Final = Layout(
    RECORD_VERSION,
    (STATE_FIELDS, MEMORY_FIELDS),
    (STATE_BYTES, MEMORY_BYTES),
    USUAL,
    ALIKE,
    check=3,
    dense=True,
)
"""The layout that records are written in."""
