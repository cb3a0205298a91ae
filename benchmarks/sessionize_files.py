"""Sessions from logs in files, within a limit of memory: this project's extension against Polars' streaming engine and DuckDB.

    python benchmarks/sessionize_files.py [--folder DIR] [--steps STEP ...] [--keep FILE] [--write]

Every step runs in a process of its own, whose peak of resident memory the system tells; a step that is asked for twice is measured
twice, and the table shows the median. `--keep` gathers what was measured over several calls, `--write` saves the table beside this
file. The log is made like RetailRocket's (half as many visitors as events, 1.6 clicks a session), in files of five million events, each
ordered by time. Answers are compared by the number of sessions and a checksum over every session's start and length, and on the first
20 million events click by click with what the extension makes in memory.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl

GAP = 30 * 60 * 1_000
FILE_EVENTS = 5_000_000
PREFIX = 20_000_000
SPAN = 3_600_000 * 24
"""Milliseconds that a file covers: a day."""


def write_file(arguments: tuple[Path, int, int, int]) -> int:
    """One file of the log: sessions that begin within its day, by time."""
    path, number, events, visitors = arguments
    random = np.random.default_rng([1, number])
    lengths = random.geometric(1 / 1.57, int(events / 1.55))
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), events) + 1]
    # Few visitors come often, most of them rarely.
    owners = (visitors * random.random(len(lengths)) ** 1.5).astype(np.int64) * 7_919 % (visitors * 2)
    starts = random.integers(0, SPAN, len(lengths))
    session = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[:events]
    pauses = np.cumsum(random.exponential(90_000, len(session)).astype(np.int64))
    begins = np.r_[0, np.cumsum(lengths)[:-1]]
    times = (starts - pauses[begins])[session] + pauses
    order = np.argsort(times)
    frame = pl.DataFrame(
        {
            "visitor_id": owners[session[order]],
            "item_id": (235_061 * random.random(len(session)) ** 2).astype(np.int64),
            "timestamp": 1_430_622_000_000 + number * SPAN + times[order],
        }
    )
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path, compression="zstd", compression_level=1, statistics=True)
    return frame.height


def log(folder: Path, events: int, kind: str = "parquet") -> list[Path]:
    """The files of a log; those of a shorter one are its first."""
    return [folder / f"{number:03}.{kind}" for number in range(-(-events // FILE_EVENTS))]


def generate(folder: Path, events: int, kind: str) -> int:
    """Write what is missing of a log; how many events were written."""
    missing = [(number, path) for number, path in enumerate(log(folder, events, kind)) if not path.exists()]
    work = [(path, number, FILE_EVENTS, 25_000_000) for number, path in missing]
    with ProcessPoolExecutor(os.cpu_count(), initializer=_one_thread) as pool:
        return sum(pool.map(write_file, work))


def _one_thread() -> None:
    os.environ["POLARS_MAX_THREADS"] = "1"


def extension(inputs: list[Path], output: Path, limit: str = "4GiB") -> None:
    import rust_sessionizer

    rust_sessionizer.sessionize_files(inputs, output, GAP, memory_limit=limit)


def polars_streaming(inputs: list[Path], output: Path, limit: str = "") -> None:
    read = pl.scan_csv if inputs[0].suffix == ".csv" else pl.scan_parquet
    visitor, pause = pl.col("visitor_id"), pl.col("timestamp").diff()
    new = (visitor != visitor.shift()) | (pause > GAP)
    numbered = read(inputs).sort("visitor_id", "timestamp").with_columns(new.fill_null(True).cum_sum().alias("session"))
    lists = numbered.group_by("session").agg(
        visitor.first(), pl.col("timestamp").first().alias("start"), pl.col("item_id").alias("items"), pl.col("timestamp").alias("times")
    )
    ordered = lists.sort("start").with_columns(pl.int_range(pl.len()).alias("session_id"))
    ordered.select("session_id", "visitor_id", "start", "items", "times").sink_parquet(output, compression="zstd", engine="streaming")


def duckdb_copy(inputs: list[Path], output: Path, limit: str = "") -> None:
    import duckdb

    read = "read_csv" if inputs[0].suffix == ".csv" else "read_parquet"
    files = ", ".join(f"'{path}'" for path in inputs)
    with duckdb.connect(config={"memory_limit": "8GB", "temp_directory": str(output.parent / "duckdb")}) as connection:
        connection.execute(f"""
            copy (
                with marked as (
                    select *, coalesce(timestamp - lag(timestamp) over w > {GAP}, true) as new
                    from {read}([{files}]) window w as (partition by visitor_id order by timestamp)
                ), numbered as (
                    select *, sum(new::int) over (partition by visitor_id order by timestamp) as session from marked
                )
                select visitor_id, min(timestamp) as start, list(item_id order by timestamp) as items,
                    list(timestamp order by timestamp) as times
                from numbered group by visitor_id, session order by start
            ) to '{output}' (format parquet, compression zstd)
        """)


FORMS: dict[str, Callable] = {"extension": extension, "polars": polars_streaming, "duckdb": duckdb_copy}
NAMES = {"extension": "**rust_sessionizer**", "polars": "Polars, streaming", "duckdb": "DuckDB"}


def answer(path: Path) -> list[int]:
    """The number of sessions and a checksum over their starts and lengths."""
    start, length = pl.col("start").cast(pl.Int64), pl.col("items").list.len().cast(pl.Int64)
    found = pl.scan_parquet(path).select(pl.len(), (start % 1_000_003 * length).sum().alias("sum"))
    return [int(value) for value in found.collect(engine="streaming").row(0)]


def run_one(form: str, folder: Path, events: int, kind: str, limit: str) -> dict:
    """Seconds, peak bytes and answer of one form, in this process."""
    inputs, output = log(folder, events, kind), folder / f"{form}.sessions"
    begin = time.perf_counter()
    FORMS[form](inputs, output, limit)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024
    found = {"seconds": seconds, "peak": peak, "bytes": output.stat().st_size, "answer": answer(output)}
    output.unlink()
    shutil.rmtree(folder / "duckdb", ignore_errors=True)
    return found


def same_prefix(folder: Path) -> dict:
    """Whether the first 20 million events give, click by click, what the extension makes of them in memory."""
    import rust_sessionizer

    inputs, output = log(folder, PREFIX), folder / "prefix.sessions"
    rust_sessionizer.sessionize_files(inputs, output, GAP, memory_limit="1GiB")
    expected = rust_sessionizer.sessionize(pl.read_parquet(inputs), GAP)
    same = expected.equals(pl.read_parquet(output))
    output.unlink()
    if not same:
        raise SystemExit("the first 20 million events give other sessions by way of files than in memory")
    return {"same": same, "sessions": expected.height}


STEPS = {
    "generate 50": ("generate", 50, "parquet", ""),
    "generate 200": ("generate", 200, "parquet", ""),
    "generate csv": ("generate", 50, "csv", ""),
    "prefix": ("prefix", 20, "parquet", ""),
    **{f"{form} 50": (form, 50, "parquet", "4GiB") for form in FORMS},
    **{f"{form} csv": (form, 50, "csv", "4GiB") for form in FORMS},
    "extension 200": ("extension", 200, "parquet", "4GiB"),
    "extension 200 small": ("extension", 200, "parquet", "1GiB"),
}
"""By name: the form, millions of events, the kind of file and the limit of memory."""


def step(name: str, folder: Path) -> dict:
    """Runs a step in this process."""
    form, millions, kind, limit = STEPS[name]
    events = millions * 1_000_000
    if form == "generate":
        begin = time.perf_counter()
        written = generate(folder, events, kind)
        return {"written": written, "seconds": time.perf_counter() - begin}
    return same_prefix(folder) if form == "prefix" else run_one(form, folder, events, kind, limit)


def table(measured: dict[str, list[dict]]) -> str:
    """What was measured, as a page.

    Raises
    ------
    SystemExit
        If two forms gave different answers.
    """
    lines, answers = [], {}
    for name, (form, millions, kind, limit) in STEPS.items():
        found = measured.get(name, [])
        if not found or form in ("generate", "prefix"):
            continue
        answers.setdefault((millions, kind), {})[name] = {tuple(one["answer"]) for one in found}
        seconds = statistics.median(one["seconds"] for one in found)
        ours = measured.get(name.replace(form, "extension", 1), [])
        ratio = f"{seconds / statistics.median(one['seconds'] for one in ours):.1f}" if ours else ""
        peak = max(one["peak"] for one in found) / 2**30
        told = limit if form == "extension" else ""
        rate = millions / seconds
        lines.append(
            f"| {millions} M | {kind} | {NAMES[form]} | {told} | {seconds:.1f} | {rate:.1f} | {ratio} | {peak:.2f} | {len(found)} |"
        )
    for given in answers.values():
        if len(set().union(*given.values())) > 1:
            raise SystemExit(f"the answers differ: {given}")
    notes = []
    for name in ("generate 50", "generate 200", "generate csv"):
        for one in measured.get(name, [])[:1]:
            if one["written"]:
                rate = one["written"] / one["seconds"] / 1e6
                notes.append(f"{STEPS[name][2]}: {one['written'] / 1e6:.0f} M events written at {rate:.1f} M events/s")
    if measured.get("prefix"):
        notes.append(f"the first 20 M events give {measured['prefix'][0]['sessions']:,} sessions, the same as in memory, click by click")
    versions = f"Python {platform.python_version()}, polars {pl.__version__}, DuckDB {_duckdb()}"
    return "\n".join(
        [
            "# Sessions from files",
            "",
            "From a log in files of five million events to one Parquet file (zstd) of sessions ordered by start. *Slower*: times the",
            "seconds of the extension on the same log. *Peak*: resident memory of the whole process, as the system counts it; the median",
            "of the runs' seconds, the largest of their peaks. Answers were compared.",
            "",
            f"{os.cpu_count()} cores ({platform.machine()}), {versions}.",
            "",
            "| events | files | form | limit | seconds | M events/s | slower | peak GiB | runs |",
            "|---|---|---|---|---|---|---|---|---|",
            *lines,
            "",
            *([f"Also: {'; '.join(notes)}.", ""] if notes else []),
        ]
    )


def _duckdb() -> str:
    import duckdb

    return duckdb.__version__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the logs go and stay; without it, a folder that is removed")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS), metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--keep", type=Path, help="file that gathers what was measured, over several calls")
    parser.add_argument("--write", action="store_true", help="save the table beside this file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(step(options.steps[0], options.folder)))
        return
    measured: dict[str, list[dict]] = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.steps:
            command = [sys.executable, __file__, "--one", "--folder", str(folder), "--steps", name]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
            measured.setdefault(name, []).append(found)
            print(f"{name}: {found}", flush=True)
            if options.keep:
                options.keep.write_text(json.dumps(measured, indent=1) + "\n")
    text = table(measured)
    print(text)
    if options.write:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
