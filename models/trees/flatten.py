"""From a fitted scikit-learn estimator to flat arrays, without importing scikit-learn.

scikit-learn rounds rows to float32 and compares them with float64 thresholds. For a float32 ``x`` the comparison
``x <= t`` has the same answer when ``t`` is replaced by the largest float32 not above it, so that is what is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.trees.kernels import IDENTITY, LOGISTIC, SOFTMAX
from models.trees.layouts import Trees

AVERAGED: Final = frozenset(
    f"{kind}{what}"
    for kind in ("RandomForest", "ExtraTrees", "DecisionTree", "ExtraTree")
    for what in ("Classifier", "Regressor")
)
BOOSTED: Final = frozenset(("GradientBoostingClassifier", "GradientBoostingRegressor"))
BINNED: Final = frozenset(("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"))
_MOST_BITS: Final = 50  # of a leaf value of 1: finer than the float64 sums it is compared with


@dataclass(frozen=True)
class Flat:
    """What `models.trees.ensemble.Ensemble` is made of."""

    trees: Trees
    n_features: int
    unit: float
    bias: NDArray[np.float64]
    link: int


@dataclass(frozen=True)
class _Tree:
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    value: NDArray[np.float64]  # (n, k)


def servable(estimator: Any) -> bool:
    """Whether `flatten` knows this kind of estimator."""
    return not _kinds(estimator).isdisjoint(AVERAGED | BOOSTED | BINNED)


def flatten(estimator: Any, classes: Sequence[Any] = ()) -> Flat:
    """Arrays of a fitted forest, tree or gradient boosting model.

    Args:
        estimator: of scikit-learn. A histogram gradient boosting model compares float64: fit it on rows that are
            rounded to float32, as they are here, or rows beside a threshold may differ.
        classes: of a classifier, the class label of each output; a label that is a position counts as well. One class:
            a single output, the probability of that class against the other. Empty for a regression.

    Raises:
        ValueError: if the estimator is of another kind, or its classes are not among ``classes``.
    """
    if not servable(estimator):
        known = ", ".join(sorted(AVERAGED | BOOSTED | BINNED))
        raise ValueError(f"{type(estimator).__name__} cannot be served; use one of {known}")
    outputs = class_outputs(estimator.classes_, classes) if hasattr(estimator, "classes_") else [0]
    k = max(len(classes), 1)
    kinds = _kinds(estimator)
    if kinds & AVERAGED:
        return _averaged(estimator, outputs, k)
    rounds, constant = _binned(estimator) if kinds & BINNED else _boosted(estimator)
    return _additive(estimator, rounds, constant, outputs, k)


def _kinds(estimator: Any) -> set[str]:
    return {kind.__name__ for kind in type(estimator).__mro__}


def class_outputs(labels: Any, classes: Sequence[Any]) -> list[int]:
    """The output of each class of an estimator, -1 for the other class of a single output.

    Raises:
        ValueError: if a label is not one of ``classes`` or of their positions, or is repeated.
    """
    found: list[int] = []
    labels = np.asarray(labels).tolist()
    for label in labels:
        at = list(classes).index(label) if label in classes else -1 if len(classes) == 1 else label
        if not isinstance(at, int) or not -1 <= at < len(classes) or at in found:
            raise ValueError(f"class {label!r} is not one of {tuple(classes)}; train on these or on their positions")
        found.append(at)
    if len(classes) == 1 and sorted(found) != [-1, 0]:
        raise ValueError(f"a single output needs two classes, one of them {classes[0]!r}, not {labels}")
    return found


def _averaged(estimator: Any, outputs: list[int], k: int) -> Flat:
    trees = []
    for member in getattr(estimator, "estimators_", [estimator]):
        tree = member.tree_
        value = np.zeros((tree.node_count, k))
        for column, output in enumerate(outputs):
            if output >= 0:
                value[:, output] = tree.value[:, 0, column]
        children = np.stack([tree.children_left, tree.children_right], axis=1)
        trees.append(_breadth_first(children, tree.feature, tree.threshold, value))
    return _assemble(trees, int(estimator.n_features_in_), np.zeros(k), IDENTITY, averaged=True)


_Round = list[tuple[NDArray[np.intp], NDArray[np.integer[Any]], NDArray[np.float64], NDArray[np.float64]]]
"""The trees of one round, one a raw score: children (n, 2), feature, threshold, and value (n,) of each node."""


def _additive(estimator: Any, rounds: list[_Round], constant: NDArray[np.float64], outputs: list[int], k: int) -> Flat:
    """Trees that add up to raw scores, of which there is one a class, or a single one."""
    classifier = hasattr(estimator, "classes_")
    columns = list(outputs)
    if classifier and len(constant) == 1:  # two classes: one score, that of the second against 0
        if k == 1 and outputs[0] == 0:
            raise ValueError("a single output must be the estimator's second class")
        columns = columns[1:]
    trees = []
    for members in rounds:
        for column, (children, feature, threshold, score) in zip(columns, members, strict=True):
            value = np.zeros((len(feature), k))
            value[:, column] = score
            trees.append(_breadth_first(children, feature, threshold, value))
    bias = np.full(k, -np.inf)
    if classifier and k > 1:
        bias[outputs] = 0.0
    bias[columns] = constant
    link = IDENTITY if not classifier else LOGISTIC if k == 1 else SOFTMAX
    return _assemble(trees, int(estimator.n_features_in_), bias, link, averaged=False)


def _boosted(estimator: Any) -> tuple[list[_Round], NDArray[np.float64]]:
    if estimator.loss not in {"log_loss", "squared_error"}:
        raise ValueError(f"gradient boosting with loss={estimator.loss!r} cannot be served; use the default loss")
    if estimator.init not in {None, "zero"}:
        raise ValueError("gradient boosting with its own init estimator cannot be served; leave init=None")
    origin = np.zeros((1, estimator.n_features_in_))
    raw = estimator.decision_function if hasattr(estimator, "classes_") else estimator.predict
    constant = np.atleast_2d(raw(origin)).reshape(-1).astype(np.float64)
    rounds = []
    for stage in estimator.estimators_:
        members: _Round = []
        for score, member in enumerate(np.atleast_1d(stage)):
            tree = member.tree_
            children = np.stack([tree.children_left, tree.children_right], axis=1)
            mean = _leaf_means(children, tree.value[:, 0, 0], tree.weighted_n_node_samples)
            members.append((children, tree.feature, tree.threshold, estimator.learning_rate * mean))
            constant[score] -= estimator.learning_rate * member.predict(origin)[0]
        rounds.append(members)
    return rounds, constant


def _binned(estimator: Any) -> tuple[list[_Round], NDArray[np.float64]]:
    if estimator.loss not in {"log_loss", "squared_error"}:
        raise ValueError(f"gradient boosting with loss={estimator.loss!r} cannot be served; use the default loss")
    if getattr(estimator, "is_categorical_", None) is not None:
        raise ValueError("gradient boosting with categorical features cannot be served; encode them as numbers")
    rounds = []
    for stage in estimator._predictors:  # noqa: SLF001 - scikit-learn shows them nowhere else
        members: _Round = []
        for predictor in stage:
            nodes = predictor.nodes
            children = np.stack([nodes["left"], nodes["right"]], axis=1).astype(np.intp)
            children[nodes["is_leaf"] != 0] = -1
            feature = nodes["feature_idx"].astype(np.int64)
            mean = _leaf_means(children, nodes["value"], nodes["count"].astype(np.float64))
            members.append((children, feature, nodes["num_threshold"].astype(np.float64), mean))
        rounds.append(members)
    return rounds, np.asarray(estimator._baseline_prediction, np.float64).reshape(-1)  # noqa: SLF001


def _leaf_means(
    children: NDArray[np.intp], value: NDArray[np.float64], rows: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Leaf values, and at inner nodes their mean over the training rows: boosting stores something else there."""
    mean: NDArray[np.float64] = value.astype(np.float64)
    for i in range(len(mean) - 1, -1, -1):  # scikit-learn numbers children after their parents
        left, right = children[i]
        if left >= 0:
            mean[i] = (rows[left] * mean[left] + rows[right] * mean[right]) / (rows[left] + rows[right])
    return mean


def _breadth_first(
    children: NDArray[np.intp],
    feature: NDArray[np.integer[Any]],
    threshold: NDArray[np.float64],
    value: NDArray[np.float64],
) -> _Tree:
    """Renumber the nodes level by level, siblings side by side."""
    order = level = np.zeros(1, np.intp)
    while len(level):
        level = children[level[children[level, 0] >= 0]].reshape(-1)
        order = np.concatenate([order, level])
    leaf = children[order, 0] < 0
    left = np.zeros(len(order), np.int32)
    left[~leaf] = 1 + 2 * np.arange(np.count_nonzero(~leaf))
    asked = np.where(leaf, -1, feature[order]).astype(np.int32)
    at = np.where(leaf, np.float32(0), _largest_float32(threshold[order]))
    return _Tree(asked, at, left, value[order])


def _largest_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each value."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    above = rounded.astype(np.float64) > values
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded) + np.float32(0)


def _assemble(trees: list[_Tree], n_features: int, bias: NDArray[np.float64], link: int, *, averaged: bool) -> Flat:
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
    return Flat(flat, n_features, unit * len(trees) if averaged else unit, bias, link)
