"""What training looked like, frozen: the yardstick of the drift monitor.

Each feature has at most ten bins, cut at the deciles of its training rows, and a last bin for missing values. An edge
belongs to the bin below it. Deciles that fall on the same value become one edge, so a feature that was constant has a
single bin and can never alarm; no bin but the one for missing values is empty in training.

Shares of 0 would make the logarithms infinite, so `psi` and `kl` raise every share to `FLOOR` first. The recording
rules in ``deploy/prometheus`` do the same, and therefore give the same numbers from the fleet's counters.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from featurestore.session.features import FEATURES
from featurestore.session.stages import STAGES

FLOOR: Final = 1e-4
MAX_BINS: Final = 10

_DECILES: Final = np.arange(1, MAX_BINS) / MAX_BINS


def psi(expected: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """Population stability index of ``counts`` (bins,) against the shares ``expected`` (bins,).

    The sum of ``(a - e) * ln(a / e)`` over the bins, each share raised to `FLOOR`. An empty window gives 0: there is no
    sign of drift in no data. Never negative.
    """
    seen = counts.sum()
    if seen <= 0:
        return 0.0
    a, e = np.maximum(counts / seen, FLOOR), np.maximum(expected, FLOOR)
    return float(np.sum((a - e) * np.log(a / e)))


def kl(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Kullback-Leibler divergence of ``p`` from ``q``, in nats; both are counts or shares.

    The sum of ``p * ln(p / q)``, each share raised to `FLOOR`. If either is empty the result is 0. Flooring can push a
    divergence of nothing below 0 by less than `FLOOR` times the bins, so the result is cut at 0.
    """
    if p.sum() <= 0 or q.sum() <= 0:
        return 0.0
    p, q = np.maximum(p / p.sum(), FLOOR), np.maximum(q / q.sum(), FLOOR)
    return max(float(np.sum(p * np.log(p / q))), 0.0)


class Baseline(BaseModel):
    """Frozen bins, shares and moments of the training rows.

    Attributes:
        features: names, in order.
        rows: how many there were.
        edges: inclusive upper edges of each feature's bins but the last; ascending.
        shares: of the rows, for each feature and bin; the last is the share of missing values.
        means: of the finite values; 0 if there were none.
        sds: standard deviations of the finite values (of the population); 0 if the feature was constant or missing.
        output_means: mean of each output's target: the share of each class, the base rate of a binary head, the mean of
            a value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[2] = 2
    features: tuple[str, ...] = FEATURES
    rows: int = Field(ge=1)
    edges: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]
    output_means: tuple[float, ...]

    @model_validator(mode="before")
    @classmethod
    def _of_format_1(cls, values: Any) -> Any:
        """Format 1 knew one head, the stage."""
        if isinstance(values, dict) and values.get("format") == 1 and "stage_shares" in values:
            rest = {name: value for name, value in values.items() if name not in {"format", "stage_shares"}}
            return {**rest, "output_means": values["stage_shares"]}
        return values

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        per_feature = (self.edges, self.shares, self.means, self.sds)
        if any(len(part) != len(self.features) for part in per_feature) or not self.output_means:
            raise ValueError("the baseline does not have one entry for each feature, and one for each output")
        for name, edges, shares in zip(self.features, self.edges, self.shares, strict=True):
            if list(edges) != sorted(set(edges)) or len(shares) != len(edges) + 2:
                raise ValueError(f"{name}: edges must ascend, and there is one share a bin and one for missing values")
        for shares in self.shares:
            if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
                raise ValueError("shares must not be negative and must add up to 1")
        if min(self.sds) < 0:
            raise ValueError("a standard deviation is negative")
        return self

    @classmethod
    def from_training(
        cls,
        X: NDArray[np.float64],
        targets: NDArray[Any],
        features: Sequence[str] = FEATURES,
        classes: int = len(STAGES),
    ) -> Self:
        """The baseline of training rows.

        Args:
            X: rows (n, features), NaN where missing.
            targets: class codes (n,), or with ``classes`` 0 the target (n,) of a single output.
            features: their names.
            classes: how many there are.

        Raises:
            ValueError: if there is no row, or the shapes do not fit.
        """
        if X.shape != (len(targets), len(features)) or len(targets) == 0:
            raise ValueError(f"a baseline needs rows of {len(features)} features with a target each, not {X.shape}")
        edges, shares, middles, sds = [], [], [], []
        for column in X.T:
            cut = _edges(column)
            counts = np.bincount(_bins(cut, column), minlength=len(cut) + 2)
            finite = column[np.isfinite(column)]
            constant = finite.size == 0 or bool((finite == finite[0]).all())  # else the mean's rounding shows as sd
            edges.append(tuple(cut.tolist()))
            shares.append(tuple((counts / len(column)).tolist()))
            middles.append(float(finite[0] if constant else finite.mean()) if finite.size else 0.0)
            sds.append(0.0 if constant else float(finite.std()))
        codes = targets.astype(np.int64) if classes else targets
        means = np.bincount(codes, minlength=classes) / len(codes) if classes else np.mean(codes, dtype=np.float64)
        return cls(
            features=tuple(features),
            rows=len(targets),
            edges=tuple(edges),
            shares=tuple(shares),
            means=tuple(middles),
            sds=tuple(sds),
            output_means=tuple(np.atleast_1d(means).tolist()),
        )

    @cached_property
    def width(self) -> int:
        """Columns of a table of bins: the most bins of a feature, and the last for missing values."""
        return max(len(edges) for edges in self.edges) + 2

    def table(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The edges (features, width - 2), padded with inf, and shares (features, width), missing last, padded with 0.

        A value's bin is the number of its feature's edges below it, so padding changes nothing.
        """
        edges = np.full((len(self.features), self.width - 2), np.inf)
        shares = np.zeros((len(self.features), self.width))
        for j, (cut, share) in enumerate(zip(self.edges, self.shares, strict=True)):
            edges[j, : len(cut)] = cut
            shares[j, : len(share) - 1] = share[:-1]
            shares[j, -1] = share[-1]
        return edges, shares

    def counts(self, X: NDArray[np.float64]) -> list[NDArray[np.int64]]:
        """Rows of ``X`` (n, features) in each bin of each feature; the last of each is missing values."""
        return [
            np.bincount(_bins(np.array(edges), column), minlength=len(edges) + 2).astype(np.int64)
            for edges, column in zip(self.edges, X.T, strict=True)
        ]

    def psi_of(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """`psi` of each feature of the rows ``X`` (n, features); 0 everywhere without rows."""
        seen = [counts.astype(np.float64) for counts in self.counts(X)]
        return np.array([psi(np.array(e), counts) for e, counts in zip(self.shares, seen, strict=True)])

    def to_json(self) -> str:
        """Indented JSON with a final newline; numbers keep every bit."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """What `to_json` wrote.

        Raises:
            ValueError: if it is not a baseline (pydantic's ValidationError is one).
        """
        return cls.model_validate_json(text)


def _edges(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distinct deciles of the finite values below their maximum; each is a value of the column."""
    finite = column[np.isfinite(column)]
    if finite.size == 0:
        return np.empty(0)
    deciles = np.unique(np.quantile(finite, _DECILES, method="inverted_cdf")) + 0.0  # -0 becomes 0
    inner: NDArray[np.float64] = deciles[deciles < finite.max()]
    return inner


def _bins(edges: NDArray[np.float64], column: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bin of each value: the number of edges below it; missing values have the last."""
    return np.where(np.isnan(column), len(edges) + 1, np.searchsorted(edges, column, side="left")).astype(np.int64)
