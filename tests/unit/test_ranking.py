"""Ranks, the metrics of ranks, and their intervals, on data small enough to count on one's fingers."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import TrainingError
from recsys.evaluation.bootstrap import interval, paired_difference
from recsys.evaluation.measure import measure
from recsys.evaluation.ranking import coverage, flat_metrics, gains, novelty, rank_targets, ranking_metrics, refuse_collapsed
from recsys.models import interface
from recsys.models.interface import Capabilities, Model, Queries
from recsys.models.scores import conservative_ranks
from recsys.sessions.table import Sessions
from recsys.settings.base import Section
from recsys.settings.training import EvaluationSettings


class ByLastItem(Model):
    """Scores the items by a row of a table, chosen by the session's last item."""

    family: ClassVar[str] = "by_last_item"
    capabilities: ClassVar[Capabilities] = Capabilities(runtime="native")
    parameters_class: ClassVar[type[Section]] = Section

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.table = np.asarray(table, dtype=np.float32)  # [items, items]
        self.n_items_ = len(self.table)

    def fit(self, data: Any, context: Any = None) -> "ByLastItem":
        return self

    def score_all(self, queries: Queries) -> np.ndarray:
        return self.table[[queries[query][-1] for query in range(len(queries))]]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"table": self.table}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.table = arrays["table"]


# After item 0 the order is 3, 2, 1, 0; after item 1 it is 0, then 2 and 3 on a par, then 1; after 2 all are equal; after 3: 1, 0, 3, 2.
TABLE = [[1, 2, 3, 4], [9, 0, 5, 5], [7, 7, 7, 7], [2, 3, 0, 1]]


# --- Ranks ------------------------------------------------------------------------------------------------------------


def test_rank_counts_the_items_that_score_at_least_as_high() -> None:
    scores = np.array([[0.5, 0.1, 0.9, 0.3]], dtype=np.float32)
    found = [int(conservative_ranks(scores, np.array([target]))[0]) for target in range(4)]
    assert found == [2, 4, 1, 3]


def test_ties_are_counted_against_the_target() -> None:
    scores = np.array([[1.0, 2.0, 2.0, 2.0, 3.0]], dtype=np.float32)
    assert [int(conservative_ranks(scores, np.array([target]))[0]) for target in range(5)] == [5, 4, 4, 4, 1]


def test_collapsed_model_ranks_last() -> None:
    scores = np.zeros((3, 50), dtype=np.float32)
    assert conservative_ranks(scores, np.array([0, 20, 49])).tolist() == [50, 50, 50]


def test_items_left_out_rank_behind_the_others() -> None:
    scores = np.array([[-np.inf, 1.0, -5.0, -np.inf]], dtype=np.float32)
    assert conservative_ranks(scores, np.array([2])).tolist() == [2]


@pytest.mark.parametrize("row", [[np.nan, 1.0, 2.0], [0.0, 1.0, np.nan], [np.nan] * 3, [-np.inf, 1.0, np.nan]])
def test_nan_scores_are_refused(row: list[float]) -> None:
    scores = np.array([[1.0, 2.0, 3.0], row], dtype=np.float32)
    with pytest.raises(TrainingError, match="NaN"):
        conservative_ranks(scores, np.array([1, 1]))


def test_infinite_scores_are_no_nan() -> None:
    scores = np.array([[np.inf, -np.inf, 0.0]], dtype=np.float32)  # their sum is NaN, none of them is
    assert conservative_ranks(scores, np.array([2])).tolist() == [2]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_items=st.integers(1, 9), n_queries=st.integers(1, 6))
def test_ranks_agree_with_counting(data: st.DataObject, n_items: int, n_queries: int) -> None:
    # A handful of values, so that there are many ties.
    value = st.sampled_from([-1.0, 0.0, 0.5, 2.0])
    row = st.lists(value, min_size=n_items, max_size=n_items)
    scores = np.array(data.draw(st.lists(row, min_size=n_queries, max_size=n_queries)), dtype=np.float32)
    targets = np.array(data.draw(st.lists(st.integers(0, n_items - 1), min_size=n_queries, max_size=n_queries)))
    slow = [sum(1 for score in row if score >= row[target]) for row, target in zip(scores.tolist(), targets, strict=True)]
    assert conservative_ranks(scores, targets).tolist() == slow


# --- Whole sessions ---------------------------------------------------------------------------------------------------


def test_every_click_after_the_first_is_ranked() -> None:
    found = rank_targets(ByLastItem(TABLE), Sessions.from_lists([[0, 3, 1], [1, 2], [2, 0, 2, 3]]))
    assert found.positions.session.tolist() == [0, 0, 1, 2, 2, 2]
    assert found.positions.target.tolist() == [3, 1, 2, 0, 2, 3]
    assert found.ranks.tolist() == [1, 1, 3, 4, 2, 4]
    assert found.lists is None


def test_sessions_without_a_prediction_rank_nothing() -> None:
    found = rank_targets(ByLastItem(TABLE), Sessions.from_lists([[0], [], [2]]), with_lists=True)
    assert len(found.ranks) == len(found.lists) == 0


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("exclude", [False, True])
def test_chunks_do_not_show_in_the_ranks(chunk: int, exclude: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    model = ByLastItem(rng.permutation(900).reshape(30, 30))
    sessions = Sessions.from_lists([rng.integers(0, 30, length) for length in (2, 7, 1, 4, 3)])
    whole = rank_targets(model, sessions, exclude_session_items=exclude, with_lists=True)
    monkeypatch.setattr(interface, "_CHUNK", chunk)
    cut = rank_targets(model, sessions, exclude_session_items=exclude, with_lists=True)
    np.testing.assert_array_equal(cut.ranks, whole.ranks)
    np.testing.assert_array_equal(cut.lists, whole.lists)


def test_scores_are_taken_as_they_come_in_uneven_parts() -> None:
    class Uneven(ByLastItem):
        """Hands out one prediction, then the rest."""

        def score_positions(self, sessions: Sessions, positions: Any, chunk: int) -> Iterator[np.ndarray]:
            (scores,) = super().score_positions(sessions, positions, len(positions))
            yield scores[:1]
            yield scores[1:]

    sessions = Sessions.from_lists([[0, 3, 1], [1, 2], [2, 0, 2, 3]])
    assert rank_targets(Uneven(TABLE), sessions).ranks.tolist() == [1, 1, 3, 4, 2, 4]


def test_items_clicked_so_far_can_be_left_out() -> None:
    # After 0, item 3 is first; after 0, 3, item 2 stands behind 1 alone, where all in all it is last; after 0, item 2 stands behind 3.
    found = rank_targets(ByLastItem(TABLE), Sessions.from_lists([[0, 3, 2], [0, 2, 1]]), exclude_session_items=True)
    assert found.ranks.tolist()[:3] == [1, 2, 2]
    # After 0, 2 all are equal; two of the four are left.
    assert found.ranks.tolist()[3] == 2


def test_leaving_items_out_leaves_the_models_scores_alone() -> None:
    class ForEveryoneTheSame(ByLastItem):
        """Hands out one row again and again, without a copy, as a model that only counts may do."""

        def score_all(self, queries: Queries) -> np.ndarray:
            return np.broadcast_to(self.table[0], (len(queries), self.n_items_))

    model = ForEveryoneTheSame(TABLE)
    found = rank_targets(model, Sessions.from_lists([[3, 2, 1], [2, 3, 0]]), exclude_session_items=True)
    assert found.ranks.tolist() == [1, 1, 1, 2]
    np.testing.assert_array_equal(model.table, TABLE)


@pytest.mark.parametrize("n_items", [4, 30])
def test_repeated_target_counts_as_missed_where_items_clicked_so_far_are_left_out(n_items: int) -> None:
    table = np.tile(np.arange(n_items, dtype=np.float32), (n_items, 1))
    best = n_items - 1
    found = rank_targets(ByLastItem(table), Sessions.from_lists([[0, best, best]]), exclude_session_items=True)
    # It is the best item, but serving would not show it again.
    assert found.ranks[0] == 1
    assert [float(gains(f"{name}@20", found.ranks)[1]) for name in ("recall", "mrr", "ndcg")] == [0.0, 0.0, 0.0]


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_lists_hold_the_best_items_in_order() -> None:
    rng = np.random.default_rng(1)
    model = ByLastItem(rng.permutation(900).reshape(30, 30))
    sessions = Sessions.from_lists([[4, 9, 2], [7, 1]])
    found = rank_targets(model, sessions, with_lists=True)
    assert found.lists.tolist() == np.argsort(-model.table[[4, 9, 7]], axis=1)[:, :20].tolist()


def test_lists_are_what_recommend_gives_ties_included() -> None:
    table = np.random.default_rng(2).integers(0, 3, (40, 40))  # three values for forty items
    model = ByLastItem(table)
    found = rank_targets(model, Sessions.from_lists([[4, 9, 2], [7, 1]]), with_lists=True)
    expected, _ = model.recommend(Sessions.from_lists([[4], [4, 9], [7]]), 20)
    assert found.lists.tolist() == expected.tolist()


@pytest.mark.parametrize("n_items", [6, 40])
def test_lists_never_hold_an_item_that_is_left_out(n_items: int) -> None:
    table = np.tile(np.arange(n_items, dtype=np.float32), (n_items, 1))
    sessions = Sessions.from_lists([[n_items - 1, n_items - 2, 0, 1]])
    found = rank_targets(ByLastItem(table), sessions, exclude_session_items=True, with_lists=True)
    for clicked, items in enumerate(found.lists.tolist(), start=1):
        assert not set(items) & set(sessions[0][:clicked].tolist())
    assert found.lists[0, 0] == n_items - 2


# --- Collapsed models -------------------------------------------------------------------------------------------------

SESSIONS = Sessions.from_lists([[0, 3, 1], [1, 2], [2, 0, 2, 3]])


def collapsed(scores: np.ndarray) -> None:
    refuse_collapsed(ByLastItem(scores), SESSIONS, SESSIONS.targets())


@pytest.mark.parametrize("score", [0.0, -3.5, 1e30, np.inf])
def test_model_that_scores_all_items_alike_is_refused_by_evaluation(score: float) -> None:
    model = ByLastItem(np.full((4, 4), score))
    with pytest.raises(TrainingError, match=r"collapsed: it scores all 4 items alike for each of 6 sessions .* lower learning_rate"):
        measure(model, SESSIONS, np.ones(4), EvaluationSettings(bootstrap=100))


def test_level_that_changes_with_the_session_does_not_tell_items_apart() -> None:
    with pytest.raises(TrainingError, match="collapsed"):
        collapsed(np.tile(np.arange(4.0)[:, None], (1, 4)))


def test_rounding_does_not_tell_items_apart() -> None:
    scores = np.full((4, 4), 1.0, dtype=np.float32)
    scores[:, 2] = np.nextafter(np.float32(1), np.float32(2))
    with pytest.raises(TrainingError, match="collapsed"):
        collapsed(scores)


def test_popularity_is_no_collapsed_model() -> None:
    collapsed(np.tile([5.0, 3.0, 3.0, 1.0], (4, 1)))


def test_one_session_that_tells_items_apart_is_enough() -> None:
    scores = np.ones((4, 4))
    scores[2, 1] = 2.0  # after item 2 only, which is the third session's
    collapsed(scores)


def test_nan_is_not_taken_for_a_collapsed_model() -> None:
    with pytest.raises(TrainingError, match="NaN"):
        measure(ByLastItem(np.full((4, 4), np.nan)), SESSIONS, np.ones(4), EvaluationSettings(bootstrap=100))


def test_nothing_can_be_said_of_a_single_item_or_of_no_prediction() -> None:
    refuse_collapsed(ByLastItem([[1.0]]), Sessions.from_lists([[0, 0]]), Sessions.from_lists([[0, 0]]).targets())
    refuse_collapsed(ByLastItem(np.ones((4, 4))), Sessions.from_lists([[0]]), Sessions.from_lists([[0]]).targets())


# --- Metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_known_by_hand() -> None:
    found = ranking_metrics(np.array([1, 2, 4, 21]), cutoffs=(1, 5, 20))
    assert found["recall"] == {"1": 0.25, "5": 0.75, "20": 0.75}
    assert found["mrr"] == {"1": 0.25, "5": pytest.approx(1.75 / 4), "20": pytest.approx(1.75 / 4)}
    dcg = 1 + 1 / np.log2(3) + 1 / np.log2(5)
    assert found["ndcg"] == {"1": 0.25, "5": pytest.approx(dcg / 4), "20": pytest.approx(dcg / 4)}


def test_the_cutoff_itself_is_a_hit() -> None:
    assert gains("recall@5", np.array([5, 6])).tolist() == [1.0, 0.0]
    assert gains("mrr@5", np.array([5, 6])).tolist() == [0.2, 0.0]


def test_misses_are_part_of_the_mean() -> None:
    assert ranking_metrics(np.array([1, 100, 100, 100]))["mrr"]["20"] == 0.25


def test_flat_names_hold_the_same_figures() -> None:
    ranks = np.array([1, 3, 8, 30])
    nested, flat = ranking_metrics(ranks), flat_metrics(ranks)
    assert set(flat) == {f"{name}@{cutoff}" for name in ("recall", "mrr", "ndcg") for cutoff in (1, 5, 10, 20)}
    assert all(flat[f"{name}@{cutoff}"] == value for name, values in nested.items() for cutoff, value in values.items())


def test_no_predictions_give_zeros() -> None:
    assert set(flat_metrics(np.empty(0, dtype=np.int64)).values()) == {0.0}


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="precision@5"):
        gains("precision@5", np.array([1]))


def test_coverage_is_the_share_of_items_recommended_at_all() -> None:
    assert coverage(np.array([[0, 1], [1, 2], [1, 0]]), n_items=6) == 0.5
    assert coverage(np.empty((0, 2), dtype=np.int32), n_items=6) == 0.0


def test_novelty_is_the_mean_self_information_in_bits() -> None:
    support = np.array([4, 2, 1, 1])  # shares 1/2, 1/4, 1/8, 1/8: 1, 2, 3, 3 bits
    assert novelty(np.array([[0, 1], [1, 2]]), support) == pytest.approx((1 + 2 + 2 + 3) / 4)
    assert novelty(np.array([[3]]), np.array([4, 2, 2, 0])) == pytest.approx(3.0)  # no click counts as one
    assert novelty(np.empty((0, 2), dtype=np.int32), support) == 0.0


# --- Intervals --------------------------------------------------------------------------------------------------------


def test_interval_lies_around_the_mean() -> None:
    values = np.random.default_rng(0).random(400)
    found = interval(values, np.arange(400), resamples=500, confidence=0.95)
    assert found["mean"] == pytest.approx(values.mean())
    # The mean's standard error is 1 / sqrt(12 * 400), about 0.0144; the interval reaches 1.96 of them to either side.
    assert found["mean"] - found["low"] == pytest.approx(0.0283, rel=0.2)
    assert found["high"] - found["mean"] == pytest.approx(0.0283, rel=0.2)
    narrow = interval(values, np.arange(400), resamples=500, confidence=0.6)
    assert found["low"] < narrow["low"] < narrow["mean"] < narrow["high"] < found["high"]


def test_values_that_are_all_the_same_leave_no_doubt() -> None:
    found = interval(np.full(9, 0.25), np.repeat([0, 1, 2], 3), resamples=100, confidence=0.95)
    assert found == {"mean": 0.25, "low": 0.25, "high": 0.25}


def test_whole_sessions_are_drawn() -> None:
    # Two sessions: every resample is all of the one, all of the other, or both. Predictions drawn one by one would stay close to 1/2.
    values, sessions = np.repeat([1.0, 0.0], 200), np.repeat([8, 3], 200)
    by_session = interval(values, sessions, resamples=300, confidence=0.9)
    assert by_session == {"mean": 0.5, "low": 0.0, "high": 1.0}
    one_by_one = interval(values, np.arange(400), resamples=300, confidence=0.9)
    assert 0.4 < one_by_one["low"] < one_by_one["high"] < 0.6


def test_long_sessions_weigh_by_their_predictions() -> None:
    # Resampled means are 3/3 (one in four), 3/4 (one in two) or 0/1 (one in four): over predictions, not over sessions (1/2).
    values, sessions = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0, 0, 0, 1])
    assert interval(values, sessions, resamples=300, confidence=0.2) == {"mean": 0.75, "low": 0.75, "high": 0.75}


def test_sessions_may_come_in_any_order_and_with_any_numbers() -> None:
    values, sessions = np.random.default_rng(0).random(60), np.repeat(np.arange(12), 5)
    expected = interval(values, sessions, resamples=200, confidence=0.9)
    shuffled = np.random.default_rng(1).permutation(60)
    found = interval(values[shuffled], (sessions * 7 + 1000)[shuffled], resamples=200, confidence=0.9)
    assert found == {name: pytest.approx(value) for name, value in expected.items()}


def test_no_predictions_give_an_interval_of_zeros() -> None:
    empty = np.empty(0)
    assert interval(empty, empty, resamples=100, confidence=0.95) == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_difference_has_the_sign_of_the_better_model() -> None:
    rng = np.random.default_rng(0)
    worse = rng.random(300)
    better = worse + 0.1 + 0.05 * rng.standard_normal(300)
    sessions = np.repeat(np.arange(100), 3)
    found = paired_difference(better, worse, sessions, resamples=300, confidence=0.95)
    # Paired: the spread of the values themselves (a standard error of 0.02 each) cancels, which leaves 0.05 / sqrt(300).
    assert 0.08 < found["low"] < found["mean"] < found["high"] < 0.12
    other_way = paired_difference(worse, better, sessions, resamples=300, confidence=0.95)
    assert other_way["mean"] == pytest.approx(-found["mean"])
    assert (other_way["low"], other_way["high"]) == (pytest.approx(-found["high"]), pytest.approx(-found["low"]))


def test_model_does_not_differ_from_itself() -> None:
    values = np.random.default_rng(0).random(50)
    assert paired_difference(values, values, np.arange(50), resamples=100, confidence=0.95) == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_truth_values_can_be_compared() -> None:
    hits_a, hits_b = np.array([True, True, False]), np.array([False, True, True])
    assert paired_difference(hits_a, hits_b, np.arange(3), resamples=100, confidence=0.9)["mean"] == 0.0


def test_the_seed_decides_the_resamples() -> None:
    values, sessions = np.random.default_rng(0).random(60), np.repeat(np.arange(20), 3)
    first, again, other = (interval(values, sessions, resamples=200, confidence=0.9, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["mean"] == other["mean"]
    assert (first["low"], first["high"]) != (other["low"], other["high"])
