"""Segments from the finished visits of a log: k-means, how many by silhouette among the stable, named by a profile.

Silhouette alone prefers two or three groups, which say little more than "stayed" and "left"; so at least `FEWEST` are
asked for. A number of segments is stable if two halves of the visits give the same ones: each half is clustered alone,
both put all visits into their groups, and the adjusted Rand index of the two is at least `STABLE` (Hubert and Arabie,
J. Classif. 2 (1985); Rousseeuw, J. Comput. Appl. Math. 20 (1987)).
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

from featurestore.session.views import WIDE
from models.heads.segments import Segments, logs, scaled
from models.training.outcomes import OutcomeRows

COLUMNS: Final = (
    "clicks", "pages", "duration_s", "gap_mean_s", "cart_additions", "cart_items", "checkout_step", "purchases",
    "n_view_item", "n_search", "n_compare", "n_view_reviews",
)  # fmt: skip
FEWEST: Final = 4
MOST: Final = 8
STABLE: Final = 0.9
FEWEST_VISITS: Final = 1_000
_MOST_VISITS: Final = 20_000
_SILHOUETTE_VISITS: Final = 4_000
_HALVES: Final = 3
_GOLDEN_ROWS: Final = 40
_MINUTE_S: Final = 60.0


class Tried(NamedTuple):
    """One number of segments: its silhouette, and the mean adjusted Rand index of half samples."""

    k: int
    silhouette: float
    stability: float


class Profile(NamedTuple):
    """One segment in figures that people can read; shares are fractions, the rest means of a visit."""

    share: float
    clicks: float
    pages: float
    minutes: float
    compared: float
    cart: float
    checkout: float
    ordered: float


def finished(rows: OutcomeRows) -> NDArray[np.float64]:
    """The wide view (visits, `N_WIDE`) after the last event of each visit that ended."""
    at = np.flatnonzero(~rows.silent)
    last = np.ones(at.size, np.bool_)
    last[:-1] = rows.visit[at[1:]] != rows.visit[at[:-1]]
    return rows.wide[at[last]]


def train_segments(wide: NDArray[np.float64], seed: int) -> Segments | str:
    """The segments of finished visits (n, `N_WIDE`), or why there are none."""
    if len(wide) < FEWEST_VISITS:
        return f"{len(wide):,} finished visits, {FEWEST_VISITS:,} are needed"
    rng = np.random.default_rng([seed, 31])
    X = wide[:, [WIDE.index(column) for column in COLUMNS]]
    if len(X) > _MOST_VISITS:
        X = X[np.sort(rng.choice(len(X), _MOST_VISITS, replace=False))]
    deviation = logs(X).std(axis=0)
    varied = deviation > 0
    X, columns = X[:, varied], tuple(name for name, keep in zip(COLUMNS, varied.tolist(), strict=True) if keep)
    mean, scale = logs(X).mean(axis=0), deviation[varied]
    Z = scaled(X, mean, scale)
    with threadpool_limits(limits=1):
        tried = [_tried(Z, k, seed, rng) for k in range(FEWEST, MOST + 1)]
        stable = [one for one in tried if one.stability >= STABLE]
        if not stable:
            best = max(tried, key=lambda one: one.stability)
            return f"no number of segments is stable: the best, {best.k}, has {best.stability:.2f} of {STABLE:.2f}"
        chosen = max(stable, key=lambda one: one.silhouette)
        fitted = _kmeans(chosen.k, seed).fit(Z)
    order = np.argsort(-np.bincount(fitted.labels_, minlength=chosen.k), kind="stable")
    profiles = profiles_of(wide_of(X, columns), np.argsort(order)[fitted.labels_], chosen.k)
    golden = X[np.linspace(0, len(X) - 1, _GOLDEN_ROWS).astype(np.int64)]
    nothing = np.zeros(len(golden), np.int64)
    made = Segments(
        tuple(names_of(profiles)), columns, mean, scale, fitted.cluster_centers_[order], golden, nothing,
        _facts(len(X), chosen, tried, profiles),
    )  # fmt: skip
    made.expected[:] = made.nearest(golden)
    return made


def _facts(visits: int, chosen: Tried, tried: list[Tried], profiles: list[Profile]) -> dict[str, JsonValue]:
    return {
        "visits": visits,
        "silhouette": chosen.silhouette,
        "stability": chosen.stability,
        "tried": [{"k": k, "silhouette": silhouette, "stability": stability} for k, silhouette, stability in tried],
        "profiles": [dict(profile._asdict()) for profile in profiles],
    }


def _kmeans(k: int, seed: int, starts: int = 4) -> Any:
    return KMeans(n_clusters=k, n_init=starts, random_state=seed)


def _tried(Z: NDArray[np.float64], k: int, seed: int, rng: np.random.Generator) -> Tried:
    labels = _kmeans(k, seed).fit(Z).labels_
    some = rng.choice(len(Z), min(_SILHOUETTE_VISITS, len(Z)), replace=False)
    alike = []
    for _ in range(_HALVES):
        order = rng.permutation(len(Z))
        one, two = (_kmeans(k, seed, 2).fit(Z[half]).predict(Z) for half in np.array_split(order, 2))
        alike.append(adjusted_rand_score(one, two))
    return Tried(k, float(silhouette_score(Z[some], labels[some])), float(np.mean(alike)))


def wide_of(X: NDArray[np.float64], columns: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """The columns by name; one that does not vary is 0."""
    nothing = np.zeros(len(X))
    return {name: X[:, columns.index(name)] if name in columns else nothing for name in COLUMNS}


def profiles_of(values: dict[str, NDArray[np.float64]], labels: NDArray[np.int64], k: int) -> list[Profile]:
    """What each segment's visits are like.

    Args:
        values: by column, (n,) each.
        labels: (n,) segment of each visit.
        k: how many segments.
    """
    found = []
    for segment in range(k):
        mine = {name: column[labels == segment] for name, column in values.items()}
        found.append(
            Profile(
                share=float((labels == segment).mean()),
                clicks=float(mine["clicks"].mean()),
                pages=float(mine["pages"].mean()),
                minutes=float(mine["duration_s"].mean() / _MINUTE_S),
                compared=float((mine["n_compare"] + mine["n_view_reviews"]).mean()),
                cart=float((mine["cart_additions"] > 0).mean()),
                checkout=float((mine["checkout_step"] > 0).mean()),
                ordered=float((mine["purchases"] > 0).mean()),
            )
        )
    return found


def names_of(profiles: list[Profile]) -> list[str]:
    """A name for each segment by what most of its visits did; those of one name are told apart by their length.

    >>> names_of(
    ...     [Profile(0.5, 2, 2, 1, 0, 0, 0, 0), Profile(0.4, 9, 8, 2, 0, 0, 0, 0), Profile(0.1, 9, 8, 2, 0, 1, 1, 1)]
    ... )
    ['glances', 'browsers', 'buyers']
    """
    names = [_name(profile) for profile in profiles]
    found = list(names)
    for name in {name for name in names if names.count(name) > 1}:
        same = sorted((i for i, other in enumerate(names) if other == name), key=lambda i: profiles[i].clicks)
        for i in same:
            found[i] = f"{name}, {_clicks(profiles[i])}"
        for i in same[1:]:
            if found.count(found[i]) > 1:
                found[i] = f"{name}, {_clicks(profiles[i])} in {profiles[i].minutes:.0f} min"
    return [name if found.index(name) == i else f"{name} ({i})" for i, name in enumerate(found)]


def _clicks(profile: Profile) -> str:
    n = round(profile.clicks)
    return "1 click" if n == 1 else f"{n} clicks"


def _name(profile: Profile) -> str:
    most = 0.5
    if profile.ordered >= most:
        return "buyers"
    if profile.checkout >= most:
        return "checkout leavers"
    if profile.cart >= most:
        return "cart leavers"
    if profile.compared >= 1:
        return "comparers"
    return "glances" if profile.clicks < 3 else "browsers"


def table(segments: Segments) -> str:
    """The profile table as text, a line a segment."""
    facts: Any = segments.training
    head = (
        f"{len(segments.names)} segments of {facts['visits']:,} visits: silhouette {facts['silhouette']:.3f}, "
        f"half samples agree by {facts['stability']:.2f} (adjusted Rand)"
    )
    columns = f"{'visits':>7}{'clicks':>8}{'pages':>7}{'min':>6}{'compared':>10}{'cart':>6}{'checkout':>10}{'order':>7}"
    lines = [head, f"  {'':<30}{columns}"]
    for name, p in zip(segments.names, facts["profiles"], strict=True):
        lines.append(
            f"  {name:<30}{p['share']:>7.1%}{p['clicks']:>8.1f}{p['pages']:>7.1f}{p['minutes']:>6.1f}"
            f"{p['compared']:>10.1f}{p['cart']:>6.0%}{p['checkout']:>10.0%}{p['ordered']:>7.0%}"
        )
    return "\n".join(lines)
