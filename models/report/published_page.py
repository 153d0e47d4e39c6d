"""The page's sections on the published study."""

from typing import Any

from featurestore.session.stages import STAGES
from models.report import why
from models.report.compare import Figure, comparison, deviation, fraction, matrix, percent, reasons
from models.report.figures import NAMES
from models.report.html import Markup, bullets, figure, heading, paragraph, section, table
from models.study import published as p
from models.study.cases import FILLED
from models.study.mistakes import GROUPS
from models.study.profiles import PROFILES
from models.study.published import FEATURES
from models.training.classifiers import KINDS
from models.training.doubt import LEAST_MAJORITY

Report = dict[str, Any]
Pictures = dict[str, str]


def protocol(report: Report, pictures: Pictures) -> Markup:
    detail = report["detail"]
    rows = [Figure(stage, report["published"]["shares"][stage], p.SHARES[stage] / 100, why.SHARES) for stage in STAGES]
    habits = [
        (profile if n == 0 else "", habit.what, percent(habit.weight / sum(h.weight for h in group), 0) + " %")
        for profile, group in PROFILES.items()
        for n, habit in enumerate(group)
    ]
    return section(
        "protocol",
        "Protocol and class shares",
        [
            paragraph(
                f"{detail['sessions']:,} finished sessions, one row each, {detail['sessions'] // 4} drawn from each "
                "of four latent profiles; labelled by the stage rules in priority order (Drop-Off Risk, Intent "
                "Buyer, Evaluator, Explorer); then 5 % of the labels are drawn anew, uniformly over the four "
                "stages, which leaves about 3.75 % wrong. Split 80:20, stratified. Median imputation (8 % of the "
                "bounce rates are unknown) and min-max scaling are fitted on the training rows of each split. "
                "There are no categorical features."
            ),
            paragraph(
                f"In this draw {percent(detail['wrong_labels']['all'], 2)} % of all labels and "
                f"{percent(detail['wrong_labels']['test'], 2)} % of the {detail['test_sessions']} test labels are "
                f"wrong. {percent(detail['near_boundary'])} % of the sessions lie near a rule boundary (as defined "
                "under Mistakes). That margin is a property of how finished sessions were drawn here; a live "
                "session crosses the thresholds one event at a time, which is what the streaming protocol measures."
            ),
            figure(pictures["shares"], "Class shares after label noise. P's in grey."),
            comparison(rows, name="stage"),
            heading("Latent profiles"),
            paragraph(
                "Why somebody came is not what the session becomes. The rules decide, so every profile has habits "
                "that end in another stage."
            ),
            table(("profile", "habit", "share of the profile"), habits, words={1}),
        ],
    )


def classifiers(report: Report, pictures: Pictures) -> Markup:
    detail = report["detail"]
    forest = why.forest(report)
    reason = {"logistic_regression": why.LINEAR, "decision_tree": why.TREE}
    keys = (("accuracy", 0, 100), ("precision", 1, 1), ("recall", 2, 1), ("f1", 3, 1))
    names = ("test accuracy", "macro precision", "macro recall", "macro F1")
    lines = [
        (
            title,
            [
                Figure(
                    f"{title}, {shown}",
                    detail["classifiers"][name][key],
                    p.MODELS[name][column] / scale,
                    reason.get(name, forest),
                    percent=scale == 100,
                )
                for (key, column, scale), shown in zip(keys, names, strict=True)
            ],
        )
        for name, title in NAMES.items()
    ]
    baseline = [
        Figure("test accuracy", detail["majority"]["accuracy"], p.MAJORITY[0] / 100, why.MAJORITY),
        Figure("macro F1", detail["majority"]["f1"], p.MAJORITY[1], why.MAJORITY, percent=False),
    ]
    folds = {
        name: Figure(
            f"{title}, 5-fold",
            detail["classifiers"][name]["cv_mean"],
            p.MODELS[name][4] / 100,
            reason.get(name, forest),
        )
        for name, title in NAMES.items()
    }
    spread = table(
        ("classifier", "ours: mean ± sd", "P: mean ± sd", "deviation, points", "test set", "test set, clean labels"),
        [
            (
                KINDS[name].title,
                f"{percent(row['cv_mean'], 2)} ± {percent(row['cv_sd'], 2)}",
                f"{p.MODELS[name][4]:.2f} ± {p.MODELS[name][5]:.2f}" if name in folds else "not in P",
                deviation(folds[name]) if name in folds else "",
                percent(row["accuracy"]),
                percent(row["clean_accuracy"]),
            )
            for name, row in detail["classifiers"].items()
        ],
        "Accuracy, %: 5-fold cross-validation over all sessions, the test set, and the test set before noise",
    )
    return section(
        "classifiers",
        "Four classifiers and a baseline",
        [
            figure(pictures["accuracies"], "Filled: ours. Hollow: P. Bars are one standard deviation over five folds."),
            matrix(("classifier", *names), lines),
            comparison(baseline, f"The baseline that always says {detail['majority']['stage']}", "majority class"),
            spread,
            _over_seeds(detail["over_seeds"]),
            reasons(folds.values()),
        ],
    )


def _over_seeds(found: Report) -> Markup:
    draws = len(found["seeds"])
    return paragraph(
        f"Over {draws} draws (seeds {found['seeds'][0]} to {found['seeds'][-1]}) the forest's test accuracy is "
        f"{percent(found['mean'])} ± {percent(found['sd'])} %, from {percent(min(found['accuracy']))} to "
        f"{percent(max(found['accuracy']))}: one seed alone is one throw. Of its {found['mistakes']} mistakes "
        f"{found['mistakes'] - found['not_flipped']} are sessions whose label was flipped. One constant of the "
        f"served model was fitted to a published case: LEAST_MAJORITY = {LEAST_MAJORITY} leaves case E unsure."
    )


def per_stage(report: Report, pictures: Pictures) -> Markup:
    record = report["detail"]["classifiers"]["random_forest"]["by_stage"]
    names = {"precision": "precision", "recall": "recall", "f1": "F1", "auc": "AUC"}
    lines = [
        (
            stage,
            [
                Figure(f"{stage}, {shown}", record[stage][key], theirs, why.stage(report), percent=False)
                for (key, shown), theirs in zip(names.items(), p.FOREST_CLASSES[stage], strict=True)
            ],
        )
        for stage in STAGES
    ]
    return section(
        "stages",
        "Confusion, per-stage figures, ROC",
        [
            figure(
                pictures["confusions"],
                "Test set. Off the diagonal the forest has mostly flipped labels, the linear model mostly its own "
                "errors.",
            ),
            heading("Random forest by stage"),
            matrix(("stage", *names.values()), lines),
            figure(pictures["roc"], "One stage against the rest, test set, recorded labels."),
        ],
    )


def importances(report: Report, pictures: Pictures) -> Markup:
    values = report["detail"]["importances"]
    rows = [
        Figure(name, values[name]["gini"], p.IMPORTANCES[name], why.importance(name), percent=False)
        for name in sorted(FEATURES, key=lambda name: -values[name]["gini"])
    ]
    one, other, size = report["detail"]["strongest_pair"]
    return section(
        "features",
        "Importances and correlations",
        [
            figure(
                pictures["importances"],
                "Gini importance credits every split, so noise features get some; permutation shows what the "
                "answer rests on.",
            ),
            comparison(rows, "Gini importance", "feature"),
            heading("Correlations"),
            paragraph(
                f"The strongest pair is {one} and {other} with {size:.2f}. P: no pair correlates above .85"
                f"{'; nor here.' if abs(size) <= p.MAX_CORRELATION else ', but this draw has one that does.'}"
            ),
            figure(pictures["correlations"], "Pearson correlation over the sessions where both features are known."),
        ],
    )


def search(report: Report, pictures: Pictures) -> Markup:
    found = report["detail"]["search"]
    trees, depth = found["chosen"]
    means = [mean for row in found["mean"] for mean in row]
    deviations = [deviation for row in found["sd"] for deviation in row]
    least = max(means) - deviations[means.index(max(means))]
    enough = sum(mean >= least for mean in means)
    head = ("depth", *(str(count) for count in found["trees"]))
    rows = [
        ("no limit" if limit is None else str(limit), *(percent(mean, 2) for mean in row))
        for limit, row in zip(found["depths"], found["mean"], strict=True)
    ]
    return section(
        "search",
        "Trees, depth and the search",
        [
            paragraph(
                "Trees {10, 25, 50, 100, 150, 200, 300, 500} by depth {10, 20, none}, five folds within the training "
                "rows; the smallest forest within one standard deviation of the best."
            ),
            figure(pictures["trees"], "Five-fold accuracy; the band is one standard deviation for unlimited depth."),
            table(head, rows, "Five-fold accuracy by depth and number of trees, %"),
            paragraph(
                f"The rule picks {trees} trees of {'unlimited depth' if depth is None else f'depth {depth}'}; P's "
                f"picked {p.CHOSEN[0]} trees of depth {p.CHOSEN[1]}. On our rows the curve is flat early: {enough} "
                f"of the {len(means)} pairs lie within one standard deviation of the best, so the rule, taken "
                "literally, ends at the small end. All other figures here use P's 200 trees of depth 20, so that "
                "they compare."
            ),
        ],
    )


def learning(report: Report, pictures: Pictures) -> Markup:
    curve = report["detail"]["learning"]
    known = {row["sessions"]: row["cv_mean"] for row in curve}
    rows = [
        Figure(f"{sessions:,} sessions", known[sessions], value / 100, why.LEARNING)
        for sessions, value in p.LEARNING.items()
        if sessions in known
    ]
    shown = table(
        ("training sessions", "share of the data", "accuracy, mean ± sd, %"),
        [
            (
                f"{row['sessions']:,}",
                percent(row["share"], 0) + " %",
                f"{percent(row['cv_mean'])} ± {percent(row['cv_sd'])}",
            )
            for row in curve
        ],
    )
    at60 = next((row for row in curve if round(row["share"], 2) == 0.6), None)
    words = f"With 60 % of the data: {percent(at60['cv_mean'])} %; P: above 90 %." if at60 else ""
    parts = [figure(pictures["learning"], "Five folds; the band is one standard deviation."), paragraph(words), shown]
    return section("learning", "Learning curve", [*parts, comparison(rows, name="training set")] if rows else parts)


def noise(report: Report, pictures: Pictures) -> Markup:
    sweep = report["detail"]["noise"]
    rows = [
        Figure(f"{rate} % noise", row["accuracy"], p.NOISE[int(rate)] / 100, why.NOISE) for rate, row in sweep.items()
    ]
    more = table(
        (
            "noise",
            "ceiling",
            "wrong in this test set",
            "test, noisy labels",
            "5-fold, noisy labels",
            "test, clean labels",
        ),
        [
            (
                f"{rate} %",
                percent(row["ceiling"], 2),
                percent(row["wrong_labels_in_test"], 1),
                percent(row["accuracy"]),
                f"{percent(row['cv_mean'])} ± {percent(row['cv_sd'])}",
                percent(row["clean_accuracy"]),
            )
            for rate, row in sweep.items()
        ],
        "Forest accuracy, %",
    )
    return section(
        "noise",
        "Label noise",
        [
            paragraph(
                "At rate r a label is drawn anew with probability r, uniformly over the four stages: 0.75 r of the "
                "labels end up wrong, in the training and in the test rows alike. Had the flips been drawn over "
                "the three other stages only, r of them would be wrong, and at 20 % no model could pass 80 %."
            ),
            figure(
                pictures["noise"], "Random forest. Against clean labels it hardly notices the noise it was trained on."
            ),
            comparison(rows, "Test accuracy on noisy labels", "noise"),
            more,
        ],
    )


def mistakes(report: Report, pictures: Pictures) -> Markup:
    test, held = report["detail"]["mistakes"]["test"], report["detail"]["mistakes"]["held_out"]
    rows = [Figure(name, held["groups"][name]["share"], p.ERRORS[name] / 100, why.MISTAKES) for name in GROUPS]
    counts = table(
        ("group", "test set", "five held-out folds"),
        [(name, test["groups"][name]["count"], held["groups"][name]["count"]) for name in GROUPS]
        + [("mistakes in all", f"{test['mistakes']} of {test['rows']:,}", f"{held['mistakes']} of {held['rows']:,}")],
        "Mistakes of the forest",
    )
    return section(
        "mistakes",
        "Mistakes of the forest in four groups",
        [
            paragraph("Each mistake falls into the first group that fits:"),
            bullets(
                (
                    "flipped label: noise changed the session's label, so that the right answer counts as a mistake;",
                    "near a rule boundary: a tenth more or less of a time, count or rate changes its rule stage;",
                    "ambiguous: the two most probable stages lie within 0.2 of each other;",
                    "true model error: everything else.",
                )
            ),
            figure(pictures["mistakes"], "P's shares above, ours on the test set and on five held-out folds below."),
            counts,
            comparison(rows, "Shares over five held-out folds", "group"),
            paragraph(
                f"Of the flipped sessions that count as mistakes, {held['right_despite_flip']} of "
                f"{held['groups'][GROUPS[0]]['count']} got the stage that the rules give."
            ),
        ],
    )


def cases(report: Report) -> Markup:
    judged = report["cases"]
    studies = {"study": ("forest of the study", why.CASES)}
    if "served" in judged:
        studies["served"] = ("served bundle", why.SERVED_CASES)
    parts: list[object] = []
    for key, (title, reason) in studies.items():
        figures = {
            case: Figure(f"Case {case}", row["confidence"], row["published_confidence"], reason, percent=False)
            for case, row in judged[key].items()
        }
        rows = [
            (
                case,
                Markup(f"{row['stage']} {'&#10003;' if row['stage'] == row['published_stage'] else '&#10007;'}"),
                fraction(row["confidence"], 2),
                f"{row['published_stage']} {fraction(row['published_confidence'], 2)}",
                deviation(figures[case]),
                row["action"],
                row["published_action"],
            )
            for case, row in judged[key].items()
        ]
        head = ("case", "stage", "confidence", "P", "deviation, points", "action", "P's action")
        parts += [table(head, rows, f"Judged by the {title}", words={5, 6}), reasons(figures.values())]
    return section(
        "cases",
        "Five cases",
        [
            paragraph("From 0.7 confidence on a stage's action is shown; below it the neutral one."),
            *parts,
            heading("What P leaves open"),
            bullets(f"{case}: {words}" for case, words in FILLED.items()),
        ],
    )


def latency(report: Report, pictures: Pictures) -> Markup:
    values = report["latency_us"]
    rows = []
    for name, title in NAMES.items():
        mean, p99 = p.LATENCY_MS[name]
        for key, label in ((name, "scikit-learn"), (f"clickstage_{name}", "Clickstage")):
            if key in values:
                row = values[key]
                rows.append(
                    (
                        f"{title}, {label}",
                        f"{row['mean']:,.1f}",
                        f"{row['p99']:,.1f}",
                        f"{1000 * mean:,.0f} / {1000 * p99:,.0f}",
                        Markup(f"{_ratio(1000 * mean / row['mean'])} &times;"),
                        f"{row['n']:,}",
                    )
                )
    return section(
        "latency",
        "Latency of a single prediction",
        [
            figure(pictures["latency"], "Dot: mean. Stroke: 99th percentile. Logarithmic scale."),
            table(("model", "mean, µs", "p99, µs", "P: mean / p99, µs", "P's mean over ours", "calls"), rows),
            paragraph(
                "One prepared row in, four probabilities out, one thread. P made 10,000 calls a model on a machine "
                "it does not name; scikit-learn's forest gets fewer here, because 10,000 would take a minute. Its "
                "time is nearly all overhead, a Python call and a task a tree, and grows with the number of trees "
                "on any row. Clickstage runs the same trees from flat arrays (they agree within 1e-6; the tests "
                "hold them against each other)."
            ),
        ],
    )


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
