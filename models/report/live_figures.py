"""Figures beyond the published study: the streaming protocol, real labels, explanations."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurestore.session.stages import STAGES
from models.report.canvas import LINE, OURS, SECOND, SOFT, STAGE_COLOURS, Figure, panels, picture
from models.report.figures import NAMES
from models.report.html import DASH
from models.study.published import FEATURES

PUBLISHED_WAY = STAGE_COLOURS["Drop-Off Risk"]
_BEESWARM_BINS = 60


@picture("Accuracy and macro-F1 by position in the session")
def positions(served: list[dict[str, Any]], published: list[dict[str, Any]]) -> Figure:
    """Accuracy and macro-F1 by position in the session: the served model and one trained the published way."""
    figure, axes = panels(1, 2, size=(9.2, 3.3), sharey=True)
    ticks = _bands(served)
    for axis, key, title in zip(axes, ("accuracy", "macro_f1"), ("Accuracy", "Macro-F1"), strict=True):
        for rows, colour, label in (
            (served, OURS, "served bundle"),
            (published, PUBLISHED_WAY, "trained the published way"),
        ):
            values = [np.nan if row[key] is None else 100 * row[key] for row in rows]
            axis.plot(range(len(rows)), values, "-o", ms=4, color=colour, label=label)
        axis.set_title(title)
        axis.set_xticks(range(len(ticks)), ticks, rotation=45, ha="right")
        axis.set_xlabel("position in the session")
    axes[0].set_ylabel("%")
    axes[1].legend(loc="lower right")
    return figure


@picture("Reliability curve and the distribution of confidence")
def reliability(served: list[dict[str, Any]], published: list[dict[str, Any]]) -> Figure:
    """Accuracy by confidence, and how many rows have it."""
    figure, axes = panels(1, 2, size=(9.2, 3.3), width_ratios=(1.1, 1))
    axes[0].plot([0, 1], [0, 1], color=SOFT, lw=1, ls=":")
    sets = ((served, OURS, "served bundle"), (published, PUBLISHED_WAY, "trained the published way"))
    for number, (curve, colour, label) in enumerate(sets):
        x = [row["confidence"] for row in curve]
        axes[0].plot(x, [row["accuracy"] for row in curve], "-o", ms=4.5, color=colour, label=label)
        share = np.array([row["rows"] for row in curve]) / max(sum(row["rows"] for row in curve), 1)
        place = np.minimum((np.array(x) * 10).astype(int), 9) / 10 + 0.05
        axes[1].bar(place + 0.02 * (2 * number - 1), 100 * share, 0.038, color=colour, label=label)
    axes[0].set_title("Reliability")
    axes[0].set_xlabel("confidence")
    axes[0].set_ylabel("share of right answers")
    axes[0].set_xlim(0.2, 1.02)
    axes[0].set_ylim(0.2, 1.04)
    axes[0].legend(loc="lower right")
    axes[1].set_title("Rows by confidence, %")
    axes[1].set_xlabel("confidence")
    axes[1].set_xlim(0.2, 1.02)
    return figure


@picture("ROC-AUC and PR-AUC on the shoppers' real labels")
def shoppers(results: dict[str, Any]) -> Figure:
    """ROC-AUC and PR-AUC with and without PageValues."""
    figure, axes = panels(1, 2, size=(9.2, 2.7), sharey=True)
    place = np.arange(len(NAMES))
    for axis, key, title in zip(
        axes, ("roc_auc", "pr_auc"), ("ROC-AUC", "PR-AUC (15.5 % of the sessions buy)"), strict=True
    ):
        full = [results[name][key] for name in NAMES]
        bare = [results[name]["without_page_values"][key] for name in NAMES]
        axis.barh(place - 0.19, full, 0.36, color=OURS, label="with PageValues")
        axis.barh(place + 0.19, bare, 0.36, color=SECOND, label="without")
        for y, (a, b) in enumerate(zip(full, bare, strict=True)):
            axis.text(a + 0.01, y - 0.19, f"{a:.3f}", va="center", fontsize=8.5)
            axis.text(b + 0.01, y + 0.19, f"{b:.3f}", va="center", fontsize=8.5)
        axis.set_title(title)
        axis.set_xlim(0, 1.12)
        axis.grid(visible=False, axis="y")
    axes[0].set_yticks(place, list(NAMES.values()))
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


@picture("What each feature adds to the probability of each stage")
def explanations(X: NDArray[np.float64], contributions: NDArray[np.float64], seed: int) -> Figure:
    """SHAP-style summary: each dot a session, across what a feature adds to a stage's probability.

    ``X`` (n, 9) raw; ``contributions`` (4, n, 9), one block a stage.
    """
    figure, axes = panels(2, 2, size=(10.2, 6.6), sharey=True, sharex=True)
    rng = np.random.default_rng([seed, 7])
    order = np.abs(contributions).mean(axis=(0, 1)).argsort()
    rank = np.argsort(np.argsort(np.nan_to_num(X, nan=-1.0), axis=0), axis=0) / max(len(X) - 1, 1)
    dots: Any = None
    for code, axis in enumerate(axes.flat):
        axis.axvline(0, color=SOFT, lw=1)
        for y, column in enumerate(order):
            values = contributions[code][:, column]
            dots = axis.scatter(
                values,
                y + _spread(values, rng),
                c=rank[:, column],
                cmap="coolwarm",
                vmin=0,
                vmax=1,
                s=5,
                lw=0,
                alpha=0.85,
                rasterized=True,
            )
        axis.set_title(STAGES[code])
        axis.set_yticks(range(len(FEATURES)), [FEATURES[column] for column in order])
        axis.grid(visible=False, axis="y")
    for axis in axes[1]:
        axis.set_xlabel("added to the stage's probability")
    bar = figure.colorbar(dots, ax=axes, shrink=0.5, aspect=30, ticks=[0, 1])
    bar.ax.set_yticklabels(["low value", "high value"])
    bar.outline.set_edgecolor(LINE)
    return figure


def _spread(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Vertical offsets that widen where many values fall together."""
    width = max(float(np.ptp(values)), 1e-12)
    bins = np.floor((values - values.min()) / width * (_BEESWARM_BINS - 1)).astype(np.int64)
    crowd = np.bincount(bins, minlength=_BEESWARM_BINS)[bins]
    spread: NDArray[np.float64] = rng.uniform(-0.36, 0.36, len(values)) * np.sqrt(crowd / crowd.max())
    return spread


def _bands(rows: list[dict[str, Any]]) -> list[str]:
    return [str(r["first"]) if r["first"] == r["last"] else f"{r['first']}{DASH}{r['last']}" for r in rows]
