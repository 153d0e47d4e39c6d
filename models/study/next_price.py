"""C's tasks on `eshop_clothing_2008`: what the rest of a visit's clicks will be worth, from the clicks so far.

C predicts whether the article of a click costs more than its category's average (``price 2``), and what the articles of
a session cost together, from columns of the very click and of the finished session. A shop asks before: at each click,
is the next article a dear one, is one among the rest, and what will the rest add up to. Sessions that began before July
train. The published way is computed beside it (`published_way`), since its figures are the ones that are quoted.
"""

import csv
import gzip
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

from models.heads.ranking import auc
from models.training.outcome_fit import LEAVES, RATE, ROUNDS, ROWS_PER_LEAF, fit_boosting, log_odds

FILE: Final = "eshop_clothing_2008.csv.gz"
FIRST_TEST_MONTH: Final = 7
Floats = NDArray[np.float64]
_ORDER, _CATEGORY, _COLOUR, _PLACE, _PHOTO, _PRICE, _DEAR, _PAGE = 3, 6, 8, 9, 10, 11, 12, 13
_NUMBERS: Final = (_CATEGORY, _COLOUR, _PLACE, _PHOTO, _PRICE, _PAGE)
_PRIOR: Final = 20.0
"""Clicks that the overall rate counts as in a transition's rate."""


class Clicks(NamedTuple):
    """One row a click, grouped by session, in order.

    Attributes:
        numbers: (n, 14) the file's columns as numbers; articles as codes.
        session: (n,) index.
        last: (n,) whether it is the session's last click.
    """

    numbers: Floats
    session: NDArray[np.int64]
    last: NDArray[np.bool_]


def load_clicks(path: Path) -> Clicks:
    """The file, as it is published.

    Raises:
        OSError, ValueError: it is not that file.
    """
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))[1:]
    articles = {name: code for code, name in enumerate(sorted({row[7] for row in rows}))}
    numbers = np.array([[float(articles[v]) if j == 7 else float(v) for j, v in enumerate(row)] for row in rows])
    numbers = numbers[np.lexsort((numbers[:, _ORDER], numbers[:, 5]))]
    changes = np.diff(numbers[:, 5]) != 0
    session = np.concatenate([[0], np.cumsum(changes)])
    return Clicks(numbers, session.astype(np.int64), np.concatenate([changes, [True]]))


def judge_tasks(clicks: Clicks, seed: int) -> dict[str, Any]:
    """The three tasks from prefixes, split in time; AUC of both questions and R² of the sum."""
    n = clicks.numbers
    dear, price = n[:, _DEAR] == 1, n[:, _PRICE]
    trains = _first_of_session(n[:, 1] < FIRST_TEST_MONTH, clicks)
    X = np.concatenate([_columns(clicks), _next_rates(clicks, dear, trains, seed)], axis=1)
    X = np.concatenate([X, (_so_far(clicks, X[:, -1]) / n[:, _ORDER])[:, None]], axis=1)
    following = np.roll(dear, -1)
    rest_dear, rest_price = _rest(clicks, dear.astype(np.float64)) > 0, _rest(clicks, price)
    goes_on, every = ~clicks.last, np.ones(dear.size, np.bool_)
    found: dict[str, Any] = {"clicks": len(n), "sessions": int(clicks.session[-1]) + 1, "articles": 217}
    for name, y, asked in (("next_dear", following, goes_on), ("rest_dear", rest_dear, every)):
        train, test = (np.flatnonzero(asked & part) for part in (trains, ~trains))
        z = log_odds(fit_boosting(X[train], y[train], seed), X[test])
        found[name] = {"auc": auc(y[test], z), "base_rate": float(y[test].mean()), "rows": int(test.size)}
        if name == "next_dear":
            found[name]["auc_of_transitions"] = auc(y[test], X[test][:, -2])
    train, test = np.flatnonzero(trains), np.flatnonzero(~trains)
    found["rest_revenue"] = {"r2": _r2(X, rest_price, train, test, seed), "rows": int(test.size)}
    return found


def published_way(clicks: Clicks, seed: int) -> dict[str, float]:
    """C's tasks as C poses them: ``price 2`` of a click from that click's own columns; a session's sum when it is over.

    The first is a rule of category and price. In the second the number of clicks, times a mean price, is the sum.
    """
    n = clicks.numbers
    dear, price = n[:, _DEAR] == 1, n[:, _PRICE]
    drawn = np.random.default_rng([seed, 36]).random(int(clicks.session[-1]) + 1) < 0.7
    own = n[:, [*_NUMBERS, 7]]
    train = drawn[clicks.session]
    z = log_odds(fit_boosting(own[train], dear[train], seed), own[~train])
    counted = [np.ones(dear.size), *((n[:, _CATEGORY] == k) for k in range(1, 5)), dear, _new(clicks, n[:, 7])]
    whole = np.stack([_so_far(clicks, np.asarray(column, np.float64)) for column in counted], axis=1)[clicks.last]
    total = np.bincount(clicks.session, price).astype(np.float64)
    r2 = _r2(whole, total, np.flatnonzero(drawn), np.flatnonzero(~drawn), seed)
    return {"price_2_auc": auc(dear[~train], z), "session_revenue_r2": r2}


def _first_of_session(value: NDArray[np.bool_], clicks: Clicks) -> NDArray[np.bool_]:
    """The value at each session's first click, for all its clicks."""
    first = np.concatenate([[True], clicks.last[:-1]])
    return np.asarray(value[first][clicks.session], np.bool_)


def _columns(clicks: Clicks) -> Floats:
    """What is known of the session at each click: this click, the two before, and sums so far."""
    n, session = clicks.numbers, clicks.session
    now = n[:, _NUMBERS]
    parts = [now, n[:, [_ORDER]], (n[:, [_DEAR]] == 1).astype(np.float64), n[:, [4]]]
    for back in (1, 2):
        same = np.zeros(len(n), np.bool_)
        same[back:] = session[back:] == session[:-back]
        parts.append(np.where(same[:, None], np.roll(n[:, [_CATEGORY, _PRICE, _DEAR]], back, axis=0), -1.0))
    order, price = n[:, _ORDER], n[:, _PRICE]
    counted = [price, n[:, _DEAR] == 1, *((n[:, _CATEGORY] == k) for k in range(1, 5)), n[:, _PAGE]]
    counted += [_new(clicks, n[:, 7]), _new(clicks, n[:, _CATEGORY]), n[:, _PLACE], n[:, _PHOTO]]
    sums = [_so_far(clicks, np.asarray(column, np.float64)) for column in counted]
    means = [total / order for total in sums]
    weekday = [date(2008, int(month), int(day)).weekday() for month, day in n[:, 1:3]]
    last = [price / np.maximum(means[0], 1.0), n[:, 2], np.array(weekday, np.float64)]
    return np.concatenate([*parts, np.stack([*sums, *means, *last], axis=1)], axis=1)


def _new(clicks: Clicks, value: Floats) -> NDArray[np.bool_]:
    """Whether each click's value is seen for the first time in its session."""
    _, first = np.unique(clicks.session * 1_000 + value.astype(np.int64), return_index=True)
    new = np.zeros(value.size, np.bool_)
    new[first] = True
    return new


def _next_rates(clicks: Clicks, dear: NDArray[np.bool_], trains: NDArray[np.bool_], seed: int) -> Floats:
    """How often a dear article came next after this article, in training sessions; shape (n, 1).

    Training rows get the rate of the other nine tenths of the sessions, so that none sees its own label. (Leaving out
    only the row's own session would show the label, turned round.)
    """
    article = clicks.numbers[:, 7].astype(np.int64)
    tenth = np.random.default_rng([seed, 37]).integers(0, 10, int(clicks.session[-1]) + 1)[clicks.session]
    known = trains & ~clicks.last
    following = np.roll(dear, -1).astype(np.float64)
    size = int(article.max()) + 1
    base = float(following[known].mean())
    out = np.empty(article.size)
    for part in range(11):
        used = known & (tenth != part)  # the last time all of them, for the test rows
        seen = np.bincount(article[used], minlength=size).astype(np.float64)
        rate = (np.bincount(article[used], following[used], size) + _PRIOR * base) / (seen + _PRIOR)
        wanted = ~trains if part == 10 else trains & (tenth == part)
        out[wanted] = rate[article[wanted]]
    return out[:, None]


def _so_far(clicks: Clicks, value: Floats) -> Floats:
    total = np.cumsum(value)
    first = np.concatenate([[True], clicks.last[:-1]])
    return np.asarray(total - (total - value)[first][clicks.session], np.float64)


def _rest(clicks: Clicks, value: Floats) -> Floats:
    """Sum over the clicks strictly later in the session."""
    return np.asarray(np.bincount(clicks.session, value)[clicks.session] - _so_far(clicks, value), np.float64)


def _r2(X: Floats, y: Floats, train: NDArray[np.int64], test: NDArray[np.int64], seed: int) -> float:
    model = HistGradientBoostingRegressor(
        max_iter=ROUNDS,
        max_leaf_nodes=LEAVES,
        learning_rate=RATE,
        min_samples_leaf=ROWS_PER_LEAF,
        early_stopping=False,
        random_state=seed,
    )
    with threadpool_limits(limits=1):
        found = model.fit(X[train], y[train]).predict(X[test])
    return float(1 - np.mean((y[test] - found) ** 2) / y[test].var())
