"""What sessions say of items and of candidates, counted by hand."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.models.candidates import Candidates
from recsys.models.item_facts import ItemFacts, facts_of_candidates
from recsys.sessions.table import Sessions

ITEMS = 5


def candidates(*queries: list[int]) -> Candidates:
    offsets = np.concatenate([[0], np.cumsum([len(query) for query in queries])]).astype(np.int64)
    items = np.array([item for query in queries for item in query], np.int32)
    return Candidates(offsets, items, np.zeros((len(items), 1), np.float32), np.ones((len(items), 1), np.int32))


def test_items_are_counted_over_the_training_sessions() -> None:
    facts = ItemFacts.of(Sessions.from_lists([[0, 1, 0], [1, 2], [2, 2], [3, 0]]), ITEMS, recent=0.5, least=1)
    assert facts.clicks[:4].tolist() == [3, 2, 3, 1]
    assert facts.age[:4].tolist() == pytest.approx([0, 2 / 3, 1 / 3, 0])
    # The last half of the sessions: 2 twice, 3 and 0 once.
    share = [(clicks + 1) / (9 + 5) for clicks in (3, 2, 3, 1)]
    late = [(clicks + 1) / (4 + 5) for clicks in (1, 0, 2, 1)]
    np.testing.assert_allclose(facts.trend[:4], np.log(np.array(late) / share), rtol=1e-6)
    assert facts.repeats.tolist() == pytest.approx([2 / 13, 1 / 12, 2 / 13, 1 / 11, 1 / 10])
    one, two = np.array([0, 1, 2, 3]), np.array([1, 0, 2, 0])
    assert facts.followed(0, one, two).tolist() == [1, 1, 1, 1]
    assert facts.followed(1, np.array([0, -1]), np.array([0, 0])).tolist() == [1, 0]


def test_items_with_few_clicks_look_alike() -> None:
    train = Sessions.from_lists([[0, 0, 3], [1, 2, 2], [0, 3], [2, 1, 0], [3, 3, 3, 0]])
    # 1 has two clicks, 4 none: told apart from the others, not from each other.
    facts = ItemFacts.of(train, ITEMS, recent=0.2, least=3)
    found = facts_of_candidates(facts, Sessions.from_lists([[0], [1], [4]]), candidates([1, 4], [0], [0]))
    of_items = ("clicks in training", "trend", "age", "repeats")
    few = [3, 0, 0.5, 0.1]
    assert [found[name][0] for name in of_items] == pytest.approx(few)
    assert [found[name][1] for name in of_items] == pytest.approx(few)
    assert found["clicks in training"][2] == 5
    assert found["last item's clicks"].tolist() == [5, 5, 3, 3]
    assert found["last item's repeats"].tolist() == pytest.approx([2 / 15, 2 / 15, 0.1, 0.1])
    assert found["followed last"].tolist() == [0, 0, 1, 0]
    assert found["share that followed last"].tolist() == pytest.approx([0, 0, 1 / 3, 0])  # once in two clicks, read as three


def test_candidates_are_seen_in_the_light_of_their_session() -> None:
    facts = ItemFacts.of(
        Sessions.from_lists([[0, 1, 2], [0, 1], [1, 3]]), ITEMS, recent=0.5, least=1, categories=np.array([7, 7, 8, -1, 8], np.int32)
    )
    queries = Sessions.from_lists([[1, 0, 1], []])
    found = facts_of_candidates(facts, queries, candidates([0, 1, 2], [3]))
    assert found["length"].tolist() == [3, 3, 3, 0]
    assert found["times clicked"].tolist() == [1, 2, 0, 0]
    assert found["clicks since"].tolist() == [1, 0, 50, 50]
    assert found["distinct share"].tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0])
    assert found["followed last"].tolist() == [0, 0, 1, 0]
    assert found["share that followed last"].tolist() == pytest.approx([0, 0, 1 / 3, 0])
    assert found["followed the one before, skipping one"].tolist() == [0, 0, 1, 0]
    assert found["followed by last"].tolist() == [2, 0, 0, 0]
    assert found["last item's category"].tolist() == [1, 1, 0, 0]
    assert found["category's share"].tolist() == pytest.approx([1, 1, 0, 0])


def test_without_categories_nothing_is_of_the_same() -> None:
    facts = ItemFacts.of(Sessions.from_lists([[0, 1]]), ITEMS, recent=0.5, least=1)
    found = facts_of_candidates(facts, Sessions.from_lists([[0]]), candidates([0, 1]))
    assert found["last item's category"].tolist() == found["category's share"].tolist() == [0, 0]


sessions = st.lists(st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=6), min_size=1, max_size=6)


@given(sessions, sessions)
def test_counts_agree_with_a_plain_count(train: list[list[int]], asked: list[list[int]]) -> None:
    facts = ItemFacts.of(Sessions.from_lists(train), ITEMS, recent=0.3, least=1)
    after = Counter(pair for session in train for pair in pairwise(session))
    queries = Sessions.from_lists(asked)
    found = facts_of_candidates(facts, queries, candidates(*[list(range(ITEMS))] * len(asked)))
    for query, clicked in enumerate(asked):
        for item in range(ITEMS):
            row = query * ITEMS + item
            assert found["followed last"][row] == after[clicked[-1], item]
            assert found["followed by last"][row] == after[item, clicked[-1]]
            assert found["times clicked"][row] == clicked.count(item)
            assert found["clicks since"][row] == (clicked[::-1].index(item) if item in clicked else 50)
