"""Figures of the training: loss and validation by epoch, run by run."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from recsys.figures.style import GREY, empty, label, legend_above, panels, plots, series_style, shorten, whole_numbers
from recsys.training.curves import Curve

MOST = 10
"""Named runs that get a colour; of more, the best ones by the watched metric."""


def curves(runs: Sequence[Curve], refit: Curve | None, metric: str) -> Figure:
    """Loss by epoch, a plot a loss function since their sizes cannot be compared, and the watched metric on validation.

    Parameters
    ----------
    runs
        The runs that learn in epochs; the seeds of a named run share its colour.
    refit
        The champion's fit on training and validation together, which has no validation; None where it does not learn in epochs.
    metric
        What training watched, such as `mrr@20`.
    """
    losses = sorted({curve.loss_name for curve in (*runs, *([refit] if refit else []))})
    if not losses:
        figure, axes = plots(height=1.6)
        empty(axes[0], "No run of this grid learns in epochs: its models only count, so that there is no curve to draw.")
        return figure
    watched = [curve for curve in runs if curve.validation]
    width = 2 * len(losses)
    figure, axes = panels(
        [[f"loss {place // 2}" for place in range(width)], *([["metric"] * width] if watched else [])], height=3.6 + (2.6 if watched else 0)
    )
    names = list(dict.fromkeys(curve.name for curve in sorted(runs, key=lambda curve: -curve.best)))
    shown = set(names[:MOST])
    styles = {name: series_style(place) for place, name in enumerate(dict.fromkeys(curve.name for curve in runs if curve.name in shown))}
    grey = {"color": GREY, "marker": "none", "linestyle": "-", "linewidth": 0.7}
    for curve in sorted(runs, key=lambda curve: curve.name in shown):
        style = styles.get(curve.name, grey)
        axes[f"loss {losses.index(curve.loss_name)}"].plot(curve.epochs, curve.loss, **(style | {"markersize": 3}))
        if curve.validation:
            axes["metric"].plot(curve.epochs, curve.validation, **(style | {"markersize": 3}))
            best = int(np.argmax(curve.validation))
            ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgecolor": style["color"]}
            axes["metric"].plot([curve.epochs[best]], [curve.validation[best]], linestyle="none", **ring)
    if refit is not None:
        line = {"color": "black", "linestyle": (0, (1, 1)), "linewidth": 1.2}
        axes[f"loss {losses.index(refit.loss_name)}"].plot(refit.epochs, refit.loss, **line)
    for place, name in enumerate(losses):
        label(
            axes[f"loss {place}"],
            f"Training loss: {name}",
            "epoch (number)",
            "mean loss (−ln of a probability)" if name == "cross-entropy" else "mean loss (no unit)",
        )
        whole_numbers(axes[f"loss {place}"], "x")
    if watched:
        label(axes["metric"], f"Validation {metric}", "epoch (number)", f"{metric} (share)")
        whole_numbers(axes["metric"], "x")
    legend_above(figure, _legend(runs, refit, styles, grey, bool(watched)))
    return figure


def _legend(runs: Sequence[Curve], refit: Curve | None, styles: dict[str, dict], grey: dict, watched: bool) -> list[Line2D]:
    seeds = {name: sum(curve.name == name for curve in runs) for name in styles}
    handles = [
        Line2D([], [], label=shorten(name) + (f" ({seeds[name]} seeds)" if seeds[name] > 1 else ""), **(style | {"markersize": 4}))
        for name, style in styles.items()
    ]
    others = len({curve.name for curve in runs}) - len(styles)
    if others:
        handles.append(Line2D([], [], label=f"{others} more", **grey))
    if refit is not None:
        handles.append(Line2D([], [], color="black", linestyle=(0, (1, 1)), label=f"refit of {shorten(refit.name)}"))
    if watched:
        ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": "black"}
        handles.append(Line2D([], [], linestyle="none", label="best epoch", **ring))
    return handles
