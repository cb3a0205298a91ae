"""Candidates: what several members list, against dictionaries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.models.candidates import Candidates, Lists, gone_on, only

N_ITEMS, N_QUERIES, LENGTH = 6, 3, 4
Row = tuple[list[int], list[int]]

# A list has some distinct items, best first, with falling scores of few values, so that there are ties and scores of either sign.
one_list = st.tuples(st.permutations(range(N_ITEMS)), st.lists(st.integers(-2, 2), max_size=LENGTH))
some_lists = st.lists(st.lists(one_list, min_size=N_QUERIES, max_size=N_QUERIES), min_size=1, max_size=3)
chosen_queries = st.lists(st.booleans(), min_size=N_QUERIES, max_size=N_QUERIES)


def as_lists(rows: list[Row], length: int = LENGTH) -> Lists:
    items = np.full((len(rows), length), -1, np.int32)
    scores = np.full((len(rows), length), -np.inf, np.float32)
    for row, (order, values) in enumerate(rows):
        items[row, : len(values)] = order[: len(values)]
        scores[row, : len(values)] = sorted(values, reverse=True)
    return items, scores


def union(drawn: list[list[Row]]) -> Candidates:
    return Candidates.union([as_lists(rows) for rows in drawn], N_ITEMS)


def by_query(candidates: Candidates) -> list[list[tuple[int, tuple[float, ...], tuple[int, ...]]]]:
    """Each query's candidates: item, scores, ranks."""
    rows = list(zip(candidates.items.tolist(), map(tuple, candidates.scores.tolist()), map(tuple, candidates.ranks.tolist()), strict=True))
    return [rows[begin:end] for begin, end in zip(candidates.offsets[:-1], candidates.offsets[1:], strict=True)]


def slow_union(lists: list[Lists]) -> list[list[tuple[int, tuple[float, ...], tuple[int, ...]]]]:
    queries = []
    for query in range(N_QUERIES):
        listed, floors = [], []
        for items, scores in lists:
            own = [(int(item), float(score)) for item, score in zip(items[query], scores[query], strict=True) if item >= 0]
            listed.append({item: (score, rank) for rank, (item, score) in enumerate(own, start=1)})
            floors.append((own[-1][1] if own else 0.0, 0))
        found = []
        for item in sorted(set().union(*listed)):
            told = [own.get(item, floor) for own, floor in zip(listed, floors, strict=True)]
            found.append((item, tuple(score for score, _ in told), tuple(rank for _, rank in told)))
        queries.append(found)
    return queries


def example() -> Candidates:
    """Two members; the second query has no candidate at all, the last one's are by one member alone."""
    first = as_lists([([4, 1], [3, 2]), ([], []), ([], [])], length=2)
    second = as_lists([([1, 0, 5], [-1, -2, -2]), ([], []), ([5, 2], [7, 7])], length=3)
    return Candidates.union([first, second], N_ITEMS)


def test_union_has_every_members_scores_and_ranks() -> None:
    found = example()
    assert by_query(found) == [
        [(0, (2, -2), (0, 2)), (1, (2, -1), (2, 1)), (4, (3, -2), (1, 0)), (5, (2, -2), (0, 3))],
        [],
        [(2, (0, 7), (0, 2)), (5, (0, 7), (0, 1))],
    ]
    assert (found.items.dtype, found.scores.dtype, found.ranks.dtype) == (np.int32, np.float32, np.int32)
    assert found.queries.tolist() == [0] * 4 + [2] * 2


@settings(max_examples=60)
@given(some_lists)
def test_union_is_that_of_dictionaries(drawn: list[list[Row]]) -> None:
    assert by_query(union(drawn)) == slow_union([as_lists(rows) for rows in drawn])


@pytest.mark.parametrize("n_queries", [0, 2])
def test_no_queries_and_no_candidates_are_no_special_case(n_queries: int) -> None:
    empty = Candidates.union([as_lists([([], [])] * n_queries)] * 2, N_ITEMS)
    assert (len(empty), empty.scores.shape) == (n_queries, (0, 2))
    assert empty.offsets.tolist() == [0] * (n_queries + 1)
    assert empty.places_of(np.zeros(n_queries, np.int32), N_ITEMS).tolist() == [-1] * n_queries
    items, scores = empty.best(np.empty(0, np.float32), 3)
    assert items.tolist() == [[-1] * 3] * n_queries
    assert np.isneginf(scores).all()
    assert empty.over_queries(np.empty(0, np.float32), np.maximum).shape == (0,)


@settings(max_examples=40)
@given(some_lists, st.lists(st.integers(0, N_ITEMS - 1), min_size=N_QUERIES, max_size=N_QUERIES))
def test_targets_are_found_where_they_stand(drawn: list[list[Row]], targets: list[int]) -> None:
    found = union(drawn)
    expected = []
    for query, target in enumerate(targets):
        own = range(found.offsets[query], found.offsets[query + 1])
        expected.append(next((place for place in own if found.items[place] == target), -1))
    assert found.places_of(np.array(targets, np.int32), N_ITEMS).tolist() == expected


@settings(max_examples=40)
@given(some_lists, chosen_queries, st.integers(1, 3))
def test_parts_are_those_of_lists(drawn: list[list[Row]], chosen: list[bool], step: int) -> None:
    found = union(drawn)
    rows = by_query(found)
    wanted = [own for own, wanted in zip(rows, chosen, strict=True) if wanted]
    some = found.of(np.array(chosen))
    assert by_query(some) == wanted
    assert by_query(Candidates.concatenate([found, some, found])) == [*rows, *wanted, *rows]
    each = enumerate(row for own in rows for row in own)
    stepped = {id(row) for place, row in each if place % step == 0}
    assert by_query(found.at(np.arange(0, len(found.items), step))) == [[row for row in own if id(row) in stepped] for own in rows]


@settings(max_examples=60)
@given(some_lists, st.integers(1, 8), st.data())
def test_the_best_are_those_of_sorting(drawn: list[list[Row]], k: int, data: st.DataObject) -> None:
    found = union(drawn)
    values = st.sampled_from([-np.inf, -1.0, 0.0, 2.5])
    scores = np.array(data.draw(st.lists(values, min_size=len(found.items), max_size=len(found.items))), np.float32)
    items, best = found.best(scores, k)
    assert (items.dtype, best.dtype, items.shape, best.shape) == (np.int32, np.float32, (N_QUERIES, k), (N_QUERIES, k))
    for query in range(N_QUERIES):
        own = slice(found.offsets[query], found.offsets[query + 1])
        listed = sorted(
            (-score, item) for score, item in zip(scores[own].tolist(), found.items[own].tolist(), strict=True) if score > -np.inf
        )
        expected = [(item, -score) for score, item in listed][:k]
        assert list(zip(items[query].tolist(), best[query].tolist(), strict=True)) == expected + [(-1, -np.inf)] * (k - len(expected))


@pytest.mark.parametrize(("reduce", "values"), [(np.maximum, [4, 9]), (np.minimum, [1, 5])])
def test_what_is_made_of_each_query_stands_at_its_candidates(reduce: np.ufunc, values: list[int]) -> None:
    given_values = np.array([3, 1, 4, 1, 5, 9], np.float32)
    assert example().over_queries(given_values, reduce).tolist() == [values[0]] * 4 + [values[1]] * 2
    last_is_empty = example().of(np.array([True, True, False]))
    assert last_is_empty.over_queries(given_values[:4], reduce).tolist() == [values[0]] * 4


@settings(max_examples=60)
@given(some_lists, st.integers(1, N_ITEMS), st.integers(0, LENGTH))
def test_a_list_goes_on_by_the_best_place_that_a_member_gives(drawn: list[list[Row]], k: int, own: int) -> None:
    lists = [as_lists(rows) for rows in drawn]
    # The first member's list, cut, stands for what was combined.
    combined = np.full((N_QUERIES, k), -1, np.int32), np.full((N_QUERIES, k), -np.inf, np.float32)
    for part, values in zip(combined, lists[0], strict=True):
        part[:, : min(own, k)] = values[:, : min(own, k)]
    items, scores = gone_on(combined, lists, N_ITEMS)
    for query in range(N_QUERIES):
        first = [item for item in combined[0][query].tolist() if item >= 0]
        places: dict[int, tuple[int, int]] = {}
        for number, (listed, _) in enumerate(lists):
            for place, item in enumerate(listed[query].tolist()):
                if item >= 0:
                    places[item] = min(places.get(item, (place, number)), (place, number))
        expected = (first + sorted(set(places) - set(first), key=places.__getitem__))[:k]
        assert items[query].tolist() == expected + [-1] * (k - len(expected))
        np.testing.assert_array_equal(scores[query, : len(first)], combined[1][query, : len(first)])
        assert np.isfinite(scores[query, : len(expected)]).all()
        assert (np.diff(scores[query, max(len(first) - 1, 0) : len(expected)]) < 0).all()
        assert np.isneginf(scores[query, len(expected) :]).all()


@pytest.mark.parametrize("score", [0.0, 1.0, -1.0, 3e-7, 1023.9999, -65_535.99, 1e30])
def test_scores_behind_the_end_fall_whatever_they_fall_from(score: float) -> None:
    number = 20_000
    best = np.full((1, number), -1, np.int32), np.full((1, number), -np.inf, np.float32)
    best[0][0, 0], best[1][0, 0] = 7, score
    every = np.arange(number, dtype=np.int32)[None], np.zeros((1, number), np.float32)
    items, scores = gone_on(best, [every], number)
    assert items[0].tolist() == [7, *(item for item in range(number) if item != 7)]
    assert (np.diff(scores[0]) < 0).all()
    assert scores[0, 0] - scores[0, -1] < 0.02 * max(abs(score), 1)


def test_only_the_chosen_items_stay() -> None:
    lists = np.array([[4, 1, 5, 0], [2, -1, -1, -1]], np.int32), np.array([[3, 2, 1, 0], [9, -np.inf, -np.inf, -np.inf]], np.float32)
    items, scores = only(lists, np.array([5, 4, 2]), N_ITEMS, 3)
    assert items.tolist() == [[4, 5, -1], [2, -1, -1]]
    assert scores.tolist() == [[3, 1, -np.inf], [9, -np.inf, -np.inf]]
    assert (items.dtype, scores.dtype) == (np.int32, np.float32)
