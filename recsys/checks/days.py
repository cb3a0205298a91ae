"""The days of a log: their volume against the days before them, and those that are missing."""

import datetime as dt
from dataclasses import dataclass
from statistics import median

import polars as pl

from recsys.checks.finding import EXAMPLES, Finding
from recsys.checks.log import EventLog
from recsys.settings.checks import MissingDaysCheck, VolumeCheck

BEFORE = 7
"""Days that a day is compared with."""


@dataclass(frozen=True)
class Day:
    """A day of the log, in UTC: its events, and those of a usual day before it, where the two can be compared."""

    date: dt.date
    events: int
    usual: float | None

    @property
    def ratio(self) -> float | None:
        """How many times more or fewer events than usual."""
        return None if self.usual is None else max(self.events / self.usual, self.usual / self.events)


def days_of(log: EventLog, check: VolumeCheck) -> list[Day]:
    """Every day from the log's first to its last, those without events too."""
    counts = log.table.group_by(pl.col("timestamp").dt.date().alias("date")).len().collect(engine="streaming")
    events = dict(counts.iter_rows())
    if not events:
        return []
    first, last = min(events), max(events)
    dates = [first + dt.timedelta(days=place) for place in range((last - first).days + 1)]
    days = []
    for place, date in enumerate(dates):
        before = [events[day] for day in dates[max(1, place - BEFORE) : place] if day in events]
        usual = median(before) if len(before) >= check.days and date != last and date in events else None
        judged = usual is not None and max(usual, events[date]) >= check.events
        days.append(Day(date, events.get(date, 0), usual if judged else None))
    return days


def judge_volume(log: EventLog, days: list[Day], check: VolumeCheck) -> tuple[Finding, pl.DataFrame]:
    """The finding, and the rows that `drop` removes: on each day that is too busy, those from the instant on at which it became so."""
    judged = sorted((day for day in days if day.ratio is not None), key=lambda day: (-day.ratio, day.date))
    nothing = pl.DataFrame(schema={"part": pl.Int32, "row": pl.Int64})
    if not judged:
        reason = f"no day of the log can be compared with {check.days} full days before it"
        return Finding("volume", None, check.threshold, check.policy, not_judged=reason), nothing
    failed = [day for day in judged if day.ratio > check.threshold]
    busy = [day for day in failed if day.events > day.usual]
    rows = pl.concat([nothing, *(_rows_too_many(log, day, check.threshold) for day in busy)])
    sentence = ""
    if failed:
        worst = failed[0]
        more = f" ({len(failed) - 1} more of {len(judged)} days judged)" if len(failed) > 1 else ""
        sentence = (
            f"volume: {worst.date} has {worst.events:,} events, {worst.ratio:.1f} times {'more' if worst in busy else 'fewer'} than the "
            f"median of the days before it ({worst.usual:,.0f}){more}, and checks.volume.threshold allows {check.threshold:g}: look "
            "whether that day was logged rightly, or raise checks.volume.threshold"
            + (f"; {rows.height:,} events are removed" if check.policy == "drop" else "")
        )
    parts = log.by_part(rows)
    top = [(day.date.isoformat(), day.events, day.usual, round(day.ratio, 3)) for day in judged[:EXAMPLES]]
    finding = Finding(
        "volume",
        judged[0].ratio,
        check.threshold,
        check.policy,
        sentence,
        {"days": len(failed), "busy_days": len(busy), "rows": rows.height},
        [dict(zip(("day", "events", "usual", "times"), example, strict=True)) for example in top],
        {name: {"rows": number} for name, number in parts.items()},
    )
    return finding, rows


def _rows_too_many(log: EventLog, day: Day, factor: float) -> pl.DataFrame:
    begin = dt.datetime.combine(day.date, dt.time(), dt.UTC)
    table = log.table.select("part", "row", "timestamp")
    rows = table.filter(pl.col("timestamp").is_between(begin, begin + dt.timedelta(days=1), closed="left")).collect(engine="streaming")
    too_many = rows["timestamp"].sort()[int(factor * day.usual)]
    return rows.filter(pl.col("timestamp") >= too_many).select("part", "row")


def judge_missing_days(days: list[Day], check: MissingDaysCheck) -> Finding:
    """The finding on days without events."""
    if not days:
        return Finding("missing_days", None, check.threshold, check.policy, not_judged="the log holds no event")
    missing = [day.date.isoformat() for day in days if not day.events]
    sentence = ""
    if len(missing) > check.threshold:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        sentence = (
            f"missing_days: {len(missing):,} of the log's {len(days):,} days (UTC) have no event ({shown}), more than "
            f"checks.missing_days.threshold allows ({check.threshold}); look for a raw file that is missing, or raise "
            "checks.missing_days.threshold where the shop was closed"
        )
    affected, examples = {"days": len(missing)}, [{"day": day} for day in missing[:EXAMPLES]]
    return Finding("missing_days", len(missing), check.threshold, check.policy, sentence, affected, examples)
