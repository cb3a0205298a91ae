"""The other steps that touch every click: this project's extension against polars and NumPy, in one run on the same sessions.

    python benchmarks/steps.py [CLICKS] [--repeats N] [--write]

Every form runs in a process of its own, `--repeats` times, and the median counts; answers are compared by checksums.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from children import in_child, measure
from sessionize import GAP, in_memory, make_log

LANES = 80
SUPPORT, LENGTH = 5, 2


def relisted(table: pl.DataFrame, lengths: np.ndarray, **columns: np.ndarray) -> pl.DataFrame:
    """The table with other lists, of the given lengths."""
    import pyarrow as pa

    offsets = pa.array(np.r_[0, np.cumsum(lengths, dtype=np.int64)])
    lists = [pl.from_arrow(pa.LargeListArray.from_arrays(offsets, pa.array(values))).alias(name) for name, values in columns.items()]
    return table.with_columns(lists)


def make_sessions(clicks: int) -> pl.DataFrame:
    """Sessions in which every fifth click repeats the item before it."""
    import rust_sessionizer

    found = rust_sessionizer.sessionize(make_log(clicks, seed=1), GAP)
    items = flat(found, "items").copy()
    items[5::5] = items[4:-1:5]
    return relisted(found, lengths(found), items=items, times=flat(found, "times"))


def flat(table: pl.DataFrame, name: str) -> np.ndarray:
    return table[name].explode(empty_as_null=False).cast(pl.Int64).to_numpy()


def lengths(table: pl.DataFrame) -> np.ndarray:
    return table["items"].list.len().to_numpy()


def numpy_kept(table: pl.DataFrame, keep: np.ndarray) -> pl.DataFrame:
    """The clicks for which `keep` is true; a session may be left with none."""
    session = np.repeat(np.arange(table.height), lengths(table))
    left = np.bincount(session[keep], minlength=table.height)
    return relisted(table, left, **{name: flat(table, name)[keep] for name in ("items", "times")})


def numpy_drop_repeats(table: pl.DataFrame) -> pl.DataFrame:
    items = flat(table, "items")
    keep = np.r_[True, items[1:] != items[:-1]]
    keep[np.cumsum(lengths(table))[:-1]] = True
    return numpy_kept(table, keep)


def polars_lists(clicks: pl.LazyFrame) -> pl.DataFrame:
    return clicks.group_by("session_id", maintain_order=True).agg("items", "times").collect()


def polars_clicks(table: pl.DataFrame) -> pl.LazyFrame:
    return table.lazy().select("session_id", "items", "times").explode("items", "times")


def polars_drop_repeats(table: pl.DataFrame) -> pl.DataFrame:
    same = (pl.col("items") == pl.col("items").shift()) & (pl.col("session_id") == pl.col("session_id").shift())
    return polars_lists(polars_clicks(table).filter(~same.fill_null(False)))


def polars_filter_support(table: pl.DataFrame) -> pl.DataFrame:
    clicks, before = polars_clicks(table).collect(), -1
    while clicks.height != before:
        before = clicks.height
        clicks = clicks.lazy().filter(pl.len().over("items") >= SUPPORT).filter(pl.len().over("session_id") >= LENGTH).collect()
    return polars_lists(clicks.lazy())


def numpy_filter_support(table: pl.DataFrame) -> pl.DataFrame:
    items, times = flat(table, "items"), flat(table, "times")
    session = np.repeat(np.arange(table.height), lengths(table))
    before = -1
    while len(items) != before:
        before = len(items)
        keep = np.bincount(items)[items] >= SUPPORT
        keep &= np.bincount(session[keep], minlength=table.height)[session] >= LENGTH
        items, times, session = items[keep], times[keep], session[keep]
    left = np.bincount(session, minlength=table.height)
    return relisted(table.filter(left > 0), left[left > 0], items=items, times=times)


def cuts_of(table: pl.DataFrame) -> list[int]:
    starts = table["start"].cast(pl.Int64)
    return [int(starts[int(len(starts) * share)]) for share in (0.8, 0.9)]


def numpy_split(table: pl.DataFrame) -> list[pl.DataFrame]:
    first, second = cuts_of(table)
    start = pl.col("start").cast(pl.Int64)
    train, valid = table.filter(start < first), table.filter((start >= first) & (start < second))
    train, valid = (numpy_kept(part, flat(part, "times") < cut) for part, cut in ((train, first), (valid, second)))
    return [train, valid, table.filter(start >= second)]


def polars_split(table: pl.DataFrame) -> list[pl.DataFrame]:
    first, second = cuts_of(table)
    start, time = pl.col("start").cast(pl.Int64), pl.col("times").cast(pl.Int64)
    train, valid = table.filter(start < first), table.filter((start >= first) & (start < second))
    parts = (polars_lists(polars_clicks(part).filter(time < cut)) for part, cut in ((train, first), (valid, second)))
    return [*parts, table.filter(start >= second)]


def long_ones(table: pl.DataFrame) -> pl.Series:
    """Lengths of the sessions that have a prediction."""
    clicks = table["items"].list.len()
    return clicks.filter(clicks >= LENGTH)


def numpy_schedule(table: pl.DataFrame) -> list[np.ndarray]:
    """Step by step, all lanes at once."""
    long = long_ones(table).to_numpy().astype(np.int64)
    begins = np.r_[0, np.cumsum(long)[:-1]]
    lanes = np.arange(min(LANES, len(long)))
    at, left, fresh, used = begins[lanes], long[lanes] - 1, np.ones(len(lanes), dtype=bool), len(lanes)
    inputs, numbers = [], []
    while len(lanes):
        inputs.append(at)
        numbers.append(lanes)
        at, left = at + 1, left - 1
        fresh = left == 0
        over = np.flatnonzero(fresh)
        if len(over):
            new = np.arange(used, min(used + len(over), len(long)))
            used += len(new)
            filled, dry = over[: len(new)], over[len(new) :]
            at[filled], left[filled] = begins[new], long[new] - 1
            if len(dry):
                stay = np.ones(len(lanes), dtype=bool)
                stay[dry] = False
                at, left, lanes = at[stay], left[stay], lanes[stay]
    return [np.concatenate(inputs), np.concatenate(numbers)]


def own_schedule(table: pl.DataFrame) -> list[np.ndarray]:
    import rust_sessionizer

    plan = rust_sessionizer.training_schedule(long_ones(table), LANES)
    return [pl.Series(plan.inputs).to_numpy(), pl.Series(plan.lanes).to_numpy()]


def ids(table: pl.DataFrame, strings: bool) -> pl.Series:
    items = pl.Series("items", flat(table, "items"))
    return pl.Series("items", "item-" + items.cast(pl.String)) if strings else items


def numpy_encode(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    distinct, codes = np.unique(values.to_numpy(), return_inverse=True)
    return pl.Series(codes), pl.Series(distinct)


def polars_encode(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    distinct = values.unique().sort()
    table = pl.DataFrame({"items": distinct, "code": np.arange(len(distinct), dtype=np.int32)})
    return values.to_frame().join(table, on="items", how="left", maintain_order="left")["code"], distinct


def forms() -> dict[str, dict[str, Callable]]:
    """For every step its forms."""
    import rust_sessionizer as rs

    def filter_support(table: pl.DataFrame) -> pl.DataFrame:
        return rs.filter_support(table, min_support=SUPPORT, min_length=LENGTH)

    return {
        "drop repeats": {"rust_sessionizer": rs.drop_repeats, "polars": polars_drop_repeats, "NumPy": numpy_drop_repeats},
        "filter by support": {"rust_sessionizer": filter_support, "polars": polars_filter_support, "NumPy": numpy_filter_support},
        "encode integers": {"rust_sessionizer": rs.encode, "polars": polars_encode, "NumPy": numpy_encode},
        "encode strings": {"rust_sessionizer": rs.encode, "polars": polars_encode, "NumPy": None},
        "split": {
            "rust_sessionizer": lambda table: rs.split_sessions(table, cuts_of(table)),
            "polars": polars_split,
            "NumPy": numpy_split,
        },
        "training schedule": {"rust_sessionizer": own_schedule, "polars": None, "NumPy": numpy_schedule},
    }


def checksum(found: object) -> list[int]:
    """Of every list's clicks and lengths, or of every array, in order."""
    if isinstance(found, pl.DataFrame):
        found = [found]
    total = []
    for part in found:
        arrays = [flat(part, "items"), flat(part, "times"), lengths(part)] if isinstance(part, pl.DataFrame) else [part]
        for array in arrays:
            if isinstance(array, pl.Series):
                array = array.hash(1).to_numpy().astype(np.int64) if array.dtype == pl.String else array.to_numpy()
            weights = np.arange(1, len(array) + 1, dtype=np.uint64)
            total.append(int((array.astype(np.int64).astype(np.uint64) * weights).sum() % (1 << 61)))
    return total


def child(request: dict) -> dict:
    table = in_memory(Path(request["sessions"]))
    step = request["step"]
    source = ids(table, strings=step == "encode strings") if step.startswith("encode") else table
    form = forms()[step][request["tool"]]
    return measure(lambda: form(source), checksum, request["repeats"])


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clicks", nargs="?", type=lambda text: int(float(text)), default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="save the table beside this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sessions.arrow"
        make_sessions(options.clicks).write_ipc(path, compression="uncompressed")
        for step, tools in forms().items():
            rates, answers = {}, {}
            for tool, form in tools.items():
                if form is not None:
                    request = {"sessions": str(path), "step": step, "tool": tool, "repeats": options.repeats}
                    found = in_child("steps.py", request, os.cpu_count() or 1)
                    if found is None:
                        raise SystemExit(f"{step} by {tool} ended for want of memory")
                    rates[tool], answers[tool] = options.clicks / statistics.median(found["seconds"]) / 1e6, tuple(found["answer"])
            if len(set(answers.values())) > 1:
                raise SystemExit(f"{step}: the answers differ: {answers}")
            own = rates.pop("rust_sessionizer")
            told = " | ".join(f"{rates[tool]:.1f}" if tool in rates else "" for tool in ("polars", "NumPy"))
            lines.append(f"| {step} | {own:.1f} | {told} | {own / max(rates.values()):.1f} |")
            print(lines[-1], flush=True)
    text = "\n".join(
        [
            "# The other steps that touch every click",
            "",
            f"Million clicks a second, medians of {options.repeats} runs, a process a form, answers compared.",
            f"{options.clicks / 1e6:g} M clicks; {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()},",
            f"polars {pl.__version__}, NumPy {np.__version__}. Tables with a row a session go in and come out.",
            f"Support is {SUPPORT} clicks or more, sessions have {LENGTH} or more, the schedule has {LANES} lanes.",
            "",
            "| step | **rust_sessionizer** | polars | NumPy | times the best peer |",
            "|---|---|---|---|---|",
            *lines,
            "",
        ]
    )
    print(text)
    if options.write:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
