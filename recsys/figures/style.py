"""The one style of every figure: readable in print, in grey and by colour-blind people, and the same bytes for the same data."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.dates as dates
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from recsys.files import whole_file

# Okabe & Ito, "Color Universal Design" (2008); their yellow is left out, since it vanishes on white paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Colours of series, in this order."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Markers of series, in this order, so that a series can be told without its colour."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
"""Line styles of series, in this order."""
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo")
"""Fillings of bars, in this order."""
GREY = "#8A8A8A"
"""Of what stands in the background."""
SHADES = ("#EFEFEF", "#D9D9D9")
"""Of spans behind the data, the earlier one first."""
WIDTH, HEIGHT = 7.2, 3.8
"""Inches of a figure with one plot: the width of a page's text."""

_STYLE = {
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "legend.framealpha": 0.85,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "svg.fonttype": "path",
    "svg.hashsalt": "recsys",
}


def plots(rows: int = 1, columns: int = 1, *, width: float = WIDTH, height: float = HEIGHT, **options) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` × `columns` plots in the project's style; `width` and `height` in inches, of the whole figure.

    The plots come as one list, row by row. `options` go to `matplotlib.pyplot.subplots`.
    """
    # For the whole process, since legends, lines and ticks ask for their style when they are drawn, not when the figure is made.
    matplotlib.rcParams.update(_STYLE)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)
    return figure, list(axes.flat)


def panels(layout: Sequence[Sequence[str]], *, width: float = WIDTH, height: float = HEIGHT, **options) -> tuple[Figure, dict[str, Axes]]:
    """A figure whose plots are named in `layout`, row by row; a name that stands in several places is one plot over all of them.

    `options` go to `matplotlib.pyplot.subplot_mosaic`.
    """
    matplotlib.rcParams.update(_STYLE)
    return plt.subplot_mosaic([list(row) for row in layout], figsize=(width, height), **options)


def label(axes: Axes, title: str, x: str, y: str) -> Axes:
    """Title and axis labels of a plot; a label ends in its unit, as in `gap (minutes)` or `sessions (count)`."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return axes


def without_unit(figure: Figure) -> list[str]:
    """The axis labels of a figure that do not end in a unit in parentheses; a plot that `empty` speaks on has none to give."""
    shown = [axes for axes in figure.axes if axes.get_gid() != "empty"]
    labels = [text for axes in shown for text in (axes.get_xlabel(), axes.get_ylabel())]
    return [text for text in labels if not (text.endswith(")") and " (" in text)]


def series_style(place: int) -> dict:
    """Colour, marker and line style of the series at `place` (from 0); markers and lines go on where the colours begin anew."""
    turn = place // len(COLOURS)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[(place + turn) % len(MARKERS)],
        "linestyle": DASHES[(place + turn) % len(DASHES)],
    }


def bar_style(place: int) -> dict:
    """Colour and filling of the bars at `place` (from 0)."""
    turn = place // len(COLOURS)
    return {
        "facecolor": COLOURS[place % len(COLOURS)],
        "hatch": HATCHES[(place + turn) % len(HATCHES)],
        "edgecolor": "white",
        "linewidth": 0.6,
    }


def thousands(axes: Axes, *which: str) -> None:
    """Write the numbers of the axes `x` and/or `y` with separators, as in 12,000; fewer than ten with the decimals they need."""
    for name in which:
        getattr(axes, f"{name}axis").set_major_formatter(FuncFormatter(lambda value, _: _number(value)))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or float(value).is_integer() else f"{value:g}"


def whole_numbers(axes: Axes, name: str, most: int = 8) -> None:
    """Ticks of the axis `x` or `y` at whole numbers only, about `most` of them."""
    getattr(axes, f"{name}axis").set_major_locator(MaxNLocator(most, integer=True))


def logarithmic(axes: Axes, *which: str, most: int = 8) -> None:
    """Logarithmic axes `x` and/or `y` with about `most` plain numbers; called when the data are drawn, since short axes get more ticks."""
    for name in which:
        getattr(axes, f"set_{name}scale")("log")
        axis = getattr(axes, f"{name}axis")
        low, high = getattr(axes, f"get_{name}lim")()
        axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,), numticks=most))
        axis.set_minor_formatter(NullFormatter())
        thousands(axes, name)


def time_axis(axes: Axes) -> None:
    """Dates and hours along `x` (UTC), as few and as short as the span allows."""
    locator = dates.AutoDateLocator(minticks=3, maxticks=8, tz="UTC")
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz="UTC"))


def shorten(text: str, most: int = 28) -> str:
    """A name that has room beside an axis: its middle is left out where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def legend_above(figure: Figure, handles: Sequence) -> int:
    """One legend for all plots of a figure, over them, in as many columns as its texts have room for; gives its number of lines."""
    longest = max((len(handle.get_label()) for handle in handles), default=0)
    columns = max(1, min(6, len(handles), 95 // (longest + 8)))
    figure.legend(handles=list(handles), loc="outside upper right", ncols=columns)
    return -(-len(handles) // columns)


def legend_under_title(axes: Axes, columns: int) -> None:
    """The legend of a plot between it and its title, in at most so many columns; called when title and data are drawn."""
    count = len(axes.get_legend_handles_labels()[0])
    columns = max(1, min(columns, count))
    axes.legend(ncols=columns, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    axes.set_title(axes.get_title(loc="left"), pad=10 + 12 * -(-count // columns))


def empty(axes: Axes, text: str) -> None:
    """Say on a plot why it shows nothing."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, wrap=True)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_gid("empty")


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
