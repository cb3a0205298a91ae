"""What is read of events before they become sessions: which rows count, and which types of events there are."""

from pathlib import Path

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.settings.source import EVENT_TYPES


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


def kept_rows(left_out: pl.DataFrame, rows: int, path: Path) -> np.ndarray:
    """Bool [rows]: which rows of a part no check removes.

    Raises
    ------
    DataError
        If a row that is to be removed is not there.
    """
    if left_out["row"].max() >= rows or left_out["row"].min() < 0:
        raise DataError(f"a row that checks remove from {path} is not there, which holds {rows:,}; run `recsys check` again")
    kept = np.ones(rows, dtype=bool)
    kept[left_out["row"].to_numpy()] = False
    return kept


def no_events(parts: int, exclusions: bool) -> DataError:
    """The error for a log without any event."""
    told = "look into each part's .quality.json, which counts the rows that were refused and those that source.where left out"
    if exclusions:
        told += ", and quality/checks.json tells what checks removed"
    return DataError(f"the log holds no event ({parts} {'part was' if parts == 1 else 'parts were'} read); {told}")


def event_codes(events: pl.Series) -> list[str]:
    """Event types by code: those of the contract first, then the log's own in alphabetical order."""
    own = sorted(set(events.unique()) - set(EVENT_TYPES))
    names = [*EVENT_TYPES, *own]
    if len(names) > 256:
        raise DataError(f"the log has {len(own)} event types of its own, more than 253; map them with source.event_map")
    return names


def by_check(removed: dict[Path, pl.DataFrame]) -> dict[str, int]:
    """How many events each check removed."""
    checks = pl.concat([rows["check"] for rows in removed.values()]) if removed else pl.Series(dtype=pl.String)
    return dict(sorted(checks.value_counts().iter_rows()))
