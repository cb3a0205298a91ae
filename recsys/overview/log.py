"""The log as the overview reads it: lazily, part by part, and as few bytes an event as a question needs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.errors import DataError


@dataclass(frozen=True)
class Log:
    """The events that sessions are made of.

    Attributes
    ----------
    events
        `visitor` and `session` (64-bit hashes, null where the log has none), `event` (text), `time` (milliseconds since 1970-01-01
        UTC) and `held_out` (whether it is of a separate test log); the parts one below the other.
    has_visitors, has_sessions
        What the log tells of who acts, and in which session.
    """

    events: pl.LazyFrame
    has_visitors: bool
    has_sessions: bool

    @classmethod
    def of_parts(cls, parts: list[Path], test_parts: list[Path], exclusions: pl.LazyFrame | None = None) -> "Log":
        """The log in the given event files, without the rows that the checks removed.

        Parameters
        ----------
        parts, test_parts
            Event files of the log, and of a separate test log.
        exclusions
            `part` and `row` (from 0) of the events that a check dropped.

        Raises
        ------
        DataError
            If there is no event.
        """
        removed = exclusions.select("part", "row").unique().collect() if exclusions is not None else pl.DataFrame({"part": []})
        frames = []
        for held_out, paths in ((False, parts), (True, test_parts)):
            for path in paths:
                rows = removed.filter(pl.col("part") == path.name.removesuffix(".parquet")) if removed.height else removed
                frame = pl.scan_parquet(path, row_index_name="row" if rows.height else None)
                if rows.height:
                    frame = frame.join(rows.lazy().select(pl.col("row").cast(frame.collect_schema()["row"])), on="row", how="anti")
                frames.append(
                    frame.select(
                        _hash("visitor_id").alias("visitor"),
                        _hash("session").alias("session"),
                        pl.col("event").cast(pl.String),
                        pl.col("timestamp").cast(pl.Int64).alias("time"),
                        pl.lit(held_out).alias("held_out"),
                    )
                )
        events = pl.concat(frames)
        given = events.select(pl.len(), visitor=pl.col("visitor").count(), session=pl.col("session").count())
        rows, visitors, sessions = given.collect(engine="streaming").row(0)
        if not rows:
            raise DataError(f"the log holds no event ({len(frames)} parts); see the .quality.json files beside them for what was refused")
        return cls(events, bool(visitors), bool(sessions))

    def in_order(self, names: list[str]) -> "Ordered":
        """Every event by who acted and when; `names` are the event types by code."""
        if self.has_visitors and self.has_sessions:
            key = pl.struct("visitor", "session").hash()
        elif self.has_visitors:
            key = pl.col("visitor")
        else:
            key = pl.col("session")
        code = pl.col("event").cast(pl.Enum(names)).to_physical().cast(pl.UInt8)
        table = self.events.select("held_out", key.fill_null(0).alias("key"), "visitor", "time", code.alias("event"))
        table = table.sort("held_out", "key", "time").collect()
        columns = [table[name].to_numpy() for name in ("held_out", "key", "time", "event")]
        same = (columns[0][1:] == columns[0][:-1]) & (columns[1][1:] == columns[1][:-1])
        return Ordered(
            visitor=table["visitor"].fill_null(0).to_numpy() if self.has_visitors else None, time=columns[2], event=columns[3], same=same
        )


def _hash(name: str) -> pl.Expr:
    return pl.when(pl.col(name).is_not_null()).then(pl.col(name).hash())


@dataclass(frozen=True)
class Ordered:
    """E events, visitor by visitor (or, in logs that are sessionized, session by session), each in the order of time.

    Attributes
    ----------
    visitor : uint64 [E], optional
        A hash of who acted.
    time : int64 [E]
        Milliseconds since 1970-01-01 UTC.
    event : uint8 [E]
        Event codes.
    same : bool [E - 1]
        Whether an event is of the same visitor (or session) as the one before it.
    """

    visitor: np.ndarray | None
    time: np.ndarray
    event: np.ndarray
    same: np.ndarray

    def pauses(self) -> np.ndarray:
        """int64 [P]: milliseconds between two events that follow each other."""
        return np.diff(self.time)[self.same]

    def sessions(self, gap: int | None) -> np.ndarray:
        """int64 [E]: the session of every event, from 0; a pause longer than `gap` (milliseconds, None: no pause) starts a new one."""
        begins = ~self.same
        if gap is not None:
            begins = begins | (np.diff(self.time) > gap)
        return np.concatenate([[0], np.cumsum(begins)])
