"""Figures of what the models are worth on held-out sessions: the leaderboard, where the champion is good, and what is recommended."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from recsys.figures.style import GREY, WIDTH, label, plots, save, series_style, thousands

CHAMPION = "(champion)"
_ROW = 0.28
_BESIDE = 0.16
_CLICKS = {"color": "#000000", "marker": "X", "linestyle": ":"}
_CLICKED = "what was clicked next"


def metric_name(metric: str) -> str:
    """A metric as it is written: `recall@20`, `MRR@20`, `NDCG@20`."""
    return metric if metric.startswith("recall") else metric.upper()


def _errors(found: Sequence[dict[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Means [N], and the lengths [2, N] of their bars to either side."""
    means = np.array([one["mean"] for one in found])
    # Of a mean that every resample repeats, rounding may leave a bound on the wrong side.
    below = np.array([max(one["mean"] - one["low"], 0) for one in found])
    above = np.array([max(one["high"] - one["mean"], 0) for one in found])
    return means, np.stack([below, above])


def _named(name: str, champion: str) -> str:
    return f"{name} {CHAMPION}" if name == champion else name


def _bars_by_row(axes: Axes, names: Sequence[str], found: Sequence[dict[str, float]], marked: Sequence[bool]) -> None:
    """A point with its interval a row, the first on top; marked ones are filled."""
    means, errors = _errors(found)
    style = series_style(0)
    for row, (mean, mark) in enumerate(zip(means, marked, strict=True)):
        axes.errorbar(
            mean,
            row,
            xerr=errors[:, row : row + 1],
            fmt=style["marker"],
            color=style["color"],
            markerfacecolor=style["color"] if mark else "white",
            capsize=3,
            clip_on=False,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def draw_leaderboard(numbers: dict[str, Any], path: Path) -> None:
    """All runs on validation, and the champion with its baselines on test, with intervals."""
    board = numbers["leaderboard"]
    metrics, splits = board["metrics"], {"valid": "Validation, all runs", "test": "Test, champion and baselines"}
    counts = [len(board[split]) for split in splits]
    figure, axes = plots(
        2,
        len(metrics),
        width=max(WIDTH, 2.4 + 2.5 * len(metrics)),
        height=2.1 + _ROW * sum(counts),
        sharey="row",
        sharex="col",
        height_ratios=[count + 1 for count in counts],
    )
    for row, (split, title) in enumerate(splits.items()):
        rows = board[split]
        names = [f"{one['run']} {CHAMPION}" if one["champion"] and split == "test" else one["run"] for one in rows]
        for column, metric in enumerate(metrics):
            plot = axes[row * len(metrics) + column]
            _bars_by_row(plot, names, [one["intervals"][metric] for one in rows], [one["champion"] for one in rows])
            predictions = f"{rows[0]['predictions']:,} predictions" if rows else "no prediction"
            label(plot, "" if column else f"{title}: {predictions}", _unit(metric), "" if column else "run (name)")
            plot.set_xlim(left=0)
            plot.tick_params(labelbottom=True)
    save(figure, path)


def _unit(metric: str) -> str:
    """A metric with its unit, for an axis."""
    units = {"recall": "share of predictions", "mrr": "mean of 1 / rank", "ndcg": "mean of 1 / log2(rank + 1)"}
    return f"{metric_name(metric)} ({units[metric.split('@')[0]]})"


def draw_differences(numbers: dict[str, Any], path: Path) -> None:
    """Paired differences of all pairs of tested models, with intervals."""
    by_metric = numbers["paired_differences"]
    most = max(len(pairs) for pairs in by_metric.values())
    # The pairs are those of the same models in the same order for each metric.
    figure, axes = plots(1, len(by_metric), width=max(WIDTH, 2.4 + 2.5 * len(by_metric)), height=1.3 + 1.6 * _ROW * most, sharey=True)
    for plot, (metric, pairs) in zip(axes, by_metric.items(), strict=True):
        names = [f"{pair['better']}\n− {pair['worse']}" for pair in pairs]
        marked = [pair["low"] > 0 or pair["high"] < 0 for pair in pairs]
        _bars_by_row(plot, names, pairs, marked)
        plot.axvline(0, color=GREY, linewidth=1)
        label(plot, metric_name(metric), f"difference in {_unit(metric)}", "" if plot is not axes[0] else "pair of models (names)")
    save(figure, path)


def _draw_breakdown(rows: Sequence[dict[str, Any]], numbers: dict[str, Any], path: Path, title: str, what: str) -> None:
    """Both metrics by group, each model beside the others, and the predictions behind them."""
    figure, axes = plots(3, 1, height=6.6, sharex=True, height_ratios=[3, 3, 2])
    models = list(rows[0]["models"]) if rows else []
    place = np.arange(len(rows))
    for plot, metric in zip(axes, ("recall@20", "mrr@20"), strict=False):
        for number, model in enumerate(models):
            means, errors = _errors([row["models"][model][metric] for row in rows])
            beside = (number - (len(models) - 1) / 2) * _BESIDE
            plot.errorbar(
                place + beside,
                means,
                yerr=errors,
                label=_named(model, numbers["champion"]),
                capsize=2,
                elinewidth=1,
                **series_style(number),
            )
        label(plot, title if metric == "recall@20" else "", "", _unit(metric))
        plot.set_ylim(bottom=-0.03 * plot.get_ylim()[1])  # so that a point at 0 is seen whole
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.12), ncols=min(len(models), 3))
    axes[2].bar(place, [row["predictions"] for row in rows], color=GREY, width=0.6)
    label(axes[2], "", what, "predictions (count)")
    thousands(axes[2], "y")
    crowded = max((len(row["group"]) for row in rows), default=0) * len(rows) > 60
    axes[2].set_xticks(place, [row["group"] for row in rows], rotation=30 if crowded else 0, ha="right" if crowded else "center")
    save(figure, path)


def draw_session_length(numbers: dict[str, Any], path: Path) -> None:
    """Test metrics by the length of the session."""
    _draw_breakdown(
        numbers["breakdowns"]["session_length"], numbers, path, "By length of the session", "length of the whole session (clicks)"
    )


def draw_position(numbers: dict[str, Any], path: Path) -> None:
    """Test metrics by the place of the prediction in its session."""
    _draw_breakdown(
        numbers["breakdowns"]["position"], numbers, path, "By what is known of the session", "clicks before the predicted one (count)"
    )


def draw_popularity(numbers: dict[str, Any], path: Path) -> None:
    """Test metrics by the popularity of the item that was clicked next."""
    _draw_breakdown(
        numbers["breakdowns"]["popularity"],
        numbers,
        path,
        "By popularity of the item clicked next",
        "training clicks of the item clicked next, in tenths of the predictions (clicks)",
    )


def draw_concentration(numbers: dict[str, Any], path: Path) -> None:
    """The share of recommendations, and of next clicks, that goes to the most popular items."""
    found = numbers["concentration"]
    figure, (plot,) = plots(height=4.4)
    lines = [
        *((_named(model, numbers["champion"]), one, series_style(place)) for place, (model, one) in enumerate(found["models"].items())),
        (_CLICKED, found["clicks"], _CLICKS),
    ]
    items = max(one["curve"]["items"][-1] for _, one, _ in lines)
    for name, one, style in lines:
        shares = np.array(one["curve"]["items"]) / items
        plot.plot(100 * shares, 100 * np.array(one["curve"]["share"]), label=name, markevery=max(1, len(shares) // 10), **style)
    equal = np.geomspace(1 / items, 1, 100)
    plot.plot(100 * equal, 100 * equal, color=GREY, linewidth=1, label="all items alike")
    plot.set_xscale("log")
    plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plot.set_ylim(0, 102)
    label(
        plot,
        "How much goes to the most popular items",
        "the most popular items in training (% of the vocabulary)",
        "share that they get (%)",
    )
    plot.legend(loc="upper left")
    save(figure, path)


def draw_diversity(numbers: dict[str, Any], path: Path) -> None:
    """Coverage, Gini coefficient and novelty of the recommendations, and of the next clicks."""
    found = numbers["concentration"]
    rows = {_named(model, numbers["champion"]): one for model, one in found["models"].items()} | {_CLICKED: found["clicks"]}
    shown = {
        "Coverage": ("items that occur at all\n(% of the vocabulary)", lambda one: 100 * one["coverage"], 100),
        "Inequality (Gini)": ("0: all items alike, 1: one item has\neverything (no unit)", lambda one: one["gini"], 1),
        "Novelty": ("how rare the items are, one more:\nhalf as often clicked (bits)", lambda one: one["novelty"], None),
    }
    figure, axes = plots(1, 3, width=9.4, height=1.8 + _ROW * len(rows), sharey=True)
    for plot, (title, (unit, value, most)) in zip(axes, shown.items(), strict=True):
        for place, one in enumerate(rows.values()):
            style = _CLICKS if place == len(rows) - 1 else series_style(place)
            plot.plot(value(one), place, color=style["color"], marker=style["marker"], markersize=7, linestyle="", clip_on=False)
        plot.set_yticks(range(len(rows)), list(rows))
        plot.set_ylim(len(rows) - 0.5, -0.5)
        plot.set_xlim(0, most)
        plot.margins(x=0.1)
        label(plot, title, unit, "" if plot is not axes[0] else "recommended by (model)")
    save(figure, path)


FIGURES: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "leaderboard": draw_leaderboard,
    "differences": draw_differences,
    "session_length": draw_session_length,
    "position": draw_position,
    "popularity": draw_popularity,
    "concentration": draw_concentration,
    "diversity": draw_diversity,
}
"""What is drawn, by the file's name."""
