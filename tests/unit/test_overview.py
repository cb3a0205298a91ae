"""The data overview: every number on a log small enough to count by hand."""

import itertools
import json

import numpy as np
import polars as pl
import pytest

from recsys.catalogue.contract import CATEGORIES_SCHEMA, properties_schema
from recsys.files import write_json, write_parquet
from recsys.overview.funnel import funnel
from recsys.overview.gather import Prepared, key_figures, overview
from recsys.overview.items import category_depth, popularity, sparsity
from recsys.overview.log import Log
from recsys.overview.spread import at_least, growing_bins, spread, thinned
from recsys.overview.steps import preparation
from recsys.overview.timeline import DAY, HOUR, MINUTE, Timeline
from recsys.overview.traffic import traffic
from recsys.overview.visits import clicked_before, pauses, repeats, returning, session_lengths
from recsys.sessions.build import build_sessions
from recsys.sessions.encode import encode_window
from recsys.sessions.split import Cuts
from recsys.sessions.table import Sessions
from recsys.settings.sessions import FilterSettings, SessionSettings, SplitSettings

MONDAY = 1_700_438_400_000  # 2023-11-20T00:00:00Z
NAMES = ["view", "cart", "purchase"]
NO_CUTS = {"valid": "2023-11-20T00:00:00.000+00:00", "test": "2023-11-20T00:00:00.000+00:00"}


def part(path, rows):
    """An event part of (visitor, session, item, event, milliseconds after Monday)."""
    names = ["visitor_id", "session", "item_id", "event", "timestamp"]
    types = {"visitor_id": pl.Int64, "session": pl.Int64, "item_id": pl.String, "event": pl.String, "timestamp": pl.Int64}
    table = pl.DataFrame([(*row[:4], MONDAY + row[4]) for row in rows], schema={name: types[name] for name in names}, orient="row")
    write_parquet(table.with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC"))), path)
    return path


@pytest.mark.parametrize(
    ("span", "step", "length"),
    [(0, "second", 1), (2 * MINUTE, "second", 121), (2 * HOUR, "minute", 121), (2 * DAY, "hour", 49), (30 * DAY, "day", 31)],
)
def test_a_log_is_counted_in_steps_that_fit_its_length(span, step, length):
    found = Timeline.between(MONDAY, MONDAY + span)
    assert (found.step, found.length) == (step, length)
    assert found.starts()[0] == "2023-11-20T00:00:00.000+00:00"


def test_weeks_begin_on_monday():
    found = Timeline.between(MONDAY + 3 * DAY, MONDAY + 4 * 366 * DAY)
    assert found.step == "week"
    assert found.starts()[0] == "2023-11-20T00:00:00.000+00:00"
    assert found.count(np.array([MONDAY, MONDAY + 7 * DAY - 1, MONDAY + 7 * DAY]))[:3] == [2, 1, 0]


def test_events_are_counted_by_step_hour_and_weekday(tmp_path):
    rows = [(1, None, "a", "view", 0), (1, None, "b", "view", 5 * HOUR), (2, None, "a", "cart", 8 * DAY + HOUR), (2, None, "a", "fav", 1)]
    found, timeline = traffic(Log.of_parts([part(tmp_path / "a.parquet", rows)], []), [*NAMES, "fav"], NO_CUTS)
    assert found["events"] == {"view": 2, "cart": 1, "fav": 1}
    assert found["step"] == "day"
    assert timeline.length == 9
    assert found["over_time"]["view"] == [2, 0, 0, 0, 0, 0, 0, 0, 0]
    assert found["over_time"]["cart"] == [0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert [hour for hour, count in enumerate(found["by_hour"]["view"]) if count] == [0, 5]
    assert found["by_weekday"]["cart"] == [0, 1, 0, 0, 0, 0, 0]


def test_a_short_log_has_no_hours_of_the_day(tmp_path):
    rows = [(1, None, "a", "view", 0), (1, None, "b", "view", 2 * HOUR)]
    found, _ = traffic(Log.of_parts([part(tmp_path / "a.parquet", rows)], []), NAMES, NO_CUTS)
    assert found["by_hour"] is None
    assert found["by_weekday"] is None
    assert found["step"] == "minute"


def test_rows_that_checks_drop_are_not_counted(tmp_path):
    rows = [(1, None, "a", "view", 0), (1, None, "b", "view", 1), (2, None, "c", "view", 2)]
    exclusions = pl.LazyFrame({"part": ["a", "other"], "row": [1, 0], "check": ["bots", "bots"]})
    log = Log.of_parts([part(tmp_path / "a.parquet", rows), part(tmp_path / "b.parquet", rows)], [], exclusions)
    assert log.events.collect().height == 5


def test_pauses_are_those_of_one_visitor_and_the_gap_cuts_the_longer_ones(tmp_path):
    rows = [
        (1, None, "a", "view", 0),
        (2, None, "a", "view", 500),
        (1, None, "b", "view", 2_000),
        (1, None, "c", "view", 2_000 + 10 * MINUTE),
    ]
    ordered = Log.of_parts([part(tmp_path / "a.parquet", rows)], []).in_order(NAMES)
    assert sorted(ordered.pauses().tolist()) == [2_000, 10 * MINUTE]
    found = pauses(ordered, 10 * MINUTE)
    assert found["longer_than_gap_share"] == 0  # exactly as long as the gap does not cut
    assert pauses(ordered, 10 * MINUTE - 1)["longer_than_gap_share"] == 0.5
    assert len(set(ordered.sessions(10 * MINUTE - 1).tolist())) == 3
    assert found["spread_seconds"]["largest"] == 600
    assert sum(found["histogram_seconds"]["counts"]) == 2


def test_nobody_acts_twice(tmp_path):
    rows = [(1, None, "a", "view", 0), (2, None, "a", "view", 500)]
    assert pauses(Log.of_parts([part(tmp_path / "a.parquet", rows)], []).in_order(NAMES), MINUTE) is None


def test_growing_bins_hold_every_value_once():
    values = np.array([0.0, 0.5, 1.0, 1.0, 9.99, 10.0, 5_000.0])
    found = growing_bins(values, lowest=1.0, a_decade=1)
    assert found == {"edges": [1.0, 10.0, 100.0, 1_000.0, 10_000.0], "counts": [3, 1, 0, 1], "smaller": 2}


def test_spread_and_shares():
    assert spread(np.arange(1, 101)) == {"mean": 50.5, "median": 50, "p95": 95, "p99": 99, "largest": 100}
    assert at_least(np.array([1, 1, 2, 5])) == {"at_least": [1, 2, 5], "share": [1.0, 0.5, 0.25]}
    assert thinned(10_000)[[0, -1]].tolist() == [0, 9_999]
    assert len(thinned(10_000)) <= 150


def test_a_click_is_repeated_where_its_session_held_the_item_before():
    sessions = Sessions.from_lists([[1, 2, 1], [1], [2, 2]])
    assert clicked_before(sessions).tolist() == [False, False, True, False, False, True]
    found = repeats(sessions)
    assert found["clicks"] == 2
    assert found["share_of_sessions"] == round(2 / 3, 6)
    assert found["position"] == []  # too few clicks at any place
    many = repeats(Sessions.from_lists([[1, 1, 2]] * 30 + [[3, 4]] * 30))
    assert many["position"] == [2, 3]
    assert many["share_at_position"] == [0.5, 0.0]


def test_session_lengths():
    found = session_lengths(Sessions.from_lists([[1, 2, 1], [1], [2], [3]]))
    assert (found["lengths"], found["sessions_of_length"]) == ([1, 3], [3, 1])
    assert found["of_one_click_share"] == 0.75
    assert found["spread"]["mean"] == 1.5


def test_visitors_return():
    found = returning(pl.Series([7, 7, 8, 7, 9]))
    assert found["visitors"] == 3
    assert found["returning_visitors_share"] == round(1 / 3, 6)
    assert found["later_sessions_share"] == 0.4
    assert found["visitors_share"] == [0.666667, 0.0, 0.333333, 0.0, 0.0, 0.0]
    assert found["sessions_share"] == [0.4, 0.0, 0.6, 0.0, 0.0, 0.0]
    assert returning(pl.Series([None, None], dtype=pl.Int64)) is None


def test_popularity_and_its_extremes():
    found = popularity(Sessions.from_lists([[0, 0, 0, 1]]), items=3)
    assert found["items_clicked"] == 2
    assert found["clicks_at_rank"] == [3, 1]
    assert found["share_of_clicks_of_top"]["0.5"] == 0.75
    assert popularity(Sessions.from_lists([[0, 1, 2, 3]]), items=4)["gini"] == 0
    assert found["gini"] == 0.25


def test_sparsity_counts_pairs_once():
    sessions = Sessions.from_lists([[0, 1, 0], [1], [2]])
    found = sparsity(sessions, pl.Series([5, 5, 6]), items=4)
    assert (found["of"], found["pairs"], found["rows"], found["density"]) == ("visitor", 3, 2, 0.375)
    assert found["visitor"]["at_least"] == [1, 4]
    unknown = sparsity(sessions, pl.Series([None] * 3, dtype=pl.String), items=4)
    assert (unknown["of"], unknown["pairs"], unknown["rows"]) == ("session", 4, 3)


def test_the_funnel_counts_who_reached_a_step(tmp_path):
    rows = [
        (1, None, "a", "view", 0),
        (1, None, "a", "cart", 1_000),
        (1, None, "b", "view", DAY),
        (2, None, "b", "purchase", 0),
    ]
    catalogue = pl.DataFrame({"code": [0, 1], "item_id": ["a", "b"], "view": [1, 1], "cart": [1, 0], "purchase": [0, 1]})
    ordered = Log.of_parts([part(tmp_path / "a.parquet", rows)], []).in_order(NAMES)
    found = funnel(ordered, NAMES, catalogue, gap=HOUR)
    assert found["reached"] == {"visitors": [1, 1, 1], "sessions": [2, 1, 1], "items": [2, 1, 1]}
    assert found["all"] == {"visitors": 2, "sessions": 3, "items": 2}
    assert funnel(ordered, NAMES, catalogue.drop("cart", "purchase"), gap=HOUR) is None


def test_categories_by_depth():
    categories = pl.DataFrame([("r", None, 0), ("s", "r", 1), ("t", "r", 1)], schema=CATEGORIES_SCHEMA, orient="row")
    always = [("a", "category", "r", None), ("b", "category", "s", None), ("c", "category", "lost", None), ("gone", "category", "t", None)]
    properties = pl.LazyFrame(always, schema=properties_schema(pl.String()), orient="row")
    found = category_depth(categories, properties, pl.Series(["a", "b", "c", "d"]))
    assert (found["depth"], found["categories"], found["items"]) == ([0, 1], [1, 2], [1, 1])
    assert (found["items_outside_the_tree"], found["items_without_category"]) == (1, 1)
    assert category_depth(categories.clear(), properties, pl.Series(["a"])) is None


def shop(folder, rows, test_rows=(), clicks=None, split=None, protocol="strict", min_support=2):
    """Everything the stages before the overview write about a log."""
    parts = [part(folder / "one.parquet", rows)]
    test_parts = [part(folder / "two.parquet", test_rows)] if test_rows else []
    for path, held in ((path, pl.read_parquet(path)) for path in (*parts, *test_parts)):
        write_json(path.with_suffix(".quality.json"), {"rows": held.height + 5, "events": held.height, "left_out_by_where": 2})
    sessions, catalogue, summary = build_sessions(
        parts, test_parts, SessionSettings(gap=MINUTE, clicks=clicks), split or SplitSettings(test=0.2, valid=0.2)
    )
    write_parquet(sessions, folder / "sessions.parquet")
    write_parquet(catalogue, folder / "catalogue.parquet")
    write_json(folder / "summary.json", summary)
    for window in ("select", "final"):
        *_, counts = encode_window(sessions, catalogue, Cuts(**summary["cuts"]), window, FilterSettings(min_support=min_support), protocol)
        write_json(folder / f"{window}.json", counts)
    return Prepared(
        parts=parts,
        test_parts=test_parts,
        qualities=[path.with_suffix(".quality.json") for path in (*parts, *test_parts)],
        sessions=folder / "sessions.parquet",
        catalogue=folder / "catalogue.parquet",
        summary=folder / "summary.json",
        counts={window: folder / f"{window}.json" for window in ("select", "final")},
    )


def browsing(visitors=40):
    """Each visitor looks at three items, takes the second, and looks at the third once more."""
    rows = []
    for visitor in range(visitors):
        begin, items = visitor * 10 * MINUTE, "abcd" if visitor % 4 else "abxy"
        for place, (item, event) in enumerate(
            [(items[0], "view"), (items[1], "view"), (items[1], "cart"), (items[2], "view"), (items[2], "view")]
        ):
            rows.append((visitor, None, item, event, begin + place * 1_000))
    return rows


@pytest.mark.parametrize("clicks", [None, ["view"]])
@pytest.mark.parametrize("protocol", ["strict", "gru4rec"])
def test_the_steps_of_the_preparation_add_up(tmp_path, clicks, protocol):
    files = shop(tmp_path, browsing(), clicks=clicks, protocol=protocol)
    found = overview(files, MINUTE)
    steps = found["preparation"]
    for chain in steps.values():
        for before, after in itertools.pairwise(chain):
            assert after["left"] == before["left"] - after["removed"]
            assert after["removed"] >= 0
    assert steps["log"][0]["left"] == 205
    assert [step["removed"] for step in steps["log"][1:]] == [2, 3, 0 if clicks is None else 40, 80 if clicks is None else 40]
    assert steps["log"][-1]["left"] == steps["final"][0]["left"] == found["sessions"]["clicks"]
    for window in ("final", "select"):
        assert steps[window][-1]["left"] == json.loads((tmp_path / f"{window}.json").read_text())["train_filtered"]["clicks"]


def test_clicks_on_rare_items_are_told_from_short_sessions(tmp_path):
    rows = [(visitor, None, item, "view", visitor * 10 * MINUTE + place) for visitor in range(20) for place, item in enumerate("ab")]
    rows += [(100, None, "rare", "view", 5), (101, None, "a", "view", 6)]
    rows.sort(key=lambda row: row[4])
    final = overview(shop(tmp_path, rows), MINUTE)["preparation"]["final"]
    assert [step["removed"] for step in final[-2:]] == [1, 1]


def test_removed_by_checks_is_a_step_a_check():
    quality = {"rows": 10, "events": 10, "left_out_by_where": 0}
    summary = {
        "events": {"log": 7, "test_log": 0},
        "removed_by_checks": {"bots": 2, "duplicates": 1},
        "settings": {"sessions": {"clicks": None}},
        "clicks": 7,
    }
    window = {"train": {"clicks": 5}, "train_filtered": {"clicks": 5}, "train_clicks_on_items_left_out": 0}
    counts = {"final": window | {"test": {"clicks": 2}}, "select": window | {"train": {"clicks": 5}, "valid": {"clicks": 0}}}
    steps = preparation([quality], summary, pl.DataFrame({"code": [0], "view": [7]}), counts)["log"]
    assert [(step["step"], step["left"]) for step in steps[2:5]] == [
        ("cannot be read (quarantine)", 10),
        ("removed by the check bots", 8),
        ("removed by the check duplicates", 7),
    ]


def test_the_overview_agrees_with_the_sessionizer_and_is_the_same_every_time(tmp_path):
    files = shop(tmp_path, browsing())
    found = overview(files, MINUTE)
    assert found["funnel"]["all"]["sessions"] == found["sessions"]["sessions"] == 40
    assert found["returning"]["visitors"] == 40
    assert found["categories"] is None
    assert json.dumps(found) == json.dumps(overview(files, MINUTE))
    told = {(row[0], row[1]): row[2] for row in key_figures(found).iter_rows()}
    assert told["sessions", "sessions"] == "40"
    assert told["categories", "category tree"] == "not drawn: the source has none"
    assert told["funnel", "visitors with a cart"] == "40 (100.0%)"


def test_a_sessionized_log_without_visitors_has_an_overview(tmp_path):
    rows = [(None, row[0], *row[2:]) for row in browsing()]
    found = overview(shop(tmp_path, rows), MINUTE)
    assert found["returning"] is None
    assert found["pauses"]["of"] == "session"
    assert found["pauses"]["longer_than_gap_share"] is None
    assert list(found["funnel"]["reached"]) == ["sessions", "items"]
    told = {row[1]: row[2] for row in key_figures(found).iter_rows()}
    assert told["gap"] == "not used: the log has sessions"


def test_a_separate_test_log_is_shaded_where_it_lies(tmp_path):
    later = [(*row[:4], row[4] + 30 * DAY) for row in browsing()]
    found = overview(shop(tmp_path, browsing(), later, split=SplitSettings(valid=0.2)), MINUTE)
    assert found["traffic"]["spans"]["test"][0] == "2023-12-20T00:00:00.000+00:00"
    assert found["traffic"]["spans"]["validation"][1] < found["traffic"]["spans"]["test"][0]
    assert found["preparation"]["final"][1]["removed"] > 0
