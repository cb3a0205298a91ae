"""Figures of the log's quality: a page a part, and the checks, the refused rows and the days of the log as a whole."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from recsys.figures.style import (
    COLOURS,
    GREY,
    bar_style,
    empty,
    label,
    legend_above,
    legend_under_title,
    panels,
    plots,
    save,
    series_style,
    shorten,
    thousands,
    time_axis,
)

BARS = 30
"""Parts that are shown one by one; of more, the worst are, and the others together."""
REASONS_SHOWN = 5
"""Reasons with a colour of their own; the others are one."""
SERIES_SHOWN = 6
"""Event types with a line of their own; the others are one."""
FURTHEST = 3.0
"""Multiple of a threshold at which a figure that lies further out is drawn."""
STEP_NAMES = {"10m": "ten minutes", "1h": "hour", "1d": "day"}
"""Steps of the time axis."""
UNITS = {"volume": "times", "missing_days": "days", "bots": "events an hour"}
"""Of the checks whose figure is no share."""
PASSED = {"marker": "o", "color": COLOURS[0], "markersize": 8}
FAILED = {"marker": "X", "color": COLOURS[1], "markersize": 10}
NOT_JUDGED = {"marker": "|", "color": GREY, "markersize": 12}


def draw_part(counts: dict[str, Any], times: pl.DataFrame, path: Path) -> None:
    """What became of a part's rows, and its events over time.

    Parameters
    ----------
    counts
        The part's quality file.
    times
        `time` (the begin of a step), `event`, `events`, and `step` (such as `1h`).
    path
        SVG to write.
    """
    figure, axes = panels([["rows"], ["time"]], height=5.6, height_ratios=[1, 1.4])
    _rows(axes["rows"], counts)
    _events(axes["time"], times)
    figure.suptitle(f"{shorten(counts['part'], 60)}: {counts['rows']:,} rows, {counts['events']:,} events", x=0.01, ha="left")
    save(figure, path)


def _rows(axes: Axes, counts: dict[str, Any]) -> None:
    label(axes, "What became of the rows", "rows (count, logarithmic)", "outcome (kind)")
    bars = [("kept as events", counts["events"], COLOURS[0], "")]
    if counts["left_out_by_where"]:
        bars.append(("left out by source.where", counts["left_out_by_where"], GREY, "..."))
    refused = sorted(counts["quarantined"].items(), key=lambda pair: -pair[1])
    shown, others = refused[: REASONS_SHOWN + 1], refused[REASONS_SHOWN + 1 :]
    bars += [(f"refused: {_short_reason(reason)}", number, COLOURS[1], "///") for reason, number in shown]
    if others:
        bars.append((f"refused: {len(others)} other reasons", sum(number for _, number in others), COLOURS[1], "///"))
    names, numbers, colours, hatches = zip(*bars, strict=True)
    places = np.arange(len(bars))
    for place, number, colour, hatch in zip(places, numbers, colours, hatches, strict=True):
        axes.barh(place, number, facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0.6, height=0.7)
        axes.annotate(f"{number:,}", (max(number, 1), place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, [shorten(name, 44) for name in names])
    axes.set_ylim(max(len(bars), 3) - 0.5, -0.5)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(0, max(1, *numbers) * 6)
    axes.set_xticks([0, *(10**power for power in range(0, int(np.log10(max(1, *numbers))) + 1))])
    axes.grid(False, axis="y")
    thousands(axes, "x")


def _short_reason(reason: str) -> str:
    return reason.removeprefix("the ").split(" (")[0]


def _events(axes: Axes, times: pl.DataFrame) -> None:
    if not times.height:
        label(axes, "Events over time", "", "")
        empty(axes, "no event was kept")
        return
    step = times["step"][0]
    label(axes, "Events over time", "time (UTC)", f"events (count per {STEP_NAMES[step]})")
    totals = times.group_by("event").agg(pl.col("events").sum()).sort("events", "event", descending=[True, False])["event"].to_list()
    own = totals if len(totals) <= SERIES_SHOWN else totals[: SERIES_SHOWN - 1]
    named = pl.when(pl.col("event").is_in(own)).then("event").otherwise(pl.lit("others"))
    grouped = times.with_columns(named.alias("event")).group_by("event", "time").agg(pl.col("events").sum())
    whole = pl.datetime_range(times["time"].min(), times["time"].max(), step, eager=True, time_unit="ms", time_zone="UTC")
    few = len(whole) <= 60
    for place, event in enumerate([*own, *(["others"] if len(own) < len(totals) else [])]):
        series = pl.DataFrame({"time": whole}).join(grouped.filter(pl.col("event") == event), on="time", how="left", maintain_order="left")
        style = series_style(place) | {"markersize": 3.5 if few else 0}
        axes.plot(series["time"].to_numpy(), series["events"].fill_null(0).to_numpy(), label=shorten(event, 14), **style)
    axes.set_ylim(bottom=0)
    thousands(axes, "y")
    time_axis(axes)
    legend_under_title(axes, 4)


def draw_refused(parts: list[dict[str, Any]], threshold: float, path: Path) -> None:
    """Refused rows as a share of each part's, by reason; of many parts the worst, and the others together."""
    found = sorted((_Refused(counts) for counts in parts), key=lambda part: (-part.share, part.name))
    if len(found) > BARS:
        found, rest = found[: BARS - 1], found[BARS - 1 :]
        found.append(_Refused.together(rest))
    totals: dict[str, int] = {}
    for part in found:
        for reason, number in part.reasons.items():
            totals[reason] = totals.get(reason, 0) + number
    order = sorted(totals, key=lambda reason: -totals[reason])
    own = order if len(order) <= REASONS_SHOWN + 1 else order[:REASONS_SHOWN]

    bars = max(len(found), 3)
    figure, (axes,) = plots(height=1.3 + 0.24 * bars)
    label(axes, "Rows that were refused", "share of the part's rows (%)", "part (name)")
    if not order:
        empty(axes, "no row was refused")
        save(figure, path)
        return
    places, left = np.arange(len(found)), np.zeros(len(found))
    for place, reason in enumerate([*own, *(["other reasons"] if len(own) < len(order) else [])]):
        counted = [part.reasons.get(reason, 0) if reason in own else part.besides(own) for part in found]
        widths = 100 * np.array([number / part.rows if part.rows else 0 for number, part in zip(counted, found, strict=True)])
        axes.barh(places, widths, left=left, label=shorten(_short_reason(reason), 46), height=0.75, **bar_style(place))
        left += widths
    most = max(left.max(), 1e-9)
    if 100 * threshold <= 2 * most:
        axes.axvline(100 * threshold, color=COLOURS[-1], linestyle="--", linewidth=1.2)
        axes.annotate(
            f" threshold {100 * threshold:g}%", (100 * threshold, 1), xycoords=("data", "axes fraction"), va="top", ha="left", fontsize=8
        )
    axes.set_xlim(0, max(most, 100 * threshold if 100 * threshold <= 2 * most else 0) * 1.15)
    axes.set_yticks(places, [shorten(part.name, 34) for part in found])
    axes.set_ylim(bars - 0.5, -0.5)
    axes.grid(False, axis="y")
    lines = legend_above(figure, axes.get_legend_handles_labels()[0])
    # The legend has room of its own, so that the bars of a few parts are not squeezed under that of many reasons.
    figure.set_figheight(figure.get_figheight() + 0.17 * lines)
    save(figure, path)


class _Refused:
    """Refused rows of a part, or of several together."""

    def __init__(self, counts: dict[str, Any]) -> None:
        self.name = counts["part"]
        self.rows = counts["rows"] - counts["left_out_by_where"]
        self.reasons = dict(counts["quarantined"])

    @classmethod
    def together(cls, parts: list["_Refused"]) -> "_Refused":
        reasons: dict[str, int] = {}
        for part in parts:
            for reason, number in part.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + number
        name = f"the other {len(parts):,} parts"
        return cls({"part": name, "rows": sum(part.rows for part in parts), "left_out_by_where": 0, "quarantined": reasons})

    @property
    def share(self) -> float:
        return sum(self.reasons.values()) / self.rows if self.rows else 0.0

    def besides(self, own: list[str]) -> int:
        return sum(number for reason, number in self.reasons.items() if reason not in own)


def draw_volume(logs: dict[str, list[dict[str, Any]]], factor: float, path: Path) -> None:
    """Events a day beside the band of days that pass.

    Parameters
    ----------
    logs
        The days of each log (`day`, `events`, `usual`) by its name.
    factor
        How many times more or fewer events than usual pass.
    path
        SVG to write.
    """
    figure, axes = plots(len(logs), 1, height=0.8 + 3.2 * len(logs))
    for place, (name, days) in zip(axes, logs.items(), strict=True):
        _volume(place, name, days, factor)
    save(figure, path)


def _volume(axes: Axes, name: str, days: list[dict[str, Any]], factor: float) -> None:
    label(axes, f"Events a day, {name}", "day (UTC)", "events (count per day, logarithmic)")
    if not days:
        empty(axes, "no event was kept")
        return
    dates = np.array([np.datetime64(day["day"]) for day in days])
    events = np.array([day["events"] for day in days], dtype=float)
    usual = np.array([np.nan if day["usual"] is None else day["usual"] for day in days])
    there, judged = events > 0, ~np.isnan(usual)
    outside = judged & ((events > factor * usual) | (events < usual / factor))
    partial = np.zeros(len(days), dtype=bool)
    partial[[0, -1]] = True
    many = len(days) > 120
    axes.fill_between(
        dates, usual / factor, usual * factor, where=judged, color=COLOURS[4], alpha=0.25, linewidth=0, label=f"passes (up to {factor:g} ×)"
    )
    if judged.any():
        axes.plot(dates, usual, color=GREY, linestyle="--", linewidth=1.2, label="usual day")
    line = np.where(there, events, np.nan)
    axes.plot(dates, line, color=COLOURS[0], marker="" if many else "o", markersize=3.5, label="events")
    axes.plot(dates[partial], line[partial], linestyle="", marker="o", markerfacecolor="white", color=COLOURS[0], label="partial day")
    if outside.any():
        axes.plot(dates[outside], events[outside], linestyle="", label="fails", **FAILED)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    high *= 1.3
    if (~there).any():
        axes.plot(dates[~there], np.full((~there).sum(), low), linestyle="", marker="^", color=COLOURS[1], label="no event", clip_on=False)
    axes.set_ylim(low, high)
    thousands(axes, "y")
    if len(days) > 1:
        time_axis(axes)
    else:
        axes.set_xticks(dates, [str(dt.date.fromisoformat(days[0]["day"]))])
    legend_under_title(axes, 6)


def draw_checks(findings: list[tuple[str, dict[str, Any]]], path: Path) -> None:
    """Every check's figure as a multiple of its threshold.

    Parameters
    ----------
    findings
        Name (with the log or the window where there are several) and finding, as the quality files hold it.
    path
        SVG to write.
    """
    figure, (axes,) = plots(height=1.5 + 0.34 * len(findings))
    label(axes, "Checks", "figure as a multiple of the threshold (times)", "check (name)")
    places = np.arange(len(findings))
    axes.axvline(1, color=COLOURS[-1], linestyle="--", linewidth=1.2)
    for place, (_, finding) in zip(places, findings, strict=True):
        times = _multiple(finding)
        judged = times is not None
        style = (PASSED if finding["passed"] else FAILED) if judged else NOT_JUDGED
        axes.hlines(place, 0, min(times, FURTHEST) if judged else 0, color=style["color"], linewidth=1)
        axes.plot(min(times, FURTHEST) if judged else 0, place, linestyle="", clip_on=False, **style)
        axes.annotate(
            _told(finding),
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_xlim(0, FURTHEST)
    axes.set_xticks([0, 0.5, 1, 1.5, 2, 2.5, 3], ["0", "0.5", "1", "1.5", "2", "2.5", "3 or more"])
    axes.set_yticks(places, [name for name, _ in findings])
    axes.set_ylim(len(findings) - 0.5, -0.5)
    axes.grid(False, axis="y")
    kinds = (("passed", PASSED), ("failed", FAILED), ("not judged", NOT_JUDGED))
    legend_above(figure, [Line2D([], [], linestyle="", label=name, **style) for name, style in kinds])
    save(figure, path)


def _multiple(finding: dict[str, Any]) -> float | None:
    if finding["figure"] is None:
        return None
    if finding["threshold"]:
        return finding["figure"] / finding["threshold"]
    return 0.0 if finding["figure"] == 0 else FURTHEST


def _told(finding: dict[str, Any]) -> str:
    """The figure, the threshold and the policy in a few words."""
    if finding["figure"] is None:
        return f"not judged ({finding['policy']})"
    figure, threshold = finding["figure"], finding["threshold"]
    if finding["check"] in UNITS:
        return f"{figure:,.4g} of {threshold:,g} {UNITS[finding['check']]} ({finding['policy']})"
    return f"{100 * figure:.3g}% of {100 * threshold:g}% ({finding['policy']})"
