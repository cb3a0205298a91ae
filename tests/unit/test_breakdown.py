"""What the report says of the models: breakdowns, concentration, example sessions and verdicts, on data with answers known by hand."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.cli.summary import summary
from recsys.errors import DataError
from recsys.evaluation import breakdown
from recsys.evaluation.bootstrap import interval, intervals
from recsys.evaluation.final import write_exposure, write_test_ranks
from recsys.evaluation.ranking import Ranking
from recsys.figures import evaluation as figures
from recsys.files import write_json, write_parquet
from recsys.report.examples import Example, choose_sessions, cut_of, describe_items, write_examples, written_scores
from recsys.report.page import Markup, element, table, text
from recsys.report.verdict import Outcome, write_package, write_results, write_summary
from recsys.sessions.table import Sessions
from recsys.settings.training import EvaluationSettings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = EvaluationSettings(bootstrap=200)


# --- Groups -----------------------------------------------------------------------------------------------------------


def test_counts_are_grouped_in_steps_that_widen() -> None:
    grouping = breakdown.by_count(np.array([1, 2, 5, 6, 7, 8, 20, 60, 1]))
    assert grouping.names == ["1", "2", "5", "6–7", "8–10", "11–20", "51+"]
    assert grouping.group.tolist() == [0, 1, 2, 3, 3, 4, 5, 6, 0]


def test_tenths_hold_a_tenth_each() -> None:
    grouping = breakdown.by_tenths(np.arange(1000)[::-1])
    assert grouping.names[0] == "0–99"
    assert grouping.names[-1] == "900–999"
    assert np.bincount(grouping.group).tolist() == [100] * 10


def test_equal_numbers_stay_in_one_tenth() -> None:
    grouping = breakdown.by_tenths(np.array([5] * 35 + [6] * 5 + [1200] * 60))
    assert grouping.names == ["5", "6", "1,200"]
    assert np.bincount(grouping.group).tolist() == [35, 5, 60]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200))
def test_tenths_are_in_order_and_complete(values: list[int]) -> None:
    numbers = np.array(values)
    grouping = breakdown.by_tenths(numbers)
    order = np.argsort(numbers, kind="stable")
    assert (np.diff(grouping.group[order]) >= 0).all()
    assert sorted(set(grouping.group.tolist())) == list(range(len(grouping.names)))
    assert len(grouping.names) <= breakdown.TENTHS
    assert all(len(set(grouping.group[numbers == value])) == 1 for value in set(values))


def test_predictions_are_grouped_by_session_position_and_target() -> None:
    sessions = Sessions.from_lists([[0, 1, 2], [2, 0]])
    positions = sessions.targets()
    groups = breakdown.groupings(sessions, positions, np.array([9, 5, 1]))
    assert [groups["session_length"].names[place] for place in groups["session_length"].group] == ["3", "3", "2"]
    assert [groups["position"].names[place] for place in groups["position"].group] == ["1", "2", "1"]
    assert [groups["popularity"].names[place] for place in groups["popularity"].group] == ["5", "1", "9"]


# --- Metrics by group -------------------------------------------------------------------------------------------------


def test_metrics_of_a_group_are_those_of_its_predictions() -> None:
    grouping = breakdown.Grouping(["short", "long"], np.array([0, 0, 1, 1, 1]))
    ranks = {"a": np.array([1, 40, 2, 2, 21]), "b": np.array([30, 30, 30, 30, 20])}
    rows = breakdown.break_down(grouping, ranks, np.array([0, 1, 2, 2, 3]), SETTINGS)
    assert [(row["group"], row["predictions"], row["sessions"]) for row in rows] == [("short", 2, 2), ("long", 3, 2)]
    assert rows[0]["models"]["a"]["recall@20"]["mean"] == 0.5
    assert rows[1]["models"]["a"]["mrr@20"]["mean"] == pytest.approx(1 / 3)
    assert rows[1]["models"]["b"]["mrr@20"]["mean"] == pytest.approx(1 / 60)
    assert rows[0]["models"]["b"]["recall@20"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_shared_draws_give_each_columns_own_interval() -> None:
    generator = np.random.default_rng(3)
    values, sessions = generator.random((60, 3)), generator.integers(0, 12, 60)
    together = intervals(values, sessions, 300, 0.9, seed=5)
    for column, found in zip(values.T, together, strict=True):
        assert found == pytest.approx(interval(column, sessions, 300, 0.9, seed=5))


def test_no_predictions_give_intervals_of_zeros() -> None:
    assert intervals(np.empty((0, 2)), np.empty(0), 100, 0.95) == [{"mean": 0.0, "low": 0.0, "high": 0.0}] * 2


def test_ranks_come_back_by_model_and_not_for_other_predictions(tmp_path: Path) -> None:
    positions = Sessions.from_lists([[0, 1, 2], [2, 0]]).targets()
    rankings = {"z": Ranking(positions, np.array([1, 2, 3])), "a": Ranking(positions, np.array([4, 5, 6]))}
    write_test_ranks(rankings, tmp_path / "ranks.parquet")
    written = pl.read_parquet(tmp_path / "ranks.parquet")
    assert written.columns == ["model", "session", "position", "rank"]
    found = breakdown.ranks_by_model(written, positions)
    assert list(found) == ["z", "a"]
    assert found["a"].tolist() == [4, 5, 6]
    with pytest.raises(DataError, match="other predictions"):
        breakdown.ranks_by_model(written, Sessions.from_lists([[0, 1], [1, 2, 0]]).targets())


# --- Concentration ----------------------------------------------------------------------------------------------------


def test_gini_known_by_hand() -> None:
    assert breakdown.gini(np.array([3, 3, 3, 3])) == pytest.approx(0)
    assert breakdown.gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert breakdown.gini(np.array([1, 3])) == pytest.approx(0.25)
    assert breakdown.gini(np.zeros(3)) == 0


def test_share_of_the_popular_items_follows_training_not_the_recommendations() -> None:
    support = np.array([1, 100, 10, 5])
    found = breakdown.concentration(np.array([6, 1, 3, 0]), support)
    assert found["coverage"] == 0.75
    assert found["curve"]["items"] == [1, 2, 3, 4]
    assert found["curve"]["share"] == pytest.approx([0.1, 0.4, 0.4, 1.0])
    assert found["share_of_top"]["0.5"] == pytest.approx(0.4)
    assert found["novelty"] == pytest.approx((6 * np.log2(116) + np.log2(1.16) + 3 * np.log2(11.6)) / 10)


def test_exposure_counts_the_lists_an_item_stands_in(tmp_path: Path) -> None:
    positions = Sessions.from_lists([[0, 1], [1, 2]]).targets()
    lists = np.array([[2, 0], [2, -1]], dtype=np.int32)
    write_exposure({"a": Ranking(positions, np.array([1, 1]), lists)}, tmp_path / "exposure.parquet")
    exposure = pl.read_parquet(tmp_path / "exposure.parquet")
    assert exposure.rows() == [("a", 0, 1), ("a", 2, 2)]
    found = breakdown.concentrations(exposure, ["a"], positions.target, np.array([3, 2, 1]))
    assert found["models"]["a"]["counted"] == 3
    assert found["models"]["a"]["coverage"] == pytest.approx(2 / 3)
    assert found["clicks"]["counted"] == 2


# --- Figures ----------------------------------------------------------------------------------------------------------


def interval_of(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}


def measured(mean: float) -> dict[str, dict[str, float]]:
    return {"recall@20": interval_of(mean), "mrr@20": interval_of(mean / 2), "ndcg@20": interval_of(mean / 3)}


OUTCOME = Outcome(
    choice={
        "run": "gru",
        "metric": "recall@20",
        "why": "gru has the highest recall@20",
        "table": [
            {"name": "gru", "model": "gru4rec", "seeds": 2, "mean": 0.5, "lowest": 0.4, "highest": 0.6},
            {
                "name": "pop_",
                "model": "popularity",
                "seeds": 1,
                "mean": 0.1,
                "lowest": 0.1,
                "highest": 0.1,
                "winner_minus_this": interval_of(0.4),
            },
        ],
    },
    metrics={
        "run": "gru",
        "model": "gru4rec",
        "predictions": 1234,
        **{kind: dict.fromkeys(("1", "5", "10", "20"), 0.5) for kind in ("recall", "mrr", "ndcg")},
        "baselines": {"pop_": {kind: dict.fromkeys(("1", "5", "10", "20"), 0.1) for kind in ("recall", "mrr", "ndcg")}},
    },
    comparison={
        "confidence": 0.95,
        "models": {"gru": {"intervals": measured(0.5)}, "pop_": {"intervals": measured(0.1)}},
        "paired_differences": {metric: [{"better": "gru", "worse": "pop_"} | interval_of(0.4)] for metric in ("recall@20", "mrr@20")},
    },
    parity={
        "queries": 2000,
        "largest_absolute_difference": 1e-6,
        "largest_relative_difference": 2e-6,
        "equal_top_20": 0.9995,
        "tolerance": {"absolute": 1e-5, "relative": 1e-4, "recall@20": 5e-4},
        "test": {
            "predictions": 1234,
            "recall@20 through the package": 0.5,
            "recall@20 of the fitted model": 0.5,
            "difference": 0.0,
            "predictions over serve.max_session_length": 3,
            "hits gained by looking at the last clicks only": -1,
        },
    },
    smoke={"ok": True, "checks": [{"name": "one", "status": 200, "ok": True}, {"name": "<no> JSON", "status": 400, "ok": True}]},
    registered={
        "name": "session-recommender-a_",
        "version": 3,
        "alias": None,
        "alias_promoted": False,
        "champion_version": 2,
        "reason": "worse than the margin & so on",
        "package_hash": "ab" * 32,
    },
    manifest={
        "family": "gru4rec",
        "runtime": "onnx",
        "items": 1000,
        "id_type": "hash",
        "exclude_session_items": True,
        "max_session_length": 200,
    },
    quality={
        "events": 5678,
        "checks": [
            {"passed": True, "of": "the log", "sentence": None},
            {"passed": False, "of": "the log", "sentence": "missing_days: 2 of 9 days"},
            {"passed": False, "of": "the test log", "sentence": "bots: 1 of 3 visitors"},
        ],
    },
    log={"first": "2024-03-01T00:08:19.000+00:00", "last": "2024-04-30T00:01:09.000+00:00", "sessions": 321},
    shop="tea_shop",
)
BASELINE_WON = replace(OUTCOME, metrics=OUTCOME.metrics | {"run": "pop_"})


@pytest.fixture
def numbers() -> dict:
    """What `recsys breakdown` writes, of two models."""
    generator = np.random.default_rng(0)
    sessions = Sessions.from_lists([generator.integers(0, 40, length).tolist() for length in (2, 3, 4, 9, 30)])
    positions = sessions.targets()
    support = generator.integers(1, 99, 40)
    ranks = {name: generator.integers(1, 40, len(positions)) for name in ("gru", "pop_")}
    exposure = pl.DataFrame({"model": ["gru", "gru", "pop_"], "index": [0, 1, 0], "recommended": [5, 2, 7]})
    runs = [{"run": f"gru.seed{seed}", "name": "gru", "predictions": 99, "intervals": measured(0.4 + seed / 100)} for seed in (1, 2)]
    groups = breakdown.groupings(sessions, positions, support)
    return {
        "champion": "gru",
        "confidence": 0.95,
        "leaderboard": breakdown.leaderboards(runs, OUTCOME.metrics, OUTCOME.comparison, "ndcg@20"),
        "paired_differences": OUTCOME.comparison["paired_differences"],
        "breakdowns": {name: breakdown.break_down(group, ranks, positions.session, SETTINGS) for name, group in groups.items()},
        "concentration": breakdown.concentrations(exposure, ["gru", "pop_"], positions.target, support),
    }


def test_leaderboard_is_ordered_by_the_metric_the_champion_was_chosen_by(numbers: dict) -> None:
    board = numbers["leaderboard"]
    assert board["metrics"] == ["ndcg@20", "recall@20", "mrr@20"]
    assert [(row["run"], row["champion"]) for row in board["valid"]] == [("gru.seed2", True), ("gru.seed1", True)]
    assert [(row["run"], row["champion"], row["predictions"]) for row in board["test"]] == [("gru", True, 1234), ("pop_", False, 1234)]


def test_every_figure_is_drawn_and_drawn_alike_twice(numbers: dict, tmp_path: Path) -> None:
    for name, draw in figures.FIGURES.items():
        draw(numbers, tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").read_text().count("<path") > 10, name
    figures.draw_popularity(numbers, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "popularity.svg").read_bytes()


def test_axes_of_metrics_name_their_unit() -> None:
    assert figures._unit("recall@20") == "recall@20 (share of predictions)"
    assert figures._unit("mrr@5") == "MRR@5 (mean of 1 / rank)"


# --- Example sessions -------------------------------------------------------------------------------------------------


def test_examples_are_spread_over_the_lengths_and_always_the_same() -> None:
    lengths = np.array([2] * 60 + [30] * 20 + [5] * 20)
    chosen = choose_sessions(lengths)
    assert lengths[chosen].tolist() == [2] * 6 + [5] * 2 + [30] * 2
    assert chosen.tolist() == [5, 15, 25, 35, 45, 55, 85, 95, 65, 75]
    assert choose_sessions(np.array([4, 2, 3])).tolist() == [1, 2, 0]
    assert choose_sessions(np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize(("length", "seen"), [(2, 1), (3, 2), (4, 2), (9, 5)])
def test_a_session_is_cut_in_its_middle_with_a_click_left(length: int, seen: int) -> None:
    assert cut_of(length) == seen


def test_items_are_called_by_name_where_the_shop_has_one() -> None:
    always = pl.Series([None] * 3, dtype=pl.Datetime("ms", "UTC"))
    properties = pl.DataFrame(
        {"item_id": [7, 7, 9], "property": ["name", "category", "name"], "value": ["Lamp <b>", "light", None], "valid_from": always}
    )
    item_ids = pl.Series([7, 8, 9])
    assert describe_items(item_ids, [0, 1, 2], properties) == {0: ("Lamp <b>", "light"), 1: ("8", ""), 2: ("9", "")}
    assert describe_items(item_ids, [1], None) == {1: ("8", "")}


def test_scores_are_written_with_the_figures_they_need() -> None:
    assert written_scores(np.array([12.0, 3.0])) == ["12", "3"]
    assert written_scores(np.array([2.4131, 0.5])) == ["2.413", "0.500"]
    assert written_scores(np.array([0.01234, 0.002])) == ["0.01234", "0.00200"]
    assert written_scores(np.array([])) == []


class Checked(HTMLParser):
    """A page whose tags are closed in order; what it loads, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.words, self.loads = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.loads += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(path: Path) -> Checked:
    page = path.read_text()
    checked = Checked(page)
    assert checked.loads == []
    assert not re.search(r"@import|url\(|<script|://", page)
    return checked


def example(recommended: list[int]) -> Example:
    times = np.array([0, 35_000, 3_700_000, 3_800_000, 3_900_000])
    scores = np.linspace(2, 1, len(recommended), dtype=np.float32)
    return Example(3, 5, np.array([0, 1, 0]), np.array([2, 3]), times, np.array(recommended), scores)


def test_examples_page_marks_hits_and_escapes_names(tmp_path: Path) -> None:
    items = {0: ("<script>x</script>", "a & b"), 1: ("one", ""), 2: ("two", "c"), 3: ("three", ""), 4: ("four", "")}
    write_examples(tmp_path / "examples.html", [example([4, 2, 3, 1]), example([4, -1])], 1200, items)
    text_of = " ".join(page_of(tmp_path / "examples.html").words)
    assert "<script>x</script>" in text_of
    assert "clicked next" in text_of
    assert "clicked later" in text_of
    assert "clicked before" in text_of
    assert "the next click stands at rank 2" in text_of
    assert "the next click is not among the 2 recommended" in text_of
    assert "in 1 of the 2 sessions" in text_of
    assert "+1:01:40" in text_of
    assert "unknown here" in text_of


def test_examples_page_without_categories_has_no_column_for_them(tmp_path: Path) -> None:
    write_examples(tmp_path / "examples.html", [example([4])], 10, {index: (str(index), "") for index in range(5)})
    assert "category" not in page_of(tmp_path / "examples.html").words


# --- Verdicts ---------------------------------------------------------------------------------------------------------


def test_package_page_says_what_was_measured_and_decided(tmp_path: Path) -> None:
    write_package(tmp_path / "package.html", OUTCOME)
    words = page_of(tmp_path / "package.html").words
    assert "not promoted: version 2 stays champion" in words
    assert "worse than the margin & so on" in words
    assert "<no> JSON" in words
    assert "Answered: 1 of 1 passed" in words
    assert "1e-05 + 0.0001 × score" in words
    assert words.count("passed") == 3 + 2


def test_results_page_compares_the_champion_with_its_baselines(tmp_path: Path) -> None:
    write_results(tmp_path / "results.html", OUTCOME)
    words = page_of(tmp_path / "results.html").words
    assert "gru (champion)" in words
    assert "0.4000 to 0.6000" in words
    assert "gru minus pop_" in words
    assert "+0.4000 (+0.3800 to +0.4200)" in words
    assert "tea_shop, log from 2024-03-01 to 2024-04-30 (UTC): 5,678 events, 321 sessions." in words
    assert not any("A baseline won" in word or "Not on test" in word for word in words)


def test_results_page_says_that_a_baseline_won_and_why_the_loser_is_not_on_test(tmp_path: Path) -> None:
    write_results(tmp_path / "results.html", BASELINE_WON)
    words = page_of(tmp_path / "results.html").words
    assert any("A baseline won" in word for word in words)
    assert any(word.startswith("Not on test: gru. Only the champion and the baselines are fitted again") for word in words)


def test_summary_is_sound_restructured_text(tmp_path: Path) -> None:
    core = pytest.importorskip("docutils.core")
    write_summary(tmp_path / "summary.rst", OUTCOME)
    html = core.publish_parts((tmp_path / "summary.rst").read_text(), writer="html")["body"]
    assert "system-message" not in html
    assert "that of pop_ is 0.1000" in html
    assert "<a " not in html
    assert "Version 3 of session-recommender-a_ was not promoted, version 2 stays" in html
    assert "tea_shop, log from 2024-03-01 to 2024-04-30 (UTC)" in html
    assert "2 of 3 checks of the log failed" in html
    assert "<li>missing_days: 2 of 9 days</li>" in html
    assert "bots: 1 of 3 visitors (in the test log)" in html
    assert "A baseline won" not in html


def test_summary_says_that_a_baseline_won_and_that_no_check_failed(tmp_path: Path) -> None:
    write_summary(tmp_path / "summary.rst", replace(BASELINE_WON, quality=OUTCOME.quality | {"checks": OUTCOME.quality["checks"][:1]}))
    told = (tmp_path / "summary.rst").read_text()
    assert "A baseline won" in told
    assert "None of 1 checks of the log failed." in told


def test_the_terminal_names_the_checks_that_failed_and_the_baseline_that_won(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    champion = tmp_path / "champion"
    for path, content in (
        (champion / "metrics.json", BASELINE_WON.metrics),
        (champion / "choice.json", OUTCOME.choice),
        (champion / "registered.json", OUTCOME.registered),
        (champion / "package" / "manifest.json", OUTCOME.manifest),
        (tmp_path / "quality" / "quality.json", OUTCOME.quality),
    ):
        write_json(path, content)
    write_parquet(pl.DataFrame({"item_id": [7, 8]}), tmp_path / "fit" / "final" / "items.parquet")
    summary(tmp_path, ROOT / "workflow_config.yaml")
    told = capsys.readouterr().out
    assert "A baseline won" in told
    assert "2 of 3 checks of the log failed:\n- missing_days: 2 of 9 days\n- bots: 1 of 3 visitors (in the test log)\n" in told


def test_markup_is_escaped_once() -> None:
    assert text("<") == "&lt;"
    assert text(Markup("&lt;")) == "&lt;"
    assert element("p", "a & b", style='x"y') == '<p class="x&quot;y">a &amp; b</p>'
    assert "<td>&lt;b&gt;</td>" in table(["h"], [["<b>"]])
