"""Figures of one classifier on one set of rows: pure functions of labels and predicted probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from featurestore.session.stages import STAGES
from models.study.protocol import STAGE_CODES, Floats, Stages

CURVE_POINTS = 101


def aligned(model: Any, X: Floats) -> Floats:
    """Probabilities (n, 4) in the order of `STAGES`, whatever classes the model saw."""
    proba = np.zeros((len(X), len(STAGES)))
    proba[:, model.classes_.astype(np.int64)] = model.predict_proba(X)
    return proba


def overall(y: Stages, predicted: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy and the macro averages of precision, recall and F1, as fractions."""
    precision, recall, f1, _ = precision_recall_fscore_support(
        y, predicted, labels=STAGE_CODES, average="macro", zero_division=0
    )
    return {
        "accuracy": float(accuracy_score(y, predicted)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }


def by_stage(y: Stages, proba: Floats) -> dict[str, dict[str, float]]:
    """Precision, recall, F1, one-vs-rest AUC and support of each stage; AUC is NaN where a stage is absent."""
    precision, recall, f1, support = precision_recall_fscore_support(
        y, proba.argmax(axis=1), labels=STAGE_CODES, zero_division=0
    )
    return {
        stage: {
            "precision": float(precision[code]),
            "recall": float(recall[code]),
            "f1": float(f1[code]),
            "auc": float(roc_auc_score(y == code, proba[:, code])) if 0 < support[code] < len(y) else float("nan"),
            "support": float(support[code]),
        }
        for code, stage in enumerate(STAGES)
    }


def confusion(y: Stages, proba: Floats) -> list[list[int]]:
    """Counts, rows actual, columns predicted, both in the order of `STAGES`."""
    table: list[list[int]] = confusion_matrix(y, proba.argmax(axis=1), labels=STAGE_CODES).tolist()
    return table


def roc(y: Stages, proba: Floats) -> dict[str, list[float]]:
    """True-positive rate of each stage against the rest at false-positive rates 0, 0.01 ... 1; begins with a 0."""
    grid = np.linspace(0.0, 1.0, CURVE_POINTS)
    curves = {}
    for code, stage in enumerate(STAGES):
        false_rate, true_rate, _ = roc_curve(y == code, proba[:, code])
        reached = np.searchsorted(false_rate, grid, side="right") - 1
        curves[stage] = [0.0] + [round(float(rate), 4) for rate in true_rate[reached]]
    return curves
