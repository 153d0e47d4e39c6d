"""A random forest or gradient boosting model as flat arrays, scored without scikit-learn.

    forest = Forest.from_sklearn(estimator)      # training half
    forest.save(path); Forest.load(path)         # npz, no pickle
    forest.predict_proba(X)                      # (n, 4) in the order of STAGES

Fast because nothing branches: `models.trees.layouts` chooses between two layouts by the size of the trees, and
``forest.path`` says which one runs. `predict_proba_plain` is the same in a dozen lines to read and to test against.
"""

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from featurestore.session.stages import STAGES
from models.trees.flatten import flatten
from models.trees.kernels import predict_by_walking
from models.trees.layouts import MAX_FEATURES, LeafSets, Ranks, Trees, Walk, choose

_ARRAYS: Final = {"start": "<i8", "feature": "<i4", "threshold": "<f4", "left": "<i4", "value": "<i8", "bias": "<f8"}
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # of every zip member: same arrays, same bytes


@dataclass(frozen=True)
class Forest:
    """Frozen arrays of a forest.

    ``trees`` as in `layouts.Trees`, values in units of ``1 / unit`` · ``bias`` (4,) raw score before the first tree,
    -inf for a stage that training never saw · ``softmax`` True for boosting, whose sums are raw scores.

    Raises:
        ValueError: if the arrays are not a forest; nothing is read outside them afterwards.
    """

    trees: Trees
    n_features: int
    unit: float
    bias: NDArray[np.float64]
    softmax: bool
    walk: Walk = field(init=False, repr=False, compare=False)
    layout: Walk | LeafSets = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)
        for array in (*vars(self.trees).values(), self.bias):
            array.setflags(write=False)
        walk = Walk.build(self.trees, Ranks.build(self.trees.feature, self.trees.threshold, self.n_features))
        object.__setattr__(self, "walk", walk)  # also what explains a score, see models.trees.explain
        object.__setattr__(self, "layout", self.laid_out(choose(self.trees)))

    def laid_out(self, kind: type[Walk] | type[LeafSets]) -> Walk | LeafSets:
        """This forest in a layout of the caller's choice; `layout` is the one chosen for it."""
        return self.walk if kind is Walk else LeafSets.build(self.trees, self.walk.ranks)

    @classmethod
    def from_sklearn(cls, estimator: Any) -> "Forest":
        """From a fitted classifier; see `models.trees.flatten.flatten` for the kinds and the errors."""
        flat = flatten(estimator)
        return cls(flat.trees, flat.n_features, flat.unit, flat.bias, flat.softmax)

    @property
    def path(self) -> str:
        """The code that scores: ``leafsets`` or ``walk`` when compiled, with ``plain:`` in front when it is not."""
        compiled = hasattr(predict_by_walking, "signatures")
        return self.layout.name if compiled else f"plain:{self.layout.name}"

    @property
    def n_trees(self) -> int:
        return len(self.trees.start) - 1

    def warm_up(self) -> None:
        """Compile, or load from the cache, all that scoring runs."""
        self.predict_proba(np.zeros((1, self.n_features)))

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities (n, 4) in the order of `STAGES` of ``X`` (n, n_features).

        A row's result does not depend on the other rows, bit for bit. NaN goes right at every split: fill missing
        values first (`Bundle.score` does).

        Raises:
            ValueError: if X has another shape.
        """
        if X.dtype != np.float64 or not X.flags.carray:  # another type would be compiled for at this moment
            X = np.array(X, np.float64, order="C")
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(f"X has shape {X.shape}, the forest needs (n, {self.n_features})")
        out = np.empty((X.shape[0], len(STAGES)))
        self.layout.predict(X, self.unit, self.bias, self.softmax, out)
        return out

    def predict_proba_plain(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """What `predict_proba` computes, one row, one tree, one comparison at a time."""
        trees = self.trees
        with np.errstate(over="ignore", invalid="ignore"):
            rows = X.astype(np.float32)
        total = np.zeros((len(X), len(STAGES)), np.int64)
        for r, row in enumerate(rows):
            for origin in trees.start[:-1]:
                node = 0
                while trees.feature[origin + node] >= 0:
                    goes_left = row[trees.feature[origin + node]] <= trees.threshold[origin + node]
                    node = trees.left[origin + node] + (0 if goes_left else 1)
                total[r] += trees.value[origin + node]
        score: NDArray[np.float64] = self.bias + total / self.unit
        if self.softmax:
            score = np.exp(score - score.max(axis=1, keepdims=True))
            score /= score.sum(axis=1, keepdims=True)
        return score

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that `save` writes, little-endian."""
        parts = {**vars(self.trees), "bias": self.bias}
        scalars = np.array([self.n_features, self.unit, self.softmax], "<f8")
        return {**{name: parts[name].astype(kind) for name, kind in _ARRAYS.items()}, "scalars": scalars}

    def digest(self) -> str:
        """sha256 of the arrays, independent of file formats and compression."""
        found = hashlib.sha256()
        for name, array in self.arrays().items():
            found.update(f"{name}{array.dtype.str}{array.shape}".encode())
            found.update(array.tobytes())
        return found.hexdigest()

    def save(self, path: Path) -> None:
        write_npz(path, self.arrays())

    @classmethod
    def load(cls, path: Path) -> "Forest":
        """A forest that `save` wrote.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is not such a file; a pickle is never opened.
        """
        arrays = read_npz(path)
        if {*_ARRAYS, "scalars"} != set(arrays) or any(arrays[name].dtype != kind for name, kind in _ARRAYS.items()):
            raise ValueError(f"{path.name} holds other arrays than a forest")
        scalars = arrays["scalars"]
        if scalars.shape != (3,) or scalars.dtype != np.float64 or not np.isfinite(scalars).all():
            raise ValueError(f"{path.name} has no valid scalars")
        trees = Trees(*(arrays[name] for name in ("start", "feature", "threshold", "left", "value")))
        return cls(trees, int(scalars[0]), float(scalars[1]), arrays["bias"], bool(scalars[2]))


def write_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """An npz file whose bytes depend on the arrays alone (given one zlib), not on the clock."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, buffer.getvalue(), compresslevel=6)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an npz file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no npz or needs a pickle.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path.name} is not an npz file without pickles: {error}") from None


def _check(forest: Forest) -> None:
    """Everything the compiled loops rely on."""
    trees, n = forest.trees, len(forest.trees.feature)
    start = trees.start
    shapes_fit = (
        start.ndim == trees.feature.ndim == 1
        and trees.threshold.shape == trees.left.shape == (n,)
        and trees.value.shape == (n, len(STAGES))
        and forest.bias.shape == (len(STAGES),)
    )
    if not shapes_fit or len(start) < 2 or start[0] != 0 or start[-1] != n or not (np.diff(start) > 0).all():
        raise ValueError("the arrays do not fit together: not a forest")
    if not 1 <= forest.n_features <= MAX_FEATURES:
        raise ValueError(f"{forest.n_features} features; a forest serves 1 to {MAX_FEATURES}")
    if not (np.isfinite(forest.unit) and forest.unit > 0) or np.isnan(trees.threshold).any():
        raise ValueError("a threshold or the unit of the values is not a number: not a forest")
    size = np.diff(start)
    inner = trees.feature >= 0
    at = np.arange(n) - np.repeat(start[:-1], size)
    splits = np.cumsum(inner)
    splits_before: NDArray[np.int64] = splits - inner - np.repeat(splits[start[:-1]] - inner[start[:-1]], size)
    if (trees.feature < -1).any() or (trees.feature >= forest.n_features).any():
        raise ValueError("a node splits on a feature that does not exist: not a forest")
    if (trees.left[inner] != 1 + 2 * splits_before[inner]).any() or (trees.left[inner] <= at[inner]).any():
        raise ValueError("children are not in breadth-first order: not a forest")
    if (2 * np.add.reduceat(inner.astype(np.int64), start[:-1]) + 1 != size).any() or size.max() >= 1 << 24:
        raise ValueError("a tree has nodes that no row can reach, or too many: not a forest")
    if np.abs(trees.value.astype(np.float64)).max() * (len(start) - 1) >= 2.0**63:
        raise ValueError("leaf values could overflow: not a forest")
