"""Sessions from event logs: this project's extension against polars, pandas and DuckDB, in one run on one log.

    python benchmarks/sessionize.py [EVENTS ...] [--repeats N] [--write]

`--write` saves the table beside this file. The log is made like RetailRocket's: half as many visitors as events, 1.6
clicks a session. Every form is run `--repeats` times in turn and its best time is taken. Answers are compared by the number
of sessions and a checksum over every session's start and length.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

import rust_sessionizer

GAP = 30 * 60 * 1_000
DAYS = 138


def make_log(events: int, seed: int) -> pl.DataFrame:
    """A log ordered by time, without ties to speak of."""
    random = np.random.default_rng(seed)
    lengths = random.geometric(1 / 1.57, events)
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), events) + 1]
    visitors = int(events * 0.51)
    # Every visitor comes once, and some come again and again.
    again = (visitors * random.random(max(len(lengths) - visitors, 0)) ** 3).astype(np.int64)
    owners = random.permutation(np.concatenate([np.arange(visitors), again])[: len(lengths)])
    starts = random.integers(0, DAYS * 86_400_000, len(lengths))
    session = np.repeat(np.arange(len(lengths)), lengths)[:events]
    pauses = random.exponential(90_000, events).astype(np.int64)
    first = np.r_[True, session[1:] != session[:-1]]
    walked = np.cumsum(pauses)
    since = walked - walked[first][session]
    ids = random.permutation(1 << 22 if visitors < 1 << 21 else visitors * 2)[:visitors]
    log = pl.DataFrame(
        {
            "visitor_id": ids[owners[session]],
            "item_id": (235_061 * random.random(events) ** 2).astype(np.int64),
            "timestamp": 1_430_622_000_000 + starts[session] + since,
        }
    )
    return log.sort("timestamp", maintain_order=True)


def extension(log: pl.DataFrame) -> pl.DataFrame:
    return rust_sessionizer.sessionize(log, GAP)


def _numbered(ordered: pl.LazyFrame) -> pl.LazyFrame:
    visitor, pause = pl.col("visitor_id"), pl.col("timestamp").diff()
    new = (visitor != visitor.shift()) | (pause > GAP)
    return ordered.with_columns(new.fill_null(True).cum_sum().alias("session"))


def polars_two_keys(log: pl.DataFrame) -> pl.DataFrame:
    return _numbered(log.lazy().sort("visitor_id", "timestamp")).collect()


def polars_stable(log: pl.DataFrame) -> pl.DataFrame:
    """For a log that is ordered by time already."""
    return _numbered(log.lazy().sort("visitor_id", maintain_order=True)).collect()


def _listed(numbered: pl.LazyFrame) -> pl.DataFrame:
    lists = numbered.group_by("session").agg(
        pl.col("visitor_id").first(),
        pl.col("timestamp").first().alias("start"),
        pl.col("item_id").alias("items"),
        pl.col("timestamp").alias("times"),
    )
    return lists.sort("start").collect()


def polars_lists(log: pl.DataFrame) -> pl.DataFrame:
    return _listed(_numbered(log.lazy().sort("visitor_id", "timestamp")))


def polars_lists_stable(log: pl.DataFrame) -> pl.DataFrame:
    """For a log that is ordered by time already."""
    return _listed(_numbered(log.lazy().sort("visitor_id", maintain_order=True)))


def pandas_numbers(log: pd.DataFrame) -> pd.DataFrame:
    ordered = log.sort_values(["visitor_id", "timestamp"], kind="stable")
    visitor, moment = ordered["visitor_id"].to_numpy(), ordered["timestamp"].to_numpy()
    new = np.r_[True, (visitor[1:] != visitor[:-1]) | (moment[1:] - moment[:-1] > GAP)]
    return ordered.assign(session=np.cumsum(new))


# Numbered within a visitor, which is what DuckDB does best.
DUCKDB = f"""
    with marked as (
        select *, coalesce(timestamp - lag(timestamp) over w > {GAP}, true) as new
        from log window w as (partition by visitor_id order by timestamp)
    )
    select visitor_id, item_id, timestamp, sum(new::int) over (partition by visitor_id order by timestamp) as session
    from marked
"""


def duckdb_numbers(log: pa.Table) -> pa.Table:
    with duckdb.connect() as connection:
        connection.register("log", log)
        return connection.sql(DUCKDB).to_arrow_table()


def answer(found: object) -> tuple[int, int]:
    """The number of sessions and a checksum over their starts and lengths."""
    table = found if isinstance(found, pl.DataFrame) else pl.DataFrame(found)
    if "items" in table.columns:
        starts, lengths = table["start"].cast(pl.Int64), table["items"].list.len()
    else:
        sessions = table.group_by("visitor_id", "session").agg(pl.col("timestamp").min(), pl.len())
        starts, lengths = sessions["timestamp"], sessions["len"]
    mixed = starts.to_numpy() % 1_000_003 * lengths.to_numpy().astype(np.int64)
    return len(starts), int(mixed.sum())


def measure(forms: dict[str, tuple[Callable, object]], repeats: int) -> dict[str, float]:
    """The best seconds of every form.

    Raises
    ------
    SystemExit
        If two forms disagree.
    """
    best = dict.fromkeys(forms, float("inf"))
    answers = {}
    for repeat in range(repeats):
        for name, (form, log) in forms.items():
            begin = time.perf_counter()
            found = form(log)
            best[name] = min(best[name], time.perf_counter() - begin)
            if repeat == 0:
                answers[name] = answer(found)
            del found
    if len(set(answers.values())) > 1:
        raise SystemExit(f"the answers differ: {answers}")
    return best


def rows(events: int, ordered: bool, repeats: int) -> list[str]:
    log = make_log(events, seed=1)
    if not ordered:
        log = log.sample(fraction=1.0, shuffle=True, seed=2)
    forms: dict[str, tuple[Callable, object]] = {
        "**rust_sessionizer**, lists": (extension, log),
        "polars, numbers": (polars_two_keys, log),
        "polars, lists": (polars_lists, log),
        "pandas, numbers": (pandas_numbers, log.to_pandas()),
        "DuckDB, numbers": (duckdb_numbers, log.to_arrow()),
    }
    if ordered:
        forms["polars, numbers, stable sort"] = (polars_stable, log)
        forms["polars, lists, stable sort"] = (polars_lists_stable, log)
    seconds = measure(forms, repeats)
    ours, *peers = seconds.values()
    order = "by time" if ordered else "shuffled"
    size = f"{events / 1e6:g} M"
    lines = [
        f"| {size} | {order} | {name} | {taken:.3f} | {events / taken / 1e6:.1f} | {taken / ours:.1f} |" for name, taken in seconds.items()
    ]
    lists = min(taken for name, taken in seconds.items() if name.startswith("polars, lists"))
    print(f"{size}, {order}: {lists / ours:.1f} times as fast as the best lists, {min(peers) / ours:.1f} as the best of all", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events", nargs="*", type=lambda text: int(float(text)), default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="save the table beside this file")
    options = parser.parse_args()
    lines = []
    for events in options.events:
        for ordered in (True, False):
            lines += rows(events, ordered, options.repeats)
    versions = f"polars {pl.__version__}, pandas {pd.__version__}, DuckDB {duckdb.__version__}"
    text = "\n".join(
        [
            "# Sessions from event logs",
            "",
            "`lists`: a row a session with its items and times, ordered by start. `numbers`: events ordered by visitor and time,",
            "with a session number, and no more. *Slower*: times the seconds of the extension. Sessions end after 30 minutes; the",
            f"best of {options.repeats} runs, all in one process, answers compared.",
            "",
            f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {versions}.",
            "",
            "| events | ordered | form | seconds | M events/s | slower |",
            "|---|---|---|---|---|---|",
            *lines,
            "",
        ]
    )
    print(text)
    if options.write:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
