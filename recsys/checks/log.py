"""The events of a log's parts as one lazy table, of which each check reads the columns it needs."""

from dataclasses import dataclass
from pathlib import Path

import dataframely as dy
import polars as pl

from recsys.events.parts import describe_part, id_types

CHECKS_THAT_DROP = ("duplicates", "bots", "volume", "conversion_order")
"""In this order: a row that several checks remove counts for the first."""


class Exclusions(dy.Schema):
    """Rows that a `drop` policy removes: `row` counts from 0 in the part's events file, and each row stands there once."""

    part = dy.String(primary_key=True)
    row = dy.Int64(primary_key=True, min=0)
    check = dy.Enum(CHECKS_THAT_DROP)


@dataclass(frozen=True)
class EventLog:
    """A log, in the order of its parts and rows.

    Attributes
    ----------
    parts
        Names of the parts that hold events.
    rows
        Events of each.
    columns
        The events' own columns.
    who
        The columns that tell one visitor from another; in a log without visitors, one session from another.
    table
        `part` (Int32, the place in `parts`), `row` (Int64, from 0), and `columns`; `session` is null where `who` holds both and the
        visitor is known.
    """

    parts: list[str]
    rows: list[int]
    columns: list[str]
    who: list[str]
    table: pl.LazyFrame

    @property
    def events(self) -> int:
        """Events of all parts."""
        return sum(self.rows)

    def by_part(self, rows: pl.DataFrame) -> dict[str, int]:
        """How many of `rows` (with the column `part`) lie in each part."""
        counts = dict(rows.group_by("part").len().iter_rows())
        return {name: counts.get(place, 0) for place, name in enumerate(self.parts)}


def open_log(paths: list[Path]) -> EventLog:
    """The log of some parts; nothing but the files' footers is read.

    Raises
    ------
    DataError
        If a file is no part, or two parts hold ids of different types.
    """
    files = [describe_part(path) for path in paths]
    types = id_types(files)
    columns = list(dict.fromkeys(column for file in files for column in file.columns))
    nobody = all(file.nulls["visitor_id"] == file.rows for file in files)
    everybody = all(file.nulls["visitor_id"] == 0 for file in files)
    who = ["session"] if nobody else ["visitor_id"] if everybody else ["visitor_id", "session"]
    frames = []
    for place, file in enumerate(files):
        frame = pl.scan_parquet(file.path, row_index_name="row", glob=False).with_columns(
            pl.lit(place, dtype=pl.Int32).alias("part"),
            pl.col("row").cast(pl.Int64),
            *(pl.col(column).cast(dtype) for column, dtype in types.items()),
        )
        frames.append(frame.select("part", "row", *(column for column in columns if column in file.columns)))
    table = pl.concat(frames, how="diagonal_relaxed")
    return EventLog([file.name for file in files], [file.rows for file in files], columns, who, table)


def persons(log: EventLog) -> pl.LazyFrame:
    """The log's table with `who` fit for grouping: a session counts only where nobody is known."""
    if len(log.who) == 1:
        return log.table
    return log.table.with_columns(pl.when(pl.col("visitor_id").is_null()).then("session").alias("session"))


def named(person: dict) -> dict:
    """The ids of a person that are known, as JSON has them."""
    return {key: value for key, value in person.items() if value is not None}
