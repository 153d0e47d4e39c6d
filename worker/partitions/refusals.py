"""Counts a partition's records that are no events, and says where reading of it must stop.

A worker that reads the wrong topic, or whose producer went wrong, would turn all of it into dead letters. Past a limit
the partition is *held*: what was refused until then stays refused, and nothing behind it is read until an operator lets
it pass. Counts and position are stored with the applied offset, so a restart goes on counting, and writes no letter a
second time.

Limits are per partition: each one counts its own records.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Final

from featurestore.store.refusals import Note, Refused

WINDOW: Final = 1_000
"""Records among which a share is measured."""


class Refusals:
    """The count of one partition.

    Args:
        share: largest share of bad records among the last 1,000 (measured once there are 1,000).
        consecutive: most bad records in a row.
        stored: what the last owner left.

    Attributes:
        passes: records before this offset pass whatever they are.
        next: offset after the last record that was counted; bad ones before it are dead letters already.
    """

    def __init__(self, share: float, consecutive: int, stored: Refused) -> None:
        self._share = share
        self._consecutive = consecutive
        self._since_ms = 0
        self._in_a_row = 0
        self._recent: deque[tuple[int, int]] = deque()  # (records, bad) a batch
        self._records = 0
        self._bad = 0
        self._noted = False
        self.passes = 0
        self.next = 0
        note = stored.note
        if note is not None:
            self._noted = True
            self.next, self._in_a_row, self._since_ms = note.next, note.in_a_row, note.since_ms
            self._add(note.records, note.bad)
        self.let_pass(stored.passes)

    def held_at(self) -> int | None:
        """The offset before which reading stops, None while nothing is wrong."""
        return self.next if self.why() is not None else None

    def why(self) -> str | None:
        """Which limit is passed."""
        if self._in_a_row >= self._consecutive:
            return f"{self._in_a_row} records in a row are no events (CLICKSTAGE_DLQ_MAX_CONSECUTIVE)"
        if self._records >= WINDOW and self._bad > self._share * self._records:
            return f"{self._bad} of the last {self._records} records are no events (CLICKSTAGE_DLQ_MAX_SHARE)"
        return None

    def let_pass(self, until: int) -> bool:
        """Records before the offset ``until`` pass; whether that is news. Counting begins anew behind it."""
        if until <= self.passes:
            return False
        self.passes = until
        if until >= self.next:
            self._in_a_row = self._records = self._bad = self._since_ms = 0
            self._recent.clear()
        return True

    def count(self, offsets: Sequence[int], bad_at: Sequence[int], now_ms: int) -> int:
        """Count the records of a batch, up to the one at which a limit is passed.

        Args:
            offsets: of the records, ascending.
            bad_at: places of the bad ones among them, ascending.
            now_ms: the time, noted when reading stops.

        Returns:
            How many of the records are to be taken; what is behind them is not to be read.
        """
        if self.held_at() is not None:
            return bisect_left(offsets, self.next)
        first = bisect_left(offsets, max(self.next, self.passes))
        taken = len(offsets)
        previous = first - 1
        bad = 0
        for place in bad_at:
            if place < first:
                continue
            self._in_a_row = self._in_a_row + 1 if place == previous + 1 else 1
            previous = place
            bad += 1
            if self._in_a_row >= self._consecutive:
                taken = place + 1
                break
        else:
            if previous != taken - 1:
                self._in_a_row = 0
        self._add(max(taken - first, 0), bad)
        self.next = max(self.next, offsets[taken - 1] + 1)
        if self.held_at() is not None:
            self._since_ms = now_ms
        return taken

    def note(self) -> Note | None:
        """The note for the next write to store; None if there is no note, and none is stored."""
        if not (self._in_a_row or self._bad or self._noted):
            return None
        self._noted = bool(self._in_a_row or self._bad)
        return Note(self.next, self._in_a_row, self._records, self._bad, self._since_ms)

    def _add(self, records: int, bad: int) -> None:
        if not records:
            return
        self._recent.append((records, bad))
        self._records += records
        self._bad += bad
        while self._recent and self._records - self._recent[0][0] >= WINDOW:
            old = self._recent.popleft()
            self._records -= old[0]
            self._bad -= old[1]
