"""Training rows of the outcome heads: one a live observation, labelled by what came strictly later in its visit.

A row is what a worker would score: a session after one of its events, or in silence. Its label asks the rest of the
visit only; what the event itself did, or any event before it, is in the columns and never in the label. Visits that
the end of the log cut off are left out: nobody knows how they went on. Bots are left out as a worker leaves them out.

Four mistakes make such a model look good and serve badly; tests hold each one:

- scoring finished sessions, whose state already shows the order (AUC 1)
- leaving out the cart's columns but keeping totals, from which they follow
- training on finished sessions and serving prefixes
- rows of one visit on both sides of a split
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.contract.event import TYPE_CODE
from featurestore.session.observation import BOT, CLEAR, END, EVENT_ROW, SILENCE
from models.heads.outcomes import BUILT_IN, Outcome
from models.rules import StageRules
from models.training.dataset import Observed

NO_TYPE: Final = 255


class OutcomeRows(NamedTuple):
    """Observations of visits that ended, grouped by visit, in order.

    Attributes:
        wide: (n, `N_WIDE`).
        features: (n, 9) published features, NaN where missing.
        stages: (n,) stage code by the rules.
        visit: (n,) index of the visit; a session id that pauses for half an hour makes two.
        position: (n,) events so far in the visit, this one included.
        event: (n,) index of the event in the log; -1 in silence.
        silent: (n,) whether this is a silence.
        labels: (n, outcomes) bool.
        outcomes: what was asked, in the order of the labels.
        started: (visits,) epoch ms of each visit's first observation.
        ended: (visits,) epoch ms of its last event.
        censored: visits that the end of the log cut off, which are not here.
    """

    wide: NDArray[np.float64]
    features: NDArray[np.float64]
    stages: NDArray[np.uint8]
    visit: NDArray[np.int64]
    position: NDArray[np.int64]
    event: NDArray[np.int64]
    silent: NDArray[np.bool_]
    labels: NDArray[np.bool_]
    outcomes: tuple[Outcome, ...]
    started: NDArray[np.int64]
    ended: NDArray[np.int64]
    censored: int

    def label(self, name: str) -> NDArray[np.bool_]:
        """The labels of the outcome ``name``; ValueError if it was not asked."""
        return self.labels[:, [outcome.name for outcome in self.outcomes].index(name)]

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "OutcomeRows":
        """Some of the rows; visits keep their numbers."""
        parts = {name: getattr(self, name)[chosen] for name in self._fields[:8]}
        return self._replace(**parts)


def outcome_rows(seen: Observed, rules: StageRules, outcomes: Sequence[Outcome] = BUILT_IN) -> OutcomeRows:
    """The rows of a log that was observed with ``wide=True``."""
    order = np.argsort(seen.rows["session_index"], kind="stable")
    rows, event = seen.rows[order], seen.event[order]
    kind = rows["kind"]
    first = np.ones(rows.size, np.bool_)
    first[1:] = (rows["session_index"][1:] != rows["session_index"][:-1]) | (kind[:-1] == END) | (kind[:-1] == CLEAR)
    visit = np.cumsum(first) - 1
    applied = (kind == EVENT_ROW) | (kind == BOT)
    types = np.full(rows.size, NO_TYPE)
    types[applied] = seen.types[event[applied]]
    labels = np.zeros((rows.size, len(outcomes)), np.bool_)
    for column, outcome in enumerate(outcomes):
        asked = np.isin(types, [TYPE_CODE[name] for name in outcome.events])
        labels[:, column] = (_later(visit, first, asked) > 0) != outcome.absent
    over = np.zeros(int(visit[-1]) + 1 if visit.size else 0, np.bool_)
    over[visit[(kind == END) & (rows["t"] <= seen.last_ms)]] = True
    position = np.cumsum(applied) - (np.cumsum(applied) - applied)[first][visit]
    started, ended = rows["t"][first], np.zeros(over.size, np.int64)
    np.maximum.at(ended, visit[applied], rows["t"][applied])
    kept = over[visit] & ((kind == EVENT_ROW) | (kind == SILENCE)) & (position > 0)
    chosen, at = order[kept], visit[kept]
    return OutcomeRows(
        seen.wide[chosen],
        seen.features[chosen],
        rules.label(seen.features[chosen]),
        at,
        position[kept],
        np.where(applied, event, -1)[kept],
        (kind == SILENCE)[kept],
        labels[kept],
        tuple(outcomes),
        started,
        ended,
        int((~over).sum()),
    )


def _later(visit: NDArray[np.int64], first: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many ``chosen`` rows of the same visit come strictly after each row."""
    so_far = np.cumsum(chosen)
    before: NDArray[np.int64] = (so_far - chosen)[first]
    total = np.bincount(visit, chosen, before.size).astype(np.int64)
    return np.asarray(total[visit] + before[visit] - so_far, np.int64)


class Parts(NamedTuple):
    """Row masks of three groups of visits without a common one."""

    train: NDArray[np.bool_]
    calibrate: NDArray[np.bool_]
    test: NDArray[np.bool_]


def split_visits_by_time(rows: OutcomeRows, train: float = 0.6, calibrate: float = 0.15) -> Parts:
    """Visits by the time of their start, the first ``train`` share first; those that cross a border are in none."""
    at, over = rows.started[rows.visit], rows.ended[rows.visit]
    if at.size == 0:
        nothing = np.zeros(0, np.bool_)
        return Parts(nothing, nothing, nothing)
    starts = np.sort(rows.started[np.unique(rows.visit)])
    one, two = (starts[min(starts.size - 1, int(share * starts.size))] for share in (train, train + calibrate))
    return Parts(over < one, (at >= one) & (over < two), at >= two)


def split_visits(rows: OutcomeRows, seed: int, train: float = 0.6, calibrate: float = 0.15) -> Parts:
    """Visits at random."""
    drawn = np.random.default_rng([seed, 21]).random(rows.started.size)[rows.visit]
    return Parts(drawn < train, (drawn >= train) & (drawn < train + calibrate), drawn >= train + calibrate)


def visit_folds(rows: OutcomeRows, seed: int, folds: int = 10) -> list[Parts]:
    """Visits in ``folds`` groups at random; each tests once, the next one calibrates then, the others train."""
    group = np.random.default_rng([seed, 22]).integers(0, folds, rows.started.size)[rows.visit]
    return [
        Parts((group != k) & (group != (k + 1) % folds), group == (k + 1) % folds, group == k) for k in range(folds)
    ]
