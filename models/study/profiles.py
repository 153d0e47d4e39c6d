"""Latent profiles of the published study: 600 finished sessions of each, drawn from distributions.

A profile says why somebody came; the stage rules, not the profile, say what the session turned out to be, so every
profile also holds sessions that end elsewhere (an intending buyer who adds nothing, an evaluator who leaves early).
A profile is a mixture of habits. A session is drawn gap by gap, so that its nine features agree with one another:

    clicks   log-normal, rounded, within bounds
    gaps     log-normal around the session's own pace; the first few may be long pauses, the last five may drag
    duration sum of the gaps, plus a little passive time after the last interaction
    pages    a share of the clicks; cart additions none or one, or two and more with a long tail

Calibrated once so that the rules give the published class shares. Two properties were wanted and are visible in the
report: explorers lie on both sides of the other classes on every axis (a glance and a marathon are both exploring),
so no linear model separates the classes; and few sessions lie on a threshold, so a forest can learn the rules.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.session.features import FEATURES as SERVED
from models.study.published import FEATURES

SESSIONS_PER_PROFILE: Final = 600
BOUNCE_MISSING: Final = 0.08  # share of sessions whose visitor is unknown
MAX_GAP_S: Final = 600.0
MAX_PAGES: Final = 64
IDLE_GAPS: Final = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """A log-normal quantity: median, standard deviation of its logarithm, and bounds."""

    median: float
    sigma: float
    low: float = 0.0
    high: float = float("inf")

    def draw(self, rng: np.random.Generator, shape: int | tuple[int, ...]) -> Floats:
        """Values of the given shape."""
        values = self.median * np.exp(self.sigma * rng.standard_normal(shape))
        return np.clip(values, self.low, self.high)


@dataclass(frozen=True)
class Habit:
    """One way to behave, as distributions. Times in seconds; ``what`` describes it in the report.

    ``pause_s`` is the length of ``pauses`` (fewest, most) early gaps; ``drag`` gives the pace of the last five gaps;
    ``buys`` draws two and more cart additions, otherwise one with probability ``one_in_cart``.
    """

    what: str
    weight: float
    clicks: Spread
    pages_per_click: tuple[float, float]
    pace_s: Spread
    bounce: float
    unevenness: float = 0.35
    pauses: tuple[int, int] = (0, 0)
    pause_s: Spread = Spread(250.0, 0.4)
    drag: Spread | None = None
    buys: bool = False
    one_in_cart: float = 0.55
    passive_share: float = 0.05


_SLOW: Final = Spread(90, 0.4)
_DRAG: Final = Spread(50, 0.6, low=37, high=400)
_STEADY: Final = Spread(9, 0.35, high=17)

_EXPLORER: Final = (
    Habit("a glance", 0.12, Spread(6, 0.5, 2, 18), (0.4, 0.9), Spread(10, 0.3, high=19), 0.6),
    Habit("many clicks on few products", 0.20, Spread(70, 0.5, 24, 250), (0.03, 0.1), _STEADY, 0.45),
    Habit("skims lists", 0.22, Spread(62, 0.15, 30, 80), (0.6, 0.95), Spread(2.2, 0.11), 0.45, passive_share=0.02),
    Habit("reads slowly for long", 0.11, Spread(28, 0.4, 17, 100), (0.1, 0.35), _SLOW, 0.45, unevenness=1.0),
    Habit("leaves and returns", 0.20, Spread(18, 0.2, 8, 40), (0.1, 0.35), Spread(10, 0.25), 0.45, pauses=(2, 6)),
    Habit("a page a click, then gone", 0.15, Spread(15, 0.08, 12, 16), (0.75, 0.95), Spread(15, 0.15), 0.45),
)
_EVALUATOR: Final = (
    Habit("compares at length", 0.69, Spread(36, 0.17, 24, 80), (0.42, 0.60), Spread(12, 0.15, high=17), 0.35),
    Habit("gives up early", 0.17, Spread(12, 0.2, 4, 17), (0.3, 0.6), Spread(12, 0.12), 0.35),
    Habit("studies one product", 0.14, Spread(60, 0.4, 22, 250), (0.03, 0.1), Spread(12, 0.12), 0.35),
)
_BUYER: Final = (
    Habit("compares, then fills the cart", 0.36, Spread(36, 0.4, 12, 200), (0.35, 0.6), _STEADY, 0.25, buys=True),
    Habit("buys quickly", 0.14, Spread(12, 0.4, 3, 60), (0.4, 0.9), _STEADY, 0.25, buys=True),
    Habit("buys slowly", 0.11, Spread(28, 0.4, 17, 100), (0.1, 0.6), _SLOW, 0.25, unevenness=1.0, buys=True),
    Habit("buys after many clicks", 0.20, Spread(60, 0.4, 22, 250), (0.05, 0.12), _STEADY, 0.25, buys=True),
    Habit("came to buy, adds one thing or none", 0.19, Spread(8, 0.4, 2, 18), (0.4, 0.9), _STEADY, 0.25),
)
_DROPOFF: Final = (
    Habit("slows down early", 0.35, Spread(8, 0.3, 3, 20), (0.5, 0.9), Spread(10, 0.3), 0.5, drag=_DRAG),
    Habit("looks around, then slows down", 0.25, Spread(34, 0.2, 15, 50), (0.3, 0.6), Spread(7, 0.2), 0.5, drag=_DRAG),
    Habit("leaves a full cart", 0.24, Spread(16, 0.3, 5, 40), (0.3, 0.7), Spread(9, 0.2), 0.5, drag=_DRAG, buys=True),
    Habit("seemed about to leave, did not", 0.16, Spread(8, 0.3, 2, 18), (0.4, 0.9), Spread(11, 0.25, high=19), 0.5),
)
PROFILES: Final = {"explorer": _EXPLORER, "evaluator": _EVALUATOR, "buyer": _BUYER, "dropoff": _DROPOFF}


def draw_sessions(seed: int, per_profile: int = SESSIONS_PER_PROFILE) -> tuple[Floats, NDArray[np.uint8]]:
    """Feature matrix (n, 9), unknown bounce rates NaN, and each row's profile number; profile by profile."""
    rng = np.random.default_rng([seed, 1])
    blocks, profiles = [], []
    for number, habits in enumerate(PROFILES.values()):
        for habit, count in zip(habits, _counts(habits, per_profile), strict=True):
            blocks.append(_draw(habit, count, rng))
            profiles += [number] * count
    X = np.concatenate(blocks)
    X[rng.random(len(X)) < BOUNCE_MISSING, FEATURES.index("bounce_rate")] = np.nan
    return X, np.array(profiles, np.uint8)


def as_served(X: Floats) -> Floats:
    """Study rows (n, 9) as rows of the served features: NaN, which meets no rule, in those that P does not know."""
    rows = np.full((len(X), len(SERVED)), np.nan)
    rows[:, [SERVED.index(name) for name in FEATURES]] = X
    return rows


def _counts(habits: tuple[Habit, ...], total: int) -> list[int]:
    edges = np.cumsum([0.0] + [habit.weight for habit in habits])
    return [int(count) for count in np.diff(np.rint(edges / edges[-1] * total))]


def _draw(habit: Habit, count: int, rng: np.random.Generator) -> Floats:
    clicks = np.rint(habit.clicks.draw(rng, count)).astype(np.int64)
    gaps = _draw_gaps(habit, clicks, rng)
    n_gaps = clicks - 1
    place = np.arange(gaps.shape[1])[None, :]
    last = np.where(place >= (n_gaps - IDLE_GAPS)[:, None], gaps, 0.0).sum(axis=1)
    duration = gaps.sum(axis=1) * (1.0 + rng.exponential(habit.passive_share, count))
    pages = np.clip(np.rint(clicks * rng.uniform(*habit.pages_per_click, count)), 1, MAX_PAGES)
    cart = _draw_cart(habit, count, rng)
    bounce = np.rint(10 * rng.beta(8 * habit.bounce, 8 * (1 - habit.bounce), count)) / 10
    engagement = clicks / np.maximum(duration, 1.0)
    mean_gap, idle = gaps.sum(axis=1) / n_gaps, last / np.minimum(n_gaps, IDLE_GAPS)
    return np.column_stack((duration, clicks, pages, cart, mean_gap, bounce, engagement, cart / pages, idle))


def _draw_gaps(habit: Habit, clicks: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Gaps of each session in seconds, zero past its last; shape (n, most clicks - 1)."""
    shape = (len(clicks), int(clicks.max()) - 1)
    n_gaps = (clicks - 1)[:, None]
    place = np.arange(shape[1])[None, :]
    gaps = habit.pace_s.draw(rng, shape[0])[:, None] * Spread(1, habit.unevenness).draw(rng, shape)
    if habit.pauses[1]:
        pauses = rng.integers(habit.pauses[0], habit.pauses[1] + 1, shape[0])[:, None]
        early = place < np.minimum(pauses, np.maximum(n_gaps - IDLE_GAPS, 1))
        gaps = np.where(early, habit.pause_s.draw(rng, shape), gaps)
    if habit.drag is not None:
        drag = habit.drag.draw(rng, shape[0])[:, None] * Spread(1, habit.unevenness / 3).draw(rng, shape)
        gaps = np.where(place >= n_gaps - IDLE_GAPS, drag, gaps)
    return np.where(place < n_gaps, np.minimum(gaps, MAX_GAP_S), 0.0)


def _draw_cart(habit: Habit, count: int, rng: np.random.Generator) -> Floats:
    if not habit.buys:
        return (rng.random(count) < habit.one_in_cart).astype(np.float64)
    bulk = rng.random(count) < 0.05
    return np.where(bulk, np.rint(rng.uniform(8, 30, count)), 1.0 + rng.geometric(0.65, count))
