"""Event parts larger than memory: their catalogue, and copies with codes instead of names, batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

import rust_sessionizer
from recsys.errors import DataError
from recsys.events.parts import describe_part, id_types
from recsys.files import whole_file
from recsys.sessions.events import event_codes, kept_rows, no_events
from recsys.settings.sessions import SessionSettings

BATCH_EVENTS = 1_000_000
"""Events that are handled at once."""

BYTES_AT_ALL, BYTES_AN_EVENT, BYTES_A_TEXT = 300 << 20, 200, 40
"""What making sessions at once takes at its peak: without events, for each with integer ids, and more for each id that is text. Measured
on 3 and 9 million events: 281 million, 189 and, with ids of a dozen characters, 37; some headroom added."""


@dataclass(frozen=True)
class Log:
    """Event parts in their order.

    Attributes
    ----------
    parts, test_parts
        Of the log, and of a separate test log.
    removed
        The rows that checks remove from a part.
    types
        The type of each id that all parts share.
    """

    parts: list[Path]
    test_parts: list[Path]
    removed: dict[Path, pl.DataFrame]
    types: dict[str, pl.DataType]

    @staticmethod
    def of(parts: list[Path], test_parts: list[Path], removed: dict[Path, pl.DataFrame]) -> "Log":
        """The log of these parts."""
        types = id_types([describe_part(path) for path in [*parts, *test_parts]])
        return Log(parts, test_parts, removed, types)

    def batches(self, path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
        """A part's events that no check removes, in order; at most a million at once."""
        left_out = self.removed.get(path)
        with pq.ParquetFile(path) as file:
            kept = None if left_out is None else kept_rows(left_out, file.metadata.num_rows, path)
            begin = 0
            # A part without events gives one batch without events.
            tables = file.iter_batches(BATCH_EVENTS, columns=columns) if file.metadata.num_rows else [file.read(columns)]
            for table in tables:
                frame = pl.from_arrow(table)
                end = begin + frame.height
                if kept is not None:
                    frame = frame.filter(kept[begin:end])
                yield frame.with_columns(pl.col(column).cast(dtype) for column, dtype in self.types.items() if column in columns)
                begin = end


@dataclass(frozen=True)
class Counted:
    """What one reading of the log tells.

    Attributes
    ----------
    catalogue
        A row an item, ordered by code.
    names, held
        Event types by code; those that are there.
    events, test_events
        Events of the log, and of a separate test log.
    without_session, without_visitor
        Of these two, how many have no session, and no visitor.
    first, last
        The earliest and the latest time, milliseconds.
    """

    catalogue: pl.DataFrame
    names: list[str]
    held: list[str]
    events: int
    test_events: int
    without_session: tuple[int, int]
    without_visitor: tuple[int, int]
    first: int
    last: int


def count(log: Log) -> Counted:
    """Read every event once.

    Raises
    ------
    DataError
        If there is no event at all, or too many types of them.
    """
    groups: list[pl.DataFrame] = []
    found = {False: [0, 0, 0], True: [0, 0, 0]}
    for held_out, parts in ((False, log.parts), (True, log.test_parts)):
        for path in parts:
            for frame in log.batches(path, ["visitor_id", "session", "item_id", "event", "timestamp"]):
                totals = (frame.height, frame["session"].null_count(), frame["visitor_id"].null_count())
                found[held_out] = [before + more for before, more in zip(found[held_out], totals, strict=True)]
                groups.append(_grouped(frame.lazy().with_columns(events=pl.lit(1, pl.Int64), last=pl.col("timestamp"))))
                if sum(group.height for group in groups) > 4 * BATCH_EVENTS:
                    groups = [_grouped(pl.concat(groups).lazy())]
        if parts and not found[held_out][0]:
            raise no_events(len(parts), bool(log.removed))
    total = _grouped(pl.concat(groups).lazy())
    names = event_codes(total["event"])
    items = total.group_by("item_id").agg(pl.col("timestamp").min().alias("first_seen"))
    codes, ids = rust_sessionizer.encode(items["item_id"])
    catalogue = items.with_columns(pl.Series("code", codes)).sort("code").with_columns(pl.Series("item_id", ids))
    held = sorted(total["event"].unique())
    for name in (name for name in names if name in held):
        of_type = total.filter(pl.col("event") == name).select("item_id", pl.col("events").alias(name))
        catalogue = catalogue.join(of_type, on="item_id", how="left", maintain_order="left")
        catalogue = catalogue.with_columns(pl.col(name).fill_null(0).cast(pl.UInt32))
    present = [name for name in names if name in held]
    (events, *without), (test_events, *test_without) = found[False], found[True]
    return Counted(
        catalogue=catalogue.select("code", "item_id", "first_seen", *present),
        names=names,
        held=held,
        events=events,
        test_events=test_events,
        without_session=(without[0], test_without[0]),
        without_visitor=(without[1], test_without[1]),
        first=int(total["timestamp"].cast(pl.Int64).min()),
        last=int(total["last"].cast(pl.Int64).max()),
    )


def _grouped(events: pl.LazyFrame) -> pl.DataFrame:
    return events.group_by("item_id", "event").agg(pl.col("timestamp").min(), pl.col("last").max(), pl.col("events").sum()).collect()


def write_coded(log: Log, counted: Counted, settings: SessionSettings, folder: Path) -> list[Path]:
    """Copy every part to `folder`: who, `session`, `item` (the code), `timestamp`, `events` (the code), `click`, `held_out`.

    Raises
    ------
    DataError
        If `sessions.clicks` names an event type that the log does not hold.
    """
    for name in sorted(set(settings.clicks or []) - set(counted.names)):
        raise DataError(f"sessions.clicks names {name!r}, which the log does not hold; it holds {', '.join(counted.held)}")
    codes = counted.catalogue.select("item_id", pl.col("code").alias("item"))
    numbers = list(range(len(counted.names)))
    written = []
    for held_out, parts in ((False, log.parts), (True, log.test_parts)):
        for path in parts:
            coded = folder / f"{len(written):06}.parquet"
            with whole_file(coded) as partial:
                writer: pq.ParquetWriter | None = None
                for frame in log.batches(path, ["visitor_id", "session", "item_id", "event", "timestamp"]):
                    frame = frame.join(codes, on="item_id", how="left", maintain_order="left").with_columns(
                        pl.col("event").replace_strict(counted.names, numbers, return_dtype=pl.UInt8).alias("events"),
                        pl.lit(held_out).alias("held_out"),
                        (pl.col("event").is_in(settings.clicks) if settings.clicks is not None else pl.lit(True)).alias("click"),
                    )
                    table = frame.drop("item_id", "event").to_arrow()
                    writer = writer or pq.ParquetWriter(partial, table.schema, compression="zstd", compression_level=1)
                    writer.write_table(table)
                writer.close()
            written.append(coded)
    return written


def needed_bytes(log: Log) -> int:
    """About how much memory it takes to make the sessions of the log at once."""
    texts = sum(dtype == pl.String for dtype in log.types.values())
    rows = sum(describe_part(path).rows for path in [*log.parts, *log.test_parts])
    return BYTES_AT_ALL + rows * (BYTES_AN_EVENT + BYTES_A_TEXT * texts)


def sessionized(without: int, events: int) -> bool:
    """Whether a log came with sessions.

    Raises
    ------
    DataError
        If only some of its events have one.
    """
    if without not in (0, events):
        raise DataError(f"{without} of {events} events have no session id; a log has them on all events or on none")
    return without < events
