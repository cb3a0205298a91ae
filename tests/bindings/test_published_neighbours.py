"""Session-kNN set to published formulas, which stand here as their papers have them: one query, plain lists.

A factor that is the same for all items of a query changes no order, so that scores are compared beside the highest one.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.sessions.table import Sessions
from rust_sessionizer.neighbours import Index, Parameters

N_ITEMS = 8
BEGIN, STEP = 1_500_000_000_000, 7_000
"""Milliseconds: when the first session starts, and how much later than the one before each of the others does."""


def votes(sessions: Sequence[Sequence[int]], query: Sequence[int], **chosen: Any) -> dict[int, float]:
    """What the extension scores the items that are voted for, beside the highest."""
    table, asked = Sessions.from_lists(sessions), Sessions.from_lists([query])
    starts = BEGIN + STEP * np.arange(len(sessions), dtype=np.int64)
    index = Index.build(table.items, table.offsets, n_items=N_ITEMS, starts=starts, threads=1)
    scores = index.score_all((asked.items, asked.offsets[:-1], asked.offsets[1:]), Parameters(max_length=64, **chosen))[0]
    return beside_the_highest({item: float(score) for item, score in enumerate(scores) if score > 0})


def beside_the_highest(scores: dict[int, float]) -> dict[int, float]:
    return {item: score / max(scores.values()) for item, score in scores.items()}


def vs_knn(
    sessions: Sequence[Sequence[int]], query: Sequence[int], sample: int, neighbours: int, decay: Callable[[int, int], float]
) -> dict[int, float]:
    """Ludewig & Jannach, UMUAI 2018: the dot product of the query, whose items weigh by their positions, with a session's set of items.

    `decay` is what a neighbour's vote counts, by the steps from the end of the query to the last item that it shares, and the query's
    length; the paper leaves open which of equally similar sessions is taken: here, the more recent one.
    """
    position = {item: place for place, item in enumerate(query, start=1)}  # of an item clicked twice, the last
    weight = {item: place / len(query) for item, place in position.items()}
    shared = [set(session) & set(query) for session in sessions]
    compared = [number for number, items in enumerate(shared) if items][-sample:]
    similarity = {number: sum(weight[item] for item in shared[number]) for number in compared}
    scores: dict[int, float] = defaultdict(float)
    for number in sorted(compared, key=lambda number: (-similarity[number], -number))[:neighbours]:
        steps = len(query) + 1 - max(position[item] for item in shared[number])
        for item in set(sessions[number]):
            scores[item] += similarity[number] * decay(steps, len(query))
    return beside_the_highest(scores)


session = st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=6)
# Positions over these lengths, and their sums, are exact, so that sessions as similar on paper are as similar in the machine.
query = st.sampled_from([1, 2, 4, 8]).flatmap(lambda length: st.lists(st.integers(0, N_ITEMS - 1), min_size=length, max_size=length))


@pytest.mark.parametrize(
    ("decay", "chosen"),
    [
        (lambda steps, length: 1.0, {"anchor_decay": "none"}),
        (lambda steps, length: 1 / steps, {"anchor_decay": "harmonic", "anchor_scale": 1.0}),
        (lambda steps, length: (length + 1 - steps) / length, {"anchor_decay": "length"}),
    ],
    ids=["alike, V-SKNN", "1 / steps, session-rec", "position / length, S-SKNN"],
)
@settings(deadline=None, max_examples=80)
@given(sessions=st.lists(session, max_size=14), query=query, sample=st.integers(1, 10), neighbours=st.integers(1, 6))
def test_vs_knn_is_a_setting(
    decay: Callable[[int, int], float],
    chosen: dict[str, Any],
    sessions: list[list[int]],
    query: list[int],
    sample: int,
    neighbours: int,
) -> None:
    found = votes(
        sessions,
        query,
        sample=sample,
        neighbours=neighbours,
        query_decay="length",
        idf_similarity=0,
        length_norm=0,
        distance_decay="none",
        before=1,
        **chosen,
    )
    assert found == pytest.approx(vs_knn(sessions, query, sample, neighbours, decay), rel=1e-5)


def stan(
    sessions: Sequence[Sequence[int]], query: Sequence[int], neighbours: int, scales: tuple[float, float, float], after: float = math.inf
) -> dict[int, float]:
    """Garg et al., SIGIR 2019, with i* the shared item clicked last in the query; sessions hold no item twice.

    `scales` are lambda 1 (clicks), lambda 2 (seconds) and lambda 3 (clicks); `after` is V-STAN's, of the clicks after i* in the query.
    """
    in_query, in_time, in_session = scales
    position = {item: place for place, item in enumerate(query)}
    weight = {item: math.exp((place - (len(query) - 1)) / in_query) for item, place in position.items()}
    now = (len(sessions) + 3) * STEP / 1_000  # the query comes a little later
    length = math.sqrt(sum(own * own for own in weight.values()))
    shared = [set(session) & set(query) for session in sessions]
    compared = [number for number, items in enumerate(shared) if items]
    similarity = {}
    for number in compared:
        cosine = sum(weight[item] for item in sorted(shared[number])) / (length * math.sqrt(len(sessions[number])))
        similarity[number] = cosine * math.exp(-(now - number * STEP / 1_000) / in_time)
    scores: dict[int, float] = defaultdict(float)
    for number in sorted(compared, key=lambda number: -similarity[number])[:neighbours]:
        anchor = max(shared[number], key=position.__getitem__)
        vote = similarity[number] * math.exp((position[anchor] - (len(query) - 1)) / after)
        for place, item in enumerate(sessions[number]):
            scores[item] += vote * math.exp(-abs(place - sessions[number].index(anchor)) / in_session)
    return beside_the_highest(scores)


SCALES = (1.02, 55.0, 2.05)
STAN = {
    "sample": 0,
    "query_decay": "exponential",
    "query_scale": SCALES[0],
    "idf_similarity": 0,
    "recency": round(1_000 * SCALES[1]),
    "distance_decay": "exponential",
    "distance_scale": SCALES[2],
    "before": 1,
}
different = st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=6, unique=True)
clicks = st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=7)


@settings(deadline=None, max_examples=80)
@given(sessions=st.lists(different, max_size=14), query=clicks, neighbours=st.integers(1, 6))
def test_stan_is_a_setting_where_no_session_holds_an_item_twice(sessions: list[list[int]], query: list[int], neighbours: int) -> None:
    assert votes(sessions, query, neighbours=neighbours, **STAN) == pytest.approx(stan(sessions, query, neighbours, SCALES), rel=1e-5)


@settings(deadline=None, max_examples=80)
@given(sessions=st.lists(different, max_size=14), query=clicks, neighbours=st.integers(1, 6))
def test_v_stan_without_its_idf_is_a_setting(sessions: list[list[int]], query: list[int], neighbours: int) -> None:
    found = votes(sessions, query, neighbours=neighbours, **STAN, anchor_decay="exponential", anchor_scale=1.4)
    assert found == pytest.approx(stan(sessions, query, neighbours, SCALES, after=1.4), rel=1e-5)


def test_where_the_published_code_differs() -> None:
    near = {"query_decay": "none", "idf_similarity": 0, "length_norm": 0, "distance_decay": "harmonic", "distance_scale": 1.0, "before": 1}
    # The query clicked 0 last, the neighbour 1: votes fall with the distance to 0.
    assert votes([[0, 2, 1, 3]], [1, 0], **near) == pytest.approx({0: 1, 2: 1 / 2, 1: 1 / 3, 3: 1 / 4})
    # Of the two places of 0, each click is voted for from the nearer one; of the two clicks of 2, the better one counts, or both do.
    assert votes([[2, 0, 1, 3, 0, 2]], [0], **near) == pytest.approx({0: 1, 1: 1 / 2, 2: 1 / 2, 3: 1 / 2})
    assert votes([[0, 2, 2]], [0], **near, repeats="sum") == pytest.approx({0: 1, 2: 1 / 2 + 1 / 3})
    # A length is its clicks, not its different items: 1 is voted for by a session of four clicks, 2 by one of two.
    assert votes([[0, 1, 1, 1], [0, 2]], [0], **near | {"length_norm": 1, "distance_decay": "none"}) == pytest.approx(
        {0: 1, 1: 1 / 3, 2: 2 / 3}
    )
    # The idf of a score is ln(1 + sessions / sessions with the item), to a power, whatever the clicks.
    found = votes([[0, 1, 1], [0, 2], [2]], [0], **near | {"distance_decay": "none"}, idf_score=1.0, same=0)
    assert found == pytest.approx({1: 1, 2: math.log(1 + 3 / 2) / math.log(1 + 3)})


def test_a_query_is_its_last_clicks_alone() -> None:
    every = {"query_decay": "none", "idf_similarity": 0, "length_norm": 0, "distance_decay": "none", "before": 1, "same": 0}
    sessions = [[0, 1, 2], [2, 3]]

    def of(query: list[int], max_length: int, **chosen: Any) -> list[float]:
        table, asked = Sessions.from_lists(sessions), Sessions.from_lists([query])
        index = Index.build(table.items, table.offsets, n_items=5, threads=1)
        chosen = every | chosen | {"max_length": max_length}
        return index.score_all((asked.items, asked.offsets[:-1], asked.offsets[1:]), Parameters(**chosen))[0].round(6).tolist()

    # Where only the last click is looked at, 1 is voted for, but is not the query's: its score is not doubled.
    assert of([1, 0], 1, own=2) == [-0.5, 1, 1, -0.5, -1]
    assert of([1, 0], 2, own=2) == [-0.5, 4, 2, -0.5, -1]
    # And it is asked in the second round, for 0 and 2; otherwise it is 2, the best item that the query does not hold, for 0, 1 and 3.
    assert of([1, 0], 1, expand=1, expand_weight=1) == [1, 1, 2, -0.5, -1]
    assert of([1, 0], 2, expand=1, expand_weight=1) == [2, 4, 2, 2, -1]
    # Of two items to be asked, a round that looks at one click asks the better one alone.
    assert of([0], 1, expand=2, expand_weight=1) == [1, 1, 2, -0.5, -1]
    assert of([0], 2, expand=2, expand_weight=1) == [1, 1, 2, 0.5, -1]
