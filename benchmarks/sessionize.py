"""Sessions from event logs: this project's extension against polars, pandas and DuckDB, in one run on the same logs.

    python benchmarks/sessionize.py [EVENTS ...] [--repeats N] [--threads N ...] [--ids KIND ...] [--write]

The log is made like RetailRocket's: half as many visitors as events, 1.6 clicks a session. Every form of every program runs in
a process of its own, `--repeats` times, and the median counts. Answers are compared by the number of sessions and a checksum
over every session's start and length. `--write` saves the table beside this file and draws the figure of the extension's README.

Two jobs: `numbers`, a session number for every event, and `lists`, a row a session with its items and times, ordered by start. What
the peers' numbers are ordered by and count from is left to them. pandas has no lists worth measuring: a Python list a session.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from children import in_child, measure

GAP = 30 * 60 * 1_000
DAYS = 138
MOST_FOR_PEERS_LISTS = 10_000_000
FIGURE = Path(__file__).parents[1] / "rust_sessionizer" / "speed.svg"


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


def write_log(folder: Path, events: int, ordered: bool, ids: str) -> Path:
    """The log as an Arrow file and as a Parquet file; the path without the suffix."""
    log = make_log(events, seed=1)
    if ids == "strings":
        log = log.with_columns("v-" + pl.col("visitor_id").cast(pl.String).str.zfill(12))
    if not ordered:
        log = log.sample(fraction=1.0, shuffle=True, seed=2)
    path = folder / f"{events}-{ordered}-{ids}"
    log.write_ipc(path.with_suffix(".arrow"), compression="uncompressed")
    log.write_parquet(path.with_suffix(".parquet"), compression="zstd", compression_level=1)
    return path


def _numbered(log: pl.LazyFrame, ordered: bool) -> pl.LazyFrame:
    visitor, pause = pl.col("visitor_id"), pl.col("timestamp").diff()
    by_visitor = log.sort("visitor_id", maintain_order=True) if ordered else log.sort("visitor_id", "timestamp")
    new = (visitor != visitor.shift()) | (pause > GAP)
    return by_visitor.with_columns(new.fill_null(True).cum_sum().alias("session"))


def _polars(log: pl.LazyFrame, ordered: bool, job: str, engine: str) -> pl.DataFrame:
    numbered = _numbered(log, ordered)
    if job == "numbers":
        return numbered.collect(engine=engine)
    lists = numbered.group_by("session").agg(
        pl.col("visitor_id").first(),
        pl.col("timestamp").first().alias("start"),
        pl.col("item_id").alias("items"),
        pl.col("timestamp").alias("times"),
    )
    return lists.sort("start").collect(engine=engine)


def _pandas(log: "object") -> object:
    ordered = log.sort_values(["visitor_id", "timestamp"], kind="stable")
    visitor, moment = ordered["visitor_id"].to_numpy(), ordered["timestamp"].to_numpy()
    new = np.r_[True, (visitor[1:] != visitor[:-1]) | (moment[1:] - moment[:-1] > GAP)]
    return ordered.assign(session=np.cumsum(new))


# Numbered within a visitor, which is what DuckDB does best.
DUCKDB = f"""
    with marked as (
        select *, coalesce(timestamp - lag(timestamp) over w > {GAP}, true) as new
        from LOG window w as (partition by visitor_id order by timestamp)
    ), numbered as (
        select visitor_id, item_id, timestamp, sum(new::int) over (partition by visitor_id order by timestamp) as session
        from marked
    )
"""
DUCKDB_JOBS = {
    "numbers": "select * from numbered",
    "lists": """
        select visitor_id, min(timestamp) as start, list(item_id order by timestamp) as items, list(timestamp order by timestamp) as times
        from numbered group by visitor_id, session order by start
    """,
}


def work_of(request: dict) -> Callable[[], object]:
    """The work of a child: its log lies in memory already, unless it comes from a file."""
    tool, job, ordered, threads = request["tool"], request["job"], request["ordered"], request["threads"]
    source = Path(request["log"]).with_suffix(".parquet" if request["file"] else ".arrow")
    if tool == "duckdb":
        import duckdb

        connection = duckdb.connect(config={"threads": threads})
        name = f"'{source}'"
        if not request["file"]:
            connection.register("log", pl.read_ipc(source, memory_map=False).to_arrow())
            name = "log"
        return lambda: connection.sql(DUCKDB.replace("LOG", name) + DUCKDB_JOBS[job]).to_arrow_table()
    if tool == "pandas":
        import pandas as pd

        if request["file"]:
            return lambda: _pandas(pd.read_parquet(source))
        log = pl.read_ipc(source, memory_map=False).to_pandas()
        return lambda: _pandas(log)
    if tool.startswith("polars"):
        engine = "streaming" if tool == "polars streaming" else "in-memory"
        if request["file"]:
            return lambda: _polars(pl.scan_parquet(source), ordered, job, engine)
        log = pl.read_ipc(source, memory_map=False)
        return lambda: _polars(log.lazy(), ordered, job, engine)
    import rust_sessionizer

    if tool == "copy":
        log = pl.read_ipc(source, memory_map=False)
        columns = [log[name].to_numpy() for name in ("visitor_id", "timestamp")]
        return lambda: [column.copy() for column in columns]
    cut = rust_sessionizer.number_sessions if job == "numbers" else rust_sessionizer.sessionize
    if request["file"]:
        return lambda: _kept(pl.read_parquet(source), cut, threads)
    log = pl.read_ipc(source, memory_map=False)
    return lambda: _kept(log, cut, threads)


def _kept(log: pl.DataFrame, cut: Callable, threads: int) -> tuple:
    return log, cut(log, GAP, threads=threads)


def answer(found: object) -> list[int] | None:
    """The number of sessions and a checksum over their starts and lengths."""
    if isinstance(found, list):
        return None
    if isinstance(found, tuple):
        log, found = found
        if isinstance(found, pl.Series):
            found = log.with_columns(found.alias("session"))
    table = found if isinstance(found, pl.DataFrame) else pl.DataFrame(found)
    if "items" in table.columns:
        starts, lengths = table["start"].cast(pl.Int64), table["items"].list.len()
    else:
        sessions = table.group_by("visitor_id", "session").agg(pl.col("timestamp").min(), pl.len())
        starts, lengths = sessions["timestamp"], sessions["len"]
    mixed = starts.to_numpy() % 1_000_003 * lengths.to_numpy().astype(np.int64)
    return [len(starts), int(mixed.sum())]


TOOLS = {"numbers": ["rust_sessionizer", "polars", "polars streaming", "pandas", "duckdb"]}
TOOLS["lists"] = [tool for tool in TOOLS["numbers"] if tool != "pandas"]


def measure_log(log: Path, events: int, ordered: bool, ids: str, threads: int, files: bool, repeats: int) -> list[dict]:
    """A row a form.

    Raises
    ------
    SystemExit
        If two forms disagree.
    """
    shared = {"log": str(log), "ordered": ordered, "threads": threads, "repeats": repeats, "job": "", "file": False}
    copied = in_child("sessionize.py", {**shared, "tool": "copy"}, threads)
    copy = events / statistics.median(copied["seconds"]) if ids == "integers" else None
    rows, answers = [], {}
    for file in (False, True) if files else (False,):
        for job, tools in TOOLS.items():
            for tool in tools:
                if tool != "rust_sessionizer" and job == "lists" and events > MOST_FOR_PEERS_LISTS:
                    continue
                few = repeats if tool == "rust_sessionizer" or events <= 10_000_000 else 1
                found = in_child("sessionize.py", {**shared, "tool": tool, "job": job, "file": file, "repeats": few}, threads)
                if found is None:
                    print(f"{tool}, {job}: ended for want of memory", flush=True)
                    continue
                answers[tool, job, file] = tuple(found["answer"])
                row = {"events": events, "ordered": ordered, "ids": ids, "threads": threads, "file": file, "job": job, "tool": tool}
                row |= {"rate": events / statistics.median(found["seconds"]), "busy": found["busy"], "extra": found["extra"], "copy": copy}
                rows.append(row)
                print(line(row, rows), flush=True)
    if len(set(answers.values())) > 1:
        raise SystemExit(f"the answers differ: {answers}")
    return rows


def line(row: dict, rows: list[dict]) -> str:
    same = ("events", "ordered", "ids", "threads", "file", "job")
    peers = [other["rate"] for other in rows if other["tool"] != "rust_sessionizer" and all(other[key] == row[key] for key in same)]
    own = row["tool"] == "rust_sessionizer"
    cells = [
        f"{row['events'] / 1e6:g} M",
        "by time" if row["ordered"] else "shuffled",
        row["ids"],
        "file" if row["file"] else "memory",
        str(row["threads"]),
        row["job"],
        f"**{row['tool']}**" if own else row["tool"],
        f"{row['rate'] / 1e6:.1f}",
        f"{row['rate'] / max(peers):.1f}" if own and peers else "",
        f"{row['rate'] / row['copy']:.0%}" if row["copy"] else "",
        f"{row['events'] / row['busy'] / 1e6:.1f}",
        f"{row['extra'] / row['events']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def draw(rows: list[dict]) -> str:
    """Bars of the largest log that all programs were measured on, lists and numbers, as an SVG."""
    shown = [row for row in rows if row["ids"] == "integers" and row["ordered"] and not row["file"]]
    size = max(row["events"] for row in shown if row["job"] == "lists" and row["tool"] != "rust_sessionizer")
    threads = max(row["threads"] for row in shown)
    shown = [row for row in shown if row["events"] == size and row["threads"] == threads]
    most = max(row["rate"] for row in shown)
    parts, y = [], 34
    for job in TOOLS:
        parts.append(f'<text x="8" y="{y + 12}" font-weight="bold">{job}</text>')
        y += 22
        for row in (row for row in shown if row["job"] == job):
            width = max(2, 360 * row["rate"] / most)
            colour = "#c2410c" if row["tool"] == "rust_sessionizer" else "#94a3b8"
            parts.append(f'<text x="130" y="{y + 12}" text-anchor="end">{row["tool"]}</text>')
            parts.append(f'<rect x="138" y="{y}" width="{width:.0f}" height="15" fill="{colour}"/>')
            parts.append(f'<text x="{144 + width:.0f}" y="{y + 12}">{row["rate"] / 1e6:.1f}</text>')
            y += 20
        y += 8
    title = f"Million events a second: {size / 1e6:g} M events ordered by time, {threads} threads"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="560" height="{y}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', f'<text x="8" y="20">{title}</text>', *parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events", nargs="*", type=lambda text: int(float(text)), default=[1_000_000, 10_000_000, 50_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ids", nargs="+", choices=["integers", "strings"], default=["integers", "strings"])
    parser.add_argument("--orders", nargs="+", choices=["ordered", "shuffled"], default=["ordered", "shuffled"])
    parser.add_argument("--no-files", action="store_true", help="from memory only")
    parser.add_argument("--write", action="store_true", help="save the table beside this file, and the figure")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        request = json.loads(options.child)
        print(json.dumps(measure(work_of(request), answer, request["repeats"])))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for events in options.events:
            for order in options.orders:
                for ids in options.ids:
                    log = write_log(Path(folder), events, order == "ordered", ids)
                    for threads in options.threads:
                        files = not options.no_files and threads == max(options.threads)
                        rows += measure_log(log, events, order == "ordered", ids, threads, files, options.repeats)
                    for suffix in (".arrow", ".parquet"):
                        log.with_suffix(suffix).unlink()
    text = "\n".join([*heading(options.repeats), *(line(row, rows) for row in rows), ""])
    print(text)
    if options.write:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
        FIGURE.write_text(draw(rows), encoding="utf-8")


def heading(repeats: int) -> list[str]:
    import duckdb
    import pandas as pd

    versions = f"polars {pl.__version__}, pandas {pd.__version__}, DuckDB {duckdb.__version__}"
    return [
        "# Sessions from event logs",
        "",
        "`numbers`: a session number for every event, and no more; `lists`: a row a session with its items and times, ordered by start.",
        f"Sessions end after 30 minutes. Medians of {repeats} runs, a process a form, answers compared. Beyond 10 M events the peers' are",
        "of one run, and their lists are left out: minutes, and more memory than there is.",
        "",
        "*To peers*: times the best of the same log and job. *Of copying*: of the rate at which one thread copies the two key columns.",
        "*A processor second*: million events by the time that all threads together were busy, which other work on the machine changes",
        "least. *Bytes*: the peak of memory beyond the log, result included, an event; the log itself has 24 with integers. A file is",
        "Parquet, and read within the time.",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {versions}.",
        "",
        "| events | ordered | visitors | from | threads | job | program | M/s | to peers | of copying | M a processor second | bytes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]


if __name__ == "__main__":
    sys.exit(main())
