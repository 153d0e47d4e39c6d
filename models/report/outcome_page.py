"""The page and the text tables of the outcome evaluation."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.report.canvas import OURS, SECOND, SOFT, Figure, panels, picture
from models.report.html import Markup, figure, paragraph, section, table

HEAD: Final = (
    "head", "rows", "base rate", "accuracy", "always no", "AUC", "interval", "stage alone", "logistic", "AP",
    "Brier skill", "ECE", "lift 10 %", "lift 20 %",
)  # fmt: skip
_COLOURS: Final = (OURS, "#2b8a5b", "#cc6b2c", "#8a5a9e", SECOND)


def head_rows(heads: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a head, as `HEAD` names the columns."""
    return [
        (
            name, f"{f['rows']:,}", f"{f['base_rate']:.2%}", f"{f['accuracy']:.2%}", f"{f['always_no']:.2%}",
            f"{f['auc']:.3f}", f"{f['interval']['auc'][0]:.3f} to {f['interval']['auc'][1]:.3f}",
            f"{f['stage_alone']['auc']:.3f}", f"{f['logistic']['auc']:.3f}", f"{f['ap']:.3f}",
            f"{f['brier_skill']:.3f}", f"{f['ece']:.4f}", f"{f['lift_10']:.1f}", f"{f['lift_20']:.1f}",
        )
        for name, f in heads.items()
    ]  # fmt: skip


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
        parts += [f"left out, too few visits: {', '.join(log['left_out'])}\n"] * bool(log["left_out"])
    parts += [f"### {title}\n\n{markdown(head, rows)}" for title, head, rows in other_tables(report)]
    return "\n".join(parts)


_POSITION_HEAD: Final = ("head: AUC at event", *BAND_NAMES, "before the first addition: AUC / lift 10 %")


def other_tables(report: Mapping[str, Any]) -> list[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
    """Title, head and rows of what is no table of heads."""
    tables: list[tuple[str, Sequence[str], list[tuple[str, ...]]]] = []
    if windows := report.get("windows"):
        sizes = list(next(iter(windows.values())))
        rows = [
            (f"{name}, {figure_}", *(f"{by[size][figure_]:.4f}" for size in sizes))
            for name, by in windows.items()
            for figure_ in ("accuracy", "auc", "ap")
        ]
        tables.append(("L: the last N actions instead of the state", ("N", *map(str, sizes)), rows))
    if eshop := report.get("eshop"):
        rows = [
            (
                "next click dear, AUC",
                f"{eshop['next_dear']['auc']:.3f}",
                f"{eshop['published_way']['price_2_auc']:.3f}",
            ),
            ("the transition table alone, AUC", f"{eshop['next_dear']['auc_of_transitions']:.3f}", ""),
            ("a dear one in the rest, AUC", f"{eshop['rest_dear']['auc']:.3f}", ""),
            (
                "revenue of the rest, R²",
                f"{eshop['rest_revenue']['r2']:.3f}",
                f"{eshop['published_way']['session_revenue_r2']:.3f}",
            ),
        ]
        tables.append(
            ("C: eshop_clothing_2008, sessions from July on", ("task", "from prefixes", "published way"), rows)
        )
    if uci := report.get("uci468"):
        rows = [
            (name.replace("_", " "), *(f"{by[s]['auc']:.3f} / {by[s]['ap']:.3f}" for s in ("folds", "time")))
            for name, by in uci.items()
        ]
        tables.append(("UCI 468, AUC / AP", ("columns", "folds", "November and December"), rows))
    return tables


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def build(report: Mapping[str, Any]) -> str:
    """The page."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    sections = [_log(name, log) for name, log in report["logs"].items()]
    sections += [
        section(f"t{i}", title, [table(head, rows)]) for i, (title, head, rows) in enumerate(other_tables(report))
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


def _log(name: str, log: Mapping[str, Any]) -> Markup:
    heads = log["heads"]
    parts: list[object] = [
        paragraph(f"{log['visits']:,} visits, {log['rows']:,} rows at events; {log['censored']} visits were cut off."),
        table(HEAD, head_rows(heads)),
        table(_POSITION_HEAD, position_rows(heads)),
    ]
    if heads:
        parts.append(figure(lift_by_click(heads), "Lift of the top tenth among the visits that got to the k-th event."))
        parts.append(figure(reliability(heads), "Mean probability and rate of the outcome, in tenths of the rows."))
    return section(name, name, parts)


@picture("Lift of the ten percent with the highest probability, by click number, one line a head")
def lift_by_click(heads: Mapping[str, Any]) -> Figure:
    """The headline: how early a head tells anything."""
    drawing, axes = panels()
    for colour, (name, figures) in zip(_COLOURS, heads.items(), strict=False):
        points = figures["lift_by_click"]
        axes.plot([p["click"] for p in points], [p["lift"] for p in points], marker="o", ms=3, color=colour, label=name)
    axes.axhline(1.0, color=SOFT, lw=1, ls="--")
    axes.set(xlabel="event of the visit", ylabel="lift at 10 %", title="Lift by click number")
    axes.legend()
    return drawing


@picture("Observed rate against mean probability in tenths of the rows, one line a head")
def reliability(heads: Mapping[str, Any]) -> Figure:
    """Whether a probability of 0.2 comes true in a fifth of the cases."""
    drawing, axes = panels()
    top = 0.0
    for colour, (name, figures) in zip(_COLOURS, heads.items(), strict=False):
        points = figures["reliability"]
        expected, observed = [p["expected"] for p in points], [p["observed"] for p in points]
        top = max(top, *expected, *observed)
        axes.plot(expected, observed, marker="o", ms=3, color=colour, label=name)
    axes.plot([0, top], [0, top], color=SOFT, lw=1, ls="--")
    axes.set(xlabel="mean probability", ylabel="came true", title="Reliability")
    axes.legend()
    return drawing


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
