"""The page's sections beyond the published study: explanations, the streaming protocol, real labels."""

from typing import Any

from featurestore.session.stages import STAGES
from models.report.compare import fraction, percent, signed
from models.report.figures import NAMES
from models.report.html import Markup, figure, heading, paragraph, section, table
from models.study.published import FEATURES, SAKAR_ACCURACY
from models.study.shoppers import MAPPING

Report = dict[str, Any]
Pictures = dict[str, str]


def explanations(report: Report, pictures: Pictures) -> Markup:
    record = report["detail"]["explanations"]
    mean = record["mean_size"]
    order = sorted(FEATURES, key=lambda name: -sum(mean[stage][name] for stage in STAGES))
    return section(
        "explanations",
        "What speaks for a stage",
        [
            paragraph(
                "Exact contributions along the paths of the study's forest: each split moves the probability of a "
                "stage, and the move belongs to the feature that was asked. With the bias they add up to the "
                f"prediction; the largest difference over {record['rows']} test sessions and four stages is "
                f"{record['largest_gap']:.1e}."
            ),
            figure(
                pictures["explanations"],
                "Each dot is a test session, its colour the rank of the feature's value, its place what the "
                "feature adds to the probability of the stage. A missing bounce rate counts as lowest for the "
                "colour.",
            ),
            table(
                ("feature", *STAGES),
                [(name, *(fraction(mean[stage][name]) for stage in STAGES)) for name in order],
                "Mean size of the contribution",
            ),
        ],
    )


def stream(report: Report, pictures: Pictures) -> Markup:
    record = report["stream"]
    if not record:
        return section("stream", "Streaming protocol", [paragraph(report["detail"]["notes"]["stream"])])
    other = record["published_training"]
    return section(
        "stream",
        "Streaming protocol",
        [
            paragraph(
                f"The served bundle {report['detail']['bundle']} judged where it works: {record['rows']:,} "
                f"observations, one after every event and at every silence, of {record['sessions']:,} simulated "
                "sessions that are later than, and apart from, all that it was trained on. The truth of a row is "
                "the rules' clean label of that very row. Beside it a forest trained the published way, on "
                f"finished sessions of the same shop with 5 % label noise ({other['training_sessions']:,} rows): "
                "the difference is what training on ends and serving in the middle costs."
            ),
            _stream_overview(record, other),
            paragraph(
                f"The skew: {signed(100 * (other['accuracy'] - record['accuracy']))} points of accuracy and "
                f"{signed(100 * (other['macro_f1'] - record['macro_f1']))} points of macro-F1 for training on ends."
            ),
            figure(
                pictures["positions"], "By position of the observation in its session; silences count as positions."
            ),
            _stream_positions(record, other),
            heading("By stage"),
            _stream_stages(record, other),
            heading("Events until the final stage"),
            paragraph(
                "The number of events until the stage of the session's last event (by the rules) is predicted and "
                f"never left again. Never reached: {percent(record['until_final_stage']['never_share'], 2)} % of "
                f"the sessions for the served bundle, {percent(other['until_final_stage']['never_share'], 2)} % for "
                "the one trained the published way. Most of the wait is the shopper's: a stage that takes twenty "
                "clicks cannot be known at the third."
            ),
            _stream_waits(record, other),
            heading("Calibration"),
            paragraph(
                "ECE is the mean distance between confidence and the share of right answers over ten bins, by the "
                "rules' clean labels. The served bundle is less sure than it is right on purpose: near the "
                "Evaluator's thresholds it was trained to doubt them (twenty clicks are a convention), so that "
                "case E falls below 0.7. Against a truth that shares this doubt its ECE is "
                f"{percent(record['calibration']['ece_doubt'], 2)} points."
            ),
            figure(
                pictures["reliability"],
                "Above the diagonal: more often right than sure. Right: where the confidence of all rows lies.",
            ),
        ],
    )


def shoppers(report: Report, pictures: Pictures) -> Markup:
    results = report["shoppers"]
    if not results:
        return section("shoppers", "Real labels", [paragraph(report["detail"]["notes"]["shoppers"])])
    detail = report["detail"]["shoppers"]
    rows = [
        (
            f"{title}{suffix}",
            f"{percent(row['accuracy'])} ± {percent(row['accuracy_sd'])}",
            fraction(row["macro_f1"]),
            fraction(row["roc_auc"]),
            fraction(row["pr_auc"]),
            signed(100 * row["accuracy"] - SAKAR_ACCURACY),
        )
        for name, title in NAMES.items()
        for suffix, row in (("", results[name]), (", without PageValues", results[name]["without_page_values"]))
    ]
    rows.append(
        ("majority class: nobody buys", percent(detail["majority"]), "", ".500", fraction(detail["base_rate"]), "")
    )
    return section(
        "shoppers",
        "Real labels: online_shoppers_intention",
        [
            paragraph(
                f"{detail['sessions']:,} finished sessions of one shop, {percent(detail['base_rate'])} % with a "
                f"purchase (UCI 468, Sakar et al. 2018); {detail['folds']}-fold, stratified. Boosting is "
                "scikit-learn's histogram kind, for speed; the tree is limited to depth 8 with at least 20 "
                "sessions a leaf, the forest to at least 3."
            ),
            figure(pictures["shoppers"], "Means over the folds."),
            table(("classifier", "accuracy, %", "macro F1", "ROC-AUC", "PR-AUC", "points from Sakar 2019"), rows),
            paragraph(
                f"Sakar 2019 reports about {SAKAR_ACCURACY:.0f} % accuracy for an MLP after oversampling the "
                "buyers. Ours are not oversampled: trees and boosting are more accurate at the natural share of "
                "buyers, while an oversampled model trades accuracy for found buyers. PageValues is computed from "
                "completed transactions, so it gives part of the answer away; without it no model beats the "
                "majority class by more than half a point of accuracy, and the areas under the curves are the "
                "figures to compare."
            ),
            heading("The four stages in these sessions"),
            paragraph(MAPPING),
            table(
                ("stage", "sessions", "share, %", "buy, %", "median pages", "median seconds"),
                [
                    (
                        stage,
                        f"{row['sessions']:,.0f}",
                        percent(row["share"]),
                        percent(row["conversion"]),
                        f"{row['median_pages']:.0f}",
                        f"{row['median_seconds']:,.0f}",
                    )
                    for stage, row in detail["stages"].items()
                ],
                "Sessions mapped to stages",
            ),
            paragraph(
                "No true stage is known, so the mapping can only be looked at. Purchases are rare among Explorers "
                "and Drop-Off Risks, more frequent among Evaluators and most among Intent Buyers; that last figure "
                "inherits the foresight of PageValues and is no forecast."
            ),
        ],
    )


def _stream_overview(record: Report, other: Report) -> Markup:
    lines = (
        ("accuracy, %", "accuracy", percent),
        ("macro-F1, %", "macro_f1", percent),
        ("accuracy at events, %", "accuracy_at_events", percent),
        ("accuracy in silence, %", "accuracy_in_silence", percent),
        ("flips per session", "flips_per_session", fraction),
        ("flips per session of the rules themselves", "flips_per_session_of_rules", fraction),
        ("confidence at least 0.7, % of rows", "confident_share", percent),
        ("accuracy of those, %", "accuracy_when_confident", percent),
    )
    rows = [(label, show(record[key]), show(other[key])) for label, key, show in lines]
    rows.append(("ECE, points", percent(record["calibration"]["ece"], 2), percent(other["calibration"]["ece"], 2)))
    return table(("all prefixes, clean labels", "served bundle", "trained the published way"), rows)


def _stream_positions(record: Report, other: Report) -> Markup:
    rows = [
        (
            f"{a['first']} to {a['last']}" if a["first"] != a["last"] else a["first"],
            f"{a['rows']:,}",
            percent(a["accuracy"]),
            percent(a["macro_f1"]),
            percent(b["accuracy"]),
            percent(b["macro_f1"]),
        )
        for a, b in zip(record["by_position"], other["by_position"], strict=True)
    ]
    head = (
        "position",
        "rows",
        "accuracy, %",
        "macro-F1, %",
        "published way: accuracy, %",
        "published way: macro-F1, %",
    )
    return table(head, rows)


def _stream_stages(record: Report, other: Report) -> Markup:
    rows = [
        (
            stage,
            percent(row["share"]),
            percent(row["precision"]),
            percent(row["recall"]),
            percent(row["f1"]),
            percent(other["by_stage"][stage]["f1"]),
        )
        for stage, row in record["by_stage"].items()
    ]
    return table(("stage", "share, %", "precision, %", "recall, %", "F1, %", "published way: F1, %"), rows)


def _stream_waits(record: Report, other: Report) -> Markup:
    rows = []
    for stage, row in record["until_final_stage"]["stages"].items():
        b = other["until_final_stage"]["stages"].get(stage)
        rows.append(
            (
                stage,
                f"{row['sessions']:,}",
                f"{row['median']:.0f}",
                f"{row['mean']:.1f}",
                f"{row['p90']:.0f}",
                percent(row["share_of_session"], 0),
                f"{b['mean']:.1f}" if b else fraction(None),
            )
        )
    head = ("final stage", "sessions", "median", "mean", "p90", "share of the session, %", "published way: mean")
    return table(head, rows)
