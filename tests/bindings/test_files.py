"""Files to sessions: the same as tables to sessions, whatever the limits."""

import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import rust_sessionizer as rs

CASES = int(os.environ.get("CASES", "25"))
IDS = {"integer": pl.Int64, "string": pl.String}


def written(folder: Path, events: pl.DataFrame, files: int, kind: str) -> list[Path]:
    """The log in some files, row groups of a few rows each."""
    step = max(1, -(-events.height // files))
    paths = []
    for number in range(files):
        piece, path = events[number * step : (number + 1) * step], folder / f"{number:02}.{kind}"
        piece.write_csv(path) if kind == "csv" else piece.write_parquet(path, row_group_size=7)
        paths.append(path)
    return paths


@settings(max_examples=CASES, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 60), st.booleans()), max_size=60),
    ids=st.sampled_from(sorted(IDS)),
    kind=st.sampled_from(["csv", "parquet"]),
    files=st.integers(1, 3),
    gap=st.integers(0, 12),
    keep=st.sampled_from([None, "keep"]),
    drop_repeats=st.booleans(),
    session=st.sampled_from([None, "s"]),
    partitions=st.one_of(st.none(), st.integers(1, 5)),
)
def test_files_give_what_tables_give(tmp_path_factory, rows, ids, kind, files, gap, keep, drop_repeats, session, partitions):
    folder = tmp_path_factory.mktemp("files")
    events = pl.DataFrame(rows, schema=["visitor_id", "item_id", "timestamp", "keep"], orient="row")
    events = events.cast({"visitor_id": pl.Int64, "item_id": pl.Int64, "timestamp": pl.Int64, "keep": pl.Boolean})
    texts = [pl.format("é{}", name).alias(name) for name in ("visitor_id", "item_id")] if ids == "string" else []
    events = events.with_columns(*texts, s=pl.col("visitor_id") // 2)
    extra = ["timestamp"] if kind == "parquet" else []
    options = {"keep": keep, "drop_repeats": drop_repeats, "session": session, "extra": extra}
    types = dict.fromkeys(["visitor_id", "item_id"], ids) | ({"s": "integer"} if session else {})
    told = {"csv_types": types} if kind == "csv" else {}
    paths = written(folder, events, files, kind)
    found = rs.sessionize_files(paths, folder / "out", gap, partitions=partitions, threads=2, **options, **told)
    expected = rs.sessionize(events, gap, **options)
    sessions = pl.read_parquet(folder / "out")
    assert_frame_equal(sessions, expected)
    assert (found.events, found.sessions, found.clicks) == (events.height, expected.height, expected["items"].list.len().sum())
    shards = [folder / f"{number}.shard" for number in range(2)]
    for number, shard in enumerate(shards):
        rs.sessionize_files(paths, shard, gap, shard=(number, 2), threads=1, **options, **told)
    rs.join_shards(shards, folder / "joined")
    assert (folder / "joined").read_bytes() == (folder / "out").read_bytes()


def log(folder: Path) -> Path:
    path = folder / "log.parquet"
    pl.DataFrame({"visitor_id": [1, 2, 1], "item_id": [5, 6, 7], "timestamp": [0, 1, 2]}).write_parquet(path)
    return path


def test_progress_is_told_and_may_stop_the_work(tmp_path):
    told = []
    assert repr(rs.sessionize_files(log(tmp_path), tmp_path / "out", progress=lambda *seen: told.append(seen), count_visitors=True)) == (
        "<Summary: 3 events, 2 sessions, 3 clicks>"
    )
    assert told[-1] == ("write", 3, 3)
    (tmp_path / "out").unlink()

    def stop(stage, done, total):
        if (stage, done) == ("write", total):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rs.sessionize_files(log(tmp_path), tmp_path / "out", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


def test_visitors_are_counted_when_asked(tmp_path):
    assert rs.sessionize_files([log(tmp_path)], tmp_path / "out", count_visitors=True).visitors == 2
    assert rs.sessionize_files(str(log(tmp_path)), tmp_path / "out").visitors is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"memory_limit": "1MiB"}, rs.SettingError, "memory_limit is 1.0 MiB; it must be 64 MiB or more"),
        ({"memory_limit": "many"}, rs.SettingError, "memory_limit is 'many'"),
        ({"memory_limit": 1.5}, rs.SettingError, "memory_limit is 1.5"),
        ({"gap": "soon"}, rs.GapError, "soon"),
        ({"visitor": None}, rs.SettingError, "visitor is None"),
        ({"visitor": "who"}, rs.ColumnError, "log.parquet: there is no column 'who'"),
        ({"columns": ["who"]}, rs.ColumnError, "no column 'who'; the table has 'session_id'"),
        ({"shard": (2, 2)}, rs.SettingError, "shard is 2 of 2"),
        ({"shard": (-1, 2)}, rs.SettingError, "shard is"),
        ({"threads": 0}, rs.SettingError, "threads is 0"),
        ({"partitions": 300}, rs.SettingError, "partitions is 300"),
        ({"delimiter": "ab"}, rs.SettingError, "delimiter is"),
        ({"csv_types": {"item_id": "text"}}, rs.SettingError, "csv_types is 'text'"),
        ({"csv_types": {"items": "string"}}, rs.SettingError, "csv_types is for 'items'; it must be for columns that are read"),
    ],
)
def test_wrong_options_are_told_in_a_sentence(tmp_path, options, error, message):
    path = log(tmp_path)
    with pytest.raises(error, match=message):
        rs.sessionize_files(path, tmp_path / "out", **options)
    assert sorted(tmp_path.iterdir()) == [path]


def test_what_the_system_refuses_is_its_own_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        rs.sessionize_files(tmp_path / "missing", tmp_path / "out")
    with pytest.raises(IsADirectoryError):
        rs.sessionize_files(log(tmp_path), tmp_path)
    with pytest.raises(rs.FileError, match="there is no input file"):
        rs.sessionize_files([], tmp_path / "out")
    for visitor, session in (("visitor_id", None), ("visitor_id", "session_id")):
        with pytest.raises(rs.FileError, match="it is a folder; name its files"):
            rs.sessionize_files(tmp_path, tmp_path / "out", visitor=visitor, session=session)
    with pytest.raises(rs.FileError, match="both input and output"):
        rs.sessionize_files(log(tmp_path), log(tmp_path))
    with pytest.raises(TypeError, match="a path or a sequence of paths"):
        rs.sessionize_files(7, tmp_path / "out")


LATE_TYPES = {
    "int8": (pl.Int8, [-128, 127], "128"),
    "int16": (pl.Int16, [-300, 7], "32768"),
    "int32": (pl.Int32, [7, -(2**31)], "2147483648"),
    "int64": (pl.Int64, [7, -(2**40)], "1.5"),
    "uint8": (pl.UInt8, [0, 255], "256"),
    "uint16": (pl.UInt16, [0, 65_535], "-1"),
    "uint32": (pl.UInt32, [0, 2**32 - 1], "4294967296"),
    "uint64": (pl.UInt64, [0, 2**64 - 1], "-1"),
    "float32": (pl.Float32, [0.5, -1e30], "1e300"),
    "float64": (pl.Float64, [0.1, 1e300], "much"),
    "boolean": (pl.Boolean, [True, False], "2"),
    "string": (pl.String, ["a", "7"], None),
    "date": (pl.Date, [date(2026, 3, 1), date(1969, 12, 31)], "2026-03-01T12:00:00"),
    "time": (pl.Time, [time(12, 30), time(0, 0, 1)], "noon"),
    "datetime": (pl.Datetime("us", "UTC"), [datetime(2026, 3, 1, 12, 30, 0, 5, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)], "soon"),
}


@pytest.mark.parametrize("name", LATE_TYPES)
def test_a_csv_column_whose_values_come_late_has_the_type_of_the_other_file(tmp_path, name):
    dtype, values, wrong = LATE_TYPES[name]
    first, late = tmp_path / "a.parquet", tmp_path / "b.csv"
    ids = {"visitor_id": [1, 2], "item_id": [5, 6], "timestamp": [0, 1]}
    pl.DataFrame(ids | {"price": pl.Series(values, dtype=dtype)}).write_parquet(first)
    texts = pl.Series(values, dtype=dtype).to_frame("price").write_csv(include_header=False).split()
    rows = [f"{visitor},5,0," for visitor in range(1_000)] + [f"{visitor},5,9,{text}" for visitor, text in enumerate(texts)]
    late.write_text("visitor_id,item_id,timestamp,price\n" + "".join(f"{row}\n" for row in rows))
    rs.sessionize_files([first, late], tmp_path / "out", 1, extra=["price"])
    found = pl.read_parquet(tmp_path / "out").filter(pl.col("times").list.first().dt.epoch("ms") == 9)
    assert found["price"].explode().to_list() == pl.Series(values, dtype=dtype).to_list()
    assert found["price"].dtype == pl.List(dtype)
    if wrong:
        with late.open("a") as file:
            file.write(f"9,5,0,{wrong}\n")
        with pytest.raises(rs.FileError, match=rf"b.csv: column 'price', row {len(rows)}: \"{wrong}\" is not") as told:
            rs.sessionize_files([first, late], tmp_path / "out", 1, extra=["price"])
        assert (told.value.column, told.value.row, told.value.value) == ("price", len(rows), wrong)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_in_dictionaries_have_their_unit(tmp_path, unit):
    times = pa.array([0, 3_600_000, 0], pa.timestamp("ms")).cast(pa.timestamp(unit)).dictionary_encode()
    table = pa.table({"visitor_id": [1, 1, 2], "item_id": [5, 6, 7], "timestamp": times})
    pq.write_table(table, tmp_path / "log.parquet")
    rs.sessionize_files(tmp_path / "log.parquet", tmp_path / "out", "1h")
    found = pl.read_parquet(tmp_path / "out")
    assert [[int(time.timestamp()) for time in times] for times in found["times"]] == [[0, 3_600], [0]]
    assert_frame_equal(found, rs.sessionize(table, "1h").to_polars())


def test_a_byte_order_mark_belongs_to_no_name(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('"visitor_id","item_id","timestamp"\n"1","5","0"\n', encoding="utf-8-sig")
    rs.sessionize_files(path, tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out")["items"].to_list() == [[5]]


def test_errors_with_files_carry_the_column_the_row_and_the_value(tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("visitor_id,item_id,timestamp\n1,5,0\n")
    for text, place in [
        ("1,5,0\n1,5,never\n", ("timestamp", 1, "never")),
        ("1,5,0\n1,5\n", (None, 1, None)),
        ("1,,0\n", ("item_id", 0, None)),
        ("ann,5,0\n", ("visitor_id", None, "LargeUtf8")),
    ]:
        second.write_text("visitor_id,item_id,timestamp\n" + text)
        with pytest.raises(rs.SessionizerError) as told:
            rs.sessionize_files([first, second], tmp_path / "out")
        assert (told.value.column, told.value.row, told.value.value) == place
    assert str(told.value).endswith("one log needs one type: add csv_types={'visitor_id': 'string'}")
    assert rs.sessionize_files([first, second], tmp_path / "out", csv_types={"visitor_id": "string"}).sessions == 2


def test_visitors_of_an_empty_log_and_of_shards(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("visitor_id,item_id,timestamp\n")
    assert rs.sessionize_files(path, tmp_path / "out", count_visitors=True).visitors == 0
    shards = []
    for number, counts in enumerate((True, False)):
        shards.append(tmp_path / f"{number}.shard")
        rs.sessionize_files(log(tmp_path), shards[-1], shard=(number, 2), count_visitors=counts)
    assert rs.join_shards(shards, tmp_path / "out").visitors is None
    rs.sessionize_files(log(tmp_path), shards[-1], shard=(1, 2), count_visitors=True)
    assert rs.join_shards(shards, tmp_path / "out").visitors == 2


def test_long_texts_make_small_row_groups(tmp_path):
    long = [f"{number}" + "a" * 2**20 for number in range(130)]
    pl.DataFrame({"visitor_id": range(130), "item_id": long, "timestamp": range(130)}).write_parquet(tmp_path / "log.parquet")
    rs.sessionize_files(tmp_path / "log.parquet", tmp_path / "out")
    groups = pq.ParquetFile(tmp_path / "out").metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [64, 64, 2]
    shards = [tmp_path / f"{number}.shard" for number in range(2)]
    for number, shard in enumerate(shards):
        rs.sessionize_files(tmp_path / "log.parquet", shard, shard=(number, 2), threads=1)
    rs.join_shards(shards, tmp_path / "joined", memory_limit="64MiB", threads=1)
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "out").read_bytes()


FEW_FILES = """
import resource, sys, rust_sessionizer
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
print(rust_sessionizer.sessionize_files(sys.argv[1], sys.argv[2], 1, memory_limit="64MiB", partitions=6, threads=2))
"""


def test_parts_that_are_split_again_need_few_open_files(tmp_path):
    events = pl.DataFrame({"timestamp": pl.int_range(2_000_000, eager=True)})
    events = events.with_columns(visitor_id=pl.col("timestamp") % 50_000, item_id=pl.col("timestamp") % 7)
    events.write_parquet(tmp_path / "log.parquet")
    command = [sys.executable, "-c", FEW_FILES, str(tmp_path / "log.parquet"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("<Summary: 2000000 events, 2000000 sessions, 2000000 clicks>\n", "")


FORKED = """
import os, signal, sys, time
import pyarrow as pa, pyarrow.parquet as pq, rust_sessionizer as rs
table = pa.table({"visitor_id": pa.array([1, 1], pa.int32()), "item_id": [5, 6], "timestamp": pa.array([0, 10**6], pa.timestamp("us"))})
pq.write_table(table, sys.argv[1])
threads = lambda: len(os.listdir("/proc/self/task"))
def work():
    stream = rs.Sessionizer()
    stream.feed(table)
    rs.sessionize_files(sys.argv[1], sys.argv[2], threads=1)
    return stream.close().num_rows
before = threads()
work()
waited = 0
while threads() > before and waited < 100:
    time.sleep(0.1)
    waited += 1
print(threads() - before)
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(work())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list threads")
def test_no_thread_is_left_and_a_forked_process_goes_on(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path / "log.parquet"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n1\n", "")


SLOW = """
import sys, rust_sessionizer
def tell(*seen):
    print(*seen, flush=True)
rust_sessionizer.sessionize_files(sys.argv[1], sys.argv[2], progress=tell, threads=1)
"""


@pytest.fixture
def slow(tmp_path):
    """A call in a process of its own that takes some seconds, once it has begun."""
    source = tmp_path / "log.csv"
    line = "".join(f"{visitor},{visitor % 97},{visitor * 1000}\n" for visitor in range(200_000))
    source.write_text("visitor_id,item_id,timestamp\n" + line * 30)
    folder = tmp_path / "results"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(source), str(folder / "out")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline()
    yield process, folder
    process.kill()
    process.communicate()


def test_ctrl_c_leaves_nothing_behind(slow):
    process, folder = slow
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in told
    assert list(folder.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_one(slow, tmp_path):
    process, folder = slow
    process.kill()
    process.wait()
    (left,) = folder.iterdir()
    assert left.name.startswith(".out.")
    rs.sessionize_files(log(tmp_path), folder / "other")
    assert [path.name for path in folder.iterdir()] == ["other"]
