"""Why a row got its score: exact contributions along the paths of the trees (A. Saabas, 2014).

Each step from a node to its child changes the mean of the training rows there; the change belongs to the feature that
was asked. Over all trees, the bias (the mean at the roots) and the contributions add up to the score: the predicted
probability, or for boosting the raw score before softmax or logistic function. The sums are of the same fixed-point
integers that the ensemble adds up, so they add up to it but for the last bit of a float64.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from models.trees.ensemble import Ensemble


class Contributions(NamedTuple):
    """``values`` (n, features): what each feature added to the score · ``bias`` (n,): the score without features."""

    values: NDArray[np.float64]
    bias: NDArray[np.float64]


def contributions(ensemble: Ensemble, X: NDArray[np.float64], outputs: NDArray[np.uint8]) -> Contributions:
    """Contributions to the scores of ``outputs`` (n,), numbers, of the rows ``X`` (n, n_features), imputed.

    ``bias + values.sum(axis=1)`` is the output's column of `Ensemble.predict` within 1e-12 (for boosting: of the
    raw score). A class that boosting never saw has a bias of -inf.

    Raises:
        ValueError: if X has another shape than (n, n_features), or outputs than (n,) with numbers 0 to k - 1.
    """
    if X.dtype != np.float64 or not X.flags.carray:
        X = np.array(X, np.float64, order="C")
    outputs = np.array(outputs, np.uint8)
    if X.ndim != 2 or X.shape[1] != ensemble.n_features or outputs.shape != X.shape[:1]:
        raise ValueError(
            f"X of shape {X.shape} and outputs of shape {outputs.shape}: need (n, {ensemble.n_features}) and (n,)"
        )
    if (outputs >= len(ensemble.bias)).any():
        raise ValueError(f"outputs go from 0 to {len(ensemble.bias) - 1}")
    walk, ranks = ensemble.walk, ensemble.walk.ranks
    added = np.zeros(X.shape, np.int64)
    base = np.zeros(len(X), np.int64)
    found = np.empty(X.shape, np.uint32)
    ranks.rank(X, found)
    follow_paths(found, outputs, walk.nodes, walk.start, walk.value, added, base)
    return Contributions(added / ensemble.unit, ensemble.bias[outputs] + base / ensemble.unit)


def top_reasons(values: NDArray[np.float64], k: int = 3) -> NDArray[np.int64]:
    """The features that spoke most for each row's output: indices (n, k), the strongest first.

    A feature that spoke against the output, or not at all, is no reason: -1 fills its place. Ties keep feature order.
    """
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(values, order, axis=1) > 0, order, -1)


@compiled
def follow_paths(
    ranks: NDArray[np.uint32],
    outputs: NDArray[np.uint8],
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
            output = outputs[r]
            at = origin
            here = value[at, output]
            base[r] += here
            node = nodes[at]
            left = (node >> np.uint64(8)) & np.uint64(0xFFFFFF)
            while origin + left != at:  # a leaf is its own left child
                feature = node & np.uint64(255)
                at = origin + left + np.uint64(np.uint64(ranks[r, feature]) > (node >> np.uint64(32)))
                there = value[at, output]
                added[r, feature] += there - here
                here = there
                node = nodes[at]
                left = (node >> np.uint64(8)) & np.uint64(0xFFFFFF)
