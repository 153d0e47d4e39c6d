"""Scores of rows that are sessions: a table whose columns are those that heads read."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.heads.head import SINGLE
from models.heads.scoring import Heads, word

CART: tuple[str, str] = ("cart_additions", "checkout_step")
"""Columns that say whether a head may be asked that is only asked before the cart."""


class RowScorer:
    """Scores rows of some columns by the heads that find theirs among them.

    Args:
        heads: of a bundle.
        columns: of the table, in any order.

    Attributes:
        heads: names of those that can be asked.
        columns: that are wanted, in the order of the rows.
        names: of the outputs.
    """

    def __init__(self, heads: Heads, columns: Sequence[str]) -> None:
        known = set(columns)
        self._asked = [
            head
            for head in heads
            if known.issuperset(head.columns) and not (head.before_cart and known.isdisjoint(CART))
        ]
        wanted = [name for head in self._asked for name in (*head.columns, *(CART if head.before_cart else ()))]
        self.heads = tuple(head.name for head in self._asked)
        self.columns = tuple(dict.fromkeys(wanted))
        self.names = tuple(
            head.name if head.task in SINGLE else word(output) for head in self._asked for output in head.outputs
        )
        self._places = [[self.columns.index(name) for name in head.columns] for head in self._asked]

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outputs (n, len(names)) of rows (n, len(columns)), NaN where a value is missing, or a head is not asked."""
        parts = [np.empty((len(rows), 0))]
        for head, places in zip(self._asked, self._places, strict=True):
            out = head.score(rows[:, places])
            if head.before_cart:
                cart = [self.columns.index(name) for name in CART]
                out[(np.nan_to_num(rows[:, cart]) != 0).any(axis=1)] = np.nan
            parts.append(out)
        return np.concatenate(parts, axis=1)
