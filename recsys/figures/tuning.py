"""Figures of a search: the value of every trial, which parameters mattered, and what the best trials have in common."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from recsys.figures.style import COLOURS, GREY, bar_style, empty, label, legend_above, plots, series_style, shorten, whole_numbers
from recsys.settings.tuning import Dimension
from recsys.tuning.outcome import Outcome

BEST = 3
"""Trials that stand out of the parallel coordinates."""
_SHADES = LinearSegmentedColormap.from_list("value", ("#D8D8D8", "#606060"))
_MARKS = {
    "complete": {"marker": "o", "color": COLOURS[0], "markersize": 6},
    "pruned": {"marker": "v", "color": COLOURS[1], "markersize": 6, "markerfacecolor": "none"},
    "diverged": {"marker": "x", "color": "black", "markersize": 6},
}
_TOLD = {"complete": "complete", "pruned": "pruned, with the value it had reached", "diverged": "diverged, without a value"}


def history(outcomes: Sequence[Outcome]) -> Figure:
    """The value of every trial in the order of their numbers, and the best one so far.

    Parameters
    ----------
    outcomes
        Of the search's trials, in the order of their numbers.
    """
    figure, (axes,) = plots()
    handles = []
    floor = _floor(outcomes)
    for state, mark in _MARKS.items():
        trials = [outcome for outcome in outcomes if outcome.state == state]
        above = [outcome for outcome in trials if outcome.value is not None and outcome.value >= floor]
        axes.plot([outcome.trial for outcome in above], [outcome.value for outcome in above], linestyle="none", **mark)
        edge = [outcome.trial for outcome in trials if outcome not in above]
        axes.plot(edge, [0.0] * len(edge), linestyle="none", transform=axes.get_xaxis_transform(), clip_on=False, **mark)
        handles += [Line2D([], [], linestyle="none", label=_TOLD[state], **mark)] * bool(trials)
    complete = [outcome for outcome in outcomes if outcome.state == "complete"]
    if complete:
        best = list(accumulate((outcome.value for outcome in complete), max))
        numbers = [outcome.trial for outcome in complete]
        axes.step([*numbers, outcomes[-1].trial], [*best, best[-1]], where="post", color="black", linewidth=1.2)
        handles.append(Line2D([], [], color="black", linewidth=1.2, label="best complete trial so far"))
    below = any(outcome.value is not None and outcome.value < floor for outcome in outcomes)
    title = "Trials of the search" + ("; those far below stand on the lower edge" if below else "")
    label(axes, title, "trial (number)", f"validation {outcomes[0].metric} (share)")
    whole_numbers(axes, "x")
    legend_above(figure, handles)
    return figure


def importances(shares: dict[str, float]) -> Figure:
    """How much each parameter decided; `shares` are by parameter and sum to 1, or are empty where nothing can be said."""
    figure, (axes,) = plots(height=max(1.6, 1.1 + 0.26 * len(shares)))
    if not shares:
        empty(axes, "The trials of the search are too few, or too much alike, to tell which parameters matter.")
        return figure
    names = sorted(shares, key=lambda name: (shares[name], name))
    bars = axes.barh([shorten(name) for name in names], [shares[name] for name in names], **bar_style(0))
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.margins(x=0.1)
    axes.grid(False, axis="y")
    label(axes, "Which parameters decided how good a trial was", "importance (share of the variance between trials)", "parameter (name)")
    return figure


def parallel_coordinates(outcomes: Sequence[Outcome], space: dict[str, Dimension]) -> Figure:
    """A line a trial through the values it drew to the value it reached; the best ones in colour.

    Parameters
    ----------
    outcomes
        Of the search's trials.
    space
        What was searched; a logarithmic range has a logarithmic axis.
    """
    figure, (axes,) = plots(height=4.4)
    shown = sorted((outcome for outcome in outcomes if outcome.value is not None), key=lambda outcome: (outcome.value, -outcome.trial))
    if not shown:
        empty(axes, "No trial of the search reached a value.")
        return figure
    metric = shown[0].metric
    low, high = _floor(shown), shown[-1].value
    scales = [_scale(dimension) for dimension in space.values()] + [_range(low, high if high > low else low + 1e-6, False)]
    complete = [outcome for outcome in shown if outcome.state == "complete"]
    best = complete[-BEST:][::-1]
    for outcome in shown:
        values = [*(outcome.drawn[name] for name in space), max(outcome.value, low)]
        heights = [place(value) for (place, _), value in zip(scales, values, strict=True)]
        axes.plot(range(len(scales)), heights, **_line(outcome, best, heights[-1]))
    for number, (place, ticks) in enumerate(scales):
        _axis(axes, number, [(place(tick), _text(tick)) for tick in ticks])
    axes.set_xticks(range(len(scales)), [*(shorten(name) for name in space), metric], rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.55, len(scales) - 0.8)
    axes.set_ylim(-0.04, 1.04)
    x, y = "parameters, then the metric (each on its own scale)", "low to high (each axis)"
    label(axes, f"From what was drawn to validation {metric}", x, y)
    legend_above(figure, _legend(shown, best))
    return figure


def _floor(outcomes: Sequence[Outcome]) -> float:
    """Where an axis of values begins, so that a few hopeless trials do not press all others into a line."""
    reached = [outcome.value for outcome in outcomes if outcome.value is not None]
    complete = [outcome.value for outcome in outcomes if outcome.state == "complete"]
    if not complete:
        return min(reached, default=0.0)
    middle, highest = float(np.median(complete)), max(complete)
    return max(min(reached), middle - 3 * (highest - middle))


Scale = tuple[Callable[[Any], float], list[Any]]
"""Where a value stands between 0 and 1, and the values that are written beside the axis."""


def _scale(dimension: Dimension) -> Scale:
    if dimension.choices is not None:
        last = len(dimension.choices) - 1
        return lambda value: dimension.choices.index(value) / last, dimension.choices
    return _range(dimension.low, dimension.high, dimension.log)


def _range(low: float, high: float, log: bool) -> Scale:
    curve = np.log10 if log else float
    locator = LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)) if log else MaxNLocator(5)
    ticks = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
    return lambda value: float((curve(value) - curve(low)) / (curve(high) - curve(low))), ticks


def _axis(axes: Axes, number: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.plot([number, number], [0, 1], color="black", linewidth=0.8, zorder=3)
    for height, text in ticks:
        axes.plot([number - 0.04, number], [height, height], color="black", linewidth=0.8, zorder=3)
        background = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
        axes.text(number - 0.07, height, text, ha="right", va="center", fontsize=7, bbox=background, zorder=4)


def _line(outcome: Outcome, best: Sequence[Outcome], shade: float) -> dict[str, Any]:
    if outcome in best:
        return series_style(best.index(outcome)) | {"linewidth": 2.0, "markersize": 4, "zorder": 2.5}
    if outcome.state == "pruned":
        return {"color": GREY, "linestyle": ":", "linewidth": 0.8}
    return {"color": _SHADES(shade), "linewidth": 1.0}


def _legend(shown: Sequence[Outcome], best: Sequence[Outcome]) -> list[Line2D]:
    handles = [
        Line2D([], [], label=f"trial {outcome.trial}: {outcome.value:.4f}", **(series_style(place) | {"markersize": 4}))
        for place, outcome in enumerate(best)
    ]
    states = [outcome.state for outcome in shown]
    if states.count("complete") > len(best):
        handles.append(Line2D([], [], color=_SHADES(0.7), label="others, the darker the better"))
    if "pruned" in states:
        handles.append(Line2D([], [], color=GREY, linestyle=":", linewidth=0.8, label="pruned"))
    return handles


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else shorten(str(value), 12)
