"""The union of several models' lists, against the obvious way to make it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys.models.candidates import Candidates

ITEMS = 6


def lists(*rows: list[tuple[int, float]], length: int = 3) -> tuple[np.ndarray, np.ndarray]:
    items = np.full((len(rows), length), -1, np.int32)
    scores = np.full((len(rows), length), -np.inf, np.float32)
    for row, listed in enumerate(rows):
        for place, (item, score) in enumerate(listed):
            items[row, place], scores[row, place] = item, score
    return items, scores


def test_union_holds_every_listed_item_with_each_members_score_and_rank() -> None:
    found = Candidates.union([lists([(4, 9.0), (1, 5.0)]), lists([(1, 0.5), (0, 0.25), (2, 0.125)])], ITEMS)
    assert found.offsets.tolist() == [0, 4]
    assert found.items.tolist() == [0, 1, 2, 4]
    assert found.ranks.tolist() == [[0, 2], [2, 1], [0, 3], [1, 0]]
    # What a member does not list scores as the last that it lists.
    assert found.scores.tolist() == [[5.0, 0.25], [5.0, 0.5], [5.0, 0.125], [9.0, 0.125]]


def test_member_that_lists_nothing_scores_nothing() -> None:
    found = Candidates.union([lists([], [(2, 1.0)]), lists([(3, 2.0)], [])], ITEMS)
    assert (found.offsets.tolist(), found.items.tolist()) == ([0, 1, 2], [3, 2])
    assert found.scores.tolist() == [[0.0, 2.0], [1.0, 0.0]]
    assert found.ranks.tolist() == [[0, 1], [1, 0]]


def test_query_without_any_candidate_has_none() -> None:
    found = Candidates.union([lists([], [(2, 1.0)], [])], ITEMS)
    assert found.offsets.tolist() == [0, 0, 1, 1]
    assert found.places_of(np.array([2, 2, 2]), ITEMS).tolist() == [-1, 0, -1]
    items, scores = found.best(np.array([7.0], np.float32), 2)
    assert items.tolist() == [[-1, -1], [2, -1], [-1, -1]]
    assert np.isneginf(scores[0]).all()


def test_best_orders_by_score_then_item_and_leaves_minus_infinity_out() -> None:
    found = Candidates.union([lists([(5, 3.0), (1, 2.0), (0, 1.0)])], ITEMS)
    items, scores = found.best(np.array([2.0, 2.0, -np.inf], np.float32), 3)  # of the items 0, 1, 5
    assert items.tolist() == [[0, 1, -1]]
    assert scores.tolist() == [[2.0, 2.0, -np.inf]]


one_list = st.lists(st.tuples(st.integers(0, ITEMS - 1), st.integers(0, 4)), max_size=3, unique_by=lambda pair: pair[0])


@given(st.lists(st.tuples(one_list, one_list), min_size=1, max_size=4), st.data())
def test_union_places_and_selections_agree_with_a_plain_count(queries: list, data: st.DataObject) -> None:
    ordered = [[sorted(listed, key=lambda pair: -pair[1]) for listed in query] for query in queries]
    found = Candidates.union([lists(*[query[member] for query in ordered]) for member in range(2)], ITEMS)
    expected = [sorted({item for listed in query for item, _ in listed}) for query in ordered]
    assert [found.items[begin:end].tolist() for begin, end in zip(found.offsets, found.offsets[1:], strict=False)] == expected
    targets = np.array(data.draw(st.lists(st.integers(0, ITEMS - 1), min_size=len(queries), max_size=len(queries))))
    for query, place in enumerate(found.places_of(targets, ITEMS)):
        assert (place >= 0) == (targets[query] in expected[query])
        assert place < 0 or (found.items[place] == targets[query] and found.queries[place] == query)
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=len(queries), max_size=len(queries))), dtype=bool)
    parts = [found.of(chosen), found.of(~chosen)]
    kept = [items for items, taken in zip(expected, chosen, strict=True) if taken]
    assert [parts[0].items[begin:end].tolist() for begin, end in zip(parts[0].offsets, parts[0].offsets[1:], strict=False)] == kept
    joined = Candidates.concatenate(parts)
    assert joined.items.tolist() == [item for part in parts for item in part.items]
    assert joined.offsets[-1] == len(found.items)
    assert len(joined) == len(found)
