"""A stream's sessions, in any batches, are those of the whole log."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import rust_sessionizer as rs

CASES = int(os.environ.get("CASES", "50"))


@settings(max_examples=CASES, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 80), st.booleans()), max_size=60),
    texts=st.booleans(),
    gap=st.integers(0, 15),
    tolerance=st.integers(0, 30),
    drop_repeats=st.booleans(),
    batches=st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 4)), max_size=20),
)
def test_any_batches_saved_and_replayed_give_the_sessions_of_the_whole(
    tmp_path_factory, rows, texts, gap, tolerance, drop_repeats, batches
):
    state = tmp_path_factory.mktemp("stream") / "state"
    events = pl.DataFrame(rows, schema=["visitor_id", "item_id", "timestamp", "keep"], orient="row")
    events = events.cast({"visitor_id": pl.Int64, "item_id": pl.Int64, "timestamp": pl.Int64, "keep": pl.Boolean})
    if texts:
        events = events.with_columns(pl.col("visitor_id", "item_id").cast(pl.String))
    events = events.with_row_index("offset").with_columns(pl.col("offset").cast(pl.Int64))
    stream = rs.Sessionizer(gap, tolerance=timedelta(milliseconds=tolerance), keep="keep", drop_repeats=drop_repeats)
    found, at = [], 0
    for length, saves, back in [*batches, (len(rows), True, 3)]:
        end = min(at + length, len(rows))
        begin = max(at - back, 0)
        found.append(stream.feed(events[begin:end], "offset" if saves else begin))
        at = end
        if saves:
            stream.save(state)
            stream = rs.Sessionizer.load(state)
    assert stream.feed(events, 0).height == 0
    found.append(stream.close().to_polars())
    newest = pl.col("timestamp").cum_max().shift()
    on_time = events.filter((pl.col("timestamp") >= newest - tolerance).fill_null(True))
    # Late events hold the maximum back in no case: they are below it.
    expected = rs.sessionize(on_time, gap, keep="keep", drop_repeats=drop_repeats, extra=["offset"])
    expected = expected.with_columns(pl.col("offset").list.first()).drop("session_id")
    given_out = pl.concat([table for table in found if table.height] or [found[-1]])
    if rows:
        assert_frame_equal(given_out.sort("start", "offset"), expected)
    assert (stream.late, stream.placed) == (events.height - on_time.height, on_time.height)
    assert stream.sessions == expected.height
    assert stream.waiting == 0


def test_events_one_by_one_and_times_of_every_kind():
    stream = rs.Sessionizer("30m", tolerance="1m")
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert stream.watermark is None
    assert len(stream.add("ann", 1, start)) == 0
    assert len(stream.add("ann", 2, start.replace(tzinfo=None) + timedelta(minutes=30))) == 0
    found = stream.add("bob", 1, int(start.timestamp() * 1_000) + 7_200_000, offset=9).to_polars()
    assert found["items"].to_list() == [[1, 2]]
    assert found["start"].to_list() == [start]
    assert (stream.next_offset, stream.waiting, stream.sessions) == (10, 1, 1)
    assert repr(stream) == "<Sessionizer: 3 events placed, 0 late, 1 waiting; 1 sessions>"


def test_a_table_of_any_library_comes_back_as_it_was():
    table = {
        "who": ["a", "a"],
        "what": pa.array([2**62, 1], pa.uint64()),
        "when": pa.array([0, 10**7], pa.timestamp("ms")),
        "more": [None, 1.5],
    }
    stream = rs.Sessionizer(visitor="who", item="what", timestamp="when")
    found = stream.feed(pa.table(table)).to_pyarrow()
    assert found.column_names == ["who", "start", "items", "times", "offset"]
    assert found.to_pydict()["items"] == [[2**62]]
    assert isinstance(stream.feed(pl.DataFrame(table)), pl.DataFrame)


def test_what_cannot_be_fed_is_told_and_changes_nothing(tmp_path):
    stream = rs.Sessionizer()
    events = pl.DataFrame({"visitor_id": [1, 1], "item_id": [1, 2], "timestamp": [0, 1], "offset": [4, 4]})
    stream.feed(events, 0)
    for table, offset, error, message in [
        (events, "offset", rs.ColumnError, "row 1 has the offset 4 after 4"),
        (events, "no", rs.ColumnError, "there is no column 'no'"),
        (events, -1, rs.SettingError, "offset is -1"),
        (events, 1.5, TypeError, "offset: a number"),
        (events.with_columns(offset=-pl.col("offset")), "offset", rs.ColumnError, "row 0 is -4"),
        (
            events.cast({"visitor_id": pl.String}),
            None,
            rs.ColumnError,
            "column 'visitor_id', row 0: '1' is of type string, those before are of type integer; a stream has one type",
        ),
        (events.with_columns(item_id=None), None, rs.NullValueError, "column 'item_id' has a null in row 0"),
        ([1], None, TypeError, "Arrow PyCapsule interface"),
    ]:
        with pytest.raises(error, match=message):
            stream.feed(table, offset)
        assert (stream.next_offset, stream.placed) == (2, 2)
    for arguments in [(None, 1, 0), (1, 1.5, 0), (True, 1, 0), (1, 1, "now"), (2**64, 1, 0)]:
        with pytest.raises((TypeError, OverflowError)):
            stream.add(*arguments)
    stream.close()
    with pytest.raises(rs.StateError, match="the stream was closed"):
        stream.add(1, 1, 5)
    path = tmp_path / "state"
    path.write_bytes(b"something else")
    with pytest.raises(rs.StateError, match="state cannot be used as a state: it is no state of a Sessionizer"):
        rs.Sessionizer.load(path)
    with pytest.raises(FileNotFoundError):
        rs.Sessionizer.load(tmp_path / "none")
    with pytest.raises(rs.GapError, match="the tolerance 'soon' has a part without a number"):
        rs.Sessionizer(tolerance="soon")
    with pytest.raises(rs.GapError, match="the tolerance 1.5 is no text"):
        rs.Sessionizer(tolerance=1.5)
    with pytest.raises(rs.GapError, match="the gap 'soon'"):
        rs.Sessionizer("soon")


def test_errors_of_a_stream_carry_the_column_the_row_and_the_value():
    stream = rs.Sessionizer()
    events = pl.DataFrame({"visitor_id": [1, 2], "item_id": [1, 2], "timestamp": [0, 1], "at": [4, 4]})
    stream.feed(events, 0)
    for table, offset, place in [
        (events, "at", ("at", 1, "4")),
        (events.cast({"item_id": pl.String}), None, ("item_id", 0, "'1'")),
        (events.with_columns(visitor_id=pl.Series([3, 2**63], dtype=pl.UInt64)), None, ("visitor_id", 1, str(2**63))),
    ]:
        with pytest.raises(rs.ColumnError) as told:
            stream.feed(table, offset)
        assert (told.value.column, told.value.row, told.value.value) == place


def test_ids_of_the_upper_half_of_64_bits():
    events = pl.DataFrame({"visitor_id": [2**64 - 1, 7], "item_id": [2**63, 1], "timestamp": [0, 1]})
    events = events.cast({"visitor_id": pl.UInt64, "item_id": pl.UInt64})
    stream = rs.Sessionizer()
    stream.feed(events)
    stream.add(2**63, 2, 2)
    found = pl.concat([stream.add(7, 2**64 - 1, 3).to_polars(), stream.close().to_polars()])
    assert found["visitor_id"].to_list() == [2**64 - 1, 7, 2**63]
    assert found["items"].to_list() == [[2**63], [1, 2**64 - 1], [2]]


@pytest.mark.parametrize("name", ["start", "items", "times", "offset"])
def test_a_visitor_named_as_another_column_of_the_result_is_refused_before_anything_is_fed(name):
    with pytest.raises(rs.ColumnError, match=f"the name '{name}' stands for more than one column"):
        rs.Sessionizer(visitor=name)


def test_threads_that_share_a_stream_take_turns(tmp_path):
    stream = rs.Sessionizer(10)
    events = pl.DataFrame({"visitor_id": range(100_000), "item_id": 1, "timestamp": 0})
    with ThreadPoolExecutor(4) as threads:
        fed = [threads.submit(stream.feed, events) for _ in range(4)]
        told = [threads.submit(call) for call in (lambda: stream.late, lambda: repr(stream), lambda: stream.save(tmp_path / "state"))]
        assert [table.result().height for table in fed] == [0] * 4
        assert all(call.result() is not NotImplemented for call in told)
    # No batch was taken for another one's replay.
    assert (stream.placed, stream.next_offset) == (400_000, 400_000)
    assert rs.Sessionizer.load(tmp_path / "state").late == 0


def test_other_threads_run_while_a_stream_is_closed(others_run):
    events = pl.DataFrame({"visitor_id": range(300_000), "item_id": 1, "timestamp": 0})
    streams = []
    for _ in range(2):
        streams.append(rs.Sessionizer(10))
        streams[-1].feed(events)
    assert others_run(lambda: streams.pop().close() if streams else None)


def checksum(content: bytes) -> bytes:
    """FNV-1a, 64 bits, as states have it."""
    value = 0xCBF29CE484222325
    for byte in content:
        value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    return value.to_bytes(8, "little")


def test_a_state_that_would_be_saved_otherwise_is_refused(tmp_path):
    stream, state = rs.Sessionizer(10), tmp_path / "state"
    for visitor in (1, 2):
        stream.add(visitor, 7, 0)
    stream.save(state)
    content = state.read_bytes()[:-8]
    # Number, one event, its time, offset and flag, its item.
    visitor = 8 + 8 + 8 + 8 + 1 + 8
    head, first, second = content[: -2 * visitor], content[-2 * visitor : -visitor], content[-visitor:]
    for order, taken in (((first, second), True), ((second, first), False), ((first, first), False)):
        changed = head + b"".join(order)
        state.write_bytes(changed + checksum(changed))
        if taken:
            assert rs.Sessionizer.load(state).waiting == 2
        else:
            with pytest.raises(rs.StateError, match="it is damaged"):
                rs.Sessionizer.load(state)


def test_names_that_arrow_would_cut_short_are_refused():
    with pytest.raises(rs.SettingError, match="zero bytes"):
        rs.Sessionizer(visitor="visitor\0id")
