"""Checks of a log: what each measures on tiny logs whose answer is known, what a policy does, and that nothing later decides on a row."""

import datetime as dt
import json
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from pydantic import ValidationError

from recsys.checks import duplicates as duplicates_module
from recsys.checks.bots import find_bots
from recsys.checks.conversion import find_purchases_without_view
from recsys.checks.days import days_of, judge_missing_days, judge_volume
from recsys.checks.duplicates import find_duplicates
from recsys.checks.finding import Finding, enforce
from recsys.checks.log import EventLog, open_log
from recsys.checks.unseen import judge_unseen_items
from recsys.cli.check import check
from recsys.cli.quality import quality
from recsys.config import load_configuration
from recsys.errors import ConfigurationError, DataError
from recsys.events.ingest import ingest
from recsys.figures.quality import draw_checks, draw_part, draw_refused, draw_volume
from recsys.figures.style import without_unit
from recsys.sessions.build import build_sessions
from recsys.settings.checks import (
    BotsCheck,
    Checks,
    ConversionOrderCheck,
    DuplicatesCheck,
    MissingDaysCheck,
    UnseenItemsCheck,
    VolumeCheck,
)
from recsys.settings.sessions import SessionSettings, SplitSettings
from recsys.settings.source import FilesSource

DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000
T0 = 20_000 * DAY
"""2024-10-04, midnight UTC."""


def write(path: Path, rows: list[tuple], **columns) -> Path:
    """A part: (visitor, item, event, milliseconds since T0), and more columns whole."""
    table = pl.DataFrame(rows, schema=["visitor_id", "item_id", "event", "timestamp"], orient="row", infer_schema_length=None)
    table = table.with_columns((pl.col("timestamp").cast(pl.Int64) + T0).cast(pl.Datetime("ms", "UTC")))
    table = table.with_columns(pl.col("visitor_id", "item_id").cast(pl.Int64, strict=False), session=pl.lit(None, dtype=pl.Int64))
    table = table.with_columns(**columns).select("visitor_id", "session", "item_id", pl.col("event").cast(pl.String), "timestamp")
    table.write_parquet(path)
    return path


@pytest.fixture
def log(tmp_path):
    def make(*parts: list[tuple], **columns) -> EventLog:
        return open_log([write(tmp_path / f"p{place}.parquet", rows, **columns) for place, rows in enumerate(parts)])

    return make


def rows_of(found: pl.DataFrame) -> list[tuple[int, int]]:
    return sorted(found.select("part", "row").iter_rows())


class TestDuplicates:
    FIRST = [(1, 5, "view", 0), (2, 5, "view", 0), (1, 5, "view", 0)]
    SECOND = [(1, 5, "view", 1), (2, 5, "view", 0), (1, 5, "view", 0), (1, 5, "cart", 0)]

    def test_later_copies_are_found_within_and_across_parts(self, log):
        finding, found = find_duplicates(log(self.FIRST, self.SECOND), DuplicatesCheck(threshold=0.4))
        assert rows_of(found) == [(0, 2), (1, 1), (1, 2)]
        assert finding.figure == pytest.approx(3 / 7)
        assert not finding.passed
        assert finding.parts == {"p0": {"rows": 1}, "p1": {"rows": 2}}
        assert finding.examples[0] == {"part": "p0", "row": 0, "times": 3, "item_id": 5, "time": "2024-10-04T00:00:00.000+00:00"}
        assert "3 of 7 events (42.9%)" in finding.sentence
        assert "checks.duplicates.threshold allows (40.0%)" in finding.sentence

    def test_rows_whose_hashes_collide_are_told_apart(self, log, monkeypatch):
        monkeypatch.setattr(duplicates_module, "_hash", lambda log: pl.col("item_id").hash())
        _, found = find_duplicates(log(self.FIRST, self.SECOND), DuplicatesCheck())
        assert rows_of(found) == [(0, 2), (1, 1), (1, 2)]

    def test_several_passes_find_the_same(self, log, monkeypatch):
        rows = [(k % 3, k % 5, "view", k % 7) for k in range(300)]
        table = log(rows[:120], rows[120:])
        _, once = find_duplicates(table, DuplicatesCheck())
        monkeypatch.setattr(duplicates_module, "HASHES_AT_ONCE", 10)
        _, often = find_duplicates(table, DuplicatesCheck())
        assert rows_of(once) == rows_of(often)
        assert len(rows_of(once)) == 300 - 105

    def test_a_value_that_differs_makes_another_row(self, tmp_path):
        path = write(tmp_path / "p.parquet", [(1, 5, "view", 0)] * 2)
        pl.read_parquet(path).with_columns(value=pl.Series([1.0, None])).write_parquet(path)
        assert find_duplicates(open_log([path]), DuplicatesCheck())[0].figure == 0


def obvious_bots(rows: list[tuple], threshold: int) -> list[tuple[int, int]]:
    """Row by row: gone once an hour that ends no later held more than the threshold."""

    def busy(visitor, time) -> bool:
        return sum(other[0] == visitor and time - HOUR < other[3] <= time for other in rows) > threshold

    return [
        (0, place)
        for place, (visitor, _, _, time) in enumerate(rows)
        if any(busy(visitor, other[3]) for other in rows if other[0] == visitor and other[3] <= time)
    ]


class TestBots:
    def test_events_go_from_the_one_on_that_is_too_many(self, log):
        fast = [(7, k, "view", k * MINUTE) for k in range(5)]
        slow = [(8, k, "view", k * 20 * MINUTE) for k in range(20)]
        later = [(7, 9, "view", 30 * DAY)]
        finding, found = find_bots(log([*fast, *slow, *later]), BotsCheck(threshold=3))
        assert rows_of(found) == [(0, 3), (0, 4), (0, 25)]
        assert (finding.figure, finding.affected) == (5, {"visitors": 1, "rows": 3})
        assert finding.examples == [{"visitor_id": 7, "events_in_an_hour": 5}]
        assert "the busiest is visitor 7 with 5" in finding.sentence

    def test_an_hour_ago_is_not_within_the_hour(self, log):
        finding, found = find_bots(log([(1, 1, "view", 0), (1, 2, "view", HOUR)]), BotsCheck(threshold=1))
        assert finding.figure == 1
        assert found.height == 0

    def test_the_busiest_hour_is_reported_though_nobody_is_above(self, log):
        rows = [(v, k, "view", k * HOUR) for v in range(5) for k in range(50)] + [(9, k, "view", k * MINUTE) for k in range(6)]
        finding, _ = find_bots(log(rows), BotsCheck())
        assert finding.figure == 6
        assert finding.passed

    def test_sessions_stand_for_visitors_where_there_are_none(self, log):
        rows = [(None, k, "view", k) for k in range(4)]
        finding, found = find_bots(log(rows, session=pl.Series([1, 1, 1, 2])), BotsCheck(threshold=2))
        assert finding.examples[0] == {"session": 1, "events_in_an_hour": 3}
        assert rows_of(found) == [(0, 2)]
        assert "1 of 2 sessions" in finding.sentence

    def test_a_session_counts_only_where_nobody_is_known(self, log):
        rows = [(7, 1, "view", 0), (7, 1, "view", 1), (None, 1, "view", 2), (None, 1, "view", 3)]
        finding, found = find_bots(log(rows, session=pl.Series([1, 2, 2, 3])), BotsCheck(threshold=1))
        assert finding.figure == 2
        assert rows_of(found) == [(0, 1)]

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(1, 3), st.just(1), st.just("view"), st.integers(0, 12).map(lambda k: k * 15 * MINUTE)), min_size=1)
    )
    def test_it_finds_what_a_slow_search_finds(self, tmp_path_factory, rows):
        path = write(tmp_path_factory.mktemp("bots") / "p.parquet", rows)
        _, found = find_bots(open_log([path]), BotsCheck(threshold=2))
        assert rows_of(found) == obvious_bots(rows, 2)


def daily(*counts: int) -> list[tuple]:
    """As many events a day, spread evenly, by ever other visitors."""
    return [(day * 100_000 + k, 1, "view", day * DAY + k * (DAY // count)) for day, count in enumerate(counts) for k in range(count)]


class TestDays:
    CHECK = VolumeCheck(threshold=3, events=5)

    def judge(self, table: EventLog, check: VolumeCheck | None = None):
        check = check or self.CHECK
        days = days_of(table, check)
        return days, *judge_volume(table, days, check)

    def test_a_day_is_compared_with_the_median_of_the_week_before(self, log):
        days, finding, _ = self.judge(log(daily(1, 10, 12, 14, 10, 12, 90, 12, 3, 1)))
        assert [day.usual for day in days] == [None, None, None, None, 12, 11, 12, 12, 12, None]
        assert finding.figure == 7.5
        assert [example["day"] for example in finding.examples[:2]] == ["2024-10-10", "2024-10-12"]
        assert finding.affected["days"] == 2
        assert "2024-10-10 has 90 events, 7.5 times more than the median of the days before it (12)" in finding.sentence

    def test_drop_removes_what_comes_once_the_day_is_too_busy(self, log):
        _, finding, found = self.judge(log(daily(1, 10, 10, 10, 10, 40, 10, 1)))
        assert found.height == 10
        assert finding.affected == {"days": 1, "busy_days": 1, "rows": 10}
        first = 1 + 40
        assert rows_of(found) == [(0, first + 30 + k) for k in range(10)]

    def test_a_quiet_day_is_reported_and_kept(self, log):
        _, finding, found = self.judge(log(daily(1, 30, 30, 30, 30, 2, 30, 1)))
        assert not finding.passed
        assert "15.0 times fewer" in finding.sentence
        assert found.height == 0

    @pytest.mark.parametrize("counts", [(50,), (50, 1), (1, 10, 10, 10, 900), (1, 4, 1, 4, 1, 4, 1)])
    def test_short_or_tiny_logs_are_not_judged(self, log, counts):
        _, finding, _ = self.judge(log(daily(*counts)))
        assert finding.figure is None
        assert finding.passed
        assert "full days before it" in finding.not_judged

    def test_missing_days_are_named_and_do_not_lower_the_median(self, log):
        rows = [row for row in daily(1, 10, 10, 10, 10, 10, 10, 10, 10, 1) if row[3] // DAY not in (4, 6)]
        days, volume, _ = self.judge(log(rows))
        assert volume.figure == 1
        finding = judge_missing_days(days, MissingDaysCheck())
        assert (finding.figure, finding.passed) == (2, False)
        assert [example["day"] for example in finding.examples] == ["2024-10-08", "2024-10-10"]
        assert judge_missing_days(days, MissingDaysCheck(threshold=2)).passed


class TestConversionOrder:
    def test_a_view_before_or_at_the_same_time_is_needed(self, log):
        first = [(1, 5, "view", DAY), (1, 5, "purchase", DAY), (1, 6, "purchase", DAY + 1), (2, 5, "purchase", DAY + 1)]
        second = [(1, 6, "view", DAY + 2), (1, 6, "purchase", DAY + 3), (1, 7, "cart", DAY), (1, 7, "purchase", DAY)]
        start = [(9, 9, "view", 0), (9, 8, "purchase", HOUR)]
        finding, found = find_purchases_without_view(log(start, first, second), ConversionOrderCheck(threshold=0.5))
        assert rows_of(found) == [(1, 2), (1, 3), (2, 3)]
        assert finding.affected == {"rows": 3, "purchases": 5}
        assert finding.examples[0] == {"visitor_id": 1, "purchases": 2, "part": "p1", "row": 2}
        assert "most by visitor 1 (2, first in row 2 of p1)" in finding.sentence

    def test_a_log_of_purchases_only_is_not_judged(self, log):
        finding, found = find_purchases_without_view(log([(1, 5, "purchase", 9 * DAY)]), ConversionOrderCheck())
        assert (finding.passed, finding.not_judged, found.height) == (True, "the log has no views", 0)

    def test_a_short_log_is_not_judged(self, log):
        finding, _ = find_purchases_without_view(log([(1, 5, "view", 0), (1, 6, "purchase", 2 * HOUR)]), ConversionOrderCheck())
        assert finding.not_judged == "the log has no purchase 1d after its first view or later"

    def test_sessions_stand_for_visitors_where_there_are_none(self, log):
        rows = [(None, 5, "view", 0), (None, 5, "purchase", 2 * DAY), (None, 5, "purchase", 2 * DAY)]
        _, found = find_purchases_without_view(log(rows, session=pl.Series([1, 1, 2])), ConversionOrderCheck())
        assert rows_of(found) == [(0, 2)]


EVENT = st.tuples(
    st.integers(1, 3), st.integers(1, 3), st.sampled_from(["view", "purchase"]), st.integers(0, 60).map(lambda k: k * DAY // 6)
)


@settings(max_examples=25, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=60), st.integers(1, 59))
def test_what_comes_later_decides_on_no_earlier_row(tmp_path_factory, rows, cut):
    """Cutting the log's end off leaves the fate of what is before it unchanged; days are judged up to the one before the cut's."""
    folder = tmp_path_factory.mktemp("causal")
    rows = sorted(rows, key=lambda row: row[3])
    cut *= DAY // 6
    before = [row for row in rows if row[3] < cut]
    assume(before)

    def dropped(part: list[tuple], name: str) -> set[tuple]:
        table = open_log([write(folder / f"{name}.parquet", part)])
        check = VolumeCheck(threshold=1.5, days=1, events=1)
        found = [
            find_duplicates(table, DuplicatesCheck())[1],
            find_bots(table, BotsCheck(threshold=2))[1],
            find_purchases_without_view(table, ConversionOrderCheck())[1],
            judge_volume(table, days_of(table, check), check)[1],
        ]
        last = before[-1][3] // DAY * DAY
        return {(place, row) for place, rows in enumerate(found) for row in rows["row"] if place < 3 or part[row][3] < last}

    part, whole = dropped(before, "before"), dropped(rows, "whole")
    assert part == {(check, row) for check, row in whole if row < len(before)}


def test_unseen_items_are_those_that_no_training_click_is_on():
    import numpy as np

    finding = judge_unseen_items(np.array([0, 1, 1]), np.array([1, 2, 3, 3]), pl.Series(list("abcd")), UnseenItemsCheck(), "test")
    assert finding.figure == 0.75
    assert finding.affected == {"clicks": 3, "items": 2}
    assert finding.examples == [{"item_id": "d", "clicks": 2}, {"item_id": "c", "clicks": 1}]
    assert "3 of 4 test clicks (75.0%) are on items that training never saw" in finding.sentence
    assert "choose a smaller split.test" in finding.sentence


class TestPolicies:
    def test_every_failed_check_is_told_before_the_run_stops(self, capsys):
        findings = [
            Finding("a", 2, 1, "stop", "first"),
            Finding("b", 2, 1, "warn", "second"),
            Finding("c", 2, 1, "stop", "third"),
            Finding("d", 1, 1, "stop", "passed"),
            Finding("e", None, 1, "stop", not_judged="nothing to judge"),
        ]
        with pytest.raises(DataError, match=r"\Afirst\nthird\Z"):
            enforce(findings)
        assert capsys.readouterr().err == "recsys: warning: second\n"

    @pytest.mark.parametrize("check", ["quarantined", "unknown_events", "future_times", "missing_days", "unseen_items"])
    def test_drop_is_refused_where_it_makes_no_sense(self, check):
        with pytest.raises(ValidationError, match="Input should be 'warn' or 'stop'"):
            Checks.model_validate({check: {"policy": "drop"}})

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"max_quarantined": 0.1}, r"checks\.max_quarantined: there is no such key; did you mean 'quarantined'\?"),
            ({"on_failure": "warn"}, r"checks\.on_failure: there is no such key; "),
            ({"bots": {"treshold": 5}}, r"checks\.bots\.treshold: there is no such key; did you mean 'threshold'\?"),
        ],
    )
    def test_unknown_keys_are_told_with_the_nearest(self, given, told):
        with pytest.raises(ConfigurationError, match=told):
            load_configuration({"runs": {"popularity": {"model": "popularity"}}, "checks": given})


def files_source(**changes) -> FilesSource:
    columns = {"item": "item", "timestamp": "time", "visitor": "visitor", "event": "event"}
    return FilesSource.model_validate({"type": "files", "paths": "unused", "columns": columns, "event_map": {"show": "view"}} | changes)


class TestFutureTimes:
    WRITTEN = T0 + 10 * DAY

    def read(self, tmp_path: Path, *days: float, written: int | None = None, checks: Checks | None = None):
        raw = tmp_path / "log.csv"
        raw.write_text("visitor,time,item,event\n" + "".join(f"1,{T0 + int(day * DAY)},5,show\n" for day in days))
        moment = (self.WRITTEN if written is None else written) / 1000
        os.utime(raw, (moment, moment))
        files = [tmp_path / name for name in ("log.parquet", "log.quarantine.parquet", "log.quality.json")]
        lenient = checks or Checks.model_validate({"quarantined": {"threshold": 1}})
        return ingest(raw, files_source(), lenient, *files), pl.read_parquet(files[1])

    def test_rows_later_than_the_file_and_a_day_are_quarantined(self, tmp_path, capsys):
        summary, refused = self.read(tmp_path, 0, 10, 11, 11.1, 400)
        assert refused["row"].to_list() == [4, 5]
        assert set(refused["reason"]) == {"the timestamp is in the future (later than the file was last written)"}
        assert summary["latest_believed"] == "2024-10-15T00:00:00.000Z"
        assert summary["checks"]["future_times"] == {"figure": 0.4, "threshold": 0.001, "policy": "warn", "passed": False}
        told = capsys.readouterr().err
        assert "2 of 5 rows (40.0%) are later than 2024-10-15T00:00:00.000Z" in told
        assert "the first is row 4" in told
        assert "checks.future_times.tolerance" in told

    def test_the_same_file_is_read_alike_again(self, tmp_path):
        assert self.read(tmp_path, 0, 400)[0] == self.read(tmp_path, 0, 400)[0]

    def test_no_tolerance_and_no_date_mean_no_judgement(self, tmp_path):
        assert self.read(tmp_path, 400, checks=Checks.model_validate({"future_times": {"tolerance": None}}))[1].height == 0
        assert self.read(tmp_path, 400, written=0)[1].height == 0

    def test_a_stop_leaves_nothing(self, tmp_path):
        checks = Checks.model_validate({"quarantined": {"threshold": 1}, "future_times": {"policy": "stop"}})
        with pytest.raises(DataError, match="1 of 2 rows"):
            self.read(tmp_path, 0, 400, checks=checks)
        assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_unknown_events_are_counted_by_name_and_told(tmp_path, capsys):
    raw = tmp_path / "log.csv"
    events = ["show"] * 7 + ["hover", "swipe", "hover"]
    raw.write_text("visitor,time,item,event\n" + "".join(f"1,{T0},{k},{event}\n" for k, event in enumerate(events)))
    files = [tmp_path / name for name in ("log.parquet", "log.quarantine.parquet", "log.quality.json")]
    checks = Checks.model_validate({"quarantined": {"threshold": 0.5}, "unknown_events": {"threshold": 0.2}})
    summary = ingest(raw, files_source(), checks, *files)
    assert summary["unknown_events"] == {"hover": 2, "swipe": 1}
    assert summary["checks"]["unknown_events"]["figure"] == 0.3
    told = capsys.readouterr().err
    assert "the event of 3 of 10 rows (30.0%) is not in event_map" in told
    assert "most often 'hover' (2 times): add the name to source.event_map" in told
    both = Checks.model_validate({"quarantined": {"threshold": 0.1}, "unknown_events": {"threshold": 0.2, "policy": "stop"}})
    with pytest.raises(DataError, match=r"(?s)were refused.*\n.*is not in event_map"):
        ingest(raw, files_source(), both, *files)


class Shop:
    """Three raw files, read, and the stages on them."""

    def __init__(self, folder: Path):
        self.folder = folder
        day = [(f"{v}", T0 + d * DAY + v * HOUR + k * MINUTE, k, "show") for d in range(6) for v in range(8) for k in range(5)]
        fast = [("77", T0 + 2 * DAY + k * 1000, k % 9, "show") for k in range(42)]
        rows = sorted([*day, *fast], key=lambda row: row[1])
        third = len(rows) // 3
        for place in range(3):
            part = rows[place * third : (place + 1) * third] + (rows[:10] if place == 2 else [])
            raw = folder / f"part-{place}.csv"
            raw.write_text("visitor,time,item,event\n" + "".join("{},{},{},{}\n".format(*row) for row in part))
            ingest(raw, files_source(), Checks(), *(folder / f"part-{place}{end}" for end in self.ENDINGS))
        self.parts = [folder / f"part-{place}.parquet" for place in range(3)]

    ENDINGS = (".parquet", ".quarantine.parquet", ".quality.json")

    def check(self, checks: dict, *test_events: Path) -> None:
        """`recsys check` on the parts, those of a separate test log told apart."""
        log = [part for part in self.parts if part not in test_events]
        outputs = (self.folder / "checks.json", self.folder / "exclusions.parquet")
        check(log, *outputs, test_events=list(test_events), settings=json.dumps({"checks": checks}))

    def report(self) -> dict:
        return json.loads((self.folder / "checks.json").read_text())


@pytest.fixture
def shop(tmp_path) -> Shop:
    return Shop(tmp_path)


DROP = {"bots": {"threshold": 20, "policy": "drop"}, "duplicates": {"policy": "drop"}}


class TestStages:
    def test_what_is_dropped_is_left_out_of_the_sessions_and_counted(self, shop, capsys):
        shop.check(DROP)
        assert "recsys: warning: bots: 1 of 9 visitors have more than 20 events within an hour" in capsys.readouterr().err
        exclusions = pl.read_parquet(shop.folder / "exclusions.parquet")
        assert exclusions.schema == {"part": pl.String, "row": pl.Int64, "check": pl.String}
        assert dict(exclusions["check"].value_counts().iter_rows()) == {"duplicates": 10, "bots": 22}
        assert shop.report()["log"]["excluded"] == {"duplicates": 10, "bots": 22}
        assert shop.report()["test_log"] is None

        arguments = [shop.parts, [], SessionSettings(), SplitSettings(test="1d", valid="1d")]
        _, _, whole = build_sessions(*arguments)
        _, _, summary = build_sessions(*arguments, exclusions=shop.folder / "exclusions.parquet")
        assert whole["removed_by_checks"] == {}
        assert summary["removed_by_checks"] == {"bots": 22, "duplicates": 10}
        assert whole["events"]["log"] - summary["events"]["log"] == 32

    def test_a_row_that_two_checks_remove_counts_for_the_first(self, shop):
        shop.check(DROP | {"bots": {"threshold": 1, "policy": "drop"}})
        excluded = shop.report()["log"]["excluded"]
        assert excluded["duplicates"] == 10
        assert sum(excluded.values()) == pl.read_parquet(shop.folder / "exclusions.parquet").height

    def test_a_warning_removes_nothing(self, shop):
        shop.check({"bots": {"threshold": 20}})
        assert pl.read_parquet(shop.folder / "exclusions.parquet").height == 0

    def test_a_stop_says_everything_and_leaves_nothing(self, shop):
        with pytest.raises(DataError, match=r"(?s)duplicates: 10 of 292 events.*\nbots: 1 of 9 visitors"):
            shop.check({"bots": {"threshold": 20, "policy": "stop"}, "duplicates": {"threshold": 0, "policy": "stop"}})
        assert not (shop.folder / "checks.json").exists()
        assert not (shop.folder / "exclusions.parquet").exists()

    def test_a_test_log_is_judged_by_itself(self, shop):
        # The copies lie in the test log, their originals in the log: by itself, neither holds a duplicate.
        shop.check(DROP, shop.parts[2])
        report = shop.report()
        assert report["test_log"]["parts"] == ["part-2"]
        assert report["log"]["checks"]["duplicates"]["figure"] == report["test_log"]["checks"]["duplicates"]["figure"] == 0
        assert set(report["log"]["checks"]) == set(Checks.model_fields) - {"unseen_items"}

    def test_two_runs_give_the_same_bytes(self, shop):
        files = [shop.folder / name for name in ("checks.json", "exclusions.parquet")]
        shop.check(DROP)
        once = [file.read_bytes() for file in files]
        shop.check(DROP)
        assert once == [file.read_bytes() for file in files]

    def test_exclusions_of_other_parts_are_refused(self, shop):
        shop.check(DROP)
        path = shop.folder / "exclusions.parquet"
        arguments = [shop.parts[:2], [], SessionSettings(), SplitSettings()]
        with pytest.raises(DataError, match="names the part 'part-2', which is not among the events"):
            build_sessions(*arguments, exclusions=path)
        pl.DataFrame({"part": ["part-0"], "row": [999], "check": ["bots"]}).write_parquet(path)
        with pytest.raises(DataError, match="is not there, which holds 94"):
            build_sessions(*arguments, exclusions=path)
        pl.DataFrame({"part": ["part-0"]}).write_parquet(path)
        with pytest.raises(DataError, match="holds part String, not part, row and check"):
            build_sessions(*arguments, exclusions=path)

    def test_parts_with_ids_of_two_types_are_told(self, shop):
        table = pl.read_parquet(shop.parts[1])
        table.with_columns(pl.col("item_id").cast(pl.String)).write_parquet(shop.parts[1])
        with pytest.raises(DataError, match=r"item_id is Int64 in part-0\.parquet and String in part-1\.parquet"):
            shop.check({})

    def test_a_part_that_is_cut_off_is_told(self, shop):
        shop.parts[1].write_bytes(shop.parts[1].read_bytes()[:-20])
        with pytest.raises(DataError, match=r"part-1\.parquet is no whole Parquet file"):
            shop.check({})

    def test_the_figures_and_the_document_of_the_whole_log(self, shop):
        shop.check(DROP)
        counts = {"valid": {}, "unseen_items": Finding("unseen_items", 0.6, 0.5, "warn", "told").summary()}
        (shop.folder / "counts.json").write_text(json.dumps(counts))
        figures, summary = shop.folder / "figures", shop.folder / "quality.json"
        quality(shop.parts, shop.folder / "checks.json", figures, summary, [shop.folder / "counts.json"])
        found = {path.relative_to(figures).as_posix() for path in figures.rglob("*.svg")}
        assert found == {"checks.svg", "refused.svg", "volume.svg", "parts/part-0.svg", "parts/part-1.svg", "parts/part-2.svg"}
        content = json.loads(summary.read_text())
        assert content["events"] == 292
        assert content["passed"] is False
        assert [finding["name"] for finding in content["checks"] if not finding["passed"]] == ["bots", "unseen_items, valid"]


class TestFigures:
    """Every axis says its unit, whatever there is to draw."""

    def counts(self, name: str, **changes) -> dict:
        known = {"part": name, "rows": 10, "events": 10, "left_out_by_where": 0, "quarantined": {}}
        return known | changes

    @pytest.fixture
    def drawn(self, monkeypatch):
        figures = []
        monkeypatch.setattr("recsys.figures.quality.save", lambda figure, path: figures.append(figure))
        yield figures
        assert [without_unit(figure) for figure in figures] == [[]] * len(figures)

    def test_a_part_with_and_without_events(self, drawn):
        moments = [dt.datetime(2024, 10, 4, hour, tzinfo=dt.UTC) for hour in (1, 3)]
        times = pl.DataFrame({"time": moments, "event": ["view", "cart"], "events": [5, 1], "step": ["1h", "1h"]})
        times = times.with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC")))
        refused = {f"reason {place}": place + 1 for place in range(9)}
        draw_part(self.counts("a", quarantined=refused, left_out_by_where=3), times, Path("a.svg"))
        draw_part(self.counts("b", events=0), times.clear(), Path("b.svg"))
        bars = [tick.get_text() for tick in drawn[0].axes[0].get_yticklabels()]
        assert bars[:3] == ["kept as events", "left out by source.where", "refused: reason 8"]
        assert bars[-1] == "refused: 3 other reasons"

    def test_no_legend_covers_its_title(self, drawn):
        moment = dt.datetime(2024, 10, 4, tzinfo=dt.UTC)
        events = [f"an event, number {place}" for place in range(9)]
        times = pl.DataFrame({"time": [moment] * 9, "event": events, "events": [5] * 9, "step": ["1h"] * 9})
        times = times.with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC")))
        draw_part(self.counts("a", quarantined={"the row has more fields than the file has columns": 1}), times, Path("a.svg"))
        days = [{"day": f"2024-10-{day:02}", "events": 900 * (day % 5), "usual": 50.0} for day in range(4, 20)]
        draw_volume({"the log": days}, 10, Path("b.svg"))
        for figure in drawn:
            figure.draw_without_rendering()
            for axes in figure.axes:
                title = next(
                    text for text in axes.get_children() if isinstance(text, Text) and text.get_text() == axes.get_title(loc="left")
                )
                legend = axes.get_legend()
                assert legend is None or not legend.get_window_extent().overlaps(title.get_window_extent())
        assert [axes.get_legend() is not None for figure in drawn for axes in figure.axes] == [False, True, True]

    def test_bars_of_few_parts_refused_for_many_reasons_have_room(self, drawn):
        reasons = {f"a rather long reason that leaves room for one column, number {place}": 1 for place in range(6)}
        draw_refused([self.counts(name, quarantined=reasons) for name in ("a", "b")], 0.05, Path("a.svg"))
        figure = drawn[0]
        figure.draw_without_rendering()
        first, second = (tick.label1.get_window_extent() for tick in figure.axes[0].yaxis.get_major_ticks())
        assert abs(first.y0 - second.y0) > 1.5 * first.height

    def test_many_parts_are_drawn_as_the_worst_and_the_rest(self, drawn):
        parts = [self.counts(f"part-{place:03}", quarantined={"the item is missing": place % 7}) for place in range(300)]
        draw_refused(parts, 0.05, Path("a.svg"))
        names = [tick.get_text() for tick in drawn[0].axes[0].get_yticklabels()]
        assert len(names) == 30
        assert names[0] == "part-006"
        assert names[-1] == "the other 271 parts"
        draw_refused([self.counts("clean")], 0.05, Path("b.svg"))

    def test_days_and_checks_of_every_kind(self, drawn):
        days = [{"day": f"2024-10-{4 + place:02}", "events": events, "usual": usual} for place, (events, usual) in enumerate(
            [(5, None), (50, None), (60, 50.0), (900, 55.0), (0, None), (9, None)]
        )]  # fmt: skip
        draw_volume({"the log": days, "the test log": days[:1]}, 10, Path("a.svg"))
        draw_volume({"the log": []}, 10, Path("b.svg"))
        findings = [
            ("bots", Finding("bots", 5000, 1000, "warn")),
            ("duplicates", Finding("duplicates", 0.01, 0.05, "drop")),
            ("missing_days", Finding("missing_days", 2, 0, "warn")),
            ("volume", Finding("volume", None, 10, "warn", not_judged="too short")),
        ]
        draw_checks([(name, finding.summary() | {"check": name}) for name, finding in findings], Path("c.svg"))
        markers = [line.get_marker() for line in drawn[2].axes[0].get_lines() if line.get_linestyle() == "None"]
        assert markers == ["X", "o", "X", "|"]
