"""Figures of the data overview: when what happens, how long sessions are, which items are clicked, what the preparation removed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from recsys.figures.style import (
    COLOURS,
    DASHES,
    SHADES,
    bar_style,
    empty,
    label,
    legend_above,
    logarithmic,
    panels,
    plots,
    save,
    series_style,
    shorten,
    thousands,
    time_axis,
    whole_numbers,
)

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DURATIONS = {
    1: "1 s",
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3600: "1 h",
    21_600: "6 h",
    86_400: "1 d",
    604_800: "7 d",
    2_592_000: "30 d",
}
_LONG_DURATIONS = {31_536_000: "1 y", 315_360_000: "10 y"}
_NOUNS = {"visitors": "visitors", "sessions": "sessions", "items": "items"}


def draw(found: Mapping[str, Any], folder: Path) -> None:
    """Write every figure of the overview into `folder`; `found` as `recsys.overview.gather.overview` gives it."""
    for name, figure in figures(found).items():
        save(figure, folder / f"{name}.svg")


def figures(found: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures by name."""
    return {
        "events": events(found["traffic"], found["funnel"]),
        "sessions": sessions(found["sessions"], found["pauses"]),
        "repeats": repeats(found["repeats"], found["returning"]),
        "popularity": popularity(found["popularity"], found["sparsity"]),
        "items": items(found["traffic"], found["new_items"], found["categories"]),
        "preparation": preparation(found["preparation"]),
    }


def events(traffic: Mapping[str, Any], funnel: Mapping[str, Any] | None) -> Figure:
    """Events over time and by hour and weekday, by type; and how many visitors, sessions and items reach each step of the funnel."""
    layout = [["time", "time"]]
    daily = [name for name in ("by_hour", "by_weekday") if traffic[name] is not None]
    if daily:
        layout.append([daily[0], daily[-1]])
    if funnel is not None:
        layout.append(["funnel", "funnel"])
    figure, axes = panels(layout, height=0.8 + 2.5 * len(layout))
    kinds = _shown_kinds(traffic["events"])
    times = _times(traffic["starts"])
    for place, (kind, members) in enumerate(kinds.items()):
        counts = sum(np.array(traffic["over_time"][member], dtype=float) for member in members)
        # A step without events has no place on a logarithmic axis.
        style = series_style(place) | _markers(counts)
        axes["time"].plot(times, np.where(counts > 0, counts, np.nan), label=kind, **style)
    step = traffic["step"]
    label(axes["time"], f"Events by {step}", "time (UTC)", f"events (count a {step})")
    if _far_apart(traffic["over_time"].values()):
        logarithmic(axes["time"], "y")
    else:
        axes["time"].set_ylim(0, 1.1 * axes["time"].dataLim.ymax)
        thousands(axes["time"], "y")
    time_axis(axes["time"])
    handles, _ = axes["time"].get_legend_handles_labels()
    legend_above(figure, [*handles, *_shade_held_out(axes["time"], traffic)])
    for name in daily:
        for place, members in enumerate(kinds.values()):
            share = _percent(sum(np.array(traffic[name][member]) for member in members))
            axes[name].plot(np.arange(len(share)), share, **(series_style(place) | {"markersize": 3.5}))
        axes[name].set_ylim(0, 1.1 * axes[name].dataLim.ymax)
        whole_numbers(axes[name], "y", 5)
    if "by_hour" in daily:
        label(axes["by_hour"], "By hour of the day", "hour of the day (h, UTC)", "share of the type's events (%)")
        axes["by_hour"].set_xticks(range(0, 24, 4))
    if "by_weekday" in daily:
        label(axes["by_weekday"], "By day of the week", "day of the week (UTC)", "share of the type's events (%)")
        axes["by_weekday"].set_xticks(range(7), _WEEKDAYS)
    if funnel is not None:
        _draw_funnel(axes["funnel"], funnel)
    return figure


def _shown_kinds(events: Mapping[str, int], most: int = 6) -> dict[str, list[str]]:
    """The types that get a line of their own; the rarest share one where there are too many to tell apart."""
    if len(events) <= most + 1:
        return {kind: [kind] for kind in events}
    frequent = sorted(events, key=lambda kind: -events[kind])[:most]
    own = {shorten(kind, 20): [kind] for kind in events if kind in frequent}
    return own | {f"{len(events) - most} others": [kind for kind in events if kind not in frequent]}


def _draw_funnel(axes: Axes, funnel: Mapping[str, Any]) -> None:
    owners, steps = list(funnel["reached"]), funnel["steps"]
    width = 0.8 / len(steps)
    for place, kind in enumerate(steps):
        counts = [funnel["reached"][owner][place] for owner in owners]
        shares = [100 * count / funnel["all"][owner] for owner, count in zip(owners, counts, strict=True)]
        bars = axes.bar(np.arange(len(owners)) + (place - (len(steps) - 1) / 2) * width, shares, width, label=kind, **bar_style(place))
        texts = [f"{share:.1f} %\n{count:,}" for share, count in zip(shares, counts, strict=True)]
        axes.bar_label(bars, texts, fontsize=7, padding=2)
    label(axes, "Funnel: those with at least one such event", "who or what (number of all)", "share of all (%)")
    axes.set_xticks(range(len(owners)), [f"{owner} ({funnel['all'][owner]:,})" for owner in owners])
    axes.set_ylim(0, 128)
    axes.set_yticks(range(0, 101, 25))
    axes.grid(False, axis="x")
    axes.legend(loc="lower right", ncols=len(steps), bbox_to_anchor=(1, 1), borderaxespad=0.2)


def sessions(lengths: Mapping[str, Any], pauses: Mapping[str, Any] | None) -> Figure:
    """Session lengths, and the pauses between events with the gap that cuts them."""
    if pauses is not None and not any(pauses["histogram_seconds"]["counts"]):
        pauses = None
    figure, axes = plots(1 if pauses is None else 2, height=3.0 if pauses is None else 5.8)
    length, number = np.array(lengths["lengths"]), np.array(lengths["sessions_of_length"])
    axes[0].plot(length, number, linestyle="none", marker="o", markersize=3.5, color=COLOURS[0])
    axes[0].set(xlim=(0.8, 1.3 * max(10, length.max())), ylim=(0.7, 1.6 * max(10, number.max())))
    logarithmic(axes[0], "x", "y")
    label(axes[0], f"Session lengths ({lengths['sessions']:,} sessions)", "session length (clicks)", "sessions (count)")
    spread = lengths["spread"]
    for place, (name, told) in enumerate((("median", "median"), ("mean", "mean"), ("p95", "95 % are no longer than"))):
        number = f"{spread[name]:,.2f}" if name == "mean" else f"{spread[name]:,.0f}"
        axes[0].axvline(spread[name], color=COLOURS[1 + place], linestyle=DASHES[1 + place], linewidth=1.2, label=f"{told} {number}")
    axes[0].legend(loc="best")
    if pauses is not None:
        _draw_pauses(axes[1], pauses)
    return figure


def _draw_pauses(axes: Axes, pauses: Mapping[str, Any]) -> None:
    histogram = pauses["histogram_seconds"]
    edges, counts = np.array(histogram["edges"]), np.array(histogram["counts"])
    axes.bar(edges[:-1], _percent(counts), np.diff(edges), align="edge", **bar_style(0))
    axes.set_xscale("log")
    if histogram["smaller"]:
        # What is shorter has no place on a logarithmic axis, and in logs of baskets would leave no room for the rest.
        axes.plot([], [], linestyle="none", label=f"not shown: {100 * histogram['smaller'] / pauses['pauses']:.1f} % of all are under 1 s")
    ticks = {place: text for place, text in _DURATIONS.items() if place <= edges[-1]}
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: ticks.get(round(value), "")))
    label(axes, f"Pauses between the events of a {pauses['of']}", "pause (time, logarithmic)", "share of pauses from 1 s on (%)")
    axes.set_ylim(0, 1.1 * max(1.0, _percent(counts).max(initial=0)))
    if pauses["gap_seconds"] is not None:
        cut = 100 * pauses["longer_than_gap_share"]
        text = f"gap {_duration(pauses['gap_seconds'])}: {cut:.1f} % of all pauses are longer"
        axes.axvline(max(pauses["gap_seconds"], edges[0]), color=COLOURS[1], linestyle="--", linewidth=1.4, label=text)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")


def repeats(repeated: Mapping[str, Any], returning: Mapping[str, Any] | None) -> Figure:
    """Clicks on items clicked before in the session, by place; and how many sessions visitors have."""
    figure, axes = plots(1, 1 if returning is None else 2, height=3.2)
    if repeated["position"]:
        share = 100 * np.array(repeated["share_at_position"])
        axes[0].plot(repeated["position"], share, **(series_style(0) | {"markersize": 4}))
        axes[0].set_ylim(0, max(1.0, share.max() * 1.2))
        whole_numbers(axes[0], "x")
        overall = 100 * repeated["share_of_clicks"]
        axes[0].axhline(overall, color=COLOURS[1], linestyle="--", linewidth=1.1, label=f"all clicks: {overall:.1f} %")
        axes[0].legend(loc="upper left")
        label(axes[0], "Clicked before in the session", "place of the click in the session (number)", "share of clicks (%)")
    else:
        empty(axes[0], "Too few sessions to show\nwhich clicks are repeated.")
    if returning is not None:
        places = np.arange(len(returning["groups"]))
        for place, (name, series) in enumerate((("visitors", "visitors_share"), ("their sessions", "sessions_share"))):
            axes[1].bar(places + (place - 0.5) * 0.4, 100 * np.array(returning[series]), 0.4, label=name, **bar_style(place))
        axes[1].set_xticks(places, [group.replace(" or more", "+") for group in returning["groups"]])
        axes[1].grid(False, axis="x")
        later = 100 * returning["later_sessions_share"]
        label(axes[1], f"{later:.1f} % of sessions are a return", "sessions of a visitor (count)", "share (%)")
        axes[1].set_ylim(0, 1.25 * 100 * max(*returning["visitors_share"], *returning["sessions_share"]))
        axes[1].legend(loc="upper right", ncols=2)
    return figure


def popularity(popular: Mapping[str, Any], sparse: Mapping[str, Any]) -> Figure:
    """Clicks by rank, the share of the clicks that the top items get, and how few clicks most items and visitors have."""
    figure, axes = panels([["rank", "share"], ["sparsity", "sparsity"]], height=5.8)
    rank, clicks = np.array(popular["rank"]), np.array(popular["clicks_at_rank"])
    axes["rank"].plot(rank, clicks, color=COLOURS[0])
    logarithmic(axes["rank"], "x", "y", most=5)
    label(axes["rank"], "Clicks by rank", "rank of the item (number)", "clicks (count)")
    share = 100 * np.array(popular["share_of_clicks_to_rank"])
    axes["share"].plot(100 * np.concatenate([[0], rank]) / popular["items_clicked"], np.concatenate([[0], share]), color=COLOURS[0])
    label(axes["share"], "Clicks on the top items", "most clicked items (% of items)", "share of clicks (%)")
    axes["share"].set(xlim=(-2, 102), ylim=(0, 104))
    for part, marker in (("0.01", "o"), ("0.1", "s"), ("0.5", "^")):
        reached = 100 * popular["share_of_clicks_of_top"][part]
        place = 100 * float(part)
        style = {"marker": marker, "color": COLOURS[1], "linestyle": "none"}
        axes["share"].plot([place], [reached], label=f"top {place:.0f} %: {reached:.0f} %", **style)
    # The curve is never below the diagonal, so that this corner is free.
    axes["share"].legend(loc="lower right")
    for place, name in enumerate(("item", sparse["of"])):
        held = sparse[name]
        style = series_style(place) | {"marker": "none"}
        median = held["spread"]["median"]
        axes["sparsity"].plot(held["at_least"], 100 * np.array(held["share"]), label=f"{name}s (median {median:,.0f} clicks)", **style)
    logarithmic(axes["sparsity"], "x", "y")
    title = f"Sparsity: clicks on {100 * sparse['density']:.2g} % of {sparse['rows']:,} {sparse['of']}s × {sparse['items']:,} items"
    label(axes["sparsity"], title, "at least so many clicks (count)", "share of those with a click (%)")
    axes["sparsity"].legend(loc="lower left")
    return figure


def items(traffic: Mapping[str, Any], arrivals: Sequence[int], categories: Mapping[str, Any] | None) -> Figure:
    """Items seen for the first time, over time; and, where the shop has a category tree, how deep its categories and items lie."""
    figure, axes = plots(1 if categories is None else 2, height=3.0 if categories is None else 5.6)
    times, counts = _times(traffic["starts"]), np.array(arrivals, dtype=float)
    width = times[1] - times[0] if len(times) > 1 else np.timedelta64(1, "m")
    bars = axes[0].bar(times, counts, width, align="edge", label="new items", **bar_style(0))
    axes[0].set_xlim(times[0] - width, times[-1] + 2 * width)
    axes[0].set_ylim(0.5, 2 * max(1, counts.max()))
    logarithmic(axes[0], "y")
    none = int((counts == 0).sum())
    title = f"New items by {traffic['step']}" + (f" ({none:,} {traffic['step']}s without any)" if none else "")
    label(axes[0], title, "time (UTC)", f"items seen first (count a {traffic['step']})")
    time_axis(axes[0])
    legend_above(figure, [bars, *_shade_held_out(axes[0], traffic)])
    if categories is not None:
        depth = np.array(categories["depth"])
        for place, name in enumerate(("categories", "items")):
            held = np.array(categories[name])
            bars = axes[1].bar(depth + (place - 0.5) * 0.4, _percent(held), 0.4, label=name, **bar_style(place))
            axes[1].bar_label(bars, [f"{count:,}" for count in held], fontsize=7, padding=2)
        label(axes[1], "Category tree: categories and the items in them", "depth (levels below a root)", "share (%)")
        axes[1].set_xticks(depth)
        axes[1].set_ylim(0, 1.3 * axes[1].dataLim.ymax)
        axes[1].grid(False, axis="x")
        axes[1].legend(loc="upper right", ncols=2)
    return figure


def preparation(steps: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """What each step removed, from raw rows to the clicks of the two training windows."""
    titles = {
        "log": ("From raw rows to {:,} clicks", "rows (count)"),
        "final": ("Final window: {:,} clicks to learn from", "clicks (count)"),
        "select": ("Select window: {:,} clicks to learn from", "clicks (count)"),
    }
    rows = [len(steps[name]) for name in titles]
    height = 0.8 + 0.27 * sum(rows) + 0.65 * len(rows)
    figure, axes = plots(len(rows), height=height, gridspec_kw={"height_ratios": [number + 0.6 for number in rows]})
    for plot, (name, (title, unit)) in zip(axes, titles.items(), strict=True):
        chain = steps[name]
        whole = max(1, chain[0]["left"])
        for place, step in enumerate(chain):
            plot.barh(place, step["left"], 0.72, **bar_style(0))
            text = f"{step['left']:,}"
            if step["removed"] is not None:
                plot.barh(place, step["removed"], 0.72, left=step["left"], **bar_style(1))
                text = f"−{step['removed']:,} ({100 * step['removed'] / whole:.2g} %)" if step["removed"] else "nothing"
            plot.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), fontsize=8, va="center", annotation_clip=False)
        plot.set_yticks(range(len(chain)), [shorten(step["step"], 46) for step in chain], fontsize=8)
        plot.set_ylim(len(chain) - 0.5, -0.5)
        plot.set_xlim(0, whole)
        plot.grid(False, axis="y")
        plot.locator_params(axis="x", nbins=5)
        thousands(plot, "x")
        label(plot, title.format(chain[-1]["left"]), unit, "step (name)")
    legend_above(figure, [Patch(label=text, **bar_style(place)) for place, text in enumerate(("left", "removed by the step"))])
    return figure


def _times(starts: Sequence[str]) -> np.ndarray:
    return np.array([start.removesuffix("+00:00") for start in starts], dtype="datetime64[ms]")


def _markers(counts: np.ndarray) -> dict[str, Any]:
    """A line of many points is told by its dashes alone, unless points stand by themselves between empty steps."""
    return {"markersize": 4} if len(counts) <= 60 else {"markersize": 2} if (counts == 0).any() else {"marker": "none"}


def _shade_held_out(axes: Axes, traffic: Mapping[str, Any]) -> list[Patch]:
    """Shade where validation and test lie, and give what the legend says of it."""
    handles = []
    axes.set_xlim(*axes.get_xlim())
    for (name, span), shade, hatch in zip(traffic["spans"].items(), SHADES, ("", "//"), strict=True):
        axes.axvspan(*_times(span), facecolor=shade, edgecolor="white", hatch=hatch, linewidth=0, zorder=0)
        handles.append(Patch(facecolor=shade, edgecolor="white", hatch=hatch, label=name))
    return handles


def _far_apart(series: Iterable[Sequence[int]]) -> bool:
    """Whether the counts are so different that the small ones would not be seen on an even axis."""
    counts = np.concatenate([np.asarray(held) for held in series])
    return bool(counts.max() > 10 * counts[counts > 0].min())


def _percent(counts: Sequence[int]) -> np.ndarray:
    held = np.asarray(counts, dtype=float)
    return 100 * held / max(1.0, held.sum())


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
