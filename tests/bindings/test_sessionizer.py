"""The extension against slow, obvious versions, on every table library."""

import ast
import doctest
import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import rust_sessionizer as rs

TIME = pl.Datetime("ms", "UTC")


def cases(usual: int) -> int:
    """How many cases a property is tried on; `CASES` in the environment asks for more."""
    return int(os.environ.get("CASES", usual))


def log(**columns) -> pl.DataFrame:
    """A log of one visitor unless told otherwise."""
    rows = len(columns["timestamp"])
    return pl.DataFrame({"visitor_id": [1] * rows, "item_id": list(range(rows)), **columns})


def obvious(events: pl.DataFrame, gap: int, keep: bool, drop_repeats: bool) -> pl.DataFrame:
    """What sessionize promises, in polars."""
    events = events.with_row_index("row").sort("visitor_id", "timestamp", "row")
    new = (pl.col("visitor_id") != pl.col("visitor_id").shift()) | (pl.col("timestamp").diff() > gap)
    events = events.with_columns(new.fill_null(True).cum_sum().alias("session"))
    if keep:
        events = events.filter(pl.col("keep"))
    if drop_repeats:
        same = (pl.col("item_id") == pl.col("item_id").shift()) & (pl.col("session") == pl.col("session").shift())
        events = events.filter(~same.fill_null(False))
    sessions = events.group_by("session", maintain_order=True).agg(
        pl.col("visitor_id").first(),
        pl.col("timestamp").first().cast(TIME).alias("start"),
        pl.col("row").first(),
        pl.col("item_id").alias("items"),
        pl.col("timestamp").cast(TIME).alias("times"),
        pl.col("price"),
    )
    sessions = sessions.sort("start", "row").drop("row", "session")
    return sessions.select(pl.int_range(pl.len(), dtype=pl.Int64).alias("session_id"), pl.all())


ids = st.sampled_from([(pl.Int64, [0, 1, -(2**63), 2**63 - 1]), (pl.UInt8, [0, 1, 255]), (pl.String, ["", "a", "é", "b" * 20])])


@st.composite
def logs(draw) -> pl.DataFrame:
    rows = draw(st.integers(0, 40))
    columns = {}
    for name in ("visitor_id", "item_id"):
        dtype, values = draw(ids)
        columns[name] = pl.Series(draw(st.lists(st.sampled_from(values), min_size=rows, max_size=rows)), dtype=dtype)
    times = draw(st.lists(st.integers(-20, 60), min_size=rows, max_size=rows))
    columns["timestamp"] = pl.Series(sorted(times) if draw(st.booleans()) else times, dtype=pl.Int64)
    columns["keep"] = pl.Series(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), dtype=pl.Boolean)
    prices = st.one_of(st.none(), st.floats(allow_nan=False))
    columns["price"] = pl.Series(draw(st.lists(prices, min_size=rows, max_size=rows)), dtype=pl.Float64)
    return pl.DataFrame(columns)


@settings(max_examples=cases(250), deadline=None)
@given(logs(), st.integers(0, 15), st.booleans(), st.booleans(), st.integers(1, 4), st.integers(1, 50))
def test_sessions_are_those_of_the_obvious_version(events, gap, keep, drop_repeats, threads, chunk):
    pieces = [events.slice(start, chunk) for start in range(0, max(events.height, 1), chunk)]
    found = rs.sessionize(
        pl.concat(pieces, rechunk=False),
        gap,
        extra=["price"],
        keep="keep" if keep else None,
        drop_repeats=drop_repeats,
        threads=threads,
    )
    expected = obvious(events, gap, keep, drop_repeats)
    assert_frame_equal(found, expected)
    if not keep:
        # Without further columns items may be carried along instead of rows.
        found = rs.sessionize(events, gap, drop_repeats=drop_repeats, threads=threads)
        assert_frame_equal(found, expected.drop("price"))


@settings(max_examples=cases(100), deadline=None)
@given(logs(), st.integers(0, 15), st.integers(0, 3), st.sampled_from(["view", "large", "dictionary", "narrow"]), st.integers(1, 50))
def test_every_layout_of_arrow_gives_the_same(events, gap, skip, layout, chunk):
    expected = obvious(events[skip:], gap, False, False).drop("price")
    table = events.to_arrow(compat_level=pl.CompatLevel.oldest() if layout != "view" else pl.CompatLevel.newest())
    for place, name in enumerate(["visitor_id", "item_id"]):
        column = table.column(name)
        if not pa.types.is_integer(column.type):
            if layout == "dictionary":
                column = column.dictionary_encode()
            elif layout == "narrow":
                column = column.cast(pa.string())
        table = table.set_column(place, name, column)
    pieces = [table.slice(start, chunk) for start in range(skip, table.num_rows, chunk)]
    found = rs.sessionize(pa.concat_tables(pieces) if pieces else table.slice(skip), gap)
    assert isinstance(found, rs.Table)
    assert_frame_equal(found.to_polars(), expected)


@settings(max_examples=cases(150), deadline=None)
@given(logs(), st.integers(0, 15), st.integers(1, 4))
def test_numbers_are_those_of_the_sessions(events, gap, threads):
    numbers = rs.number_sessions(events, gap, threads=threads)
    assert numbers.dtype == pl.Int32
    rows = events.drop("price").with_row_index("price")
    sessions = rs.sessionize(rows, gap, extra=["price"])
    listed = sessions.select("session_id", "price").explode("price").sort("price")
    assert numbers.to_list() == listed["session_id"].to_list()
    assert rs.number_sessions(events.to_arrow(), gap).to_pyarrow().to_pylist() == numbers.to_list()


@settings(max_examples=cases(100), deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=5).map(sorted), max_size=20),
    st.lists(st.integers(0, 31), max_size=3).map(sorted),
)
def test_sessions_are_split_in_time(times, cuts):
    places = [list(range(len(session))) for session in times]
    numbers = list(range(len(times)))
    schema = {"session_id": pl.Int64, "times": pl.List(TIME), "places": pl.List(pl.Int64)}
    sessions = pl.DataFrame({"session_id": numbers, "times": times, "places": places}, schema=schema)
    parts = rs.split_sessions(sessions, cuts)
    bounds = [-1, *cuts, 99]
    assert len(parts) == len(cuts) + 1
    for part, begin, end in zip(parts, bounds, bounds[1:], strict=False):
        here = [number for number in numbers if begin <= times[number][0] < end]
        assert part.schema == sessions.schema
        assert part["session_id"].to_list() == here
        assert part["times"].cast(pl.List(pl.Int64)).to_list() == [[time for time in times[number] if time < end] for number in here]
        assert part["places"].list.len().to_list() == part["times"].list.len().to_list()


def test_a_time_in_a_session_that_does_not_fit_is_named_by_session():
    times = pa.array([[0], [1, 2, 2**62]], pa.list_(pa.timestamp("s")))
    with pytest.raises(rs.TimeRangeError) as told:
        rs.split_sessions(pa.table({"times": times}), [5])
    assert (told.value.column, told.value.row, told.value.value) == ("times", 1, str(2**62))


def test_wrong_cuts_are_told():
    sessions = pl.DataFrame({"times": [[1, 2], [None, 3]]})
    with pytest.raises(rs.SettingError, match=r"cuts is \[2, 1\]; it must be in ascending order"):
        rs.split_sessions(sessions[:1], [2, 1])
    with pytest.raises(rs.NullValueError, match="column 'times' has a null in row 1"):
        rs.split_sessions(sessions, [1])
    with pytest.raises(rs.ColumnError, match="a list of timestamps is needed"):
        rs.split_sessions(pl.DataFrame({"times": [1]}), [1])


def test_a_long_log_gives_the_same_for_any_threads_and_chunks():
    random = np.random.default_rng(5)
    rows = 120_000
    events = pl.DataFrame(
        {
            "visitor_id": random.integers(0, 30_000, rows),
            "item_id": random.integers(0, 500, rows),
            "timestamp": random.integers(0, 10**9, rows),
            "price": random.random(rows),
        }
    )
    for log in (events, events.sort("timestamp", maintain_order=True)):
        expected = obvious(log, 20_000_000, False, False)
        cut = pl.concat([log[:7], log[7:70_001], log[70_001:]], rechunk=False)
        for table, threads in ((log, 1), (log, 2), (cut, 3), (cut, None)):
            assert_frame_equal(rs.sessionize(table, 20_000_000, extra=["price"], threads=threads), expected)
        texts = log.with_columns(pl.format("visitor {}", "visitor_id").alias("visitor_id"))
        found = rs.sessionize(texts, 20_000_000, extra=["price"])
        assert_frame_equal(found.drop("visitor_id"), expected.drop("visitor_id"))


def test_the_gap_itself_stays_in_the_session():
    events = log(timestamp=[0, 1_800_000, 3_600_001])
    assert rs.sessionize(events)["items"].to_list() == [[0, 1], [2]]


@pytest.mark.parametrize("gap", ["1h30m", "90m", "5400s", "5400000ms", timedelta(hours=1, minutes=30), 5_400_000, np.int64(5_400_000)])
def test_a_gap_can_be_written_in_many_ways(gap):
    events = log(timestamp=[0, 5_400_000, 10_800_001])
    assert rs.sessionize(events, gap)["items"].to_list() == [[0, 1], [2]]


@pytest.mark.parametrize("gap", ["", "30", "1y", "-1m", -1, 1.5, True, 2**63, timedelta(milliseconds=-1), ["1h"], "9999999999999w"])
def test_what_is_no_gap_is_refused(gap):
    with pytest.raises(rs.GapError, match="write it like '30m'"):
        rs.sessionize(log(timestamp=[0]), gap)


@pytest.mark.parametrize(("gap", "sessions"), [(0, 2), (1, 2), (86_400_000 * 36_525, 1)])
def test_very_short_and_very_long_gaps(gap, sessions):
    assert rs.sessionize(log(timestamp=[5, 5, 7]), gap).height == sessions


def test_events_of_one_time_keep_their_order():
    events = log(timestamp=[9, 9, 3, 9], item_id=["c", "a", "z", "b"])
    assert rs.sessionize(events)["items"].to_list() == [["z", "c", "a", "b"]]


def test_sessions_of_one_start_are_in_the_order_of_their_rows():
    events = log(timestamp=[1, 1, 0, 1], visitor_id=["b", "a", "c", "0"])
    assert rs.sessionize(events)["visitor_id"].to_list() == ["c", "b", "a", "0"]


def test_the_ends_of_time_do_not_wrap():
    low, high = -(2**63), 2**63 - 1
    events = log(timestamp=[high, low, high - 1, low + 1], item_id=[3, 0, 2, 1])
    assert rs.sessionize(events, 2**63 - 1)["items"].to_list() == [[0, 1], [2, 3]]


def test_left_out_events_hold_a_session_together():
    events = log(timestamp=[0, 20, 40, 90, 95], keep=[True, False, True, False, False])
    found = rs.sessionize(events, 25, keep="keep")
    assert found["items"].to_list() == [[0, 2]]
    assert found["start"].cast(pl.Int64).to_list() == [0]


def test_a_session_starts_with_its_first_kept_event():
    events = log(timestamp=[0, 1, 2], visitor_id=["a", "b", "a"], keep=[False, True, True])
    found = rs.sessionize(events, keep="keep")
    assert found["visitor_id"].to_list() == ["b", "a"]
    assert found["start"].cast(pl.Int64).to_list() == [1, 2]


def test_repeats_are_those_among_kept_events():
    events = log(timestamp=[0, 1, 2, 3, 99], item_id=[7, 8, 7, 7, 7], keep=[True, False, True, True, True])
    found = rs.sessionize(events, 50, keep="keep", drop_repeats=True)
    assert found["items"].to_list() == [[7], [7]]
    assert found["times"].cast(pl.List(pl.Int64)).to_list() == [[0], [99]]


def test_a_sessionized_log_is_grouped_whatever_the_pause():
    events = pl.DataFrame(
        {"session": ["x", "y", "x"], "item_id": [1, 2, 3], "timestamp": [10**15, 5, 0], "visitor_id": [None, 8, 9]},
        schema_overrides={"visitor_id": pl.Int32},
    )
    found = rs.sessionize(events, session="session")
    assert found.columns == ["session_id", "visitor_id", "session", "start", "items", "times"]
    assert found["session"].to_list() == ["x", "y"]
    assert found["visitor_id"].to_list() == [9, 8]
    assert found["items"].to_list() == [[3, 1], [2]]
    for without in (rs.sessionize(events, session="session", visitor=None), rs.sessionize(events.drop("visitor_id"), session="session")):
        assert_frame_equal(without, found.drop("visitor_id"))


def in_libraries(events: pl.DataFrame) -> dict[str, object]:
    """One log in every library, in pieces, and in every form that texts have."""
    arrow = events.to_arrow()
    plain = arrow.cast(pa.schema([(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in arrow.schema]))
    views = arrow.cast(pa.schema([(f.name, pa.string_view() if pa.types.is_large_string(f.type) else f.type) for f in arrow.schema]))
    coded = [
        plain.column(i).dictionary_encode() if pa.types.is_string(plain.schema.field(i).type) else plain.column(i)
        for i in range(plain.num_columns)
    ]
    padded = pa.concat_tables([plain.slice(2, 1), plain, plain.slice(0, 2)])
    return {
        "polars": events,
        "polars categorical": events.with_columns(pl.col(pl.String).cast(pl.Categorical)),
        "polars in pieces": pl.concat([events[:1], events[1:]], rechunk=False),
        "polars sliced": pl.concat([events[2:], events])[events.height - 2 :],
        "pandas": events.to_pandas(),
        "pyarrow": plain,
        "pyarrow large": arrow,
        "pyarrow views": views,
        "pyarrow dictionary": pa.table(coded, names=plain.column_names),
        "pyarrow in pieces": pa.concat_tables([plain.slice(0, 1), plain.slice(1)]),
        "pyarrow sliced": padded.slice(1, events.height),
        "pyarrow batch": plain.combine_chunks().to_batches()[0],
    }


EVENTS = pl.DataFrame(
    {
        "visitor_id": ["ann", "bob", "ann", "a name that is longer than twelve bytes"],
        "item_id": ["i1", "i2", "i1", "an item that is longer than twelve bytes"],
        "timestamp": pl.Series([0, 500, 1_000, 2_000]).cast(TIME),
        "value": ["one", None, "three", "four"],
    }
)
SESSIONS = {
    "session_id": [0, 1, 2],
    "visitor_id": ["ann", "bob", "a name that is longer than twelve bytes"],
    "items": [["i1", "i1"], ["i2"], ["an item that is longer than twelve bytes"]],
    "value": [["one", "three"], [None], ["four"]],
}


@pytest.mark.parametrize("library", in_libraries(EVENTS))
def test_every_library_gives_the_same_sessions(library):
    table = in_libraries(EVENTS)[library]
    found = rs.sessionize(table, "1s", extra=["value"])
    assert type(found) is (pl.DataFrame if library.startswith("polars") else rs.Table)
    sessions = pl.DataFrame(found)
    assert sessions.schema["start"] == TIME
    assert sessions.schema["times"] == pl.List(TIME)
    assert sessions.select(list(SESSIONS)).to_dict(as_series=False) == SESSIONS


DUCKDB = """
import json, sys
import duckdb, polars as pl, rust_sessionizer as rs

relation = duckdb.sql("select * from read_parquet('{path}')")
found = rs.sessionize(relation, "1s", extra=["value"])
assert type(found) is rs.Table
counted = duckdb.from_arrow(found).aggregate("count(*)").fetchall()
print(json.dumps({{"sessions": found.to_polars().select({columns}).to_dict(as_series=False), "counted": counted}}))
"""


def test_duckdb_gives_the_same_sessions_and_takes_the_result(tmp_path):
    # In a process of its own: DuckDB complains at the exit of one that also ran hypothesis.
    EVENTS.write_parquet(tmp_path / "events.parquet")
    script = DUCKDB.format(path=tmp_path / "events.parquet", columns=list(SESSIONS))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"sessions": SESSIONS, "counted": [[3]]}


def test_a_result_goes_to_every_library():
    found = rs.sessionize(EVENTS.to_arrow(), "1s")
    assert (len(found), found.num_rows, found.column_names[0]) == (3, 3, "session_id")
    assert found.to_pyarrow().column("visitor_id").to_pylist() == SESSIONS["visitor_id"]
    assert found.to_pandas()["visitor_id"].tolist() == SESSIONS["visitor_id"]
    assert pa.table(found).equals(found.to_pyarrow())
    assert found.to_polars()["items"].to_list() == SESSIONS["items"]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()])
def test_columns_keep_their_type(kind):
    column = pa.array([3, 1, 3], kind)
    table = pa.table({"visitor_id": column, "item_id": column, "timestamp": column, "flag": [True, None, False]})
    found = rs.sessionize(table, 0, extra=["flag", "item_id"]).to_pyarrow()
    assert found.schema.field("visitor_id").type == kind
    assert found.schema.field("items").type == pa.large_list(kind)
    assert found.column("items").to_pylist() == [[1], [3, 3]]
    assert found.column("flag").to_pylist() == [[None], [True, False]]
    assert found.column("item_id").to_pylist() == [[1], [3, 3]]


@pytest.mark.parametrize(
    ("column", "millis"),
    [
        (pa.array([-1, 2], pa.timestamp("s")), [-1_000, 2_000]),
        (pa.array([-1, 2], pa.timestamp("ms", "Asia/Tokyo")), [-1, 2]),
        (pa.array([-1, 2_999], pa.timestamp("us", "UTC")), [-1, 2]),
        (pa.array([-1, 2_999_999], pa.timestamp("ns")), [-1, 2]),
        (pa.array([date(1969, 12, 31), date(1970, 1, 2)]), [-86_400_000, 86_400_000]),
        (pa.array([date(1969, 12, 31), date(1970, 1, 2)], pa.date64()), [-86_400_000, 86_400_000]),
    ],
)
def test_times_of_every_unit_become_milliseconds(column, millis):
    table = pa.table({"visitor_id": [1, 1], "item_id": [1, 2], "timestamp": column})
    found = rs.sessionize(table, "7d").to_polars()
    assert found["times"].cast(pl.List(pl.Int64)).to_list() == [millis]


def test_a_polars_log_starts_at_its_instant():
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert rs.sessionize(log(timestamp=[start]))["start"].to_list() == [start]


@pytest.mark.parametrize("column", ["visitor_id", "item_id", "timestamp", "keep"])
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_null_is_named(column, pieces):
    events = log(timestamp=[1, 2, 3], keep=[True, True, False])
    events = events.with_columns(pl.when(pl.int_range(3) < 2).then(pl.col(column)))
    table = pl.concat([events[:1], events[1:]], rechunk=False) if pieces == 2 else events
    with pytest.raises(rs.NullValueError, match=f"column '{column}' has a null in row 2"):
        rs.sessionize(table, keep="keep")


def test_a_null_session_and_a_null_in_a_dictionary_are_named():
    with pytest.raises(rs.NullValueError, match="column 's' has a null in row 1"):
        rs.sessionize(log(timestamp=[1, 2], s=[1, None]), session="s")
    items = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", None]))
    with pytest.raises(rs.NullValueError, match="column 'item_id' has a null in row 1"):
        rs.sessionize(pa.table({"visitor_id": [1, 1], "item_id": items, "timestamp": [1, 2]}))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1, 2**62], pa.timestamp("s")), "column 'timestamp', row 1: 4611686018427387904 seconds is out of range"),
        (pa.array([1, 2**63], pa.uint64()), "column 'timestamp', row 1: 9223372036854775808 milliseconds is out of range"),
    ],
)
def test_a_time_that_does_not_fit_is_named(column, message):
    with pytest.raises(rs.TimeRangeError, match=message):
        rs.sessionize(pa.table({"visitor_id": [1, 1], "item_id": [1, 1], "timestamp": column}))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"visitor": "who"}, rs.ColumnError, "no column 'who'; the table has 'visitor_id', 'item_id', 'timestamp', 'price'"),
        ({"extra": ["what"]}, rs.ColumnError, "no column 'what'"),
        ({"item": "price"}, rs.ColumnError, "'price' is of type Float64; an integer or a string is needed"),
        ({"timestamp": "price"}, rs.ColumnError, "'price' is of type Float64; a timestamp, a date or an integer"),
        ({"keep": "item_id"}, rs.ColumnError, "'item_id' is of type Int64; a Boolean is needed"),
        ({"extra": ["price", "price"]}, rs.ColumnError, "'price' stands for more than one column"),
        ({"visitor": None}, rs.SettingError, "visitor is None"),
        ({"threads": 0}, rs.SettingError, "threads is 0"),
        ({"threads": -1}, rs.SettingError, "threads is"),
    ],
)
def test_wrong_options_are_told_in_a_sentence(options, error, message):
    with pytest.raises(error, match=message):
        rs.sessionize(log(timestamp=[1, 2], price=[1.0, 2.0]), **options)
    assert issubclass(error, rs.SessionizerError)
    assert issubclass(rs.SessionizerError, ValueError)


def test_errors_carry_the_column_the_row_and_the_value():
    with pytest.raises(rs.NullValueError) as null:
        rs.sessionize(log(timestamp=[1, None]))
    assert (null.value.column, null.value.row, null.value.value) == ("timestamp", 1, None)
    with pytest.raises(rs.TimeRangeError) as late:
        rs.sessionize(pa.table({"visitor_id": [1, 1], "item_id": [1, 1], "timestamp": pa.array([1, 2**62], pa.timestamp("s"))}))
    assert (late.value.column, late.value.row, late.value.value) == ("timestamp", 1, str(2**62))
    with pytest.raises(rs.ColumnError) as missing:
        rs.sessionize(log(timestamp=[1]), visitor="who")
    assert (missing.value.column, missing.value.row) == ("who", None)


def test_what_is_no_table_is_refused():
    with pytest.raises(TypeError, match="Arrow PyCapsule interface is needed .*, not list"):
        rs.sessionize([1, 2])
    with pytest.raises(TypeError, match="values: an array .*, not list"):
        rs.encode([1, 2])


def test_an_empty_log_has_no_sessions():
    schema = {"visitor_id": pl.Int32, "item_id": pl.String, "timestamp": TIME}
    found = rs.sessionize(pl.DataFrame(schema=schema))
    lists = {"items": pl.List(pl.String), "times": pl.List(TIME)}
    assert found.schema == {"session_id": pl.Int64, "visitor_id": pl.Int32, "start": TIME, **lists}
    assert found.height == 0
    assert rs.sessionize(pl.DataFrame({"visitor_id": [], "item_id": [], "timestamp": []})).height == 0
    assert rs.sessionize(pl.DataFrame(schema=schema).to_arrow()).num_rows == 0


def test_a_column_without_any_value_is_no_hindrance():
    events = log(timestamp=[1], note=[None])
    found = rs.sessionize(events, extra=["note"])
    assert found["note"].to_list() == [[None]]
    assert rs.filter_support(found.with_columns(pl.lit(None).alias("more")), min_support=1, min_length=1)["more"].to_list() == [None]
    with pytest.raises(rs.NullValueError, match="column 'note' has a null in row 0"):
        rs.sessionize(events, visitor="note")


def test_the_readme_tells_the_truth():
    readme = Path(__file__).parents[2] / "rust_sessionizer" / "README.md"
    failed, tried = doctest.testfile(str(readme), module_relative=False)
    assert tried > 5
    assert failed == 0


@pytest.mark.parametrize("name", ["__init__", "inference", "neighbours", "ranking", "training"])
def test_the_stubs_tell_the_truth(name):
    names = vars(rs) | (vars(import_module(f"rust_sessionizer.{name}")) if name != "__init__" else {})
    stub = Path(__file__).parents[2] / "rust_sessionizer" / "python" / "rust_sessionizer" / f"{name}.pyi"
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    examples = doctest.DocTestParser()
    runner = doctest.DocTestRunner()
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) else None
        if text:
            runner.run(examples.get_doctest(text, names.copy(), getattr(node, "name", stub.name), str(stub), 0))
    assert runner.failures == 0
    assert runner.tries > {"__init__": 12, "ranking": 3}.get(name, -1)


def test_other_threads_run_meanwhile(others_run):
    random = np.random.default_rng(3)
    events = pl.DataFrame({name: random.integers(0, 10**6, 400_000) for name in ("visitor_id", "item_id", "timestamp")})
    assert others_run(lambda: rs.sessionize(events, threads=1))


def test_nothing_but_the_extension_is_imported():
    code = "import sys, rust_sessionizer; assert not {'polars', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Int64, pl.UInt64, pl.String, pl.Categorical])
@settings(max_examples=cases(40), deadline=None)
@given(values=st.lists(st.one_of(st.integers(0, 9), st.integers(0, 127)), max_size=60))
def test_codes_are_ranks(dtype, values):
    if dtype in (pl.String, pl.Categorical):
        values = ["é" * (value % 3) + str(value) for value in values]
    codes, uniques = rs.encode(pl.Series(values, dtype=dtype), threads=2)
    distinct = sorted(set(values), key=lambda value: value.encode() if isinstance(value, str) else value)
    assert codes.dtype == pl.Int32
    assert uniques.to_list() == distinct
    assert [distinct[code] for code in codes] == values


def test_codes_of_the_largest_numbers():
    codes, uniques = rs.encode(pa.chunked_array([[2**64 - 1, 0], [2**63, 2**63 - 1]], pa.uint64()))
    assert uniques.to_pyarrow().to_pylist() == [0, 2**63 - 1, 2**63, 2**64 - 1]
    assert np.asarray(codes).tolist() == [3, 0, 2, 1]


def test_codes_of_many_values():
    values = np.random.default_rng(1).integers(-(10**12), 10**12, 100_000)
    values[50_000:] = values[:50_000]
    codes, uniques = rs.encode(pl.Series(values))
    distinct, ranks = np.unique(values, return_inverse=True)
    assert np.array_equal(uniques.to_numpy(), distinct)
    assert np.array_equal(codes.to_numpy(), ranks)


def test_nulls_and_other_types_have_no_codes():
    with pytest.raises(rs.NullValueError, match="column 'values' has a null in row 1"):
        rs.encode(pl.Series(["a", None]))
    with pytest.raises(rs.NullValueError, match="column 'values' has a null in row 0"):
        rs.encode(pl.Series([None]))
    with pytest.raises(rs.ColumnError, match="'values' is of type Float64"):
        rs.encode(pl.Series([1.5]))


def test_an_array_goes_to_every_library():
    codes, uniques = rs.encode(pa.array(["b", "a"]))
    assert codes.to_polars().to_list() == codes.to_pyarrow().to_pylist() == codes.to_numpy().tolist() == [1, 0]
    assert np.asarray(codes, dtype=np.float32).dtype == np.float32
    assert len(uniques) == 2


lists = st.lists(st.lists(st.integers(0, 8), max_size=6), max_size=20)


def sessions_of(items: list[list[int]], dtype=pl.Int32) -> pl.DataFrame:
    places = [[float(place) for place, _ in enumerate(session)] for session in items]
    return pl.DataFrame(
        {"session_id": range(len(items)), "items": items, "places": places},
        schema={"session_id": pl.Int64, "items": pl.List(dtype), "places": pl.List(pl.Float64)},
    )


def slow_support(items, min_support, min_length, by_session):
    left = {number: list(enumerate(session)) for number, session in enumerate(items)}
    while True:
        before = {number: list(session) for number, session in left.items()}
        clicks = [item for session in left.values() for item in ({i for _, i in session} if by_session else [i for _, i in session])]
        left = {number: [c for c in session if clicks.count(c[1]) >= min_support] for number, session in left.items()}
        left = {number: session for number, session in left.items() if len(session) >= min_length}
        if left == before:
            return left


@settings(max_examples=cases(150), deadline=None)
@given(lists, st.integers(0, 6), st.integers(0, 4), st.booleans(), st.integers(0, 3))
def test_filters_reach_the_fixed_point(items, min_support, min_length, by_session, skip):
    table = sessions_of([[1, 1]] * skip + items)[skip:]
    support_is = "sessions" if by_session else "clicks"
    found = rs.filter_support(table, min_support=min_support, min_length=min_length, support_is=support_is)
    left = slow_support(items, min_support, min_length, by_session)
    assert found["session_id"].to_list() == [number + skip for number in left]
    assert found["items"].to_list() == [[item for _, item in session] for session in left.values()]
    assert found["places"].to_list() == [[float(place) for place, _ in session] for session in left.values()]
    assert found.schema == table.schema


@settings(max_examples=cases(80), deadline=None)
@given(lists)
def test_repeats_are_dropped_in_step(items):
    found = rs.drop_repeats(sessions_of(items))
    kept = [[place for place, item in enumerate(session) if place == 0 or session[place - 1] != item] for session in items]
    assert found["items"].to_list() == [[session[place] for place in places] for session, places in zip(items, kept, strict=True)]
    assert found["places"].to_list() == [[float(place) for place in places] for places in kept]


def test_lists_of_other_lengths_stay_whole():
    table = pl.DataFrame({"items": [["a", "a"], ["b"]], "tags": [["x"], ["y", "z"]], "name": ["one", "two"]})
    found = rs.drop_repeats(table)
    assert found.to_dict(as_series=False) == {"items": [["a"], ["b"]], "tags": [["x"], ["y", "z"]], "name": ["one", "two"]}
    arrow = pa.table({"items": pa.array([[1, 1], [2]], pa.list_(pa.int64()))})
    assert rs.drop_repeats(arrow).to_pyarrow().equals(pa.table({"items": pa.array([[1], [2]], pa.list_(pa.int64()))}))


def test_tables_without_sessions_are_filtered_too():
    assert rs.filter_support(sessions_of([])).height == 0
    assert rs.filter_support(sessions_of([[1], [2]])).schema == sessions_of([]).schema


def test_nulls_in_lists_are_named_by_session():
    with pytest.raises(rs.NullValueError, match="column 'items' has a null in row 2"):
        rs.filter_support(pl.DataFrame({"items": [[1, 1], [], [1, None]]}))
    with pytest.raises(rs.NullValueError, match="column 'items' has a null in row 1"):
        rs.drop_repeats(pl.DataFrame({"items": [[1], None]}))
    with pytest.raises(rs.ColumnError, match="a list of integers or strings is needed"):
        rs.drop_repeats(pl.DataFrame({"items": [1]}))


@pytest.mark.parametrize("options", [{"min_support": -1}, {"min_length": -1}, {"support_is": "visitors"}])
def test_filters_out_of_range_are_refused(options):
    with pytest.raises(rs.SettingError, match=next(iter(options))):
        rs.filter_support(sessions_of([]), **options)


def slow_schedule(lengths, lanes):
    begins = [sum(lengths[:session]) for session in range(len(lengths))]
    at = {lane: (lane, 0) for lane in range(min(lanes, len(lengths)))}
    unused = iter(range(len(at), len(lengths)))
    steps = []
    while at:
        steps.append([(begins[session] + click, lane, click == 0) for lane, (session, click) in at.items()])
        for lane, (session, click) in list(at.items()):
            if click + 2 < lengths[session]:
                at[lane] = (session, click + 1)
            elif (following := next(unused, None)) is not None:
                at[lane] = (following, 0)
            else:
                del at[lane]
    return steps


@settings(max_examples=cases(150), deadline=None)
@given(st.lists(st.integers(2, 7), max_size=25), st.integers(1, 8), st.sampled_from([pl.UInt8, pl.Int32, pl.Int64]))
def test_the_schedule_is_that_of_the_slow_version(lengths, lanes, dtype):
    found = rs.training_schedule(pl.Series(lengths, dtype=dtype), lanes)
    steps = slow_schedule(lengths, lanes)
    flat = [entry for step in steps for entry in step]
    assert pl.Series(found.inputs).to_list() == [click for click, _, _ in flat]
    assert pl.Series(found.lanes).to_list() == [lane for _, lane, _ in flat]
    assert pl.Series(found.resets).to_list() == [reset for _, _, reset in flat]
    assert np.asarray(found.steps).tolist() == np.cumsum([0, *map(len, steps)]).tolist()
    assert [np.asarray(a).dtype for a in (found.inputs, found.lanes, found.resets, found.steps)] == [np.int64, np.int32, bool, np.int64]


def test_every_click_but_the_last_is_fed_once():
    lengths = np.array([4, 2, 3, 2])
    inputs = np.asarray(rs.training_schedule(pl.Series(lengths), 2).inputs)
    assert sorted(inputs) == sorted(set(range(11)) - {3, 5, 8, 10})


def test_a_session_with_nothing_to_predict_is_named():
    with pytest.raises(rs.ColumnError, match="session 1 has 1 clicks"):
        rs.training_schedule(pl.Series([2, 1]), 1)
    with pytest.raises(rs.SettingError, match="lanes is 0"):
        rs.training_schedule(pl.Series([2]), 0)


def test_pandas_ids_with_a_row_index_of_their_own():
    events = pd.DataFrame({"visitor_id": [1, 1], "item_id": [5, 6], "timestamp": pd.to_datetime([0, 1], unit="s")}, index=["x", "y"])
    assert rs.sessionize(events).to_polars()["items"].to_list() == [[5, 6]]
