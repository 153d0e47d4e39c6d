"""The statistics of experiments: how many sessions are needed, and what the counts say. Pure functions, no SciPy.

Sources: two proportions, Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions, 3rd ed., 4.2; interval
of a difference, Newcombe, Statist. Med. 17 (1998), method 10; interval of a ratio, Katz et al., Biometrics 34 (1978);
spending function, Lan and DeMets, Biometrika 70 (1983), of the O'Brien-Fleming type; its boundaries by the recursion of
Armitage, McPherson and Rowe, J. R. Statist. Soc. A 132 (1969); sample ratio mismatch, Fabijan et al., KDD 2019;
effect among those who were shown something, Imbens and Angrist, Econometrica 62 (1994), and their rates, Abadie,
J. Am. Statist. Assoc. 97 (2002).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

_NORMAL: Final = NormalDist()
_GRID: Final = 301  # odd, for Simpson's rule
_STEPS: Final = 40
WEAK: Final = 10.0
"""An arm that is shown hardly more than the control says nothing about the shown: below this F, Staiger and Stock,
Econometrica 65 (1997)."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits; NaN where the counts do not allow one."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Size:
    """Sessions per arm for a two-sided comparison of two conversion rates."""

    baseline: float
    lift: float
    alpha: float
    power: float
    per_arm: int


@dataclass(frozen=True)
class SequentialSize:
    """The same with interim looks after equal shares of the sessions.

    Attributes:
        per_arm: sessions per arm at the last look.
        inflation: ``per_arm`` over that of a single look.
        bounds: at each look, stop when |z| reaches it.
        expected_null: mean sessions per arm if there is no effect.
        expected_lift: mean sessions per arm if the lift is as assumed.
    """

    per_arm: int
    inflation: float
    bounds: tuple[float, ...]
    expected_null: int
    expected_lift: int


def quantile(p: float) -> float:
    """Quantile of the standard normal distribution."""
    return _NORMAL.inv_cdf(p)


def two_sided(z: float) -> float:
    """Two-sided p-value of a standard normal z."""
    return math.erfc(abs(z) / math.sqrt(2))


def sample_size(baseline: float, lift: float, alpha: float = 0.05, power: float = 0.8) -> Size:
    """Sessions per arm to find a relative ``lift`` of a ``baseline`` rate.

    Raises:
        ValueError: the figures describe no test; says which.
    """
    if not (0 < baseline < 1 and 0 < baseline * (1 + lift) < 1):
        raise ValueError(
            "the baseline and the lifted rate must lie between 0 and 1: write 0.025 for 2.5 %, 0.1 for a lift of 10 %"
        )
    if lift == 0:
        raise ValueError("a lift of 0 cannot be found")
    if not (0 < alpha < 1 and 0 < power < 1):
        raise ValueError("alpha and power must lie between 0 and 1")
    p, q = baseline, baseline * (1 + lift)
    mean = (p + q) / 2
    spread = quantile(1 - alpha / 2) * math.sqrt(2 * mean * (1 - mean))
    spread += quantile(power) * math.sqrt(p * (1 - p) + q * (1 - q))
    return Size(baseline, lift, alpha, power, math.ceil((spread / (q - p)) ** 2))


def sequential_size(size: Size, looks: int) -> SequentialSize:
    """The group-sequential version of a size, with ``looks`` equally spaced analyses.

    Raises:
        ValueError: fewer than 2 or more than 20 looks.
    """
    if not 2 <= looks <= 20:
        raise ValueError("between 2 and 20 looks make sense")
    bounds = obrien_fleming(looks, size.alpha)
    low, high = 0.0, 12.0
    for _ in range(_STEPS):
        drift = (low + high) / 2
        if sum(crossings(bounds, drift)) < size.power:
            low = drift
        else:
            high = drift
    inflation = (high / (quantile(1 - size.alpha / 2) + quantile(size.power))) ** 2
    most = math.ceil(size.per_arm * inflation)
    return SequentialSize(most, inflation, bounds, _expected(bounds, 0.0, most), _expected(bounds, high, most))


def obrien_fleming(looks: int, alpha: float = 0.05) -> tuple[float, ...]:
    """Bounds of |z| at equally spaced looks that spend a two-sided alpha as O'Brien-Fleming do: most of it late."""
    z = quantile(1 - alpha / 4)
    spent = [4 * (1 - _NORMAL.cdf(z / math.sqrt(k / looks))) for k in range(1, looks + 1)]
    bounds: list[float] = []
    walk = _Walk(looks, 0.0)
    before = 0.0
    for total in spent:
        low, high = 0.0, 12.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if walk.leaves(middle) > total - before:
                low = middle
            else:
                high = middle
        bounds.append(high)
        walk.look(high)
        before = total
    return tuple(bounds)


def crossings(bounds: Sequence[float], drift: float) -> list[float]:
    """Probability of stopping at each look, for a test statistic with mean ``drift`` at the last look."""
    walk = _Walk(len(bounds), drift)
    return [walk.look(bound) for bound in bounds]


class _Walk:
    """The test statistic times the root of its information: Brownian motion from look to look, inside the bounds.

    ``mass`` holds the density of what has not stopped yet, times the weights of the numerical integration, on ``grid``.
    """

    def __init__(self, looks: int, drift: float) -> None:
        self._step = 1 / looks
        self._sd = math.sqrt(self._step)
        self._drift = drift * self._step
        self._k = 1
        self._grid = np.zeros(1)
        self._mass = np.ones(1)

    def leaves(self, bound: float) -> float:
        """Probability of being outside the bound at the next look."""
        edge = bound * math.sqrt(self._k * self._step)
        mean = self._grid + self._drift
        outside = [_tail((edge - m) / self._sd) + _tail((edge + m) / self._sd) for m in mean.tolist()]
        return float(self._mass @ np.array(outside))

    def look(self, bound: float) -> float:
        """Take the next look: the probability of stopping there; what is inside walks on."""
        stops = self.leaves(bound)
        edge = bound * math.sqrt(self._k * self._step)
        grid = np.linspace(-edge, edge, _GRID)
        away = (grid[:, None] - self._grid[None, :] - self._drift) / self._sd
        density = np.exp(-away * away / 2) / (self._sd * math.sqrt(2 * math.pi))
        self._mass = (density @ self._mass) * _simpson(_GRID, 2 * edge / (_GRID - 1))
        self._grid = grid
        self._k += 1
        return stops


def _tail(x: float) -> float:
    """Upper tail of the standard normal distribution."""
    return math.erfc(x / math.sqrt(2)) / 2


def _simpson(n: int, h: float) -> NDArray[np.float64]:
    weights = np.full(n, 2.0)
    weights[1::2] = 4.0
    weights[0] = weights[-1] = 1.0
    return weights * h / 3


def _expected(bounds: Sequence[float], drift: float, most: int) -> int:
    stops = crossings(bounds, drift)
    looks = len(bounds)
    mean = sum(p * (k + 1) / looks for k, p in enumerate(stops)) + (1 - sum(stops))
    return math.ceil(most * mean)


def chi_square_p(statistic: float, df: int) -> float:
    """Upper tail of the chi-square distribution for a whole number of degrees of freedom, in closed form."""
    if df < 1 or statistic <= 0:
        return 1.0
    half = statistic / 2
    if df % 2 == 0:
        term, total = 1.0, 1.0
        for k in range(1, df // 2):
            term *= half / k
            total += term
        return min(math.exp(-half) * total, 1.0)
    total = math.erfc(math.sqrt(half))
    term = math.exp(-half) / math.sqrt(math.pi * half)
    for k in range(1, (df + 1) // 2):
        term *= half / (k - 0.5)
        total += term
    return min(total, 1.0)


def sample_ratio(counts: Sequence[int], shares: Sequence[float]) -> tuple[float, float]:
    """Chi-square and p-value of the hypothesis that the arms have the sizes they should."""
    total = sum(counts)
    whole = sum(shares)
    statistic = 0.0
    for count, share in zip(counts, shares, strict=True):
        expected = total * share / whole
        if expected > 0:
            statistic += (count - expected) ** 2 / expected
    return statistic, chi_square_p(statistic, len(counts) - 1)


def wilson(hits: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's score interval of a rate."""
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    z = quantile((1 + level) / 2)
    p = hits / n
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(p, max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0))


def difference(hits_a: float, n_a: float, hits_b: float, n_b: float, level: float = 0.95) -> Interval:
    """Rate of b minus rate of a."""
    a, b = wilson(hits_a, n_a, level), wilson(hits_b, n_b, level)
    delta = b.value - a.value
    low = delta - math.hypot(b.value - b.low, a.high - a.value)
    high = delta + math.hypot(b.high - b.value, a.value - a.low)
    return Interval(delta, low, high)


def ratio(hits_a: float, n_a: float, hits_b: float, n_b: float, level: float = 0.95) -> Interval:
    """Rate of b over rate of a; NaN without hits on either side."""
    if min(hits_a, hits_b) == 0:
        return Interval(math.nan, math.nan, math.nan)
    value = (hits_b / n_b) / (hits_a / n_a)
    sd = math.sqrt(max(1 / hits_a - 1 / n_a + 1 / hits_b - 1 / n_b, 0.0))
    factor = math.exp(quantile((1 + level) / 2) * sd)
    return Interval(value, value / factor, value * factor)


def z_of_rates(hits_a: float, n_a: float, hits_b: float, n_b: float) -> float:
    """Pooled z of the difference of two rates, 0 where there is nothing to compare."""
    if min(n_a, n_b) == 0:
        return 0.0
    p = (hits_a + hits_b) / (n_a + n_b)
    variance = p * (1 - p) * (1 / n_a + 1 / n_b)
    return (hits_b / n_b - hits_a / n_a) / math.sqrt(variance) if variance > 0 else 0.0


def mean_difference(a: "Clusters", b: "Clusters", level: float = 0.95) -> Interval:
    """Mean per session of b minus that of a, normal limits: for arms of a hundred clusters and more."""
    if min(a.sizes.size, b.sizes.size) < 2:
        return Interval(math.nan, math.nan, math.nan)
    delta = b.mean - a.mean
    half = quantile((1 + level) / 2) * math.sqrt(a.variance + b.variance)
    return Interval(delta, delta - half, delta + half)


@dataclass(frozen=True)
class Treated:
    """Sums per cluster of one arm: sessions, those that bought, those that were shown, those that did both."""

    sessions: NDArray[np.float64]
    bought: NDArray[np.float64]
    shown: NDArray[np.float64]
    bought_shown: NDArray[np.float64]

    def over(self, sums: NDArray[np.float64]) -> "Clusters":
        """These sums, over the sessions."""
        return Clusters(sums, self.sessions)


def effect_of_showing(a: Treated, b: Treated, level: float = 0.95) -> tuple[Interval, Interval]:
    """What being shown does to those whom arm b's draw shows it, and arm a's does not: relative lift, and difference.

    The shown differ from the others: they scroll further, and stay longer. So they are not compared with the others.
    The draw is by chance, and works only by what it shows. So the difference between whole arms, divided by the
    difference in their shares of shown sessions, is the effect on these sessions (the Wald estimator). Limits are
    normal, linearised. NaN where there is too little to tell.
    """
    nothing = Interval(math.nan, math.nan, math.nan)
    if min(a.sessions.size, b.sessions.size) < 2:
        return nothing, nothing
    shown_a, shown_b = a.over(a.shown), b.over(b.shown)
    more_shown = shown_b.mean - shown_a.mean
    noise = shown_a.variance + shown_b.variance
    if more_shown <= 0 or more_shown**2 < WEAK * noise:
        return nothing, nothing
    effect = (b.over(b.bought).mean - a.over(a.bought).mean) / more_shown
    rest = sum(arm.over(arm.bought - effect * arm.shown).variance for arm in (a, b))
    z = quantile((1 + level) / 2)
    half = z * math.sqrt(rest) / more_shown
    difference_ = Interval(effect, effect - half, effect + half)
    with_it = b.over(b.bought_shown).mean - a.over(a.bought_shown).mean
    without = a.over(a.bought - a.bought_shown).mean - b.over(b.bought - b.bought_shown).mean
    if min(with_it, without) <= 0:
        return nothing, difference_
    spread = sum(
        arm.over(arm.bought_shown / with_it + (arm.bought - arm.bought_shown) / without).variance for arm in (a, b)
    )
    lift, factor = with_it / without, math.exp(z * math.sqrt(spread))
    return Interval(lift - 1, lift / factor - 1, lift * factor - 1), difference_


@dataclass(frozen=True)
class Clusters:
    """A sum and a number of sessions per cluster: per visitor where visitors were drawn, else per session.

    Sessions of one visitor resemble each other, so they say less than as many sessions of different visitors.
    """

    sums: NDArray[np.float64]
    sizes: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean per session."""
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def variance(self) -> float:
        """Variance of `mean`, linearised (Deng, Knoblich and Lu, KDD 2018); NaN for a single cluster."""
        n = self.sizes.size
        if n < 2:
            return math.nan
        rest = self.sums - self.mean * self.sizes
        return float(n / (n - 1) * (rest @ rest) / self.sizes.sum() ** 2)

    def design_effect(self) -> float:
        """How many clustered sessions say as much as one independent session, for sums of hits; at least 1."""
        p = self.mean if self.sizes.size else 0.0
        if not 0 < p < 1 or self.sizes.size < 2:
            return 1.0
        return max(self.variance * float(self.sizes.sum()) / (p * (1 - p)), 1.0)
