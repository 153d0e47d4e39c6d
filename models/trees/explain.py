"""Why a row got its score: exact contributions along the paths of the trees (A. Saabas, 2014).

Each step from a node to its child changes the mean of the training rows there; the change belongs to the feature that
was asked. Over all trees, the bias (the mean at the roots) and the contributions add up to the score: the predicted
probability of the stage, or for boosting the raw score before the softmax. The sums are of the same fixed-point
integers that the forest adds up, so they add up to it but for the last bit of a float64.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from models.trees.ensemble import Forest
from models.trees.kernels import rank_rows


class Contributions(NamedTuple):
    """``values`` (n, features): what each feature added to the score · ``bias`` (n,): the score without features."""

    values: NDArray[np.float64]
    bias: NDArray[np.float64]


def contributions(forest: Forest, X: NDArray[np.float64], stages: NDArray[np.uint8]) -> Contributions:
    """Contributions to the scores of ``stages`` (n,), codes, of the rows ``X`` (n, n_features), imputed.

    ``bias + values.sum(axis=1)`` is the stage's column of `Forest.predict_proba` within 1e-12 (for boosting: of the
    raw score). A stage that boosting never saw has a bias of -inf.

    Raises:
        ValueError: if X has another shape than (n, n_features), or stages than (n,) with codes 0 to 3.
    """
    if X.dtype != np.float64 or not X.flags.carray:
        X = np.array(X, np.float64, order="C")
    stages = np.array(stages, np.uint8)
    if X.ndim != 2 or X.shape[1] != forest.n_features or stages.shape != X.shape[:1]:
        raise ValueError(
            f"X of shape {X.shape} and stages of shape {stages.shape}: need (n, {forest.n_features}) and (n,)"
        )
    if (stages >= len(forest.bias)).any():
        raise ValueError(f"stage codes go from 0 to {len(forest.bias) - 1}")
    walk, ranks = forest.walk, forest.walk.ranks
    added = np.zeros(X.shape, np.int64)
    base = np.zeros(len(X), np.int64)
    found = np.empty(X.shape, np.uint32)
    rank_rows(X, ranks.keys, ranks.start, ranks.half, ranks.first, found)
    follow_paths(found, stages, walk.nodes, walk.start, walk.value, added, base)
    return Contributions(added / forest.unit, forest.bias[stages] + base / forest.unit)


def top_reasons(values: NDArray[np.float64], k: int = 3) -> NDArray[np.int64]:
    """The features that spoke most for each row's stage: indices (n, k), the strongest first.

    A feature that spoke against the stage, or not at all, is no reason: -1 fills its place. Ties keep feature order.
    """
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(values, order, axis=1) > 0, order, -1)


@compiled
def follow_paths(
    ranks: NDArray[np.uint32],
    stages: NDArray[np.uint8],
    nodes: NDArray[np.uint64],
    start: NDArray[np.int64],
    value: NDArray[np.int64],
    added: NDArray[np.int64],
    base: NDArray[np.int64],
) -> None:
    """Walk every row through every tree and book each change of value on the feature that was asked."""
    for t in range(start.shape[0] - 1):
        origin = np.uint64(start[t])
        for r in range(ranks.shape[0]):
            stage = stages[r]
            at = origin
            here = value[at, stage]
            base[r] += here
            node = nodes[at]
            left = (node >> np.uint64(8)) & np.uint64(0xFFFFFF)
            while origin + left != at:  # a leaf is its own left child
                feature = node & np.uint64(255)
                at = origin + left + np.uint64(np.uint64(ranks[r, feature]) > (node >> np.uint64(32)))
                there = value[at, stage]
                added[r, feature] += there - here
                here = there
                node = nodes[at]
                left = (node >> np.uint64(8)) & np.uint64(0xFFFFFF)
