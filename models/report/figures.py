"""Figures of the published study: each takes part of the report's values and returns an SVG element."""

from typing import Any

import numpy as np

from featurestore.session.stages import STAGES
from models.report.canvas import INK, LINE, OURS, SECOND, SOFT, STAGE_COLOURS, Figure, panels, picture
from models.study import published as p
from models.study.published import FEATURES
from models.training.classifiers import KINDS

NAMES = {name: KINDS[name].title for name in p.MODELS}


@picture("Class shares, ours beside the published ones")
def shares(ours: dict[str, float]) -> Figure:
    """Class shares beside P's, as bars."""
    figure, axes = panels(size=(8.6, 2.6))
    place = np.arange(len(STAGES))
    values = [100 * ours[stage] for stage in STAGES]
    theirs = [p.SHARES[stage] for stage in STAGES]
    axes.barh(place - 0.19, values, 0.36, color=[STAGE_COLOURS[stage] for stage in STAGES])
    axes.barh(place + 0.19, theirs, 0.36, color=LINE)
    for y, (a, b) in enumerate(zip(values, theirs, strict=True)):
        axes.text(a + 0.4, y - 0.19, f"{a:.1f}", va="center")
        axes.text(b + 0.4, y + 0.19, f"P {b:.1f}", va="center", color=SOFT)
    axes.set_yticks(place, STAGES)
    axes.invert_yaxis()
    axes.set_xlabel("share of sessions, %")
    axes.grid(visible=False, axis="y")
    return figure


@picture("Accuracy of four classifiers, test and cross-validated, ours and P's")
def accuracies(classifiers: dict[str, Any], majority: float) -> Figure:
    """Test accuracy and cross-validation of the four classifiers and P's."""
    figure, axes = panels(size=(8.6, 2.7))
    for y, name in enumerate(NAMES):
        row, theirs = classifiers[name], p.MODELS[name]
        axes.errorbar(theirs[4], y + 0.17, xerr=theirs[5], fmt="o", color=SOFT, mfc="white", ms=5, capsize=3, lw=1.2)
        axes.plot(theirs[0], y + 0.17, "D", color=SOFT, mfc="white", ms=5.5)
        axes.errorbar(
            100 * row["cv_mean"], y - 0.17, xerr=100 * row["cv_sd"], fmt="o", color=OURS, ms=5, capsize=3, lw=1.4
        )
        axes.plot(100 * row["accuracy"], y - 0.17, "D", color=OURS, ms=5.5)
    axes.axvline(100 * majority, color=SOFT, lw=1, ls=":")
    axes.text(100 * majority + 0.6, -0.35, "majority class", color=SOFT, va="center")
    axes.set_yticks(range(len(NAMES)), list(NAMES.values()))
    axes.set_ylim(3.5, -0.6)
    axes.set_xlim(36, 101)
    axes.set_xlabel("accuracy, %")
    axes.grid(visible=False, axis="y")
    for marker, colour, label in (
        ("D", OURS, "ours, test"),
        ("o", OURS, "ours, 5-fold mean ± sd"),
        ("D", SOFT, "P, test"),
        ("o", SOFT, "P, 5-fold mean ± sd"),
    ):
        axes.plot([], [], marker, color=colour, mfc=colour if colour == OURS else "white", ms=5, label=label)
    axes.legend(loc="lower left", bbox_to_anchor=(0.08, 0.0))
    return figure


@picture("Confusion matrices of the linear model and the forest, and P's forest")
def confusions(linear: list[list[int]], forest: list[list[int]]) -> Figure:
    """Three heat maps: our linear model, our forest, P's forest."""
    figure, axes = panels(1, 3, size=(10.2, 4.1), sharey=True)
    tables = (linear, forest, p.FOREST_CONFUSION)
    for axis, title, table in zip(
        axes, ("Logistic regression, ours", "Random forest, ours", "Random forest, P"), tables, strict=True
    ):
        counts = np.array(table)
        rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(rates, cmap="Blues", vmin=0, vmax=1.15)
        axis.set_title(title)
        for i in range(len(STAGES)):
            for j in range(len(STAGES)):
                colour = "white" if rates[i, j] > 0.55 else INK
                axis.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=11)
        axis.set_xticks(range(4), STAGES, rotation=28, ha="right")
        axis.set_yticks(range(4), STAGES)
        axis.grid(visible=False)
        axis.set_xlabel("predicted")
        for spine in axis.spines.values():
            spine.set_visible(False)
    axes[0].set_ylabel("actual (recorded label)")
    return figure


@picture("ROC curves of the forest and the linear model for each stage")
def rocs(linear: dict[str, list[float]], forest: dict[str, list[float]], auc: dict[str, dict[str, float]]) -> Figure:
    """ROC curves, one stage against the rest."""
    figure, axes = panels(1, 2, size=(9.2, 3.9), sharey=True)
    parts = (("random_forest", forest), ("logistic_regression", linear))
    for axis, (name, curves) in zip(axes, parts, strict=True):
        for stage, curve in curves.items():
            x = np.concatenate(([0.0], np.linspace(0, 1, len(curve) - 1)))
            axis.plot(x, curve, color=STAGE_COLOURS[stage], label=f"{stage}, AUC {auc[name][stage]:.3f}")
        axis.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=":")
        axis.set_title(NAMES[name].capitalize())
        axis.set_xlabel("false-positive rate")
        axis.legend(loc="lower right")
        axis.set_xlim(-0.01, 1.01)
        axis.set_ylim(-0.01, 1.01)
    axes[0].set_ylabel("true-positive rate")
    return figure


@picture("Gini and permutation importance of the nine features")
def importances(values: dict[str, Any]) -> Figure:
    """Gini importance beside P's, and permutation importance."""
    figure, axes = panels(1, 2, size=(9.2, 3.6), sharey=True)
    order = sorted(FEATURES, key=lambda name: values[name]["gini"])
    place = np.arange(len(order))
    axes[0].barh(place + 0.19, [values[name]["gini"] for name in order], 0.36, color=OURS, label="ours")
    axes[0].barh(place - 0.19, [p.IMPORTANCES[name] for name in order], 0.36, color=LINE, label="P")
    axes[0].set_title("Gini importance")
    axes[0].legend(loc="lower right")
    axes[1].barh(
        place,
        [100 * values[name]["permutation"] for name in order],
        0.5,
        xerr=[100 * values[name]["permutation_sd"] for name in order],
        color=SECOND,
        error_kw={"ecolor": SOFT, "lw": 1},
    )
    axes[1].set_title("Permutation: test accuracy lost, points")
    axes[0].set_yticks(place, order)
    for axis in axes:
        axis.grid(visible=False, axis="y")
    return figure


@picture("Pearson correlations of the nine features")
def correlations(table: list[list[float]]) -> Figure:
    """Heat map of the feature correlations."""
    figure, axes = panels(size=(7.2, 4.9))
    values = np.array(table)
    axes.imshow(values, cmap="RdBu_r", vmin=-1.25, vmax=1.25)
    for i in range(len(FEATURES)):
        for j in range(len(FEATURES)):
            weight = "bold" if i != j and abs(values[i, j]) >= 0.7 else "normal"
            axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=8.5, fontweight=weight)
    axes.set_xticks(range(9), FEATURES, rotation=35, ha="right")
    axes.set_yticks(range(9), FEATURES)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


@picture("Learning curve of the forest")
def learning(curve: list[dict[str, Any]]) -> Figure:
    """Cross-validated accuracy of the forest by number of training sessions."""
    figure, axes = panels(size=(8.6, 3.0))
    x = [row["sessions"] for row in curve]
    mean = np.array([100 * row["cv_mean"] for row in curve])
    deviation = np.array([100 * row["cv_sd"] for row in curve])
    axes.fill_between(x, mean - deviation, mean + deviation, color=SECOND, alpha=0.35, lw=0)
    axes.plot(x, mean, "-o", color=OURS, ms=4.5, label="ours, 5-fold mean ± sd")
    axes.plot(list(p.LEARNING), list(p.LEARNING.values()), "D", color=SOFT, mfc="white", ms=6, label="P (about)")
    axes.axhline(90, color=SOFT, lw=1, ls=":")
    axes.axvline(1152, color=SOFT, lw=1, ls=":")
    axes.text(1160, 86.7, "60 % of the data", color=SOFT)
    axes.set_ylim(86, 98)
    axes.set_xlabel("training sessions")
    axes.set_ylabel("accuracy, %")
    axes.legend(loc="lower right")
    return figure


@picture("Accuracy of the forest by number of trees and depth")
def trees(search: dict[str, Any]) -> Figure:
    """Cross-validated accuracy by number of trees, one line a depth."""
    figure, axes = panels(size=(8.6, 3.0))
    counts = search["trees"]
    styles = {
        None: (OURS, "-", "no limit"),
        10: (STAGE_COLOURS["Drop-Off Risk"], "-", "depth 10"),
        20: (SOFT, "--", "depth 20"),
    }
    for depth, mean, deviation in zip(search["depths"], search["mean"], search["sd"], strict=True):
        colour, style, label = styles.get(depth, (SECOND, "-", f"depth {depth}"))
        m, d = 100 * np.array(mean), 100 * np.array(deviation)
        if depth is None:
            axes.fill_between(counts, m - d, m + d, color=SECOND, alpha=0.3, lw=0)
        axes.plot(counts, m, style, marker="o", ms=4, color=colour, label=label)
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("trees")
    axes.set_ylabel("5-fold accuracy, %")
    axes.legend(loc="lower right", ncols=3)
    return figure


@picture("Accuracy of the forest by label noise")
def noise(sweep: dict[str, Any]) -> Figure:
    """Accuracy of the forest by label noise: noisy and clean test labels, the ceiling, P."""
    figure, axes = panels(size=(8.6, 3.4))
    x = [int(rate) for rate in sweep]
    axes.plot(
        x, [100 * row["ceiling"] for row in sweep.values()], color=SOFT, lw=1, ls=":", label="ceiling, 1 - 0.75 r"
    )
    axes.plot(
        x, [100 * row["clean_accuracy"] for row in sweep.values()], "-o", color=SECOND, ms=4, label="ours, clean labels"
    )
    axes.errorbar(
        x,
        [100 * row["cv_mean"] for row in sweep.values()],
        yerr=[100 * row["cv_sd"] for row in sweep.values()],
        fmt="s",
        ms=4,
        color=STAGE_COLOURS["Intent Buyer"],
        capsize=3,
        lw=1.2,
        label="ours, 5-fold, noisy labels",
    )
    axes.plot(
        x, [100 * row["accuracy"] for row in sweep.values()], "-D", color=OURS, ms=5, label="ours, test, noisy labels"
    )
    axes.plot(list(p.NOISE), list(p.NOISE.values()), "--D", color=SOFT, mfc="white", ms=5, lw=1, label="P")
    axes.set_xlabel("label noise, %")
    axes.set_ylabel("accuracy, %")
    axes.set_xticks(x)
    axes.legend(loc="lower left")
    return figure


@picture("The forest's mistakes in four groups")
def mistakes(groups: dict[str, dict[str, Any]], names: tuple[str, ...]) -> Figure:
    """Shares of the error groups: P, our test set, our held-out folds."""
    figure, axes = panels(size=(8.6, 2.1))
    colours = (SECOND, OURS, STAGE_COLOURS["Evaluator"], STAGE_COLOURS["Drop-Off Risk"])
    for colour, name in zip(colours, names, strict=True):
        left = dict.fromkeys(groups, 0.0)
        for y, (label, shown) in enumerate(groups.items()):
            left[label] = sum(shown[other] for other in names[: names.index(name)])
            axes.barh(y, shown[name], left=left[label], color=colour, height=0.6, label=name if y == 0 else None)
            if shown[name] >= 4:
                axes.text(
                    left[label] + shown[name] / 2, y, f"{shown[name]:.0f}", ha="center", va="center", color="white"
                )
    axes.set_yticks(range(len(groups)), list(groups))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the mistakes, %")
    axes.grid(visible=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return figure


@picture("Mean and 99th percentile of one prediction: P, scikit-learn, Clickstage")
def latency(values: dict[str, dict[str, float]]) -> Figure:
    """Mean and p99 of a single prediction on a logarithmic scale."""
    figure, axes = panels(size=(8.6, 3.0))
    for y, (name, title) in enumerate(NAMES.items()):
        mean, p99 = (1000 * value for value in p.LATENCY_MS[name])
        rows = [
            (mean, p99, SOFT, "P"),
            (values[name]["mean"], values[name]["p99"], STAGE_COLOURS["Drop-Off Risk"], "scikit-learn here"),
        ]
        ours = values.get(f"clickstage_{name}")
        if ours:
            rows.append((ours["mean"], ours["p99"], OURS, "Clickstage"))
        for step, (low, high, colour, label) in enumerate(rows):
            at = y + 0.24 * (step - 1)
            axes.plot([low, high], [at, at], color=colour, lw=2, solid_capstyle="butt")
            axes.plot(low, at, "o", color=colour, ms=6, label=label if y == 1 else None)
            axes.plot(high, at, "|", color=colour, ms=9, mew=2)
        axes.text(0.9, y, title, ha="right", va="center")
    axes.set_xscale("log")
    axes.set_xlim(1, 1.5 * max(60_000, *(row["p99"] for row in values.values())))
    axes.set_ylim(3.6, -0.6)
    axes.set_yticks([])
    axes.set_xticks([1, 10, 100, 1_000, 10_000, 100_000], ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms"])
    axes.minorticks_off()
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure
