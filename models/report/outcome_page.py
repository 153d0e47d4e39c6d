"""The page and the text tables of the outcome evaluation."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from models.report.html import Markup, figure, paragraph, section, table
from models.report.outcome_checks import checks
from models.report.outcome_pictures import headline, lift_by_click, reliability, write_headline
from models.study import outcome_figures as measure

HEAD: Final = (
    "head", "rows", "base rate", "accuracy", "always no", "AUC", "interval", "stage alone", "logistic", "AP",
    "Brier skill", "ECE", "lift 10 %", "interval", "lift 20 %",
)  # fmt: skip


def head_rows(heads: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a head, as `HEAD` names the columns."""
    return [
        (
            name, f"{f['rows']:,}", f"{f['base_rate']:.2%}", f"{f['accuracy']:.2%}", f"{f['always_no']:.2%}",
            f"{f['auc']:.3f}", "{:.3f} to {:.3f}".format(*f["interval"]["auc"]),
            f"{f['stage_alone']['auc']:.3f}", f"{f['logistic']['auc']:.3f}", f"{f['ap']:.3f}",
            f"{f['brier_skill']:.3f}", f"{f['ece']:.4f}", f"{f['lift_10']:.1f}",
            "{:.1f} to {:.1f}".format(*f["interval"]["lift_10"]), f"{f['lift_20']:.1f}",
        )
        for name, f in heads.items()
    ]  # fmt: skip


def notes(log: Mapping[str, Any]) -> list[str]:
    """What must be known of a log's figures: which heads have none and why, and which were judged by folds."""
    told = [f"left out: {name}: {why}" for name, why in log["left_out"].items()]
    if folded := log.get("by_folds"):
        why = "too few of the first or of the last visits have the outcome"
        told.append(f"judged by folds of visits, because {why}: {', '.join(folded)}")
    return told


def position_rows(heads: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """AUC of each head by position in the visit."""
    rows = []
    for name, figures in heads.items():
        bands = {_band(band): f"{band['auc']:.2f}" for band in figures["by_position"]}
        before = figures.get("before_first_addition")
        told = f"{before['auc']:.3f} / {before['lift_10']:.1f}" if before else ""
        rows.append((name, *(bands.get(name_, "") for name_ in BAND_NAMES), told))
    return rows


BAND_NAMES: Final = ("1", "2-3", "4-6", "7-11", "12+")


def _band(band: Mapping[str, Any]) -> str:
    first, last = band["first"], band["last"]
    return f"{first}+" if last is None else f"{first}" if first == last else f"{first}-{last}"


def text_tables(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    parts = []
    for name, log in report["logs"].items():
        parts.append(f"### {name}: {log['visits']:,} visits, {log['rows']:,} rows at events\n")
        parts.append(markdown(HEAD, head_rows(log["heads"])))
        parts.append(markdown(_POSITION_HEAD, position_rows(log["heads"])))
        parts += [f"{note}\n" for note in notes(log)]
    parts += [f"### {t.title}\n\n{markdown(t.head, t.rows)}\n{t.note}\n" for t in other_tables(report)]
    head, rows = _checked(report)
    parts += [f"### What was asked for\n\n{markdown(head, rows)}"] * bool(rows)
    return "\n".join(parts)


_POSITION_HEAD: Final = ("head: AUC at click", *BAND_NAMES, "before the first addition: AUC / lift 10 %")


class Other(NamedTuple):
    """A table that is none of heads, and what to think of it."""

    title: str
    head: Sequence[str]
    rows: Sequence[tuple[str, ...]]
    note: str


def other_tables(report: Mapping[str, Any]) -> list[Other]:
    """Those whose figures are in the report."""
    made = {
        "windows": _windows,
        "both_sides": _both_sides,
        "recurrent": _recurrent,
        "eshop": _eshop,
        "uci468": _uci468,
    }
    tables = [make(report[name]) for name, make in made.items() if report.get(name)]
    simulated = report.get("logs", {}).get("simulator")
    return [*tables, _g(simulated["heads"])] if simulated else tables


def _windows(windows: Mapping[str, Any]) -> Other:
    sizes = list(next(iter(windows.values())))
    rows = [
        (f"{name}, {figure_}", *(f"{by[size][figure_]:.4f}" for size in sizes))
        for name, by in windows.items()
        for figure_ in ("accuracy", "auc", "ap")
    ]
    ahead = ("ahead", "ahead_low", "ahead_high")
    rows += [
        (
            f"{name}, points of accuracy by which the state is ahead (95 %)",
            *("{:+.2f} ({:+.2f} to {:+.2f})".format(*(100 * by[size][key] for key in ahead)) for size in sizes),
        )
        for name, by in windows.items()
    ]
    note = (
        "The heads' estimator on the last N actions. Visits are whole: none trains and is tested. The state is ahead "
        "where the interval, which draws whole visits, is above 0."
    )
    return Other("L: the last N actions instead of the state", ("N", *map(str, sizes)), rows, note)


_SPLITS: Final = {"whole": "visits whole", "cut": "visits on both sides"}
_FIGURES: Final = {
    "order_rest": "order, accuracy",
    "add_rest": "addition, accuracy",
    "abandoned": "abandoned, both right",
}


def _both_sides(found: Mapping[str, Any]) -> Other:
    sizes = list(found["whole"])
    rows = [
        (f"{title}: {_SPLITS[split]}", *(f"{found[split][size][name]:.2%}" for size in sizes))
        for name, title in _FIGURES.items()
        for split in _SPLITS
    ]
    rows.insert(0, ("always no order", *(f"{found['whole'][size]['always_no']:.2%}" for size in sizes)))
    note = (
        "One forest that remembers every training row, tested in two ways. With whole visits a longer window gains "
        "nothing. With windows of one visit on both sides of the split the forest recognises the visit, and the "
        "longer the window, the better: L's growth to 98 % looks like this. L publishes binary accuracies of 94.64 % "
        "(N = 4) to 98.12 % (N = 30), and 56.4 % to 83.3 % in visits that abandon a cart."
    )
    return Other("L: accuracy by window, honest and not", ("N", *map(str, sizes)), rows, note)


def _recurrent(models: Mapping[str, Any]) -> Other:
    head = ("model", "order: accuracy", "AUC", "AP", "addition: AUC", "us an event", "bytes a visit")
    rows = [
        (
            name,
            f"{by['order_rest']['accuracy']:.2%}",
            f"{by['order_rest']['auc']:.3f}",
            f"{by['order_rest']['ap']:.3f}",
            f"{by['add_rest']['auc']:.3f}",
            f"{by['us_an_event']:.2f}",
            f"{by['bytes_a_visit']}",
        )
        for name, by in models.items()
    ]
    note = (
        "Trained and tested on the same whole visits. The heads read the state that a session has anyway, so they need "
        "no bytes of their own; a hidden state is void with each new model. Costs: one thread, 2,000 events together."
    )
    return Other("L: GRU and LSTM", head, rows, note)


def _eshop(eshop: Mapping[str, Any]) -> Other:
    published = eshop["published_way"]
    rows = [
        ("next click dear, AUC", f"{eshop['next_dear']['auc']:.3f}", f"{published['price_2_auc']:.3f}"),
        ("the transition table alone, AUC", f"{eshop['next_dear']['auc_of_transitions']:.3f}", ""),
        ("a dear one in the rest, AUC", f"{eshop['rest_dear']['auc']:.3f}", ""),
        ("revenue of the rest, R²", f"{eshop['rest_revenue']['r2']:.3f}", f"{published['session_revenue_r2']:.3f}"),
    ]
    note = (
        "The published way asks whether a click's article is dear and has the article's own category and price among "
        "its columns; it asks for the sum of a session that is over and has its number of clicks. Both answers stand "
        "in the question (C publishes 1.000 and .935). From prefixes, only what came before the asked click is known."
    )
    head = ("task", "from prefixes", "published way")
    return Other("C: eshop_clothing_2008, sessions from July on", head, rows, note)


def _uci468(uci: Mapping[str, Any]) -> Other:
    rows = [
        (name.replace("_", " "), *(f"{by[s]['auc']:.3f} / {by[s]['ap']:.3f}" for s in ("folds", "time")))
        for name, by in uci.items()
    ]
    note = (
        "Sakar: finished sessions with real labels. PageValues is computed from completed transactions, so it knows "
        "the answer. Figures are of the heads' estimator; `clickstage evaluate` has the published classifiers."
    )
    return Other("Sakar: UCI 468, AUC / AP", ("columns", "folds", "November and December"), rows, note)


class _Published(NamedTuple):
    """What G publishes of a model: 25,000 synthetic sessions, 7.39 % of them buy."""

    name: str
    auc: float
    ap: float
    lifts: dict[float, float]
    ours: str


_G_BASE: Final = 0.0739
_G: Final = (
    _Published("full session", 0.8721, 0.5634, {0.1: 3.27, 0.2: 2.68}, "order_rest"),
    _Published("before checkout", 0.5812, 0.0998, {0.1: 1.60, 0.2: 1.48}, "order_before_cart"),
)


def _g(heads: Mapping[str, Any]) -> Other:
    rows = []
    for model in _G:
        greatest = measure.greatest_ap(_G_BASE, model.lifts)
        lifts = " / ".join(f"{lifted:.2f}" for lifted in model.lifts.values())
        rows.append((f"G, {model.name}", f"{model.auc:.3f}", f"{model.ap:.3f}", f"{greatest:.3f}", lifts))
        if f := heads.get(model.ours):
            lifts = f"{f['lift_10']:.2f} / {f['lift_20']:.2f}"
            rows.append((f"simulator, {model.ours}", f"{f['auc']:.3f}", f"{f['ap']:.3f}", "", lifts))
    note = (
        f"The fourth column is the greatest average precision that G's lifts allow at {_G_BASE:.2%} buyers. The AP of "
        "the full session is above it, so one of G's figures is wrong. Ours are of prefixes, on other data."
    )
    return Other("G: propensity", ("model", "AUC", "AP", "greatest AP", "lift 10 / 20 %"), rows, note)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def build(report: Mapping[str, Any]) -> str:
    """The page."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    sections = [_asked(report), *(_log(name, log) for name, log in report["logs"].items())]
    sections += [
        section(f"t{i}", t.title, [table(t.head, t.rows), paragraph(t.note)])
        for i, t in enumerate(other_tables(report))
    ]
    body = "\n".join(sections)
    intro = paragraph(
        "What the rest of a visit will bring, asked at every event. Rows are prefixes of visits; no visit stands on "
        "two sides of a split; probabilities were calibrated on visits that neither trained nor test; "
        "intervals draw visits."
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Outcome heads</title><style>{style}</style>'
        f"</head><body><main><h1>Outcome heads</h1>{intro}\n{body}</main></body></html>\n"
    )


def write_pictures(report: Mapping[str, Any], folder: Path) -> None:
    """The headline as a file, for pages that are not ours.

    Raises:
        OSError: it cannot be written.
    """
    if logs := _orders(report):
        write_headline(logs, folder / "lift-by-click.png")


def _orders(report: Mapping[str, Any]) -> dict[str, Any]:
    return {name: log["heads"]["order_rest"] for name, log in report["logs"].items() if "order_rest" in log["heads"]}


def _asked(report: Mapping[str, Any]) -> Markup:
    """The headline, and what was asked for."""
    logs = _orders(report)
    words = "Will there be an order? Bands are 95 % intervals; visits that are over by then are left out."
    parts = [figure(headline(logs), words)] if logs else []
    return section("asked", "How early an order can be told", [*parts, table(*_checked(report))])


def _checked(report: Mapping[str, Any]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    met = {None: "", True: "yes", False: "no"}
    rows: list[tuple[str, ...]] = [(c.what, c.asked, c.reached, met[c.met]) for c in checks(report)]
    return ("asked for", "at least", "reached", "met"), rows


def _log(name: str, log: Mapping[str, Any]) -> Markup:
    heads = log["heads"]
    parts: list[object] = [
        paragraph(f"{log['visits']:,} visits, {log['rows']:,} rows at events; {log['censored']} visits were cut off."),
    ]
    if heads:
        words = "Of the visits that got to this click: how much oftener the tenth with the highest probability has it."
        parts.append(figure(lift_by_click(heads), words))
    parts += [table(HEAD, head_rows(heads)), table(_POSITION_HEAD, position_rows(heads))]
    parts += [paragraph(note) for note in notes(log)]
    if heads:
        parts.append(figure(reliability(heads), "Mean probability and rate of the outcome, in tenths of the rows."))
    return section(name, name, parts)


def jsonable(value: Any) -> Any:
    """Lists for tuples, None for NaN, plain numbers for numpy's; keys as text."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(part) for part in value]
    if isinstance(value, (float, np.floating)):
        return None if math.isnan(value) else float(f"{value:.6g}")
    if isinstance(value, np.integer):
        return int(value)
    return value
