"""The page of the outcome heads: every figure it is given stands in it, in text and in HTML."""

from pathlib import Path

import numpy as np

from models.report import outcome_page
from models.report.outcome_checks import checks
from models.study import outcome_figures as measure


def report() -> dict[str, object]:
    """Of one head on invented scores."""
    rng = np.random.default_rng(4)
    p = rng.random(3_000) * 0.5
    y = rng.random(3_000) < p
    position, visit = np.tile(np.arange(1, 16), 200), np.repeat(np.arange(200), 15)
    ranking = {"accuracy": 0.75, "auc": 0.61, "ap": 0.3, "lift_10": 1.5}
    head = {
        **measure.figures(y, p),
        "interval": measure.intervals(y, p, visit, 1, 10),
        "by_position": measure.by_position(y, p, position),
        "lift_by_click": measure.lift_by_click(y, p, position),
        "reliability": measure.reliability(y, p),
        "stage_alone": ranking,
        "logistic": ranking,
        "before_first_addition": ranking,
    }
    log = {
        "visits": 200,
        "rows": 3_000,
        "censored": 2,
        "heads": {"order_rest": head},
        "left_out": {"add_rest": "9 visits have it"},
    }
    ahead = {"ahead": -0.0005, "ahead_low": -0.002, "ahead_high": 0.001}
    windows = {"order_rest": {4: {"accuracy": 0.9, "auc": 0.8123, "ap": 0.4, **ahead}}}
    sides = {
        split: {4: {"order_rest": order, "add_rest": 0.89, "abandoned": 0.4, "always_no": 0.932}}
        for split, order in (("whole", 0.9345), ("cut", 0.9678))
    }
    judged = {"accuracy": 0.94, "auc": 0.8642, "ap": 0.5}
    recurrent = {"GRU 64": {"order_rest": judged, "add_rest": judged, "us_an_event": 1.25, "bytes_a_visit": 256}}
    found: dict[str, object] = outcome_page.jsonable(
        {
            "logs": {"shop": log, "simulator": log},
            "windows": windows,
            "both_sides": sides,
            "recurrent": recurrent,
        }
    )
    return found


def test_the_tables_hold_what_was_measured() -> None:
    text = outcome_page.text_tables(report())
    assert "### shop: 200 visits, 3,000 rows at events" in text
    assert "| order_rest | 3,000 |" in text
    assert "0.61" in text
    assert "left out: add_rest: 9 visits have it" in text
    assert "0.8123" in text
    assert "| -0.05 (-0.20 to +0.10) |" in text
    assert "| order, accuracy: visits whole | 93.45% |" in text
    assert "| order, accuracy: visits on both sides | 96.78% |" in text
    assert "| GRU 64 | 94.00% | 0.864 | 0.500 | 0.864 | 1.25 | 256 |" in text
    assert "| G, full session | 0.872 | 0.563 | 0.509 | 3.27 / 2.68 |" in text, "G's AP is above what its lifts allow"


def test_the_page_stands_alone_and_draws_the_lift_by_click() -> None:
    page = outcome_page.build(report())
    assert page.startswith("<!doctype html>")
    assert "How many times as often the top tenth orders" in page
    assert page.count("<svg") == 5
    assert page.index("How many times as often the top tenth orders") < page.index("<table"), "the headline comes first"
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_headline_is_a_file_as_well(tmp_path: Path) -> None:
    """Readers of the Markdown see it, too."""
    outcome_page.write_pictures(report(), tmp_path)
    assert (tmp_path / "lift-by-click.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_asked_for_is_judged_by_the_figures() -> None:
    """A figure that falls short says no; what was not measured is not there."""
    order = {"auc": 0.88, "ap": 0.6, "brier_skill": 0.39, "lift_10": 7.0, "ece": 0.02, "accuracy": 0.955}
    heads = {"order_rest": order | {"always_no": 0.93}, "add_rest": {"auc": 0.7, "ap": 0.2, "lift_10": 2.9}}
    ahead = {"ahead": -0.001, "ahead_low": -0.003, "ahead_high": 0.001}
    windows = {name: {4: {"accuracy": 0.94, "auc": 0.65, **ahead}} for name in heads}
    found = {check.what: check.met for check in checks({"logs": {"L": {"heads": heads}}, "windows": windows})}
    assert found == {
        "L: an order": True,
        "L: an order, ECE": False,
        "L: an addition": False,
        "L: binary accuracy": True,
        "L: not below any window of 4": True,
        "L: order_rest, accuracy above the windows'": True,
        "L: add_rest, accuracy above the windows'": True,
    }
    windows["add_rest"][4] |= {"auc": 0.71, "ahead_high": -0.0005}
    found = {check.what: check.met for check in checks({"logs": {"L": {"heads": heads}}, "windows": windows})}
    assert not found["L: not below any window of 4"]
    assert not found["L: add_rest, accuracy above the windows'"], "below beyond chance"
