"""What issue 3 asks of the evaluation, as a list of checks on its report."""

from collections.abc import Iterator
from typing import Any

from featurestore.session.stages import STAGES
from models.study import published

Check = dict[str, Any]


def asked_for(report: dict[str, Any]) -> list[Check]:
    """Each requirement with what was asked, what was reached, and whether that is enough (None: not measured)."""
    return [*_study(report), *_stream(report["stream"]), *_cases(report["cases"])]


def _study(report: dict[str, Any]) -> Iterator[Check]:
    found, detail = report["published"], report["detail"]
    accuracy = found["accuracy"]
    for name, title in (("random_forest", "forest"), ("gradient_boosting", "boosting")):
        yield _at_least(f"accuracy of the {title} at 5 % noise", accuracy[name], 0.927)
    lead = accuracy["random_forest"] - accuracy["logistic_regression"]
    yield _check("the linear model trails the forest by", f"{100 * lead:.1f} points", "15 points", lead >= 0.15)
    furthest = max(STAGES, key=lambda stage: abs(found["shares"][stage] - published.SHARES[stage] / 100))
    gap = 100 * found["shares"][furthest] - published.SHARES[furthest]
    yield _check("class shares beside P's", f"{gap:+.1f} points at most ({furthest})", "within 3 points", abs(gap) <= 3)
    worst = min(STAGES, key=lambda stage: found["auc"][stage])
    yield _check(
        "AUC of every stage", f"{found['auc'][worst]:.3f} at least ({worst})", ".93", found["auc"][worst] >= 0.93
    )
    part = next((row for row in detail["learning"] if round(row["share"], 2) == 0.6), None)
    yield _at_least("accuracy with 60 % of the data", part and part["cv_mean"], 0.90)
    yield _at_least("accuracy of the forest at 0 % noise", report["noise"]["0"], 0.99)
    yield _at_least("accuracy of the forest at 20 % noise", report["noise"]["20"], 0.80)
    one, other, size = detail["strongest_pair"]
    yield _check("no pair of features correlates above .85", f"{size:.2f} ({one}, {other})", ".85", abs(size) <= 0.85)


def _stream(stream: dict[str, Any]) -> Iterator[Check]:
    yield _at_least("served bundle, accuracy over all prefixes", stream.get("accuracy"), 0.98)
    yield _at_least("served bundle, macro-F1 over all prefixes", stream.get("macro_f1"), 0.97)


def _cases(cases: dict[str, Any]) -> Iterator[Check]:
    for key, title in (("study", "forest of the study"), ("served", "served bundle")):
        rows = cases.get(key)
        if rows is None:
            yield _check(f"five cases, {title}", "", "P's stages, E below 0.7", None)
            continue
        right = sum(row["stage"] == row["published_stage"] for row in rows.values())
        sure = rows["E"]["confidence"]
        yield _check(
            f"five cases, {title}",
            f"{right} of {len(rows)} stages, E {sure:.2f}",
            "P's stages, E below 0.7",
            right == len(rows) and sure < 0.7,
        )


def _at_least(what: str, value: float | None, least: float) -> Check:
    shown = "" if value is None else f"{100 * value:.1f} %"
    return _check(what, shown, f"{100 * least:.1f} %", None if value is None else value >= least)


def _check(what: str, value: str, needed: str, met: bool | None) -> Check:
    return {"what": what, "value": value, "needed": needed, "met": met}
