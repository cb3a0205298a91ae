"""When which events happen: over time, by hour of the day and by day of the week."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from recsys.overview.log import Log
from recsys.overview.timeline import DAY, HOUR, WIDTHS, Timeline
from recsys.sessions.split import iso


def traffic(log: Log, names: list[str], cuts: Mapping[str, str | None]) -> tuple[dict[str, Any], Timeline]:
    """Events by type, over time and by hour of the day and day of the week (UTC), and the steps of time.

    A log that lasts less than a day has no hours of the day, one of less than a week no days of the week: they are then None.

    Parameters
    ----------
    log
    names
        Event types in the order in which they are shown; those without an event are left out.
    cuts
        When the sessions of `valid` and `test` begin (ISO 8601); `test` is None where the test log is a separate one.
    """
    ends = log.events.group_by("held_out").agg(pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
    ends = {held_out: (begin, end) for held_out, begin, end in ends.collect(engine="streaming").iter_rows()}
    first, last = min(begin for begin, _ in ends.values()), max(end for _, end in ends.values())
    test = [iso(time) for time in ends[True]] if True in ends else [cuts["test"], iso(last)]
    timeline = Timeline.between(first, last)
    fine = min(WIDTHS[timeline.step], HOUR)
    slots = log.events.group_by(pl.col("time").floordiv(fine).alias("slot"), "event").agg(pl.len().alias("events"))
    table = slots.collect(engine="streaming").sort("slot", "event")
    kinds = [name for name in names if name in set(table["event"])]
    over_time, by_hour, by_weekday, total = {}, {}, {}, {}
    for kind in kinds:
        times, counts = (table.filter(pl.col("event") == kind)[name].to_numpy().astype(np.int64) for name in ("slot", "events"))
        times = times * fine
        total[kind] = int(counts.sum())
        over_time[kind] = timeline.count(times, counts)
        by_hour[kind] = np.bincount(times // HOUR % 24, weights=counts, minlength=24).astype(np.int64).tolist()
        # 1970-01-01 was a Thursday, the fourth day from Monday.
        by_weekday[kind] = np.bincount((times // DAY + 3) % 7, weights=counts, minlength=7).astype(np.int64).tolist()
    found = {
        "first": iso(first),
        "last": iso(last),
        "spans": {"validation": [cuts["valid"], iso(ends[False][1]) if True in ends else cuts["test"]], "test": test},
        "span_days": round((last - first) / DAY, 6),
        "events": total,
        "step": timeline.step,
        "starts": timeline.starts(),
        "over_time": over_time,
        "by_hour": by_hour if last - first >= DAY else None,
        "by_weekday": by_weekday if last - first >= 7 * DAY else None,
    }
    return found, timeline
