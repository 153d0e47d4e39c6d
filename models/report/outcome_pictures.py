"""The figures of the outcome evaluation: how early an outcome can be told, and whether probabilities come true."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.report.canvas import INK, OURS, SECOND, SOFT, Figure, panels, picture, write_png

LOGS: Final = {
    "simulator": ("the simulated shop", OURS),
    "L": ("L's log, generated", "#2b8a5b"),
    "shop_synthetic_ecom": ("a third party's synthetic shop", "#cc6b2c"),
}
"""Title and colour of each log in the headline."""
HEADS: Final = {
    "order_rest": OURS,
    "add_rest": "#2b8a5b",
    "checkout_rest": "#8a5a9e",
    "exit_next": "#cc6b2c",
    "order_before_cart": "#5c6f82",
}
"""One colour a head, in every figure."""
_LAST: Final = 20


def _headline(logs: Mapping[str, Any]) -> Figure:
    drawing, axes = panels(size=(8.6, 4.2))
    ends = []
    for name, figures in logs.items():
        title, colour = LOGS.get(name, (name, SECOND))
        points = figures["lift_by_click"]
        if points:
            _line(axes, points, colour)
            text = f"{title}\nan order follows in {figures['base_rate']:.0%} of rows"
            ends.append((points[-1]["lift"], points[-1]["click"], text, colour))
    _label(axes, ends)
    _chance(axes)
    axes.text(_LAST + 1, 1.0, "1: as good as a draw", color=SOFT, va="center", fontsize=8.5, backgroundcolor="white")
    axes.set(
        title="Who will order? How many times as often the top tenth orders",
        xlabel="click of the visit",
        ylabel="lift of the top tenth",
        xlim=(0.5, _LAST + 8.5),
        ylim=(0, None),
    )
    axes.set_xticks([1, 2, 3, 4, 5, 7, 10, 15, 20])
    return drawing


def _label(axes: Any, ends: list[tuple[float, int, str, str]]) -> None:
    """Names to the right of the lines, moved apart where they would touch; dots lead there from one that ends early."""
    at = -1.0
    for lift, click, text, colour in sorted(ends):
        at = max(lift, at + 0.85)
        if click < _LAST:
            axes.plot([click, _LAST + 0.8], [lift, at], ":", color=colour, lw=0.9)
        axes.text(_LAST + 1, at, text, color=colour, va="center", fontsize=8.5)


def _line(axes: Any, points: list[dict[str, float]], colour: str) -> None:
    x = [p["click"] for p in points]
    axes.fill_between(x, [p["low"] for p in points], [p["high"] for p in points], color=colour, alpha=0.16, lw=0)
    axes.plot(x, [p["lift"] for p in points], "-o", ms=3.5, color=colour)


def _chance(axes: Any) -> None:
    axes.axhline(1.0, color=SOFT, lw=1, ls="--")


def write_headline(logs: Mapping[str, Any], path: Path) -> None:
    """The headline as a PNG file.

    Raises:
        OSError: it cannot be written.
    """
    write_png(_headline, path, logs)


@picture("Lift of the ten percent with the highest probability of an order by click number, one line a log")
def headline(logs: Mapping[str, Any]) -> Figure:
    """How early an order can be told; ``logs`` are the figures of `order_rest` by log."""
    return _headline(logs)


@picture("Lift of the ten percent with the highest probability, by click number, one panel a head")
def lift_by_click(heads: Mapping[str, Any]) -> Figure:
    """How early each head of a log tells anything."""
    shown = {name: figures for name, figures in heads.items() if figures["lift_by_click"]}
    n = max(len(shown), 1)
    drawing, grid = panels(-(-n // 3), min(n, 3), size=(8.6, 2.5 * -(-n // 3)), sharex=True, sharey=True, squeeze=False)
    for place, axes in enumerate(grid.flat):
        axes.set_visible(place < n)
    most = max((point["high"] for figures in shown.values() for point in figures["lift_by_click"]), default=1.0)
    for axes, (name, figures) in zip(grid.flat, shown.items(), strict=False):
        _line(axes, figures["lift_by_click"], HEADS.get(name, SECOND))
        _chance(axes)
        axes.set(title=f"{name}, true of {figures['base_rate']:.1%}", xlim=(0.5, _LAST + 0.5), ylim=(0, 1.05 * most))
        axes.set_xticks([1, 5, 10, 15, 20])
        axes.tick_params(labelbottom=True)
        axes.title.set(color=INK, fontsize=9.5)
    drawing.supxlabel("click of the visit", color=SOFT, fontsize=9.5)
    drawing.supylabel("lift of the top tenth", color=SOFT, fontsize=9.5)
    return drawing


@picture("Observed rate against mean probability in tenths of the rows, one line a head")
def reliability(heads: Mapping[str, Any]) -> Figure:
    """Whether a probability of 0.2 comes true in a fifth of the cases."""
    drawing, axes = panels(size=(6.0, 4.8))
    low, high = 0.1, 100.0
    for name, figures in heads.items():
        points = [p for p in figures["reliability"] if p["expected"] > 0 and p["observed"] > 0]
        expected, observed = [100 * p["expected"] for p in points], [100 * p["observed"] for p in points]
        low = min(low, *expected, *observed)
        axes.plot(expected, observed, "-o", ms=3.5, lw=1.4, color=HEADS.get(name, SECOND), label=name)
    axes.plot([low, high], [low, high], color=SOFT, lw=1, ls="--", label="as said")
    axes.set(title="Do probabilities come true?", xscale="log", yscale="log", xlabel="said, %", ylabel="came true, %")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.minorticks_off()
    axes.legend()
    return drawing
