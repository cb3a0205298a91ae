"""Figures of what the pipeline took: seconds and memory a rule."""

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from recsys.figures.style import bar_style, empty, label, legend_above, plots, shorten, thousands


def resources(rules: pl.DataFrame) -> Figure:
    """Wall seconds of all jobs of a rule and of its longest one, and the highest memory of a job; `rules` as `by_rule` gives it."""
    figure, axes = plots(1, 2, height=1.3 + 0.24 * max(3, rules.height), sharey=True)
    if not rules.height:
        for plot in axes:
            empty(plot, "no job was measured")
        return figure
    places = np.arange(rules.height)
    seconds, longest = rules["seconds"].to_numpy(), rules["longest"].to_numpy()
    jobs = rules["jobs"].to_numpy()
    axes[0].barh(places, longest, 0.72, **bar_style(0))
    axes[0].barh(places, seconds - longest, 0.72, left=longest, **bar_style(1))
    for place, (whole, number) in enumerate(zip(seconds, jobs, strict=True)):
        text = f"{whole:,.1f}" + (f" in {number} jobs" if number > 1 else "")
        axes[0].annotate(text, (whole, place), (3, 0), textcoords="offset points", fontsize=7, va="center")
    memory = rules["memory_mib"].fill_null(0).to_numpy()
    axes[1].barh(places, memory, 0.72, **bar_style(2))
    for place, value in enumerate(rules["memory_mib"]):
        text = "not measured" if value is None else f"{value:,.0f}"
        axes[1].annotate(text, (value or 0, place), (3, 0), textcoords="offset points", fontsize=7, va="center")
    axes[0].set_yticks(places, [shorten(name) for name in rules["rule"]])
    axes[0].set_ylim(rules.height - 0.4, -0.6)
    axes[0].set_xlim(0, 1.45 * seconds.max())
    axes[1].set_xlim(0, max(1.0, 1.25 * memory.max()))
    for plot in axes:
        plot.grid(False, axis="y")
        plot.locator_params(axis="x", nbins=5)
        thousands(plot, "x")
    label(axes[0], f"Wall time: {seconds.sum():,.0f} s in {jobs.sum():,} jobs", "wall time (s)", "rule (name)")
    label(axes[1], "Highest memory of a job", "resident memory (MiB)", "rule (name)")
    axes[1].tick_params(labelleft=False)
    told = ("longest job", "the rule's other jobs", "memory")
    legend_above(figure, [Patch(label=text, **bar_style(place)) for place, text in enumerate(told)])
    return figure
