"""The one style of every figure: readable in print, in grey and by colour-blind people, and the same bytes for the same data."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from recsys.files import whole_file

# Okabe & Ito, "Color Universal Design" (2008); their yellow is left out, since it vanishes on white paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Colours of series, in this order."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Markers of series, in this order, so that a series can be told without its colour."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
"""Line styles of series, in this order."""
GREY = "#8A8A8A"
"""Of what stands in the background."""
WIDTH, HEIGHT = 7.2, 3.8
"""Inches of a figure with one plot: the width of a page's text."""

_STYLE = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "svg.fonttype": "path",
    "svg.hashsalt": "recsys",
}


def plots(rows: int = 1, columns: int = 1, *, width: float = WIDTH, height: float = HEIGHT, **options) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` × `columns` plots in the project's style; `width` and `height` in inches, of the whole figure.

    The plots come as one list, row by row. `options` go to `matplotlib.pyplot.subplots`.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)
    return figure, list(axes.flat)


def label(axes: Axes, title: str, x: str, y: str) -> Axes:
    """Title and axis labels of a plot; a label ends in its unit, as in `gap (minutes)` or `sessions (count)`."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return axes


def series_style(place: int) -> dict:
    """Colour, marker and line style of the series at `place` (from 0)."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": DASHES[place % len(DASHES)],
    }


def thousands(axes: Axes, *which: str) -> None:
    """Write the numbers of the axes `x` and/or `y` with separators, as in 12,000."""
    for name in which:
        getattr(axes, f"{name}axis").set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def empty(axes: Axes, text: str) -> None:
    """Say on a plot why it shows nothing."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, wrap=True)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)


def save(figure: Figure, path: Path, also: Sequence[str] = ()) -> None:
    """Write the figure whole or not at all, and close it.

    Parameters
    ----------
    figure
    path
        Ending in `.svg`; nothing of it depends on the time or the machine.
    also
        Further endings to write beside it, such as `png`.
    """
    with matplotlib.rc_context(_STYLE):
        for target in (path, *(path.with_suffix(f".{ending}") for ending in also)):
            with whole_file(target) as partial:
                kind = target.suffix.removeprefix(".")
                figure.savefig(partial, format=kind, metadata={"Date": None} if kind == "svg" else None, dpi=150)
    plt.close(figure)
