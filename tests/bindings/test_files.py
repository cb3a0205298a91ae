"""Files to sessions: the same as tables to sessions, whatever the limits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
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
    told = {"csv_types": dict.fromkeys(["visitor_id", "item_id"], ids) | {"s": "integer"}} if kind == "csv" else {}
    paths = written(folder, events, files, kind)
    found = rs.sessionize_files(paths, folder / "out", gap, partitions=partitions, threads=2, **options, **told)
    expected = rs.sessionize(events, gap, **options)
    sessions = pl.read_parquet(folder / "out")
    assert_frame_equal(sessions, expected)
    assert (found.events, found.sessions, found.clicks) == (events.height, expected.height, expected["items"].list.len().sum())
    shards = [folder / f"{number}.shard" for number in range(2)]
    for number, shard in enumerate(shards):
        rs.sessionize_files(paths, shard, gap, shard=(number, 2), threads=1, **options, **told)
    columns = expected.columns
    rs.join_shards(shards, folder / "joined", columns=columns)
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
    with pytest.raises(ZeroDivisionError):
        rs.sessionize_files(log(tmp_path), tmp_path / "out", progress=lambda *_: 1 / 0)


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
    with pytest.raises(rs.FileError, match="both input and output"):
        rs.sessionize_files(log(tmp_path), log(tmp_path))
    with pytest.raises(TypeError, match="a path or a sequence of paths"):
        rs.sessionize_files(7, tmp_path / "out")


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
