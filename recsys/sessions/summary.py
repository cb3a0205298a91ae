"""What is told of the sessions of a log, and the logs that nothing can be learned from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.sessions.split import cut_points, iso
from recsys.settings.base import format_duration
from recsys.settings.sessions import SessionSettings, SplitSettings


@dataclass(frozen=True)
class EventCounts:
    """What the summary tells of the events that no check removed.

    Attributes
    ----------
    log, test_log
        Events of the log, and of a separate test log.
    visitors
        Different visitors of both, null being one of them; None where no event has one.
    first, last
        The earliest and the latest time, milliseconds.
    names
        Event types by code.
    held
        The event types that are there, in alphabetical order.
    removed
        Events that checks removed, by check.
    sessionized
        Whether the log came with sessions.
    """

    log: int
    test_log: int
    visitors: int | None
    first: int
    last: int
    names: list[str]
    held: list[str]
    removed: dict[str, int]
    sessionized: bool


def summarize(sessions: pl.LazyFrame, events: EventCounts, items: int, settings: SessionSettings, split: SplitSettings) -> dict[str, Any]:
    """The summary with the cut points.

    Parameters
    ----------
    sessions
        The table of sessions, in memory or in a file; of a file, no more than the starts is held.
    events
        What is known of the events.
    items
        Items of the catalogue.
    settings, split
        How sessions were made, and where to cut.

    Raises
    ------
    DataError
        If the sessions cannot be cut in time, or none of them has a next click.
    """
    length, separate_test = pl.col("items").list.len(), events.test_log > 0
    own = ~pl.col("held_out")
    counts = sessions.select(
        pl.len().alias("sessions"),
        length.sum().cast(pl.Int64).alias("clicks"),
        (length == 1).sum().alias("of_one_click"),
        length.filter(own).max().alias("longest"),
        pl.col("times").list.last().filter(own).max().cast(pl.Int64).alias("last"),
        pl.col("start").filter(~own).min().cast(pl.Int64).alias("test_begins"),
    )
    found = counts.collect(engine="streaming").row(0, named=True)
    starts = sessions.filter(own).select(pl.col("start").cast(pl.Int64)).collect(engine="streaming")["start"].to_numpy()
    if not len(starts):
        held = ", ".join(events.held)
        raise DataError(f"no event is a click: sessions.clicks is {settings.clicks}, and the log holds {held}; correct the key")
    _refuse_unteachable(starts, found["longest"], settings, events.sessionized, separate_test)
    cuts = cut_points(starts, found["last"], split, separate_test=separate_test)
    return {
        "events": {"log": events.log, "test_log": events.test_log},
        "removed_by_checks": events.removed,
        "event_codes": events.names,
        "visitors": events.visitors,
        "items": items,
        "sessions": found["sessions"],
        "clicks": found["clicks"] or 0,
        "sessions_of_one_click": found["of_one_click"],
        "first": iso(events.first),
        "last": iso(events.last),
        "cuts": {"valid": cuts.valid, "test": cuts.test},
        "cut_times": {"valid": iso(cuts.valid), "test": iso(cuts.test)},
        "clicks_at_or_after_the_test_logs_start": _overlap(sessions, found["test_begins"]) if separate_test else None,
        "settings": {"sessions": settings.model_dump(mode="json"), "split": split.model_dump(mode="json")},
    }


def _refuse_unteachable(starts: np.ndarray, longest: int, settings: SessionSettings, sessionized: bool, separate_test: bool) -> None:
    """Stop where no cut in time leaves something to learn and something to predict.

    Raises
    ------
    DataError
        If there are too few sessions, all start at once, or all are of one click.
    """
    column = "source.columns.session" if sessionized else "source.columns.visitor"
    needed = 2 if separate_test else 3
    if len(starts) < needed:
        parts = "training and validation" if separate_test else "training, validation and test"
        told = "a single session" if len(starts) == 1 else f"only {len(starts)} sessions"
        raise DataError(f"the log holds {told}, but {parts} need one each at least; take a longer log, or check {column}")
    if starts.min() == starts.max():
        when = iso(int(starts[0]))
        raise DataError(
            f"all {len(starts):,} sessions start at the same time ({when}), so that they cannot be cut in time; check "
            "source.columns.timestamp and source.timestamps"
        )
    if longest == 1:
        why = f"check {column}: its values must come back from one click to the next"
        if not sessionized:
            why += f", or raise sessions.gap ({format_duration(settings.gap)})"
        raise DataError(f"each of the {len(starts):,} sessions has a single click, so that there is no next one to learn; {why}")


def _overlap(sessions: pl.LazyFrame, test_begins: int | None) -> int:
    """Training clicks that are no earlier than the separate test log's first session."""
    if test_begins is None:
        return 0
    clicks = sessions.filter(~pl.col("held_out")).select(pl.col("times").explode(empty_as_null=False).cast(pl.Int64))
    return clicks.select((pl.col("times") >= test_begins).sum()).collect(engine="streaming").item()
