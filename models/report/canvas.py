"""How every figure looks: fonts, colours, size; and from a matplotlib figure to SVG text, the same bytes each time."""

import functools
import io
import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, Final, ParamSpec

from featurestore.errors import SettingsError

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure as Figure  # noqa: PLC0414 -- re-exported to the modules that draw
except ModuleNotFoundError:
    raise SettingsError("a report needs matplotlib: pip install 'clickstage[train]'") from None

P = ParamSpec("P")

INK: Final = "#1d2530"
SOFT: Final = "#7a8594"
LINE: Final = "#dfe4ea"
OURS: Final = "#2f6690"
SECOND: Final = "#8aa9c0"
STAGE_COLOURS: Final = {
    "Explorer": "#2f6690",
    "Evaluator": "#8a5a9e",
    "Intent Buyer": "#2b8a5b",
    "Drop-Off Risk": "#cc6b2c",
}
_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "savefig.dpi": 144,
}


def panels(rows: int = 1, columns: int = 1, size: tuple[float, float] = (8.6, 3.4), **grid: Any) -> tuple[Figure, Any]:
    """An empty figure and its axes, without matplotlib's global state."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **grid)


def picture(words: str) -> Callable[[Callable[P, Figure]], Callable[P, str]]:
    """Draw in our style and return an SVG element instead of a figure; ``words`` tell what it shows.

    Its ids begin with the function's name, so that pictures can stand in one page.
    """

    def decorate(draw: Callable[P, Figure]) -> Callable[P, str]:
        @functools.wraps(draw)
        def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
            with mpl.rc_context(_STYLE | {"svg.hashsalt": draw.__name__}):
                return _to_svg(draw(*args, **kwargs), draw.__name__, words)

        return drawn

    return decorate


def write_png(draw: Callable[P, Figure], path: Path, *args: P.args, **kwargs: P.kwargs) -> None:
    """Draw in our style into a PNG file on white, for places that show no SVG.

    Raises:
        OSError: it cannot be written.
    """
    with mpl.rc_context(_STYLE):
        draw(*args, **kwargs).savefig(path, format="png", metadata={"Software": None}, facecolor="white")


def _to_svg(figure: Figure, name: str, words: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "inherit", svg)  # the page's font; DejaVu is wider, so all still fits
    svg = re.sub(r'(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(words)}" ', 1)
