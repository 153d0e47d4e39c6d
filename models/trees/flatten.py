"""From a fitted scikit-learn estimator to flat arrays, without importing scikit-learn.

scikit-learn rounds rows to float32 and compares them with float64 thresholds. For a float32 ``x`` the comparison
``x <= t`` has the same answer when ``t`` is replaced by the largest float32 not above it, so that is what is stored.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from featurestore.session.stages import STAGES
from models.trees.layouts import Trees

AVERAGED: Final = frozenset(
    ("RandomForestClassifier", "ExtraTreesClassifier", "DecisionTreeClassifier", "ExtraTreeClassifier")
)
BOOSTED: Final = "GradientBoostingClassifier"
_MOST_BITS: Final = 50  # of a leaf value of 1: finer than the float64 sums it is compared with


@dataclass(frozen=True)
class Flat:
    """What `models.trees.ensemble.Forest` is made of."""

    trees: Trees
    n_features: int
    unit: float
    bias: NDArray[np.float64]
    softmax: bool


@dataclass(frozen=True)
class _Tree:
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    value: NDArray[np.float64]  # (n, stages)


def servable(estimator: Any) -> bool:
    """Whether `flatten` knows this kind of estimator."""
    return not _kinds(estimator).isdisjoint({*AVERAGED, BOOSTED})


def flatten(estimator: Any) -> Flat:
    """Arrays of a fitted forest, tree or gradient boosting classifier.

    Raises:
        ValueError: if the estimator is of another kind or its classes are not stages.
    """
    if BOOSTED in _kinds(estimator):
        return _flatten_boosting(estimator)
    if not servable(estimator):
        known = ", ".join(sorted({*AVERAGED, BOOSTED}))
        raise ValueError(f"{type(estimator).__name__} cannot be served; use one of {known}")
    columns = stage_columns(estimator.classes_)
    members = getattr(estimator, "estimators_", [estimator])
    trees = []
    for member in members:
        tree = member.tree_
        value = np.zeros((tree.node_count, len(STAGES)))
        value[:, columns] = tree.value[:, 0, :]
        trees.append(_breadth_first(tree, value))
    return _assemble(trees, int(estimator.n_features_in_), np.zeros(len(STAGES)), softmax=False)


def _kinds(estimator: Any) -> set[str]:
    return {kind.__name__ for kind in type(estimator).__mro__}


def stage_columns(classes: Any) -> list[int]:
    """Stage code of each class; classes are stage codes or stage names.

    Raises:
        ValueError: if one is neither, or is repeated.
    """
    columns = []
    for label in np.asarray(classes).tolist():
        code = STAGES.index(label) if label in STAGES else label
        if not isinstance(code, int) or not 0 <= code < len(STAGES) or code in columns:
            raise ValueError(f"class {label!r} is no stage; train on the codes 0 to {len(STAGES) - 1} or on {STAGES}")
        columns.append(code)
    return columns


def _flatten_boosting(estimator: Any) -> Flat:
    if estimator.loss != "log_loss":
        raise ValueError(f"gradient boosting with loss={estimator.loss!r} cannot be served; use log_loss")
    if estimator.init not in {None, "zero"}:
        raise ValueError("gradient boosting with its own init estimator cannot be served; leave init=None")
    columns = stage_columns(estimator.classes_)
    if estimator.estimators_.shape[1] == 1:  # two classes: one score, that of the second against 0
        columns = columns[1:]
    trees = []
    origin = np.zeros((1, estimator.n_features_in_))
    constant = np.atleast_2d(estimator.decision_function(origin)).reshape(-1).astype(np.float64)
    for stage in estimator.estimators_:
        for k, member in enumerate(stage):
            tree = member.tree_
            value = np.zeros((tree.node_count, len(STAGES)))
            value[:, columns[k]] = estimator.learning_rate * _leaf_means(tree)
            trees.append(_breadth_first(tree, value))
            constant[k] -= estimator.learning_rate * member.predict(origin)[0]
    bias = np.full(len(STAGES), -np.inf)
    bias[stage_columns(estimator.classes_)] = 0.0
    bias[columns] = constant
    return _assemble(trees, int(estimator.n_features_in_), bias, softmax=True)


def _leaf_means(tree: Any) -> NDArray[np.float64]:
    """Leaf values, and at inner nodes their mean over the training rows: boosting stores something else there."""
    mean: NDArray[np.float64] = tree.value[:, 0, 0].astype(np.float64)
    rows = tree.weighted_n_node_samples
    for i in range(tree.node_count - 1, -1, -1):  # scikit-learn numbers children after their parents
        left, right = tree.children_left[i], tree.children_right[i]
        if left >= 0:
            mean[i] = (rows[left] * mean[left] + rows[right] * mean[right]) / (rows[left] + rows[right])
    return mean


def _breadth_first(tree: Any, value: NDArray[np.float64]) -> _Tree:
    """Renumber the nodes level by level, siblings side by side."""
    order = level = np.zeros(1, np.intp)
    children = np.stack([tree.children_left, tree.children_right], axis=1)
    while len(level):
        level = children[level[children[level, 0] >= 0]].reshape(-1)
        order = np.concatenate([order, level])
    leaf = children[order, 0] < 0
    left = np.zeros(len(order), np.int32)
    left[~leaf] = 1 + 2 * np.arange(np.count_nonzero(~leaf))
    feature = np.where(leaf, -1, tree.feature[order]).astype(np.int32)
    threshold = np.where(leaf, np.float32(0), _largest_float32(tree.threshold[order]))
    return _Tree(feature, threshold, left, value[order])


def _largest_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each value."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    above = rounded.astype(np.float64) > values
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded) + np.float32(0)


def _assemble(trees: list[_Tree], n_features: int, bias: NDArray[np.float64], softmax: bool) -> Flat:
    largest = sum(float(np.abs(tree.value).max()) for tree in trees)
    unit = 2.0 ** min(_MOST_BITS, 61 - int(np.ceil(np.log2(max(largest, 1.0)))))
    start = np.cumsum([0, *(len(tree.feature) for tree in trees)], dtype=np.int64)
    flat = Trees(
        start,
        np.concatenate([tree.feature for tree in trees]),
        np.concatenate([tree.threshold for tree in trees]),
        np.concatenate([tree.left for tree in trees]),
        np.rint(np.concatenate([tree.value for tree in trees]) * unit).astype(np.int64),
    )
    return Flat(flat, n_features, unit if softmax else unit * len(trees), bias, softmax)
