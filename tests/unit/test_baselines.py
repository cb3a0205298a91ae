"""The counting models, on sessions that can be counted by hand."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.models.interface import FitData, Model
from recsys.models.item_to_item import ItemToItem
from recsys.models.popularity import Popularity
from recsys.models.registry import load_model
from recsys.sessions.table import Sessions
from recsys.settings.baselines import ItemToItemParameters, PopularityParameters

HOUR = 3_600_000


def fit_data(sessions: Sequence[Sequence[int]], n_items: int, starts: Sequence[int] | None = None) -> FitData:
    table = Sessions.from_lists(sessions)
    if starts is not None:
        table = Sessions(table.items, table.offsets, starts=np.array(starts, dtype=np.int64))
    index = np.arange(n_items)
    support = np.bincount(table.items, minlength=n_items)
    items = pl.DataFrame({"index": index, "code": index, "item_id": [f"item-{i}" for i in index], "support": support})
    return FitData(table, items)


def scores(model: Model, *queries: Sequence[int]) -> np.ndarray:
    found = model.score_all(Sessions.from_lists(queries))
    assert found.dtype == np.float32
    assert found.shape == (len(queries), model.n_items_)
    return found


def assert_reads_back(model: Model, folder: Path) -> None:
    model.save(folder)
    read = load_model(folder)
    assert type(read) is type(model)
    assert (read.parameters, read.n_items_) == (model.parameters, model.n_items_)
    queries = Sessions.from_lists([[0], [1, 0], []])
    np.testing.assert_array_equal(read.score_all(queries), model.score_all(queries))


# --- Popularity -------------------------------------------------------------------------------------------------------


def test_popularity_scores_an_item_by_its_clicks() -> None:
    model = Popularity().fit(fit_data([[0, 1, 1], [1, 2], [0, 1]], n_items=5))
    assert scores(model, [2], [0, 0, 1], []).tolist() == [[2, 4, 1, 0, 0]] * 3


def test_popularity_recommends_the_most_clicked_first_and_ties_by_index() -> None:
    model = Popularity().fit(fit_data([[3, 1], [3, 1], [2, 4]], n_items=5))
    items, found = model.recommend(Sessions.from_lists([[0], [1]]), 4, exclude=Sessions.from_lists([[], [1]]))
    assert items.tolist() == [[1, 3, 2, 4], [3, 2, 4, 0]]
    assert found.tolist() == [[2, 2, 1, 1], [2, 1, 1, 0]]


def test_popularity_counts_only_the_last_sessions_where_a_window_is_set() -> None:
    sessions, starts = [[0, 0], [1, 2], [2, 3]], [0, 5 * HOUR, 7 * HOUR]
    data = fit_data(sessions, n_items=4, starts=starts)

    def counted(window: str) -> list[float]:
        return scores(Popularity(PopularityParameters(window=window)).fit(data), [0])[0].tolist()

    assert counted("1h") == [0, 0, 1, 1]
    assert counted("3h") == [0, 1, 2, 1]
    assert counted("7h") == [2, 1, 2, 1]  # a session that starts as the window opens is in it
    assert scores(Popularity().fit(data), [0])[0].tolist() == [2, 1, 2, 1]


def test_popularity_is_read_back_as_it_was(tmp_path: Path) -> None:
    assert_reads_back(Popularity(PopularityParameters(window="2h")).fit(fit_data([[0, 1], [1, 2]], 3, [0, HOUR])), tmp_path)


# --- Item to item -----------------------------------------------------------------------------------------------------


def item_to_item(sessions: Sequence[Sequence[int]], n_items: int, **parameters: object) -> ItemToItem:
    return ItemToItem(ItemToItemParameters(**{"last_items": 1} | parameters)).fit(fit_data(sessions, n_items))


def pair_scores(model: ItemToItem, *queries: Sequence[int]) -> np.ndarray:
    """The scores without the share of popularity that fills up the list, which is at most 0.0001."""
    return scores(model, *queries).round(3)


def test_followers_score_by_how_often_they_follow() -> None:
    # After 0: item 1 three times, item 2 once. After 1: item 2 once.
    model = item_to_item([[0, 1], [0, 1, 2], [0, 1], [0, 2]], n_items=4, reach=1)
    assert pair_scores(model, [0], [1], [2], [3]).tolist() == [[0, 1, pytest.approx(1 / 3, abs=1e-3), 0], [0, 0, 1, 0], [0] * 4, [0] * 4]


def test_pair_at_distance_d_counts_one_dth() -> None:
    # After 0: item 1 at distance 1, item 2 at 2, item 3 at 3.
    model = item_to_item([[0, 1, 2, 3]], n_items=4)
    np.testing.assert_allclose(pair_scores(model, [0], [1])[0], [0, 1, 1 / 2, 1 / 3], atol=1e-3)
    np.testing.assert_allclose(pair_scores(model, [0], [1])[1], [0, 0, 1, 1 / 2], atol=1e-3)


def test_reach_ends_the_pairs() -> None:
    model = item_to_item([[0, 1, 2, 3]], n_items=4, reach=2)
    np.testing.assert_allclose(pair_scores(model, [0])[0], [0, 1, 1 / 2, 0], atol=1e-3)


def test_pairs_stay_within_their_session() -> None:
    model = item_to_item([[0, 1], [2, 3]], n_items=4)
    np.testing.assert_allclose(pair_scores(model, [1], [0]), [[0, 0, 0, 0], [0, 1, 0, 0]], atol=1e-3)


def test_an_item_clicked_again_follows_itself() -> None:
    model = item_to_item([[0, 0, 1, 0]], n_items=2)
    # 0 -> 0 at the distances 1, 3 and 2: 1 + 1/3 + 1/2; 0 -> 1 at 2 and 1: 1/2 + 1; 1 -> 0 at 1.
    np.testing.assert_allclose(pair_scores(model, [0], [1]), [[1, 1.5 / (11 / 6)], [1, 0]], atol=1e-3)


def test_both_directions_count_where_asked_for() -> None:
    # Forward, nothing follows 2; in both directions 1 stands beside it and 0 two clicks away.
    assert pair_scores(item_to_item([[0, 1, 2]], 3), [2]).tolist() == [[0, 0, 0]]
    np.testing.assert_allclose(pair_scores(item_to_item([[0, 1, 2]], 3, direction="both"), [2], [1]), [[0.5, 1, 0], [1, 0, 1]], atol=1e-3)


def test_last_items_vote_with_falling_weight() -> None:
    sessions = [[0, 3], [1, 4], [2, 5]]
    alone = item_to_item(sessions, 6)
    np.testing.assert_allclose(pair_scores(alone, [0, 1, 2])[0], [0, 0, 0, 0, 0, 1], atol=1e-3)
    three = item_to_item(sessions, 6, last_items=3)
    np.testing.assert_allclose(pair_scores(three, [0, 1, 2])[0], [0, 0, 0, 1 / 3, 1 / 2, 1], atol=1e-3)
    np.testing.assert_allclose(pair_scores(three, [0, 0])[0], [0, 0, 0, 1 + 1 / 2, 0, 0], atol=1e-3)


def test_only_the_most_frequent_followers_are_kept() -> None:
    sessions = [[0, 1], [0, 2], [0, 2], [0, 3], [0, 3], [0, 3]]
    np.testing.assert_allclose(pair_scores(item_to_item(sessions, 4, neighbours=2), [0])[0], [0, 0, 2 / 3, 1], atol=1e-3)


def test_followers_kept_at_a_tie_have_the_smaller_index() -> None:
    np.testing.assert_allclose(pair_scores(item_to_item([[0, 3], [0, 1], [0, 2]], 4, neighbours=2), [0])[0], [0, 1, 1, 0], atol=1e-3)


def test_popularity_fills_the_list_behind_the_pairs() -> None:
    # After 0 only 1 is known; 3 is clicked more than 2, and 4 never.
    model = item_to_item([[0, 1], [3, 2], [3, 3, 3, 2], [3, 3]], n_items=5)
    items, _ = model.recommend(Sessions.from_lists([[0]]), 5)
    assert items[0].tolist() == [1, 3, 2, 0, 4]


def test_unseen_and_empty_sessions_get_the_popular_items() -> None:
    model = item_to_item([[0, 1], [2, 1], [2, 1]], n_items=4)
    items, _ = model.recommend(Sessions.from_lists([[3], [1], []]), 3)
    assert items.tolist() == [[1, 2, 0]] * 3


def test_sessions_without_a_pair_can_be_learned_from() -> None:
    model = item_to_item([[2, 2], [2, 2, 2], [0, 0]], n_items=3)
    items, _ = model.recommend(Sessions.from_lists([[2]]), 3)
    assert items[0].tolist() == [2, 0, 1]


def test_popularity_never_changes_an_order_that_counts_decide() -> None:
    # Item 1 follows item 0 once more than item 2 does, which is clicked three times as often altogether.
    n = 30_000
    pairs = np.concatenate([np.tile([0, 1], n + 1), np.tile([0, 2], n), np.tile([2, 2], n)]).astype(np.int32)
    train = Sessions(pairs, np.arange(0, len(pairs) + 1, 2, dtype=np.int64))
    data = FitData(train, pl.DataFrame({"index": [0, 1, 2], "support": np.bincount(pairs)}))
    items, _ = ItemToItem().fit(data).recommend(Sessions.from_lists([[0]]), 2)
    assert items[0].tolist() == [1, 2]


def slow_pair_scores(sessions: list[list[int]], query: list[int], n_items: int, reach: int, last_items: int, both: bool) -> np.ndarray:
    counts = np.zeros((n_items, n_items))
    for session in sessions:
        for i, earlier in enumerate(session):
            for j, later in enumerate(session):
                if i < j <= i + reach:
                    counts[earlier, later] += 1 / (j - i)
                    if both:
                        counts[later, earlier] += 1 / (j - i)
    total = np.zeros(n_items)
    for back, item in enumerate(reversed(query[-last_items:]), start=1):
        if counts[item].any():
            total += counts[item] / counts[item].max() / back
    return total


@settings(max_examples=50, deadline=None)
@given(
    sessions=st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=7), min_size=1, max_size=8),
    query=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    reach=st.integers(1, 4),
    last_items=st.integers(1, 3),
    both=st.booleans(),
)
def test_pairs_agree_with_counting(sessions: list[list[int]], query: list[int], reach: int, last_items: int, both: bool) -> None:
    model = item_to_item(sessions, 5, reach=reach, last_items=last_items, direction="both" if both else "forward")
    expected = slow_pair_scores(sessions, query, 5, reach, last_items, both)
    np.testing.assert_allclose(scores(model, query)[0], expected, atol=2e-4)


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_followers_lie_in_order_of_their_weight(direction: str) -> None:
    rng = np.random.default_rng(0)
    model = item_to_item([rng.integers(0, 9, 6).tolist() for _ in range(30)], 9, direction=direction, neighbours=5)
    assert model.offsets_[0] == 0
    assert model.offsets_[-1] == len(model.followers_) == len(model.weights_)
    for item in range(9):
        weights = model.weights_[model.offsets_[item] : model.offsets_[item + 1]]
        assert len(weights) <= 5
        assert weights[0] == 1
        assert all(left >= right for left, right in pairwise(weights))


def test_item_to_item_is_read_back_as_it_was(tmp_path: Path) -> None:
    assert_reads_back(item_to_item([[0, 1, 2], [1, 0]], 3, last_items=2), tmp_path)


@given(
    sessions=st.lists(st.lists(st.integers(0, 19), min_size=1, max_size=8), min_size=1, max_size=12),
    queries=st.lists(st.lists(st.integers(0, 19), max_size=6), min_size=1, max_size=4),
    k=st.integers(1, 20),
    leaves_out=st.booleans(),
)
def test_the_best_pairs_are_those_of_all_scores(sessions: list, queries: list, k: int, leaves_out: bool) -> None:
    model = item_to_item(sessions, 20, last_items=3, neighbours=5)
    asked = Sessions.from_lists(queries)
    exclude = asked if leaves_out else None
    for found, expected in zip(model.recommend(asked, k, exclude=exclude), Model.recommend(model, asked, k, exclude=exclude), strict=True):
        np.testing.assert_array_equal(found, expected)
