"""P's hyperparameter search: trees x depth, 5-fold, the smallest forest within one standard deviation of the best.

A forest of k trees is the first k trees of a larger forest grown from the same seed (scikit-learn draws the trees'
seeds one after the other), so each depth and fold grows one forest of the most trees and reads all smaller ones off
it; and a depth that no tree of the unlimited forest reaches changes nothing. At most 15 forests instead of 120, and
the same scores. A test holds the two against each other.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from models.study.protocol import FOLDS, Floats, Stages, new_model, new_transformer

GRID_TREES: Final = (10, 25, 50, 100, 150, 200, 300, 500)
GRID_DEPTHS: Final = (None, 10, 20)


@dataclass(frozen=True)
class Search:
    """``accuracy`` (depths, trees, folds) on held-out folds, and the chosen forest."""

    trees: tuple[int, ...]
    depths: tuple[int | None, ...]
    accuracy: Floats
    best: tuple[int, int | None]
    chosen: tuple[int, int | None]


def search(
    X: Floats,
    y: Stages,
    seed: int,
    trees: tuple[int, ...] = GRID_TREES,
    depths: tuple[int | None, ...] = GRID_DEPTHS,
    jobs: int = 2,
) -> Search:
    """Cross-validate the grid on raw rows X (n, 9), NaN allowed, and stages y (n,)."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(X, y)
    rows = Parallel(n_jobs=jobs)(delayed(fold_accuracy)(X, y, fit, held, depths, trees, seed) for fit, held in folds)
    accuracy = np.array(rows).transpose(1, 2, 0)
    return Search(trees, depths, accuracy, *choose(accuracy, trees, depths))


def fold_accuracy(
    X: Floats,
    y: Stages,
    fit: NDArray[np.int64],
    held: NDArray[np.int64],
    depths: tuple[int | None, ...],
    trees: tuple[int, ...],
    seed: int,
) -> list[list[float]]:
    """Accuracy on rows ``held`` for each depth and number of trees (ascending), grown on rows ``fit``."""
    unlimited, reached = prefix_accuracy(X, y, fit, held, None, trees, seed)
    return [
        unlimited if depth is None or depth >= reached else prefix_accuracy(X, y, fit, held, depth, trees, seed)[0]
        for depth in depths
    ]


def prefix_accuracy(
    X: Floats,
    y: Stages,
    fit: NDArray[np.int64],
    held: NDArray[np.int64],
    depth: int | None,
    trees: tuple[int, ...],
    seed: int,
) -> tuple[list[float], int]:
    """Accuracy on rows ``held`` of forests with ``trees`` (ascending) trees, and the depth that the deepest reached."""
    prepare = new_transformer().fit(X[fit])
    forest: Any = new_model("random_forest", seed, trees[-1], depth).fit(prepare.transform(X[fit]), y[fit])
    rows = prepare.transform(X[held]).astype(np.float32)
    votes = np.zeros((len(held), len(forest.classes_)))
    accuracies = []
    for number, tree in enumerate(forest.estimators_, start=1):
        votes += tree.tree_.predict(rows).reshape(votes.shape)
        if number in trees:
            accuracies.append(float(np.mean(forest.classes_[votes.argmax(axis=1)] == y[held])))
    return accuracies, max(tree.tree_.max_depth for tree in forest.estimators_)


def choose(
    accuracy: Floats, trees: tuple[int, ...], depths: tuple[int | None, ...]
) -> tuple[tuple[int, int | None], tuple[int, int | None]]:
    """The best and the chosen (trees, depth): fewest trees, then smallest depth, of those within one deviation."""
    mean, deviation = accuracy.mean(axis=2), accuracy.std(axis=2)
    best = np.unravel_index(int(mean.argmax()), mean.shape)
    enough = mean >= mean[best] - deviation[best]
    small = min(
        ((trees[k], depths[d]) for d in range(len(depths)) for k in range(len(trees)) if enough[d, k]),
        key=lambda pair: (pair[0], float("inf") if pair[1] is None else pair[1]),
    )
    return (trees[int(best[1])], depths[int(best[0])]), small
