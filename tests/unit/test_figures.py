"""Figures: every axis has its unit, the same data give the same bytes, and nothing breaks on what a log lacks."""

import json
import re

import matplotlib.pyplot as plt
import polars as pl
import pytest

from recsys.errors import DataError
from recsys.figures import overview as drawn
from recsys.figures.resources import resources
from recsys.figures.style import COLOURS, empty, label, plots, save, series_style, shorten, without_unit
from recsys.figures.training import curves
from recsys.files import write_json, write_parquet
from recsys.resources import by_rule, read_benchmarks
from recsys.training.curves import Curve, read_curve

SPREAD = {"mean": 2.5, "median": 2.0, "p95": 5.0, "p99": 6.0, "largest": 7.0}
STARTS = [f"2024-01-{day:02}T00:00:00.000+00:00" for day in range(1, 15)]
TRAFFIC = {
    "first": STARTS[0],
    "last": "2024-01-14T23:00:00.000+00:00",
    "spans": {"validation": [STARTS[10], STARTS[12]], "test": [STARTS[12], "2024-01-14T23:00:00.000+00:00"]},
    "span_days": 13.96,
    "events": {"view": 1_400, "cart": 140, "purchase": 14},
    "step": "day",
    "starts": STARTS,
    "over_time": {"view": [100] * 14, "cart": [10] * 14, "purchase": [1] * 13 + [0]},
    "by_hour": {kind: list(range(24)) for kind in ("view", "cart", "purchase")},
    "by_weekday": {kind: [1] * 7 for kind in ("view", "cart", "purchase")},
}
CHAIN = [
    {"step": "rows of the raw files", "removed": None, "left": 100},
    {"step": "left out by source.where", "removed": 0, "left": 100},
    {"step": "no clicks (sessions.clicks)", "removed": 40, "left": 60},
]
FULL = {
    "traffic": TRAFFIC,
    "funnel": {
        "steps": ["view", "cart", "purchase"],
        "reached": {"visitors": [50, 20, 5], "sessions": [90, 30, 6], "items": [10, 9, 8]},
        "all": {"visitors": 50, "sessions": 90, "items": 10},
    },
    "sessions": {"sessions": 90, "clicks": 200, "lengths": [1, 2, 7], "sessions_of_length": [50, 39, 1], "spread": SPREAD},
    "pauses": {
        "pauses": 100,
        "of": "visitor",
        "gap_seconds": 1_800.0,
        "longer_than_gap_share": 0.2,
        "histogram_seconds": {"edges": [1.0, 10.0, 100.0, 1_000.0, 10_000.0], "counts": [10, 50, 20, 15], "smaller": 5},
    },
    "repeats": {"share_of_clicks": 0.1, "position": [2, 3, 4], "share_at_position": [0.0, 0.1, 0.2]},
    "returning": {
        "later_sessions_share": 0.4,
        "groups": ["1", "2", "3", "4", "5–9", "10 or more"],
        "visitors_share": [0.5, 0.2, 0.1, 0.1, 0.05, 0.05],
        "sessions_share": [0.2, 0.2, 0.2, 0.2, 0.1, 0.1],
    },
    "popularity": {
        "items_clicked": 10,
        "rank": [1, 5, 10],
        "clicks_at_rank": [100, 10, 1],
        "share_of_clicks_to_rank": [0.5, 0.9, 1.0],
        "share_of_clicks_of_top": {"0.01": 0.5, "0.1": 0.5, "0.5": 0.9},
    },
    "sparsity": {
        "of": "visitor",
        "rows": 50,
        "items": 10,
        "density": 0.2,
        "item": {"at_least": [1, 100], "share": [1.0, 0.1], "spread": SPREAD},
        "visitor": {"at_least": [1, 7], "share": [1.0, 0.02], "spread": SPREAD},
    },
    "new_items": [8, 1, 1] + [0] * 11,
    "categories": {"depth": [0, 1], "categories": [1, 4], "items": [2, 8]},
    "preparation": {"log": CHAIN, "final": CHAIN, "select": CHAIN},
}
BARE = FULL | {
    "traffic": TRAFFIC
    | {
        "step": "second",
        "events": {"view": 1},
        "starts": STARTS[:1],
        "last": STARTS[0],
        "spans": {"validation": [STARTS[0], STARTS[0]], "test": [STARTS[0], STARTS[0]]},
        "over_time": {"view": [1]},
        "by_hour": None,
        "by_weekday": None,
    },
    "funnel": None,
    "pauses": None,
    "repeats": {"share_of_clicks": 0.0, "position": [], "share_at_position": []},
    "returning": None,
    "sessions": {"sessions": 1, "clicks": 1, "lengths": [1], "sessions_of_length": [1], "spread": dict.fromkeys(SPREAD, 1.0)},
    "new_items": [1],
    "categories": None,
}
MANY_TYPES = FULL | {
    "funnel": None,
    "traffic": TRAFFIC
    | {
        "events": {f"a rather long event type, number {number}": 14 for number in range(12)},
        "over_time": {f"a rather long event type, number {number}": [1] * 14 for number in range(12)},
        "by_hour": None,
        "by_weekday": None,
    },
}
RUNS = [
    Curve("bpr", "bpr-max", [1, 2, 3], [0.5, 0.4, 0.3], [0.1, 0.3, 0.2]),
    Curve("xe", "cross-entropy", [1, 2], [6.0, 5.0], [0.1, 0.2]),
    Curve("xe", "cross-entropy", [1, 2], [6.1, 5.1], [0.1, 0.2]),
]
REFIT = Curve("bpr", "bpr-max", [1, 2], [0.5, 0.4], [])
RULES = pl.DataFrame(
    {
        "rule": ["ingest_part", "train_run"],
        "jobs": [2, 1],
        "seconds": [3.0, 60.0],
        "longest": [2.0, 60.0],
        "memory_mib": [None, 512.0],
        "threads": [1, 2],
        "measured": [0, 1],
    }
)


FIGURES = {
    "a log with everything": lambda: list(drawn.figures(FULL).values()),
    "a log with next to nothing": lambda: list(drawn.figures(BARE).values()),
    "many event types": lambda: [drawn.events(MANY_TYPES["traffic"], None)],
    "curves": lambda: [curves(RUNS, REFIT, "mrr@20")],
    "curves without validation": lambda: [curves([REFIT], None, "mrr@20")],
    "curves of many": lambda: [curves([Curve(f"run {n}", "top1", [1], [1.0], [n / 100]) for n in range(15)], None, "mrr@20")],
    "no curves": lambda: [curves([], None, "mrr@20")],
    "resources": lambda: [resources(RULES)],
    "no resources": lambda: [resources(RULES.clear())],
}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_has_a_label_that_ends_in_its_unit(name):
    assert {text for figure in FIGURES[name]() for text in without_unit(figure)} == set()


@pytest.mark.parametrize("draw", [lambda: [drawn.preparation(FULL["preparation"])], FIGURES["curves"], FIGURES["resources"]])
def test_the_same_data_give_the_same_bytes(tmp_path, draw):
    for file in ("one.svg", "two.svg"):
        save(draw()[0], tmp_path / file)
    written = (tmp_path / "one.svg").read_text()
    assert written == (tmp_path / "two.svg").read_text()
    assert "<dc:date>" not in written
    assert not re.search(r"<text\b", written)  # letters are drawn, so that no machine needs the font


def test_a_missing_unit_is_found():
    figure, axes = plots(1, 2)
    label(axes[0], "", "gap (minutes)", "sessions")
    empty(axes[1], "nothing to show")
    assert without_unit(figure) == ["sessions"]


def test_series_differ_without_colour():
    styles = [(style["marker"], style["linestyle"]) for style in map(series_style, range(len(COLOURS)))]
    assert len(set(styles)) == len(COLOURS)
    everything = [tuple(map(str, series_style(place).values())) for place in range(3 * len(COLOURS))]
    assert len(set(everything)) == len(everything)


def test_long_names_lose_their_middle():
    assert shorten("abcdefghij", 7) == "abc…hij"
    assert shorten("abc", 7) == "abc"


def test_a_log_without_a_category_tree_gets_no_empty_plot():
    assert len(drawn.items(TRAFFIC, FULL["new_items"], None).axes) == 1
    assert len(drawn.items(TRAFFIC, FULL["new_items"], FULL["categories"]).axes) == 2
    assert len(drawn.events(BARE["traffic"], None).axes) == 1
    assert (
        len(drawn.sessions(FULL["sessions"], FULL["pauses"] | {"histogram_seconds": {"edges": [1, 10], "counts": [0], "smaller": 5}}).axes)
        == 1
    )


def test_the_share_of_the_top_items_is_told_where_no_line_runs():
    share = drawn.popularity(FULL["popularity"], FULL["sparsity"]).axes[1]
    assert [text.get_text() for text in share.get_legend().get_texts()] == ["top 1 %: 50 %", "top 10 %: 50 %", "top 50 %: 90 %"]
    assert not share.texts


def test_losses_of_different_kinds_are_not_compared():
    figure = curves(RUNS, REFIT, "mrr@20")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Training loss: bpr-max",
        "Training loss: cross-entropy",
        "Validation mrr@20",
    ]


def test_a_curve_is_read_from_a_run(tmp_path):
    write_json(tmp_path / "params.json", {"name": "xe", "model": "gru4rec", "parameters": {"loss": "cross-entropy"}})
    write_parquet(pl.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "mrr@20": [0.1, 0.2]}), tmp_path / "history.parquet")
    found = read_curve(tmp_path / "params.json", tmp_path / "history.parquet", "mrr@20")
    assert found == Curve("xe", "cross-entropy", [1, 2], [2.0, 1.0], [0.1, 0.2])
    assert read_curve(tmp_path / "params.json", tmp_path / "history.parquet", "recall@5").validation == []
    write_parquet(pl.DataFrame(schema={"epoch": pl.Int64, "loss": pl.Float64}), tmp_path / "history.parquet")
    assert read_curve(tmp_path / "params.json", tmp_path / "history.parquet", "mrr@20") is None


def benchmark(path, **job):
    """A file as Snakemake writes it."""
    told = {"rule_name": "train_run", "s": 1.5, "max_rss": 100.0, "threads": 2} | job
    path.write_text(json.dumps(told) + "\n")
    return path


def test_jobs_are_added_up_by_rule_and_unmeasured_memory_is_not_zero(tmp_path):
    files = [
        benchmark(tmp_path / "a.jsonl"),
        benchmark(tmp_path / "b.jsonl", s=2.0, max_rss=300.0, threads=1),
        benchmark(tmp_path / "c.jsonl", rule_name="encode_select", s=0.2, max_rss="NA"),
        benchmark(tmp_path / "d.jsonl", rule_name="encode_final", s=0.3, max_rss=0.0),
        benchmark(tmp_path / "e.jsonl", rule_name="write_verdict", s=0.5, max_rss=3.1),
    ]
    rows = by_rule(read_benchmarks(files)).rows(named=True)
    assert [row["rule"] for row in rows] == ["train_run", "encode_select", "encode_final", "write_verdict"]
    assert rows[0] == {"rule": "train_run", "jobs": 2, "seconds": 3.5, "longest": 2.0, "memory_mib": 300.0, "threads": 2, "measured": 2}
    assert [row["memory_mib"] for row in rows[1:]] == [None, None, None]


@pytest.mark.parametrize("text", ["s\th:m:s\n1.0\t0:00:01\n", '{"s": 1.0}\n', "[1]\n"])
def test_a_file_that_is_no_extended_benchmark_is_named(tmp_path, text):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"x\.jsonl is no extended benchmark.*benchmark-extended: true"):
        read_benchmarks([tmp_path / "x.jsonl"])
