"""Real labels: purchase intent on `online_shoppers_intention` (UCI 468, CC BY 4.0, Sakar et al. 2018).

12,330 finished sessions of one shop with the label Revenue. `PageValues` is computed from completed transactions, so it
tells part of the answer: every figure is given with and without it.
"""

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

from featurestore.errors import SettingsError
from featurestore.session.stages import DROP_OFF_RISK, EVALUATOR, EXPLORER, INTENT_BUYER, STAGES

FILE: Final = "online_shoppers_intention.csv.gz"
FOLDS: Final = 10
NUMERIC: Final = (
    "Administrative",
    "Administrative_Duration",
    "Informational",
    "Informational_Duration",
    "ProductRelated",
    "ProductRelated_Duration",
    "BounceRates",
    "ExitRates",
    "PageValues",
    "SpecialDay",
)
CATEGORICAL: Final = ("Month", "OperatingSystems", "Browser", "Region", "TrafficType", "VisitorType", "Weekend")
CLASSIFIERS: Final = ("logistic_regression", "decision_tree", "random_forest", "gradient_boosting")
MAPPING: Final = (
    "First match wins. Drop-Off Risk: mean exit rate of the visited pages at least 0.05 in less than 900 s. "
    "Intent Buyer: PageValues above 0, that is, the session saw pages that earlier purchases passed through "
    "(there is no cart in this data). Evaluator: at least 10 product pages, 20 pages in all and 200 s. "
    "Explorer: everybody else."
)


@dataclass(frozen=True)
class Shoppers:
    """``numeric`` (n, 10) in the order of `NUMERIC`, ``categorical`` (n, 7) codes, ``bought`` (n,)."""

    numeric: NDArray[np.float64]
    categorical: NDArray[np.float64]
    bought: NDArray[np.bool_]

    def every(self, step: int) -> "Shoppers":
        """Every ``step``-th session."""
        return Shoppers(self.numeric[::step], self.categorical[::step], self.bought[::step])


def find_shoppers(data: Path | None) -> Path | None:
    """The data file in folder ``data``, or None if it is not there."""
    path = data / FILE if data is not None else None
    return path if path is not None and path.is_file() else None


def load_shoppers(path: Path) -> Shoppers:
    """Read the gzipped CSV.

    Raises:
        SettingsError: if the file is damaged or lacks a column.
    """
    try:
        with gzip.open(path) as file:
            rows = list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")))
        numeric = np.array([[float(row[name]) for name in NUMERIC] for row in rows])
        texts = np.array([[row[name] for name in CATEGORICAL] for row in rows])
        bought = np.array([row["Revenue"] == "TRUE" for row in rows])
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    except (KeyError, ValueError, TypeError) as error:
        raise SettingsError(f"{path}: is not online_shoppers_intention: {error}") from None
    if not 0 < bought.sum() < len(bought):
        raise SettingsError(f"{path}: needs sessions with and without a purchase, has {len(bought)} rows")
    codes = np.column_stack([np.unique(column, return_inverse=True)[1] for column in texts.T])
    return Shoppers(numeric, codes.astype(np.float64), bought)


def new_classifier(name: str, seed: int, numeric: int) -> Pipeline:
    """Scaled numbers, one-hot categories, then the classifier; the first ``numeric`` columns are the numbers."""
    models = {
        "logistic_regression": LogisticRegression(max_iter=1000),
        "decision_tree": DecisionTreeClassifier(max_depth=8, min_samples_leaf=20, random_state=seed),
        "random_forest": RandomForestClassifier(n_estimators=100, min_samples_leaf=3, random_state=seed),
        "gradient_boosting": HistGradientBoostingClassifier(learning_rate=0.06, max_iter=120, random_state=seed),
    }
    prepare = ColumnTransformer(
        [
            ("numbers", MinMaxScaler(), list(range(numeric))),
            (
                "categories",
                OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                list(range(numeric, numeric + len(CATEGORICAL))),
            ),
        ]
    )
    return Pipeline([("prepare", prepare), ("model", models[name])])


def compare(shoppers: Shoppers, seed: int, jobs: int, folds: int = FOLDS) -> dict[str, dict[str, Any]]:
    """Cross-validated accuracy, macro F1, ROC-AUC and PR-AUC: model -> figures, those without PageValues nested."""
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    splits = list(splitter.split(shoppers.numeric, shoppers.bought))
    full = np.column_stack((shoppers.numeric, shoppers.categorical))
    bare = np.delete(full, NUMERIC.index("PageValues"), axis=1)
    tasks = [(name, X, fit, held) for name in CLASSIFIERS for X in (full, bare) for fit, held in splits]
    parts = Parallel(n_jobs=jobs)(
        delayed(_predict)(name, X, shoppers.bought, fit, held, seed) for name, X, fit, held in tasks
    )
    probabilities = np.zeros((len(CLASSIFIERS) * 2, len(shoppers.bought)))
    for number, ((_, _, _, held), part) in enumerate(zip(tasks, parts, strict=True)):
        probabilities[number // folds, held] = part
    return {
        name: _figures(probabilities[2 * n], shoppers.bought, splits)
        | {"without_page_values": _figures(probabilities[2 * n + 1], shoppers.bought, splits)}
        for n, name in enumerate(CLASSIFIERS)
    }


def map_stages(shoppers: Shoppers) -> NDArray[np.uint8]:
    """Stage codes (n,) by the rule that `MAPPING` states."""
    column = dict(zip(NUMERIC, shoppers.numeric.T, strict=True))
    pages = column["Administrative"] + column["Informational"] + column["ProductRelated"]
    seconds = column["Administrative_Duration"] + column["Informational_Duration"] + column["ProductRelated_Duration"]
    stages = np.full(len(pages), EXPLORER, np.uint8)
    stages[(column["ProductRelated"] >= 10) & (pages >= 20) & (seconds >= 200)] = EVALUATOR
    stages[column["PageValues"] > 0] = INTENT_BUYER
    stages[(column["ExitRates"] >= 0.05) & (seconds < 900)] = DROP_OFF_RISK
    return stages


def describe_stages(shoppers: Shoppers) -> dict[str, dict[str, float]]:
    """Sessions, share, conversion and median pages and seconds of each mapped stage."""
    stages = map_stages(shoppers)
    pages, seconds = shoppers.numeric[:, [0, 2, 4]].sum(axis=1), shoppers.numeric[:, [1, 3, 5]].sum(axis=1)
    table = {}
    for code, stage in enumerate(STAGES):
        rows = stages == code
        table[stage] = {
            "sessions": int(rows.sum()),
            "share": float(rows.mean()),
            "conversion": float(shoppers.bought[rows].mean()) if rows.any() else float("nan"),
            "median_pages": float(np.median(pages[rows])) if rows.any() else float("nan"),
            "median_seconds": float(np.median(seconds[rows])) if rows.any() else float("nan"),
        }
    return table


def _predict(
    name: str,
    X: NDArray[np.float64],
    bought: NDArray[np.bool_],
    fit: NDArray[np.int64],
    held: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float64]:
    with threadpool_limits(limits=1):  # the folds run side by side already; more threads would wait for each other
        model = new_classifier(name, seed, X.shape[1] - len(CATEGORICAL)).fit(X[fit], bought[fit])
        probability: NDArray[np.float64] = model.predict_proba(X[held])[:, 1]
    return probability


def _figures(
    probability: NDArray[np.float64],
    bought: NDArray[np.bool_],
    splits: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> dict[str, float]:
    """Means over the held-out folds."""
    rows = []
    for _, held in splits:
        truth, p = bought[held], probability[held]
        rows.append(
            (
                np.mean((p >= 0.5) == truth),
                f1_score(truth, p >= 0.5, average="macro"),
                roc_auc_score(truth, p),
                average_precision_score(truth, p),
            )
        )
    table = np.array(rows)
    accuracy, macro_f1, roc_auc, pr_auc = (float(value) for value in table.mean(axis=0))
    return {
        "accuracy": accuracy,
        "accuracy_sd": float(table[:, 0].std()),
        "macro_f1": macro_f1,
        "roc_auc": roc_auc,
        "pr_auc": pr_auc,
    }
