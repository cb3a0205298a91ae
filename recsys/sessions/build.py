"""From event parts to sessions and the catalogue."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import rust_sessionizer
from recsys.errors import DataError
from recsys.events.parts import describe_part, id_types
from recsys.sessions.split import cut_points, iso
from recsys.settings.base import format_duration
from recsys.settings.sessions import SessionSettings, SplitSettings
from recsys.settings.source import EVENT_TYPES

SESSION_COLUMNS = ["session_id", "visitor_id", "start", "items", "times", "events", "held_out"]


def read_exclusions(path: Path, parts: list[Path]) -> dict[Path, pl.DataFrame]:
    """The rows of each part that checks remove: `row`, from 0, and `check`; a part from which nothing is removed is left out.

    Raises
    ------
    DataError
        If the file is no list of rows, or names a part that is not there.
    """
    try:
        rows = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} is no Parquet file ({str(error).splitlines()[0]}); run `recsys check` again") from None
    expected = {"part": pl.String, "row": pl.Int64, "check": pl.String}
    if dict(rows.schema) != expected:
        told = ", ".join(f"{name} {dtype}" for name, dtype in rows.schema.items())
        raise DataError(f"{path} holds {told}, not part, row and check; pass the exclusions that `recsys check` wrote")
    found = {part.name.removesuffix(".parquet"): part for part in parts}
    unknown = sorted(set(rows["part"].unique()) - set(found))
    if unknown:
        raise DataError(f"{path} names the part {unknown[0]!r}, which is not among the events; run `recsys check` on the same parts")
    return {found[name]: part.drop("part") for (name,), part in rows.partition_by("part", as_dict=True).items()}


def _without(events: pl.DataFrame, left_out: pl.DataFrame, path: Path) -> pl.DataFrame:
    if left_out["row"].max() >= events.height or left_out["row"].min() < 0:
        raise DataError(f"a row that checks remove from {path} is not there, which holds {events.height:,}; run `recsys check` again")
    kept = np.ones(events.height, dtype=bool)
    kept[left_out["row"].to_numpy()] = False
    return events.filter(kept)


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
            frame = _without(frame, exclusions[path], path)
        frames.append(frame.with_columns(pl.col(column).cast(dtype) for column, dtype in types.items()))
    events = pl.concat(frames, how="vertical_relaxed")
    if not events.height:
        told = "look into each part's .quality.json, which counts the rows that were refused and those that source.where left out"
        if exclusions:
            told += ", and quality/checks.json tells what checks removed"
        raise DataError(f"the log holds no event ({len(paths)} {'part was' if len(paths) == 1 else 'parts were'} read); {told}")
    return events


def event_codes(events: pl.DataFrame) -> list[str]:
    """Event types by code: those of the contract first, then the log's own in alphabetical order."""
    own = sorted(set(events["event"].unique()) - set(EVENT_TYPES))
    names = [*EVENT_TYPES, *own]
    if len(names) > 256:
        raise DataError(f"the log has {len(own)} event types of its own, more than 253; map them with source.event_map")
    return names


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
    names = event_codes(events)
    codes, item_ids = rust_sessionizer.encode(events["item_id"], threads=threads)
    events = events.with_columns(
        pl.Series("item", codes),
        pl.col("event").replace_strict(names, list(range(len(names))), return_dtype=pl.UInt8).alias("events"),
    )
    if settings.clicks is not None:
        unknown = sorted(set(settings.clicks) - set(names))
        if unknown:
            raise DataError(f"sessions.clicks names {unknown[0]!r}, which the log does not hold; it holds {_held(events)}")
        events = events.with_columns(pl.col("event").is_in(settings.clicks).alias("click"))

    logs = [_sessionize(events.filter(~pl.col("held_out")), settings, threads).with_columns(held_out=pl.lit(False))]
    if test_parts:
        logs.append(_sessionize(events.filter(pl.col("held_out")), settings, threads).with_columns(held_out=pl.lit(True)))
    sessions = pl.concat(logs, how="vertical_relaxed").sort("start", maintain_order=True)
    sessions = sessions.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("session_id")).select(SESSION_COLUMNS)
    own = sessions.filter(~pl.col("held_out"))
    if not own.height:
        raise DataError(f"no event is a click: sessions.clicks is {settings.clicks}, and the log holds {_held(events)}; correct the key")
    _refuse_unteachable(own, settings, sessionized=log["session"].null_count() < log.height, separate_test=bool(test_parts))
    starts = own["start"].cast(pl.Int64).to_numpy()
    last = int(own["times"].list.last().cast(pl.Int64).max())
    cuts = cut_points(starts, last, split, separate_test=bool(test_parts))
    catalogue = _catalogue(events, item_ids, names)
    summary = {
        "events": {"log": log.height, "test_log": held_out.height},
        "removed_by_checks": _by_check(removed),
        "event_codes": names,
        "visitors": events["visitor_id"].n_unique() if events["visitor_id"].null_count() < events.height else None,
        "items": catalogue.height,
        "sessions": sessions.height,
        "clicks": int(sessions["items"].list.len().sum()),
        "sessions_of_one_click": int((sessions["items"].list.len() == 1).sum()),
        "first": iso(int(events["timestamp"].cast(pl.Int64).min())),
        "last": iso(int(events["timestamp"].cast(pl.Int64).max())),
        "cuts": {"valid": cuts.valid, "test": cuts.test},
        "cut_times": {"valid": iso(cuts.valid), "test": iso(cuts.test)},
        "clicks_at_or_after_the_test_logs_start": _overlap(sessions) if test_parts else None,
        "settings": {"sessions": settings.model_dump(mode="json"), "split": split.model_dump(mode="json")},
    }
    return sessions, catalogue, summary


def _held(events: pl.DataFrame) -> str:
    """The event types that are there."""
    return ", ".join(sorted(events["event"].unique()))


def _by_check(removed: dict[Path, pl.DataFrame]) -> dict[str, int]:
    """How many events each check removed."""
    checks = pl.concat([rows["check"] for rows in removed.values()]) if removed else pl.Series(dtype=pl.String)
    return dict(sorted(checks.value_counts().iter_rows()))


def _refuse_unteachable(sessions: pl.DataFrame, settings: SessionSettings, sessionized: bool, separate_test: bool) -> None:
    """Stop where no cut in time leaves something to learn and something to predict.

    Raises
    ------
    DataError
        If there are too few sessions, all start at once, or all are of one click.
    """
    column = "source.columns.session" if sessionized else "source.columns.visitor"
    needed = 2 if separate_test else 3
    if sessions.height < needed:
        parts = "training and validation" if separate_test else "training, validation and test"
        told = "a single session" if sessions.height == 1 else f"only {sessions.height} sessions"
        raise DataError(f"the log holds {told}, but {parts} need one each at least; take a longer log, or check {column}")
    if sessions["start"].n_unique() == 1:
        when = iso(int(sessions["start"].cast(pl.Int64)[0]))
        raise DataError(
            f"all {sessions.height:,} sessions start at the same time ({when}), so that they cannot be cut in time; check "
            "source.columns.timestamp and source.timestamps"
        )
    if (sessions["items"].list.len() == 1).all():
        why = f"check {column}: its values must come back from one click to the next"
        if not sessionized:
            why += f", or raise sessions.gap ({format_duration(settings.gap)})"
        raise DataError(f"each of the {sessions.height:,} sessions has a single click, so that there is no next one to learn; {why}")


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


def _overlap(sessions: pl.DataFrame) -> int:
    """Training clicks that are no earlier than the separate test log's first session."""
    first = sessions.filter(pl.col("held_out"))["start"].cast(pl.Int64).min()
    times = sessions.filter(~pl.col("held_out"))["times"].explode(empty_as_null=False).cast(pl.Int64)
    return 0 if first is None else int((times >= first).sum())
