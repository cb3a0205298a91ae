"""Rows that equal an earlier row of the log in every column, wherever in the log the two stand."""

import numpy as np
import polars as pl

from recsys.checks.finding import EXAMPLES, Finding
from recsys.checks.log import EventLog
from recsys.settings.checks import DuplicatesCheck

HASHES_AT_ONCE = 5_000_000
"""Hashes whose rows are compared in one pass over the log."""


def find_duplicates(log: EventLog, check: DuplicatesCheck) -> tuple[Finding, pl.DataFrame]:
    """The finding, and the later copies: `part`, `row`.

    Eight bytes a row find the rows that may be equal; these are then compared column by column, so that no collision removes a row.
    """
    repeated = _repeated_hashes(log)
    copies, worst = [], []
    for start in range(0, len(repeated), HASHES_AT_ONCE):
        wanted = pl.LazyFrame({"hash": repeated[start : start + HASHES_AT_ONCE]})
        rows = log.table.with_columns(_hash(log).alias("hash")).join(wanted, on="hash", how="semi").drop("hash")
        rows = rows.collect(engine="streaming").sort("part", "row")
        copies.append(rows.filter(~pl.struct(log.columns).is_first_distinct()).select("part", "row"))
        groups = rows.group_by(log.columns).agg(pl.len().alias("times"), pl.first("part"), pl.first("row")).filter(pl.col("times") > 1)
        worst.append(groups.select("part", "row", "times", "item_id", "timestamp"))
    found = pl.concat(copies) if copies else pl.DataFrame(schema={"part": pl.Int32, "row": pl.Int64})
    examples = _examples(log, pl.concat(worst)) if worst else []
    share, parts = found.height / log.events if log.events else 0.0, log.by_part(found)
    sentence = ""
    if share > check.threshold:
        first = examples[0]
        sentence = (
            f"duplicates: {found.height:,} of {log.events:,} events ({share:.1%}) equal an earlier one in every column, more than "
            f"checks.duplicates.threshold allows ({check.threshold:.1%}); most often row {first['row']} of {first['part']} (item "
            f"{first['item_id']} at {first['time']}, {first['times']:,} times): "
            + (
                "the later copies are removed"
                if check.policy == "drop"
                else "look for a file that is listed twice, set checks.duplicates.policy to drop, or raise checks.duplicates.threshold"
            )
        )
    finding = Finding(
        "duplicates",
        share,
        check.threshold,
        check.policy,
        sentence,
        {"rows": found.height, "parts": sum(number > 0 for number in parts.values())},
        examples,
        {name: {"rows": number} for name, number in parts.items()},
    )
    return finding, found


def _hash(log: EventLog) -> pl.Expr:
    return pl.struct(log.columns).hash(seed=0)


def _repeated_hashes(log: EventLog) -> np.ndarray:
    hashes = log.table.select(_hash(log).alias("hash")).collect(engine="streaming")["hash"].to_numpy().copy()
    hashes.sort()
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _examples(log: EventLog, groups: pl.DataFrame) -> list[dict]:
    top = groups.sort("times", "part", "row", descending=[True, False, False]).head(EXAMPLES)
    return [
        {"part": log.parts[part], "row": row, "times": times, "item_id": item, "time": time.isoformat(timespec="milliseconds")}
        for part, row, times, item, time in top.iter_rows()
    ]
