"""Sessions from event logs: this project's extension against polars, pandas and DuckDB, in one run on the same logs.

    python benchmarks/sessionize.py [EVENTS ...] [--repeats N] [--threads N ...] [--ids KIND ...] [--keep FILE] [--write]

The log is made like RetailRocket's: half as many visitors as events, 1.6 clicks a session. Every form of every program runs in
a process of its own, `--repeats` times, and the median counts. Answers are compared by the number of sessions and a checksum
over every session's start and length. `--write` saves the table beside this file and draws the figure of the extension's README.
With `--keep` a run may be cut into several by `--seconds`: what was measured stays in that file, and the logs in `--folder`.

Two jobs: `numbers`, a session number for every event, and `lists`, a row a session with its items and times, ordered by start. What
the peers' numbers are ordered by and count from is left to them. pandas has no lists worth measuring: a Python list a session.
"""

import argparse
import io
import itertools
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
    """The log as an Arrow file and as a Parquet file, if they are not there; the path without the suffix."""
    path = folder / f"{events}-{ordered}-{ids}"
    if path.with_suffix(".parquet").exists():
        return path
    log = make_log(events, seed=1)
    if ids == "strings":
        log = log.with_columns(visitor_id="v-" + pl.col("visitor_id").cast(pl.String).str.zfill(12))
    if not ordered:
        log = log.sample(fraction=1.0, shuffle=True, seed=2)
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


def in_memory(path: Path) -> pl.DataFrame:
    """The table of an Arrow file, each column in one piece, and no page of it left to be read from the file."""
    return pl.read_ipc(io.BytesIO(path.read_bytes())).rechunk()


def work_of(request: dict) -> Callable[[], object]:
    """The work of a child: its log lies in memory already, unless it comes from a file."""
    tool, job, ordered, threads = request["tool"], request["job"], request["ordered"], request["threads"]
    source = Path(request["log"]).with_suffix(".parquet" if request["file"] else ".arrow")
    if tool == "duckdb":
        import duckdb

        connection = duckdb.connect(config={"threads": threads})
        name = f"'{source}'"
        if not request["file"]:
            connection.register("log", in_memory(source).to_arrow())
            name = "log"
        return lambda: connection.sql(DUCKDB.replace("LOG", name) + DUCKDB_JOBS[job]).to_arrow_table()
    if tool == "pandas":
        import pandas as pd

        if request["file"]:
            return lambda: _pandas(pd.read_parquet(source))
        log = in_memory(source).to_pandas()
        return lambda: _pandas(log)
    if tool.startswith("polars"):
        engine = "streaming" if tool == "polars streaming" else "in-memory"
        if request["file"]:
            return lambda: _polars(pl.scan_parquet(source), ordered, job, engine)
        log = in_memory(source)
        return lambda: _polars(log.lazy(), ordered, job, engine)
    import rust_sessionizer

    if tool == "copy":
        log = in_memory(source)
        columns = [log[name].to_numpy() for name in ("visitor_id", "timestamp")]
        return lambda: [column.copy() for column in columns]
    cut = rust_sessionizer.number_sessions if job == "numbers" else rust_sessionizer.sessionize
    if request["file"]:
        return lambda: _kept(pl.read_parquet(source), cut, threads)
    log = in_memory(source)
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


OWN = "rust_sessionizer"
TOOLS = {"numbers": [OWN, "polars", "polars streaming", "pandas", "duckdb"]}
TOOLS["lists"] = [tool for tool in TOOLS["numbers"] if tool != "pandas"]


def forms_of(events: int, threads: list[int], files: bool, repeats: int) -> Iterator[dict]:
    """What is to be measured on a log of so many events; peers are slow enough for fewer repeats."""
    for number in threads:
        for file in (False, True) if files and number == max(threads) else (False,):
            if not file:
                yield {"threads": number, "file": file, "job": "copy", "tool": "copy", "repeats": repeats}
            for job, tools in TOOLS.items():
                for tool in tools:
                    own = tool == OWN
                    if own or job == "numbers" or events <= MOST_FOR_PEERS_LISTS:
                        few = repeats if own else min(repeats, 3) if events <= MOST_FOR_PEERS_LISTS else 1
                        yield {"threads": number, "file": file, "job": job, "tool": tool, "repeats": few}


KEYS = ("events", "ordered", "ids", "threads", "file", "job", "tool")


def measure_form(path: Path, form: dict) -> dict:
    """The form with its rate (events a second), processor seconds, extra bytes and answer; the rate is None for want of memory."""
    found = in_child("sessionize.py", {**form, "log": str(path)}, form["threads"])
    row = {key: form[key] for key in (*KEYS, "repeats")}
    if found is None:
        return {**row, "rate": None}
    rate = form["events"] / statistics.median(found["seconds"])
    return {**row, "rate": rate, "busy": found["busy"], "extra": found["extra"], "answer": found["answer"]}


def compare(rows: list[dict]) -> None:
    """Every form of a log gives the same sessions.

    Raises
    ------
    SystemExit
        If two forms disagree.
    """
    answers: dict[tuple, dict[str, list]] = {}
    for row in rows:
        if row.get("answer") is not None:
            log = (row["events"], row["ordered"], row["ids"])
            answers.setdefault(log, {})[f"{row['tool']}, {row['job']}"] = row["answer"]
    for log, given in answers.items():
        if len({tuple(one) for one in given.values()}) > 1:
            raise SystemExit(f"the answers differ on {log}: {given}")


def line(row: dict, rows: list[dict]) -> str:
    def like(tool: str | None = None, **others: object) -> list[float]:
        """The rates of what is the same but for the tool (any other without it) and the named keys."""
        wanted = {key: row[key] for key in KEYS[:-1]} | others
        same = [other for other in rows if other["rate"] and all(other[key] == wanted[key] for key in wanted)]
        return [other["rate"] for other in same if (other["tool"] == tool if tool else other["tool"] != OWN)]

    own, peers = row["tool"] == OWN, like()
    copy, single = like("copy", job="copy", file=False), like(OWN, threads=1)
    cells = [
        f"{row['events'] / 1e6:g} M",
        "by time" if row["ordered"] else "shuffled",
        row["ids"],
        "file" if row["file"] else "memory",
        str(row["threads"]),
        row["job"],
        f"**{OWN}**" if own else row["tool"],
        f"{row['rate'] / 1e6:.1f}",
        f"{row['rate'] / max(peers):.1f}" if own and peers else "",
        f"{row['rate'] / single[0] / row['threads']:.0%}" if own and row["threads"] > 1 and single else "",
        f"{row['rate'] / copy[0]:.0%}" if copy and row["ids"] == "integers" else "",
        f"{row['events'] / row['busy'] / 1e6:.1f}",
        f"{row['extra'] / row['events']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def draw(rows: list[dict]) -> str:
    """Bars of the largest log that all programs were measured on, lists and numbers, as an SVG."""
    shown = [row for row in rows if row["rate"] and row["ids"] == "integers" and row["ordered"] and not row["file"]]
    size = max(row["events"] for row in shown if row["job"] == "lists" and row["tool"] != OWN)
    threads = max(row["threads"] for row in shown)
    shown = [row for row in shown if row["events"] == size and row["threads"] == threads]
    most = max(row["rate"] for row in shown)
    parts, y = [], 34
    for job in TOOLS:
        parts.append(f'<text x="8" y="{y + 12}" font-weight="bold">{job}</text>')
        y += 22
        for row in (row for row in shown if row["job"] == job):
            width = max(2, 360 * row["rate"] / most)
            colour = "#c2410c" if row["tool"] == OWN else "#94a3b8"
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
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ids", nargs="+", choices=["integers", "strings"], default=["integers", "strings"])
    parser.add_argument("--orders", nargs="+", choices=["ordered", "shuffled"], default=["ordered", "shuffled"])
    parser.add_argument("--tools", nargs="+", choices=["copy", *TOOLS["numbers"]], default=["copy", *TOOLS["numbers"]])
    parser.add_argument("--no-files", action="store_true", help="from memory only")
    parser.add_argument("--folder", type=Path, help="where the logs go and stay; without it, a folder that is removed")
    parser.add_argument("--keep", type=Path, help="file that gathers what was measured; what is in it is not measured again")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin nothing more after so long; 0 makes the logs alone")
    parser.add_argument("--write", action="store_true", help="save the table beside this file, and the figure")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        request = json.loads(options.child)
        print(json.dumps(measure(work_of(request), answer, request["repeats"])))
        return
    rows: list[dict] = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else []
    ends = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        for events, order, ids in itertools.product(options.events, options.orders, options.ids):
            path = write_log(folder, events, order == "ordered", ids)
            log = {"events": events, "ordered": order == "ordered", "ids": ids}
            for form in forms_of(events, options.threads, not options.no_files, options.repeats):
                form |= log
                done = form["tool"] not in options.tools or any(all(row[key] == form[key] for key in KEYS) for row in rows)
                if done or time.monotonic() > ends:
                    continue
                rows.append(measure_form(path, form))
                print(line(rows[-1], rows) if rows[-1]["rate"] else f"{form}: ended for want of memory", flush=True)
                if options.keep:
                    options.keep.write_text(json.dumps(rows, indent=1) + "\n")
            if not options.folder:
                for suffix in (".arrow", ".parquet"):
                    path.with_suffix(suffix).unlink()
    compare(rows)
    shown = [row for row in sorted(rows, key=_order) if row["rate"] and row["tool"] != "copy"]
    text = "\n".join([*heading(rows), *(line(row, rows) for row in shown), ""])
    if options.write:
        print(text)
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
        FIGURE.write_text(draw(shown), encoding="utf-8")


def _order(row: dict) -> tuple:
    jobs = ["copy", *TOOLS]
    tools = ["copy", *TOOLS["numbers"]]
    log = (row["events"], not row["ordered"], row["ids"])
    return (*log, row["file"], row["threads"], jobs.index(row["job"]), tools.index(row["tool"]))


def heading(rows: list[dict]) -> list[str]:
    import duckdb
    import pandas as pd

    def runs(own: bool) -> str:
        counts = [row["repeats"] for row in rows if (row["tool"] == OWN) is own and row["tool"] != "copy"]
        return " to ".join(str(count) for count in sorted({min(counts, default=0), max(counts, default=0)}))

    versions = f"polars {pl.__version__}, pandas {pd.__version__}, DuckDB {duckdb.__version__}"
    return [
        "# Sessions from event logs",
        "",
        "`numbers`: a session number for every event, and no more; `lists`: a row a session with its items and times, ordered by start.",
        f"Sessions end after 30 minutes. Medians of {runs(own=True)} runs, the peers' of {runs(own=False)}, a process a form, answers",
        "compared. Beyond 10 M events the peers' are of one run, and their lists are left out: minutes, and more memory than there is.",
        "What has no row was not measured.",
        "",
        "*To peers*: times the best of the same log and job. *Efficiency*: of as many times the rate of one thread as there are threads.",
        "*Of copying*: of the rate at which one thread copies the two key columns. *A processor second*: million events by the time that",
        "all threads together were busy, which other work on the machine changes least. *Bytes*: the peak of memory beyond the log, result",
        "included, an event (what a program had freed and kept before is not seen); the log's columns have 24 with integers, 16 of which",
        "`numbers` takes. A file is Parquet, and read within the time.",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {versions}.",
        "",
        "| events | ordered | visitors | from | threads | job | program | M/s | to peers | efficiency | of copying "
        "| M a processor second | bytes |",
        f"{'|---' * 13}|",
    ]


if __name__ == "__main__":
    sys.exit(main())
