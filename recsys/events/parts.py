"""The event parts of a log: what their files say of themselves, before a row is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import DataError
from recsys.files import read_json

IDS = ("visitor_id", "session", "item_id")


@dataclass(frozen=True)
class PartFile:
    """A part's file: its rows, its columns, and the ids that it has on every row, on some or on none."""

    path: Path
    rows: int
    columns: tuple[str, ...]
    types: dict[str, pl.DataType]
    nulls: dict[str, int]

    @property
    def name(self) -> str:
        """The part's name."""
        return self.path.name.removesuffix(".parquet")


def describe_part(path: Path) -> PartFile:
    """What the footer of a part's Parquet file says.

    Raises
    ------
    DataError
        If the file is no whole Parquet file of events.
    """
    try:
        with pq.ParquetFile(path) as file:
            footer, names = file.metadata, file.schema_arrow.names
            schema = pl.from_arrow(file.schema_arrow.empty_table()).schema
            groups = [footer.row_group(place) for place in range(footer.num_row_groups)]
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is no whole Parquet file ({str(error).splitlines()[0]}); delete it and run the stage again") from None
    missing = [column for column in (*IDS, "event", "timestamp") if column not in names]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}; it holds {', '.join(names)}: pass parts that `recsys ingest` wrote")
    nulls = {}
    for column in IDS:
        statistics = [group.column(names.index(column)).statistics for group in groups]
        nulls[column] = sum(0 if found is None or not found.has_null_count else found.null_count for found in statistics)
    return PartFile(path, footer.num_rows, tuple(names), {column: schema[column] for column in IDS}, nulls)


def id_types(parts: list[PartFile]) -> dict[str, pl.DataType]:
    """The type of each id that all parts share; a part without any such id takes the others'.

    Raises
    ------
    DataError
        If two parts hold ids of different types.
    """
    types = {}
    for column in IDS:
        found: dict[pl.DataType, Path] = {}
        for part in parts:
            if part.nulls[column] < part.rows:
                found.setdefault(part.types[column], part.path)
        if len(found) > 1:
            key = column.removesuffix("_id")
            told = " and ".join(f"{dtype} in {path.name}" for dtype, path in found.items())
            raise DataError(f"{column} is {told}; one log needs one type of id, so set source.id_types: {{{key}: string}}")
        types[column] = next(iter(found), parts[0].types[column])
    return types


def read_counts(path: Path) -> dict[str, Any]:
    """The content of the quality file that lies beside a part's events.

    Raises
    ------
    DataError
        If it is not there.
    """
    quality = path.with_name(f"{path.name.removesuffix('.parquet')}.quality.json")
    if not quality.exists():
        raise DataError(f"{quality} does not exist; `recsys ingest` writes it together with {path.name}")
    return read_json(quality)
