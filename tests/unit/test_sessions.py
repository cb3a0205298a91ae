"""Cuts, fit windows and the session stage, on logs whose answer is known by hand."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from recsys.errors import ConfigurationError, DataError
from recsys.files import write_parquet
from recsys.sessions.build import build_sessions
from recsys.sessions.encode import encode_window
from recsys.sessions.split import Cuts, cut_points, train_and_held_out
from recsys.sessions.table import Sessions
from recsys.settings.sessions import FilterSettings, SessionSettings, SplitSettings

MINUTE = 60_000
TIME = pl.Datetime("ms", "UTC")


def part(tmp_path, rows, name="part", sessions=None):
    """An event part of (visitor, item, minute) rows."""
    frame = pl.DataFrame(
        {
            "visitor_id": [row[0] for row in rows],
            "session": sessions,
            "item_id": [row[1] for row in rows],
            "event": [row[3] if len(row) > 3 else "view" for row in rows],
            "timestamp": pl.Series([row[2] * MINUTE for row in rows], dtype=pl.Int64).cast(TIME),
        },
        schema_overrides={"session": pl.Int64},
    )
    path = tmp_path / f"{name}.parquet"
    write_parquet(frame, path)
    return path


def table(rows):
    """Sessions of (start minute, items); clicks are a minute apart."""
    return pl.DataFrame(
        {
            "session_id": list(range(len(rows))),
            "start": pl.Series([start * MINUTE for start, _ in rows], dtype=pl.Int64).cast(TIME),
            "items": pl.Series([items for _, items in rows], dtype=pl.List(pl.Int32)),
            "times": pl.Series([[(start + n) * MINUTE for n in range(len(items))] for start, items in rows], dtype=pl.List(pl.Int64)).cast(
                pl.List(TIME)
            ),
            "events": pl.Series([[0] * len(items) for _, items in rows], dtype=pl.List(pl.UInt8)),
            "held_out": [False] * len(rows),
        }
    )


def test_sessions_are_cut_at_the_gap_and_ordered_by_start(tmp_path):
    rows = [(1, 10, 0), (1, 11, 30), (2, 12, 5), (1, 13, 61), (1, 13, 62), (2, 10, 6), (3, 11, 100), (3, 12, 101)]
    sessions, catalogue, summary = build_sessions(
        [part(tmp_path, rows)], [], SessionSettings(gap="30m"), SplitSettings(test="10m", valid="60m")
    )
    ids = catalogue["item_id"].to_list()
    assert [[ids[code] for code in items] for items in sessions["items"].to_list()] == [[10, 11], [12, 10], [13], [11, 12]]
    assert sessions["visitor_id"].to_list() == [1, 2, 1, 3]
    assert sessions["session_id"].to_list() == [0, 1, 2, 3]
    assert catalogue["first_seen"][ids.index(12)] == datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    assert catalogue["view"].to_list() == [2, 2, 2, 2]
    assert summary["clicks"] == 7
    assert summary["cuts"] == {"valid": 31 * MINUTE, "test": 91 * MINUTE}


def test_events_that_are_no_clicks_hold_a_session_together(tmp_path):
    rows = [(1, 10, 0, "view"), (1, 10, 25, "cart"), (1, 11, 50, "view"), (2, 10, 80, "view"), (3, 11, 90, "view")]
    sessions, _, _ = build_sessions(
        [part(tmp_path, rows)], [], SessionSettings(gap="30m", clicks=["view"]), SplitSettings(test="5m", valid="15m")
    )
    assert sessions["items"].list.len().to_list() == [2, 1, 1]


def test_a_sessionized_log_keeps_its_sessions(tmp_path):
    rows = [(None, 10, 0), (None, 11, 500), (None, 12, 600), (None, 13, 700)]
    sessions, _, _ = build_sessions(
        [part(tmp_path, rows, sessions=[7, 7, 8, 9])], [], SessionSettings(), SplitSettings(test="1m", valid="200m")
    )
    assert sessions["items"].list.len().to_list() == [2, 1, 1]
    assert sessions["visitor_id"].null_count() == 3


def test_session_ids_that_two_visitors_share_are_two_sessions(tmp_path):
    rows = [(1, 10, 0), (2, 11, 1), (1, 12, 2), (2, 13, 3), (None, 14, 60), (3, 10, 90)]
    path = part(tmp_path, rows, sessions=[1, 1, 1, 1, 1, 1])
    sessions, catalogue, _ = build_sessions([path], [], SessionSettings(), SplitSettings(test="1m", valid="31m"))
    assert sessions["visitor_id"].to_list() == [1, 2, None, 3]
    ids = catalogue["item_id"].to_list()
    assert [[ids[code] for code in items] for items in sessions["items"].to_list()] == [[10, 12], [11, 13], [14], [10]]


def test_a_separate_test_log_is_held_out_whole(tmp_path):
    log = part(tmp_path, [(1, 10, 0), (1, 11, 1), (2, 10, 60), (2, 11, 61)], "log")
    test = part(tmp_path, [(3, 10, 30), (3, 11, 31)], "test")
    sessions, _, summary = build_sessions([log], [test], SessionSettings(), SplitSettings(valid="30m"))
    assert sessions["held_out"].to_list() == [False, True, False]
    assert summary["cuts"] == {"valid": 31 * MINUTE, "test": None}
    assert summary["clicks_at_or_after_the_test_logs_start"] == 2
    train, held_out = train_and_held_out(sessions, Cuts(**summary["cuts"]), "final")
    assert (train.height, held_out.height) == (2, 1)


def test_parts_with_different_id_types_are_told(tmp_path):
    first, second = part(tmp_path, [(1, 10, 0)], "first"), part(tmp_path, [(1, "a", 0)], "second")
    with pytest.raises(DataError, match=r"item_id is Int64 in first.parquet and String in second.parquet.*source.id_types: {item: string}"):
        build_sessions([first, second], [], SessionSettings(), SplitSettings())


def test_an_unknown_click_type_is_told(tmp_path):
    with pytest.raises(DataError, match="sessions.clicks names 'clik'"):
        build_sessions([part(tmp_path, [(1, 10, 0)])], [], SessionSettings(clicks=["clik"]), SplitSettings())


@pytest.mark.parametrize("split", [{"test": "7d"}, {"test": "5m", "valid": "7d"}])
def test_a_split_longer_than_the_log_is_told(split):
    starts = np.arange(0, 60, 5) * MINUTE
    with pytest.raises(ConfigurationError, match="choose a smaller split"):
        cut_points(starts, int(starts[-1]), SplitSettings(**split), separate_test=False)


def test_a_fraction_is_a_share_of_the_sessions():
    starts = np.arange(100) * MINUTE
    cuts = cut_points(starts, int(starts[-1]), SplitSettings(test=0.1, valid=0.2), separate_test=False)
    assert cuts == Cuts(valid=70 * MINUTE, test=90 * MINUTE)


def test_sessions_that_cross_a_cut_lose_their_tail():
    sessions = table([(0, [0, 1, 2]), (8, [0, 1, 2, 3]), (18, [1, 2, 0]), (20, [2, 1])])
    cuts = Cuts(valid=10 * MINUTE, test=20 * MINUTE)
    train, valid = train_and_held_out(sessions, cuts, "select")
    assert train["items"].to_list() == [[0, 1, 2], [0, 1]]
    assert valid["items"].to_list() == [[1, 2]]
    train, test = train_and_held_out(sessions, cuts, "final")
    assert train["items"].to_list() == [[0, 1, 2], [0, 1, 2, 3], [1, 2]]
    assert test["items"].to_list() == [[2, 1]]
    assert train["times"].list.len().to_list() == [3, 4, 2]


def test_nothing_after_the_cut_reaches_the_vocabulary():
    # Item 3 has support 1 before the cut and 3 after it; item 4 is only known afterwards.
    sessions = table([(0, [0, 1, 0, 1]), (1, [0, 1]), (2, [0, 3, 1]), (50, [3, 4, 3, 0, 1])])
    catalogue = pl.DataFrame({"item_id": ["a", "b", "c", "d", "e"]})
    items, train, test, counts = encode_window(
        sessions, catalogue, Cuts(valid=2 * MINUTE, test=50 * MINUTE), "final", FilterSettings(min_support=2), "strict"
    )
    assert items["item_id"].to_list() == ["a", "b"]
    assert items["support"].to_list() == [4, 4]
    assert train["items"].to_list() == [[0, 1, 0, 1], [0, 1], [0, 1]]
    assert test["items"].to_list() == [[0, 1]]
    assert counts["predictions"] == 1


def test_the_gru4rec_protocol_filters_before_it_splits():
    sessions = table([(0, [0, 1]), (1, [0, 3]), (50, [3, 1, 0])])
    catalogue = pl.DataFrame({"item_id": ["a", "b", "c", "d"]})
    cuts = Cuts(valid=1 * MINUTE, test=50 * MINUTE)
    items, train, test, _ = encode_window(sessions, catalogue, cuts, "final", FilterSettings(min_support=2), "gru4rec")
    assert items["item_id"].to_list() == ["a", "b", "d"]
    assert train.height == 2
    assert test.height == 1


def test_an_empty_window_is_told():
    sessions = table([(0, [0, 1]), (50, [3, 1])])
    catalogue = pl.DataFrame({"item_id": ["a", "b", "c", "d"]})
    with pytest.raises(DataError, match="filter.min_support 5"):
        encode_window(sessions, catalogue, Cuts(valid=1, test=50 * MINUTE), "final", FilterSettings(), "strict")
    with pytest.raises(DataError, match=r"choose a larger split.test"):
        encode_window(sessions, catalogue, Cuts(valid=1, test=50 * MINUTE), "final", FilterSettings(min_support=1), "strict")


def test_targets_are_every_click_after_the_first():
    sessions = Sessions.from_lists([[5, 6, 7], [8], [], [9, 9]])
    positions = sessions.targets()
    assert positions.session.tolist() == [0, 0, 3]
    assert positions.click.tolist() == [1, 2, 5]
    assert positions.target.tolist() == [6, 7, 9]
