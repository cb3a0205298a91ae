"""From event parts to sessions and the catalogue."""

from pathlib import Path
from typing import Any

import polars as pl

import rust_sessionizer
from recsys.errors import DataError
from recsys.events.parts import describe_part, id_types
from recsys.sessions.events import by_check, event_codes, kept_rows, no_events, read_exclusions
from recsys.sessions.summary import EventCounts, summarize
from recsys.settings.sessions import SessionSettings, SplitSettings

SESSION_COLUMNS = ["session_id", "visitor_id", "start", "items", "times", "events", "held_out"]


def read_events(paths: list[Path], exclusions: dict[Path, pl.DataFrame] | None = None) -> pl.DataFrame:
    """All parts one below the other, in the given order, without the rows of `exclusions`.

    Raises
    ------
    DataError
        If two parts hold ids of different types, or there is no event at all.
    """
    types, frames = id_types([describe_part(path) for path in paths]), []
    for path in paths:
        frame = pl.read_parquet(path, columns=["visitor_id", "session", "item_id", "event", "timestamp"])
        if exclusions and path in exclusions:
            frame = frame.filter(kept_rows(exclusions[path], frame.height, path))
        frames.append(frame.with_columns(pl.col(column).cast(dtype) for column, dtype in types.items()))
    events = pl.concat(frames, how="vertical_relaxed")
    if not events.height:
        raise no_events(len(paths), bool(exclusions))
    return events


def build_sessions(
    parts: list[Path],
    test_parts: list[Path],
    settings: SessionSettings,
    split: SplitSettings,
    threads: int | None = None,
    exclusions: Path | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Sessions ordered by start, the catalogue, and the summary with the cut points.

    Parameters
    ----------
    parts, test_parts
        Event files of the log, and of a separate test log.
    settings, split
        How to sessionize and where to cut.
    threads
        Of the extension; None takes all cores.
    exclusions
        Rows that checks remove, as `recsys check` writes them.

    Raises
    ------
    DataError
        If no session is left.
    """
    removed = read_exclusions(exclusions, [*parts, *test_parts]) if exclusions else {}
    log = read_events(parts, removed)
    held_out = read_events(test_parts, removed) if test_parts else log.clear()
    events = pl.concat([log.with_columns(held_out=False), held_out.with_columns(held_out=True)], how="vertical_relaxed")
    names = event_codes(events["event"])
    codes, item_ids = rust_sessionizer.encode(events["item_id"], threads=threads)
    events = events.with_columns(
        pl.Series("item", codes),
        pl.col("event").replace_strict(names, list(range(len(names))), return_dtype=pl.UInt8).alias("events"),
    )
    if settings.clicks is not None:
        unknown = sorted(set(settings.clicks) - set(names))
        if unknown:
            held = ", ".join(sorted(events["event"].unique()))
            raise DataError(f"sessions.clicks names {unknown[0]!r}, which the log does not hold; it holds {held}")
        events = events.with_columns(pl.col("event").is_in(settings.clicks).alias("click"))

    logs = [_sessionize(events.filter(~pl.col("held_out")), settings, threads).with_columns(held_out=pl.lit(False))]
    if test_parts:
        logs.append(_sessionize(events.filter(pl.col("held_out")), settings, threads).with_columns(held_out=pl.lit(True)))
    sessions = pl.concat(logs, how="vertical_relaxed").sort("start", maintain_order=True)
    sessions = sessions.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("session_id")).select(SESSION_COLUMNS)
    catalogue = _catalogue(events, item_ids, names)
    counts = EventCounts(
        log=log.height,
        test_log=held_out.height,
        visitors=events["visitor_id"].n_unique() if events["visitor_id"].null_count() < events.height else None,
        first=int(events["timestamp"].cast(pl.Int64).min()),
        last=int(events["timestamp"].cast(pl.Int64).max()),
        names=names,
        held=sorted(events["event"].unique()),
        removed=by_check(removed),
        sessionized=log["session"].null_count() < log.height,
    )
    return sessions, catalogue, summarize(sessions.lazy(), counts, catalogue.height, settings, split)


def _sessionize(events: pl.DataFrame, settings: SessionSettings, threads: int | None) -> pl.DataFrame:
    """Sessions of one log; where it has sessions and visitors, a session is a visitor's."""
    sessionized = events["session"].null_count() < events.height
    if sessionized and events["session"].null_count():
        raise DataError(
            f"{events['session'].null_count()} of {events.height} events have no session id; a log has them on all events or on none"
        )
    visited = events["visitor_id"].null_count() < events.height
    key = None
    if sessionized:
        pairs = events.select("visitor_id", "session").unique(maintain_order=True).with_row_index("key")
        events = events.join(pairs, on=["visitor_id", "session"], how="left", nulls_equal=True, maintain_order="left")
        events, key = events.with_columns(pl.col("key").cast(pl.Int64)), "key"
    used = ["item", "timestamp", "events", *(["visitor_id"] if visited else []), *([key] if key else [])]
    sessions = rust_sessionizer.sessionize(
        events.select(used if settings.clicks is None else [*used, "click"]),
        gap=settings.gap,
        visitor="visitor_id" if visited else None,
        item="item",
        timestamp="timestamp",
        session=key,
        extra=["events"],
        keep="click" if settings.clicks is not None else None,
        drop_repeats=settings.drop_repeats,
        threads=threads,
    )
    if not visited:
        sessions = sessions.with_columns(pl.lit(None, dtype=events["visitor_id"].dtype).alias("visitor_id"))
    return sessions.select("visitor_id", "start", "items", "times", "events")


def _catalogue(events: pl.DataFrame, item_ids: pl.Series, names: list[str]) -> pl.DataFrame:
    """`code`, `item_id`, `first_seen`, and a count an event type, ordered by code; item ids are known up to their first event."""
    present = [name for name in names if name in set(events["event"].unique())]
    counts = (
        events.group_by("item")
        .agg(pl.col("timestamp").min().alias("first_seen"), *((pl.col("event") == name).sum().alias(name) for name in present))
        .sort("item")
    )
    return counts.with_columns(pl.Series("item_id", item_ids)).select(pl.col("item").alias("code"), "item_id", "first_seen", *present)
