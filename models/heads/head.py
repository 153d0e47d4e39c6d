"""One head: a named model with what it reads, what its outputs are called, and the proof that it scores as it did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from models.bundle.baseline import Baseline
from models.heads.calibration import IDENTICAL, Calibration
from models.heads.views import VIEWS, WIDE
from models.trees.ensemble import Ensemble
from models.trees.explain import contributions
from models.trees.kernels import LOGISTIC
from models.trees.layouts import Finish, LeafSets, Walk
from models.trees.shapley import shapley

Task = Literal["multiclass", "binary", "regression", "cluster"]
"""What the outputs mean: a probability a class, the probability of the one output, a value, a share a cluster."""

SINGLE: Final = ("binary", "regression")
"""Tasks with one output."""


class Golden(NamedTuple):
    """Rows (n, columns), some with missing values, and the outputs (n, k) that they must get."""

    rows: NDArray[np.float64]
    expected: NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """A named model.

    Attributes:
        name: lower case; ``<name>.<output>`` is a variable of policy conditions.
        task: what the outputs mean.
        outputs: their names.
        view: of the session state, as `models.heads.views.VIEWS` names it.
        columns: of that view, in the order of the model's features.
        model: trees with as many outputs.
        calibration: of a binary head whose link is the logistic function; else `IDENTICAL`.
        baseline: of the training rows, for the drift monitor.
        golden: what it must score; all rows but the last, of missing values, are what exact contributions compare with.
        fill: (columns,) what a missing value counts as.
        minimum: (columns,) of the filled training rows, for models that need scaled input; empty if not known.
        maximum: (columns,)
        tolerance: how far a golden row's output may be from the expected one.
        training: its facts and figures; must be JSON.
        before_cart: only asked while nothing was added to the cart and no checkout was begun; no output afterwards.

    Raises:
        ValueError: if the parts do not fit together, or the view or a column is unknown to this release.
    """

    name: str
    task: Task
    outputs: tuple[str, ...]
    view: str
    columns: tuple[str, ...]
    model: Ensemble
    calibration: Calibration
    baseline: Baseline
    golden: Golden
    fill: NDArray[np.float64]
    minimum: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    maximum: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    tolerance: float = 1e-9
    training: Mapping[str, JsonValue] = field(default_factory=dict)
    before_cart: bool = False
    places: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    finish: Finish = field(init=False, repr=False, compare=False)
    layout: Walk | LeafSets = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)
        known = VIEWS[self.view]
        object.__setattr__(self, "places", np.array([known.index(column) for column in self.columns], np.int64))
        object.__setattr__(self, "layout", self.model.filling(self.fill))
        slope, intercept = self.calibration
        plain = self.model.finish
        # slope * (bias + total / unit) + intercept, without a step more a row.
        object.__setattr__(self, "finish", Finish(plain.unit / slope, plain.bias * slope + intercept, plain.links))

    @classmethod
    def build(
        cls,
        name: str,
        task: Task,
        outputs: Sequence[str],
        view: str,
        columns: Sequence[str],
        model: Ensemble,
        *,
        baseline: Baseline,
        golden: NDArray[np.float64],
        fill: NDArray[np.float64],
        calibration: Calibration = IDENTICAL,
        minimum: NDArray[np.float64] | None = None,
        maximum: NDArray[np.float64] | None = None,
        training: Mapping[str, JsonValue] | None = None,
        before_cart: bool = False,
    ) -> Self:
        """A new head; ``golden`` are rows (n, columns), n > 0, to which a row of missing values is added.

        Raises:
            ValueError: as the class does.
        """
        rows = np.concatenate([golden, np.full((1, len(columns)), np.nan)])
        none = np.empty(0)
        head = cls(
            name, task, tuple(outputs), view, tuple(columns), model, calibration, baseline,
            Golden(rows, np.zeros((len(rows), len(outputs)))), fill,
            none if minimum is None else minimum, none if maximum is None else maximum, training=training or {},
            before_cart=before_cart,
        )  # fmt: skip
        head.golden.expected[:] = head.score(rows)
        return head

    def score(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outputs (n, k) of rows (n, columns), NaN where a value is missing. A row's outputs depend on it alone."""
        return self.model.predict(X, self.finish, self.layout)

    def contributions(self, X: NDArray[np.float64], outputs: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What each column (n, columns) added to the raw score of the row's output (n,); see `models.trees.explain`."""
        return contributions(self.model, self.filled(X), outputs).values

    def shapley(self, X: NDArray[np.float64], outputs: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The same exactly, against the golden rows: what each column adds to their mean score; milliseconds a row.

        See `models.trees.shapley`.
        """
        return shapley(self.model, self.filled(X), self.filled(self.golden.rows[:-1]), outputs).values

    def filled(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rows with `fill` where a value is missing."""
        filled: NDArray[np.float64] = np.where(np.isnan(X), self.fill, X)
        return filled

    def read(self, view: NDArray[np.float64]) -> NDArray[np.float64]:
        """The columns of this head out of rows of the whole view; not copied where it is the view itself."""
        whole = self.places.size == view.shape[1] and bool((self.places == np.arange(view.shape[1])).all())
        return view if whole else view[:, self.places]

    def off(self) -> float:
        """How far the golden rows' outputs are from the expected ones; NaN if one is no number."""
        return float(np.abs(self.score(self.golden.rows) - self.golden.expected).max())

    def warm_up(self) -> None:
        """Compile, or load from the cache, all that scoring and explaining run."""
        X = np.full((1, len(self.columns)), np.nan)
        self.score(X)
        self.contributions(X, np.zeros(1, np.uint8))


def _check(head: Head) -> None:
    k, m = len(head.outputs), len(head.columns)
    if head.view not in VIEWS:
        raise ValueError(f"head {head.name}: this release computes no view {head.view!r}, only {', '.join(VIEWS)}")
    if unknown := [column for column in head.columns if column not in VIEWS[head.view]]:
        raise ValueError(f"head {head.name}: view {head.view} has no column {', '.join(unknown)}")
    if len(set(head.columns)) != m or len(set(head.outputs)) != k or not m or not k:
        raise ValueError(f"head {head.name}: columns and outputs must be named, each once")
    if head.before_cart and head.view != WIDE:
        raise ValueError(f"head {head.name}: only view {WIDE} says whether there is a cart")
    if head.model.n_features != m or head.model.n_outputs != k or (head.task in SINGLE and k != 1):
        raise ValueError(
            f"head {head.name}: a {head.task} model of {head.model.n_features} features and {head.model.n_outputs} "
            f"outputs does not fit {m} columns and the outputs {', '.join(head.outputs)}"
        )
    if head.calibration != IDENTICAL and not (head.task == "binary" and head.model.link == LOGISTIC):
        raise ValueError(f"head {head.name}: only a binary model with a logistic link can be calibrated")
    if not (head.calibration.slope > 0 and np.isfinite(head.calibration).all()):
        raise ValueError(f"head {head.name}: the slope of its calibration must be positive")
    if head.fill.shape != (m,) or not np.isfinite(head.fill).all():
        raise ValueError(f"head {head.name}: each column needs a finite number for a missing value")
    if head.baseline.features != head.columns or len(head.baseline.output_means) != k:
        raise ValueError(f"head {head.name}: its baseline is of other columns or outputs")
    rows, expected = head.golden
    if rows.ndim != 2 or rows.shape[1] != m or len(rows) == 0 or expected.shape != (len(rows), k):
        raise ValueError(f"head {head.name}: the golden rows do not have {m} columns and {k} outputs each")
