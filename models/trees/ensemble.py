"""A tree ensemble as flat arrays: forests, gradient boosting, regression; scored without scikit-learn.

    ensemble = Ensemble.from_sklearn(estimator, classes)   # training half
    ensemble.save(path); Ensemble.load(path)               # npz, no pickle
    ensemble.predict(X)                                    # (n, k): k outputs, whose meaning the head knows

Nothing branches while it scores: `models.trees.layouts` chooses between two layouts by the size of the trees, and
``ensemble.path`` says which one runs. `predict_plain` is the same in a dozen lines to read and to test against.
`merged` puts several ensembles into one, so that one pass of the kernel serves them all.
"""

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.trees.flatten import flatten
from models.trees.kernels import IDENTITY, LOGISTIC, SOFTMAX, predict_by_walking
from models.trees.layouts import MAX_FEATURES, Finish, LeafSets, Ranks, Trees, Walk, choose

LINKS: Final = (IDENTITY, SOFTMAX, LOGISTIC)
MAX_NODES: Final = 1 << 24
"""Nodes of an ensemble: a thousand times the shipped one. More would be a damaged or a hostile file."""
MAX_OUTPUTS: Final = 64
MAX_BYTES: Final = 1 << 30
"""What the arrays of a file may take in memory."""

_ARRAYS: Final = {"start": "<i8", "feature": "<i4", "threshold": "<f4", "left": "<i4", "value": "<i8", "bias": "<f8"}
_HEADERS: Final[dict[tuple[int, int], Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # of every zip member: same arrays, same bytes


@dataclass(frozen=True)
class Ensemble:
    """Frozen arrays of trees.

    ``trees`` as in `layouts.Trees`, values in units of ``1 / unit`` · ``bias`` (k,) raw score before the first tree,
    -inf for a class that training never saw · ``link`` how raw scores become outputs: `IDENTITY` for averaged trees and
    regression, `SOFTMAX` over all outputs, `LOGISTIC` for each by itself.

    Raises:
        ValueError: if the arrays are not trees; nothing is read outside them afterwards.
    """

    trees: Trees
    n_features: int
    unit: float
    bias: NDArray[np.float64]
    link: int
    walk: Walk = field(init=False, repr=False, compare=False)
    layout: Walk | LeafSets = field(init=False, repr=False, compare=False)
    finish: Finish = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)
        for array in (*vars(self.trees).values(), self.bias):
            array.setflags(write=False)
        columns, fill = np.arange(self.n_features), np.full(self.n_features, np.nan)
        walk = Walk.build(self.trees, Ranks.build(self.trees.feature, self.trees.threshold, columns, fill))
        object.__setattr__(self, "walk", walk)  # also what explains a score, see models.trees.explain
        object.__setattr__(self, "layout", self.laid_out(choose(self.trees)))
        links = np.array([[0, self.n_outputs, self.link]], np.int64)
        object.__setattr__(self, "finish", Finish(np.full(self.n_outputs, self.unit), self.bias, links))

    def laid_out(self, kind: type[Walk] | type[LeafSets]) -> Walk | LeafSets:
        """These trees in a layout of the caller's choice; `layout` is the one chosen for them."""
        return self.walk if kind is Walk else LeafSets.build(self.trees, self.walk.ranks)

    @classmethod
    def from_sklearn(cls, estimator: Any, classes: Sequence[Any] = ()) -> "Ensemble":
        """From a fitted estimator; see `models.trees.flatten.flatten` for the kinds, ``classes`` and the errors."""
        flat = flatten(estimator, classes)
        return cls(flat.trees, flat.n_features, flat.unit, flat.bias, flat.link)

    @property
    def path(self) -> str:
        """The code that scores: ``leafsets`` or ``walk`` when compiled, with ``plain:`` in front when it is not."""
        compiled = hasattr(predict_by_walking, "signatures")
        return self.layout.name if compiled else f"plain:{self.layout.name}"

    @property
    def n_trees(self) -> int:
        return len(self.trees.start) - 1

    @property
    def n_outputs(self) -> int:
        return len(self.bias)

    def warm_up(self) -> None:
        """Compile, or load from the cache, all that scoring runs."""
        self.predict(np.zeros((1, self.n_features)))

    def filling(self, fill: NDArray[np.float64]) -> Walk | LeafSets:
        """The layout for `predict` that takes ``fill`` (n_features,) where a value is missing."""
        ranks = replace(self.layout.ranks, fill=np.array(fill, np.float64))
        return replace(self.layout, ranks=ranks)

    def predict(
        self, X: NDArray[np.float64], finish: Finish | None = None, layout: Walk | LeafSets | None = None
    ) -> NDArray[np.float64]:
        """Outputs (n, k) of ``X`` (n, n_features), by the ensemble's own ``finish`` and ``layout`` or those given.

        A row's result does not depend on the other rows, bit for bit. NaN goes right at every split, unless the layout
        is that of `filling`.

        Raises:
            ValueError: if X has another shape.
        """
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(f"X has shape {X.shape}, the ensemble needs (n, {self.n_features})")
        return _predicted(layout or self.layout, finish or self.finish, X)

    def predict_plain(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """What `predict` computes, one row, one tree, one comparison at a time."""
        trees = self.trees
        with np.errstate(over="ignore", invalid="ignore"):
            rows = X.astype(np.float32)
        total = np.zeros((len(X), self.n_outputs), np.int64)
        for r, row in enumerate(rows):
            for origin in trees.start[:-1]:
                node = 0
                while trees.feature[origin + node] >= 0:
                    goes_left = row[trees.feature[origin + node]] <= trees.threshold[origin + node]
                    node = trees.left[origin + node] + (0 if goes_left else 1)
                total[r] += trees.value[origin + node]
        score: NDArray[np.float64] = self.bias + total / self.unit
        if self.link == SOFTMAX:
            score = np.exp(score - score.max(axis=1, keepdims=True))
            score /= score.sum(axis=1, keepdims=True)
        elif self.link == LOGISTIC:
            score = 1 / (1 + np.exp(-score))
        return score

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that `save` writes, little-endian."""
        parts = {**vars(self.trees), "bias": self.bias}
        scalars = np.array([self.n_features, self.unit, self.link], "<f8")
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
    def load(cls, path: Path) -> "Ensemble":
        """An ensemble that `save` wrote; also the forests of bundle format 1.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is not such a file; a pickle is never opened.
        """
        arrays = read_npz(path)
        if {*_ARRAYS, "scalars"} != set(arrays) or any(arrays[name].dtype != kind for name, kind in _ARRAYS.items()):
            raise ValueError(f"{path.name} holds other arrays than a tree ensemble")
        scalars = arrays["scalars"]
        if scalars.shape != (3,) or scalars.dtype != np.float64 or scalars[2] not in LINKS:
            raise ValueError(f"{path.name} has no valid scalars")
        if not np.isfinite(scalars).all():
            raise ValueError(f"{path.name} has no valid scalars")
        trees = Trees(*(arrays[name] for name in ("start", "feature", "threshold", "left", "value")))
        return cls(trees, int(scalars[0]), float(scalars[1]), arrays["bias"], int(scalars[2]))


Part = tuple[Ensemble, Finish, NDArray[np.int64], NDArray[np.float64]]
"""An ensemble, how its sums become outputs, which columns of the matrix are its features, and what fills each."""


class Merged:
    """Several ensembles over one matrix, scored in one pass; each scores as it does alone, to the bit."""

    def __init__(self, parts: Sequence[Part]) -> None:
        # A column that two ensembles fill differently is two columns.
        wanted = [list(zip(columns.tolist(), fill.tolist(), strict=True)) for _, _, columns, fill in parts]
        used = {pair: i for i, pair in enumerate(sorted({pair for own in wanted for pair in own}))}
        columns, fill = np.array([column for column, _ in used], np.int64), np.array([fill for _, fill in used])
        self._width = int(columns.max()) + 1
        features = [np.array([used[pair] for pair in own], np.int32) for own in wanted]
        trees = _joined([ensemble.trees for ensemble, *_ in parts], features)
        finishes = [finish for _, finish, *_ in parts]
        befores = np.cumsum([0, *(finish.bias.size for finish in finishes)])
        links = [f.links + np.array([before, before, 0]) for f, before in zip(finishes, befores[:-1], strict=True)]
        self._finish = Finish(
            np.concatenate([finish.unit for finish in finishes]),
            np.concatenate([finish.bias for finish in finishes]),
            np.concatenate(links).astype(np.int64),
        )
        self._layout = choose(trees).build(trees, Ranks.build(trees.feature, trees.threshold, columns, fill))

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """The outputs of all ensembles, one after the other, of ``X`` (n, columns of the matrix), NaN where missing."""
        if X.shape[1] < self._width:
            raise ValueError(f"X has shape {X.shape}, the ensembles need {self._width} columns")
        return _predicted(self._layout, self._finish, X)


def _predicted(layout: Walk | LeafSets, finish: Finish, X: NDArray[np.float64]) -> NDArray[np.float64]:
    if X.dtype != np.float64 or not X.flags.carray:  # another type would be compiled for at this moment
        X = np.array(X, np.float64, order="C")
    out = np.empty((X.shape[0], finish.bias.size))
    layout.predict(X, finish, out)
    return out


def _joined(parts: Sequence[Trees], features: Sequence[NDArray[np.int32]]) -> Trees:
    """The trees of all parts; the outputs of a part stand behind those of the parts before it."""
    starts, feature, values, before = [np.zeros(1, np.int64)], [], [], 0
    k = sum(part.value.shape[1] for part in parts)
    for part, own in zip(parts, features, strict=True):
        starts.append(part.start[1:] + starts[-1][-1])
        feature.append(np.where(part.feature < 0, np.int32(-1), own[part.feature]))
        value = np.zeros((len(part.feature), k), np.int64)
        value[:, before : before + part.value.shape[1]] = part.value
        before += part.value.shape[1]
        values.append(value)
    return Trees(
        np.concatenate(starts),
        np.concatenate(feature),
        np.concatenate([part.threshold for part in parts]),
        np.concatenate([part.left for part in parts]),
        np.concatenate(values),
    )


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
        ValueError: if it is no npz, needs a pickle, or would take more than `MAX_BYTES`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise ValueError(f"its arrays take more than {MAX_BYTES} bytes")
            for member in members:
                _check_header(archive, member)
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path.name} is not an npz file without pickles: {error}") from None


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse an array that is not as large as its header says: numpy would make room before it reads.

    Raises:
        ValueError: it is not, or is no array.
    """
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"{member.filename} is of another version of numpy's format")
        shape, _, dtype = _HEADERS[version](file)
        if any(length < 0 for length in shape):
            raise ValueError(f"{member.filename} has an impossible shape")
        size = math.prod(shape) * dtype.itemsize
        if not dtype.hasobject and size != member.file_size - file.tell():
            raise ValueError(f"{member.filename} claims {size} bytes, and has {member.file_size - file.tell()}")


def _check(ensemble: Ensemble) -> None:
    """Everything the compiled loops rely on."""
    trees, n = ensemble.trees, len(ensemble.trees.feature)
    start = trees.start
    shapes_fit = (
        start.ndim == trees.feature.ndim == 1
        and trees.threshold.shape == trees.left.shape == (n,)
        and ensemble.bias.ndim == 1
        and 1 <= len(ensemble.bias) <= MAX_OUTPUTS
        and trees.value.shape == (n, len(ensemble.bias))
    )
    if not shapes_fit or len(start) < 2 or start[0] != 0 or start[-1] != n or not (np.diff(start) > 0).all():
        raise ValueError("the arrays do not fit together: not a tree ensemble")
    if n > MAX_NODES:
        raise ValueError(f"{n} nodes; an ensemble has at most {MAX_NODES}")
    if ensemble.link not in LINKS or np.isnan(ensemble.bias).any() or (ensemble.bias == np.inf).any():
        raise ValueError("the bias is no number or the link is unknown: not a tree ensemble")
    if not 1 <= ensemble.n_features <= MAX_FEATURES:
        raise ValueError(f"{ensemble.n_features} features; an ensemble serves 1 to {MAX_FEATURES}")
    if not (np.isfinite(ensemble.unit) and ensemble.unit > 0) or np.isnan(trees.threshold).any():
        raise ValueError("a threshold or the unit of the values is not a number: not a tree ensemble")
    size = np.diff(start)
    inner = trees.feature >= 0
    at = np.arange(n) - np.repeat(start[:-1], size)
    splits = np.cumsum(inner)
    splits_before: NDArray[np.int64] = splits - inner - np.repeat(splits[start[:-1]] - inner[start[:-1]], size)
    if (trees.feature < -1).any() or (trees.feature >= ensemble.n_features).any():
        raise ValueError("a node splits on a feature that does not exist: not a tree ensemble")
    if (trees.left[inner] != 1 + 2 * splits_before[inner]).any() or (trees.left[inner] <= at[inner]).any():
        raise ValueError("children are not in breadth-first order: not a tree ensemble")
    if (2 * np.add.reduceat(inner.astype(np.int64), start[:-1]) + 1 != size).any() or size.max() >= 1 << 24:
        raise ValueError("a tree has nodes that no row can reach, or too many: not a tree ensemble")
    if np.abs(trees.value.astype(np.float64)).max() * (len(start) - 1) >= 2.0**63:
        raise ValueError("leaf values could overflow: not a tree ensemble")
