"""Exact Shapley values of tree ensembles against background rows (Lundberg et al., Nature Machine Intelligence, 2020).

The game: a feature that is in a coalition has the value of the row, every other one that of a background row; the worth
is the raw score of that mixture. A leaf is reached by a mixture if the coalition holds all features of its path where
only the row passes (``own`` of them), and none where only the background row passes (``foreign``). So each leaf gives
every ``own`` feature

    value * (own - 1)! foreign! / (own + foreign)!

and takes the same with own and foreign exchanged from every ``foreign`` one. Averaged over the background, the values
and the background's mean score add up to the row's score. `models.trees.explain` is some hundred times faster and
depends on the order in which a tree asks; these values do not, so two heads and two rows can be compared.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from models.trees.ensemble import Ensemble
from models.trees.explain import Contributions

_MOST: Final = 64
"""Features of one path."""


def _weights() -> NDArray[np.float64]:
    """``[own, foreign]``: what one of the ``own`` features gets."""
    table = np.zeros((_MOST + 1, _MOST + 1))
    for own in range(1, _MOST + 1):
        for foreign in range(_MOST + 1):
            logs = math.lgamma(own) + math.lgamma(foreign + 1) - math.lgamma(own + foreign + 1)
            table[own, foreign] = math.exp(logs)
    return table


_WEIGHTS: Final = _weights()


def shapley(
    ensemble: Ensemble, X: NDArray[np.float64], background: NDArray[np.float64], outputs: NDArray[np.uint8]
) -> Contributions:
    """Shapley values of the scores of ``outputs`` (n,) of the rows ``X`` against ``background`` (m, n_features), m > 0.

    Both are imputed. ``bias`` is the background's mean raw score; ``bias + values.sum(axis=1)`` is the row's raw score
    (for averaged trees: its output) within 1e-9. Time grows with rows x background x leaves.

    Raises:
        ValueError: if the shapes do not fit, the background is empty, or a path asks more than 64 features.
    """
    own, other = (np.array(rows, np.float64, order="C") for rows in (X, background))
    outputs = np.array(outputs, np.uint8)
    m = ensemble.n_features
    if own.ndim != 2 or other.ndim != 2 or own.shape[1] != m or other.shape[1] != m or outputs.shape != own.shape[:1]:
        raise ValueError(f"X {own.shape}, background {other.shape}, outputs {outputs.shape}: need {m} features each")
    if len(other) == 0 or (outputs >= ensemble.n_outputs).any():
        raise ValueError(f"the background needs a row, and outputs go from 0 to {ensemble.n_outputs - 1}")
    depth = _depth(ensemble.trees.start, ensemble.trees.feature, ensemble.trees.left)
    if depth > _MOST:
        raise ValueError(f"a path asks {depth} times, {_MOST} are the most that is explained")
    ranks, found = ensemble.walk.ranks, []
    for rows in (own, other):
        found.append(np.empty(rows.shape, np.uint32))
        ranks.rank(rows, found[-1])
    values, total = np.zeros(own.shape), np.zeros(len(own))
    walk = ensemble.walk
    _book(found[0], found[1], outputs, walk.nodes, walk.start, walk.value, _WEIGHTS, values, total)
    scale = ensemble.unit * len(other)
    return Contributions(values / scale, ensemble.bias[outputs] + total / scale)


def _depth(start: NDArray[np.int64], feature: NDArray[np.int32], left: NDArray[np.int32]) -> int:
    """Questions on the longest path."""
    longest = 0
    for origin, end in zip(start[:-1].tolist(), start[1:].tolist(), strict=True):
        depths = np.zeros(end - origin, np.int64)
        for node in range(end - origin):  # children come after their parents
            if feature[origin + node] >= 0:
                child = left[origin + node]
                depths[child] = depths[child + 1] = depths[node] + 1
        longest = max(longest, int(depths.max()))
    return longest


@compiled
def _book(
    rows: NDArray[np.uint32],
    background: NDArray[np.uint32],
    outputs: NDArray[np.uint8],
    nodes: NDArray[np.uint64],
    start: NDArray[np.int64],
    value: NDArray[np.int64],
    weights: NDArray[np.float64],
    values: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """Walk to every leaf that a mixture of row and background row can reach, and book its value."""
    m = rows.shape[1]
    # Of each feature on the path: whether the row, and the background row, pass all its questions so far.
    row_passes, other_passes = np.ones(m, np.bool_), np.ones(m, np.bool_)
    node_at = np.zeros(weights.shape[0] + 1, np.uint64)
    side = np.zeros(weights.shape[0] + 1, np.int8)
    kept_row, kept_other = np.zeros(side.size, np.bool_), np.zeros(side.size, np.bool_)
    for r in range(rows.shape[0]):
        for b in range(background.shape[0]):
            for t in range(start.shape[0] - 1):
                origin = np.uint64(start[t])
                node_at[0], side[0], depth = origin, 0, 0
                while depth >= 0:
                    at = node_at[depth]
                    node = nodes[at]
                    left = (node >> np.uint64(8)) & np.uint64(0xFFFFFF)
                    if origin + left == at:  # a leaf is its own left child
                        _leaf(row_passes, other_passes, float(value[at, outputs[r]]), weights, values[r], total, r)
                        depth -= 1
                        continue
                    feature = node & np.uint64(255)
                    if side[depth] > 0:  # back from a child: its question is taken back
                        row_passes[feature], other_passes[feature] = kept_row[depth], kept_other[depth]
                    if side[depth] == 2:
                        depth -= 1
                        continue
                    right = side[depth] == 1
                    side[depth] += 1
                    kept_row[depth], kept_other[depth] = row_passes[feature], other_passes[feature]
                    mine = (np.uint64(rows[r, feature]) > (node >> np.uint64(32))) == right
                    theirs = (np.uint64(background[b, feature]) > (node >> np.uint64(32))) == right
                    row_passes[feature] &= mine
                    other_passes[feature] &= theirs
                    if row_passes[feature] or other_passes[feature]:
                        depth += 1
                        node_at[depth] = origin + left + np.uint64(right)
                        side[depth] = 0


@compiled
def _leaf(
    row_passes: NDArray[np.bool_],
    other_passes: NDArray[np.bool_],
    value: float,
    weights: NDArray[np.float64],
    values: NDArray[np.float64],
    total: NDArray[np.float64],
    r: int,
) -> None:
    own = foreign = 0
    for j in range(row_passes.size):
        own += row_passes[j] and not other_passes[j]
        foreign += other_passes[j] and not row_passes[j]
    if own == 0:
        total[r] += value  # the background row itself comes here
    for j in range(row_passes.size):
        if row_passes[j] and not other_passes[j]:
            values[j] += value * weights[own, foreign]
        elif other_passes[j] and not row_passes[j]:
            values[j] -= value * weights[foreign, own]
