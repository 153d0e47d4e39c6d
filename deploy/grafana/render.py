"""Draws every panel of every dashboard from a running Prometheus, without Grafana: one PNG per dashboard.

    python -m deploy.grafana.render --prometheus http://localhost:9090 --out docs/pictures [--minutes 180]

For looking at a dashboard where no Grafana can run, and for docs/monitoring.md. Needs matplotlib (extra `train`).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.ticker import EngFormatter
from PIL import Image

from deploy.grafana.dashboards import DASHBOARDS
from deploy.grafana.panels import COLUMNS, UNITS, Dashboard, Panel

mpl.use("Agg")

ROW_INCHES: Final = 0.36
COLUMN_INCHES: Final = 0.62
SERIES_IN_LEGEND: Final = 9
LIMIT_COLOUR: Final = "#c62828"

Rewrite = Callable[[str], str]


class Source:
    """A Prometheus, and what to replace in every query before it is asked."""

    def __init__(
        self, url: str, minutes: float, variables: dict[str, str], rewrite: Rewrite = lambda expr: expr
    ) -> None:
        self._url = url
        self._variables = variables
        self._rewrite = rewrite
        self.end = time.time()
        self.start = self.end - 60 * minutes
        self.step = max(1.0, 60 * minutes / 300)

    def expression(self, expr: str) -> str:
        for name, value in self._variables.items():
            expr = expr.replace(f"${name}", value)
        return self._rewrite(expr)

    def series(self, expr: str) -> list[dict[str, Any]]:
        """Over the span: a list of {"metric": labels, "values": [[time, text], ...]}."""
        times = {"start": self.start, "end": self.end, "step": self.step}
        return self._ask("query_range", query=self.expression(expr), **times)

    def now(self, expr: str) -> list[dict[str, Any]]:
        """At the end: a list of {"metric": labels, "value": [time, text]}."""
        return self._ask("query", query=self.expression(expr), time=self.end)

    def _ask(self, endpoint: str, **parameters: object) -> list[dict[str, Any]]:
        with urlopen(f"{self._url}/api/v1/{endpoint}?{urlencode(parameters)}", timeout=30) as response:  # noqa: S310 - http
            result: list[dict[str, Any]] = json.load(response)["data"]["result"]
        return result


def draw(dashboard: Dashboard, source: Source, path: Path) -> list[str]:
    """Draw one dashboard; the titles of panels without data."""
    laid_out = dashboard.as_json()["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in laid_out)
    figure = plt.figure(figsize=(COLUMNS * COLUMN_INCHES, height * ROW_INCHES))
    empty = []
    panels = iter(dashboard.panels)
    for place in laid_out:
        grid = place["gridPos"]
        left, width = grid["x"] / COLUMNS, grid["w"] / COLUMNS
        top, depth = 1 - grid["y"] / height, grid["h"] / height
        if place["type"] == "row":
            figure.text(0.006, top - 0.7 * depth, place["title"], fontsize=12, fontweight="bold", color="#333333")
            continue
        panel = next(panels)
        pad = 1.1 / height
        legend = 0.3 if panel.kind == "timeseries" else 0.0
        inset = 0.16 * width if panel.kind == "bargauge" else 0.045
        box = (left + inset, top - depth + pad, width * (1 - legend) - inset - 0.012, depth - 2.1 * pad)
        axes = figure.add_axes(box)
        title = panel.title
        for name, value in source._variables.items():  # noqa: SLF001 - one module
            title = title.replace(f"${name}", value)
        axes.set_title(title, fontsize=9, loc="left", pad=4)
        if not _DRAW[panel.kind](axes, panel, source):
            empty.append(panel.title)
            axes.text(0.5, 0.5, "no data", ha="center", va="center", color="#999999", transform=axes.transAxes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=72, metadata={"Software": ""})
    plt.close(figure)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(64).save(path, optimize=True)  # a third of the bytes, to the same eye
    return empty


def _legend(query_legend: str, labels: dict[str, str]) -> str:
    text = query_legend
    for name, value in labels.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text or ", ".join(f"{k}={v}" for k, v in labels.items() if k != "__name__")


def _lines(axes: Any, panel: Panel, source: Source) -> bool:
    found = []
    for query in panel.queries:
        for series in source.series(query.expr):
            t = [(float(at) - source.start) / 60 for at, _ in series["values"]]
            y = [float(value) for _, value in series["values"]]
            found.append((_legend(query.legend, series["metric"]), t, y))
    found.sort(key=lambda line: -line[2][-1])
    for name, t, y in found:
        axes.plot(t, y, linewidth=1.1, label=name[:34])
    if panel.limit is not None:
        axes.axhline(panel.limit, color=LIMIT_COLOUR, linewidth=0.9, linestyle="--")
    if panel.lowest is not None:
        axes.set_ylim(bottom=panel.lowest)
    if panel.highest is not None:
        axes.set_ylim(top=panel.highest * 1.02)
    axes.set_xlim(0, (source.end - source.start) / 60)
    axes.set_xlabel("minutes", fontsize=6, loc="right", labelpad=0)
    axes.yaxis.set_major_formatter(EngFormatter(sep="") if panel.unit == "bytes" else "{x:g}")
    axes.set_ylabel(UNITS[panel.unit], fontsize=7)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if found:
        handles, names = axes.get_legend_handles_labels()
        kept = slice(0, SERIES_IN_LEGEND)
        axes.legend(
            handles[kept], names[kept], fontsize=6.5, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False
        )
    return bool(found)


def _number(value: float, panel: Panel) -> str:
    if panel.unit == "percentunit":
        return f"{100 * value:.{panel.decimals or 1}f} %"
    if panel.unit == "s":
        return f"{value:,.0f} s"
    return f"{value:,.{panel.decimals or 0}f}"


def _colour(value: float, panel: Panel) -> str:
    if panel.limit is None:
        return "#2e7d32"
    bad = value < panel.limit if panel.below else value >= panel.limit
    return LIMIT_COLOUR if bad else "#2e7d32"


def _stat(axes: Any, panel: Panel, source: Source) -> bool:
    axes.axis("off")
    found = [float(sample["value"][1]) for query in panel.queries for sample in source.now(query.expr)]
    for i, value in enumerate(found[:3]):
        axes.text(
            (i + 0.5) / min(len(found), 3),
            0.45,
            _number(value, panel),
            ha="center",
            va="center",
            fontsize=18,
            fontweight="bold",
            color=_colour(value, panel),
        )
    return bool(found)


def _bars(axes: Any, panel: Panel, source: Source) -> bool:
    found = [
        (_legend(query.legend, sample["metric"]), float(sample["value"][1]))
        for query in panel.queries
        for sample in source.now(query.expr)
    ]
    if found and all(name.startswith("bin ") for name, _ in found):
        found.sort(key=lambda bar: (bar[0] == "bin missing", len(bar[0]), bar[0]))
    names = [name for name, _ in found]
    values = [value for _, value in found]
    axes.barh(range(len(found)), values, color=[_colour(value, panel) for value in values], height=0.7)
    axes.set_yticks(range(len(found)), names, fontsize=7)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(UNITS[panel.unit], fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    for i, value in enumerate(values):
        axes.text(value, i, f" {value:,.{panel.decimals or 2}f}", va="center", fontsize=7)
    return bool(found)


_DRAW: Final = {"timeseries": _lines, "stat": _stat, "bargauge": _bars}


def draw_all(source: Source, out: Path) -> dict[str, list[str]]:
    """Draw all dashboards into ``out``; by dashboard, the titles of panels without data."""
    return {d.uid: draw(d, source, out / f"{d.uid}.png") for d in DASHBOARDS}


def main(arguments: list[str]) -> int:
    """Draw, and say which panels had no data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default="http://localhost:9090", metavar="URL")
    parser.add_argument("--out", type=Path, default=Path("out/dashboards"), metavar="DIR")
    parser.add_argument("--minutes", type=float, default=180.0, help="span of the time axis (180)")
    parser.add_argument("--feature", default="idle_time", help="for panels that show one feature")
    options = parser.parse_args(arguments)
    source = Source(options.prometheus, options.minutes, {"instance": ".*", "feature": options.feature})
    for uid, empty in draw_all(source, options.out).items():
        sys.stdout.write(f"{options.out / uid}.png" + (f"; no data: {', '.join(empty)}" if empty else "") + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
