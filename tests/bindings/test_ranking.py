"""The extension's ranking against a matrix of scores, and what it refuses."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rust_sessionizer as rs
from recsys.errors import TrainingError
from recsys.evaluation.measure import measure
from recsys.models.gru4rec import GRU4Rec
from recsys.models.gru4rec_forward import initial_arrays
from recsys.models.interface import Model
from recsys.models.scores import EXCLUDED, rank_scores
from recsys.sessions.table import Positions, Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.settings.training import EvaluationSettings
from rust_sessionizer import ranking


def arrays(n_queries: int, n_items: int, width: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Queries and items whose scores are whole numbers, exact in any order of addition, with many ties."""
    generator = np.random.default_rng(seed)
    return {
        "outputs": generator.integers(-3, 4, (n_queries, width)).astype(np.float32),
        "table": generator.integers(-3, 4, (n_items, width)).astype(np.float32),
        "bias": generator.integers(-3, 4, n_items).astype(np.float32),
        "targets": generator.integers(0, n_items, n_queries).astype(np.int32),
    }


@settings(deadline=None)
@given(data=st.data())
def test_ranks_and_lists_are_those_of_a_matrix_of_scores(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=40))
    n_items = data.draw(st.integers(1, 60))
    generator = np.random.default_rng(data.draw(st.integers(0, 9)))
    sessions = Sessions.from_lists([generator.integers(0, n_items, length) for length in lengths])
    positions = sessions.targets()
    found = arrays(len(positions), n_items, data.draw(st.integers(1, 9))) | {"targets": positions.target}
    length = data.draw(st.integers(0, n_items))
    exclude = data.draw(st.booleans())
    scores = found["outputs"] @ found["table"].T + found["bias"]
    ranks, lists = rank_scores([scores], sessions, positions, length, exclude)
    excluded = (sessions.offsets[positions.session], positions.click, sessions.items) if exclude else None
    fused = ranking.rank(**found, excluded=excluded, length=length, threads=2)
    np.testing.assert_array_equal(fused.ranks, ranks)
    np.testing.assert_array_equal(fused.items, lists)
    assert (fused.ranks.dtype, fused.items.dtype) == (np.int64, np.int32)


def test_number_of_threads_does_not_show() -> None:
    generator = np.random.default_rng(1)
    found = arrays(1_000, 777, 40)
    found["outputs"] = generator.standard_normal(found["outputs"].shape, dtype=np.float32)
    found["table"] = generator.standard_normal(found["table"].shape, dtype=np.float32)
    alone = ranking.rank(**found, length=20, threads=1)
    for threads in (2, 3, 16):
        together = ranking.rank(**found, length=20, threads=threads)
        np.testing.assert_array_equal(together.ranks, alone.ranks)
        np.testing.assert_array_equal(together.items, alone.items)
    # Rounding may move a rank by the items whose scores differ in the last digit only.
    ranks, _ = rank_scores([found["outputs"] @ found["table"].T + found["bias"]], None, Positions(None, found["targets"], found["targets"]))
    assert np.abs(alone.ranks - ranks).max() <= 1


def test_items_that_equal_the_target_count_against_it() -> None:
    generator = np.random.default_rng(2)
    table = np.tile(generator.standard_normal(300, dtype=np.float32), (50, 1))
    outputs = generator.standard_normal((9, 300), dtype=np.float32)
    found = ranking.rank(outputs, table, np.zeros(50, np.float32), np.arange(9, dtype=np.int32), length=2, threads=1)
    assert found.ranks.tolist() == [50] * 9
    assert found.items.tolist() == [[0, 1]] * 9


def test_target_that_is_left_out_is_missed() -> None:
    found = arrays(2, 4, 3) | {"targets": np.array([1, 2], np.int32)}
    excluded = (np.array([0, 1]), np.array([1, 2]), np.array([1, 1], np.int32))
    left = ranking.rank(**found, excluded=excluded, length=4, threads=1)
    assert left.ranks[0] == EXCLUDED
    assert left.ranks[1] <= 3
    assert left.items[:, 3].tolist() == [-1, -1]
    assert 1 not in left.items


def test_nan_is_refused_with_the_query() -> None:
    found = arrays(400, 30, 3)
    found["outputs"][[310, 290], 1] = np.nan
    with pytest.raises(ranking.ScoreError, match="query 290 scores item 0 as NaN"):
        ranking.rank(**found, threads=2)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"outputs": np.zeros((3, 2))}, rs.ColumnError, "'outputs' must be a NumPy array of float32 with 2 dimension"),
        ({"outputs": [[0.0, 1.0]]}, rs.ColumnError, "'outputs' must be a NumPy array"),
        ({"outputs": np.zeros((3, 5), np.float32)}, rs.ColumnError, "'outputs' has rows of 5 entries and 'table' of 2"),
        ({"outputs": np.zeros((2, 3), np.float32).T}, rs.ColumnError, "'outputs' must be C-contiguous"),
        ({"table": np.zeros((9, 2), np.float32)}, rs.ColumnError, "'table' has 18 entries where 8 are needed"),
        ({"bias": np.zeros((4, 1), np.float32)}, rs.ColumnError, "'bias' must be a NumPy array of float32 with 1 dimension"),
        ({"targets": np.zeros(3, np.int64)}, rs.ColumnError, "'targets' must be a NumPy array of int32"),
        ({"targets": np.array([0, 4, 1], np.int32)}, rs.ColumnError, "'targets' holds the item 4"),
        ({"targets": np.array([0, -1, 1], np.int32)}, rs.ColumnError, "'targets' holds the item -1"),
        ({"excluded": (np.zeros(3, int), np.full(3, 2), np.zeros(1, np.int32))}, rs.ColumnError, "query 0 leaves out the entries 0 to 2"),
        ({"threads": 0}, rs.SettingError, "threads is 0"),
    ],
)
def test_what_cannot_be_ranked_is_refused(change: dict, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        ranking.rank(**arrays(3, 4, 2) | {"threads": 1} | change)


def test_other_threads_run_meanwhile(others_run: Callable[[Callable[[], object]], bool]) -> None:
    found = arrays(1_000, 5_000, 64)
    assert others_run(lambda: ranking.rank(**found, threads=1))


# --- In GRU4Rec -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> GRU4Rec:
    """A model of two layers that was not trained."""
    parameters = GRU4RecParameters(layers=[12, 8])
    model = GRU4Rec(parameters)
    model.n_items_ = 90
    generator = np.random.default_rng(4)
    model.set_arrays(initial_arrays(90, parameters, 4) | {"item_bias": generator.standard_normal(90, dtype=np.float32)})
    return model


@pytest.mark.parametrize("exclude", [False, True])
def test_gru4rec_ranks_as_it_scores(model: GRU4Rec, exclude: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.models.gru4rec._ENCODE_CLICKS", 40)
    generator = np.random.default_rng(5)
    sessions = Sessions.from_lists([generator.integers(0, 90, length) for length in (2, 7, 1, 0, 60, 3, 12)])
    every = sessions.targets()
    last = sessions.offsets[1:][sessions.lengths > 0] - 1
    # The first click of the third session is predicted from nothing.
    lasts = Positions(np.flatnonzero(sessions.lengths), last, sessions.items[last])
    for positions in (every, lasts):
        ranks, lists = model.rank_positions(sessions, positions, 20, exclude)
        scores = Model.score_positions(model, sessions, positions, 7)
        by_scores, lists_by_scores = rank_scores(scores, sessions, positions, 20, exclude)
        np.testing.assert_array_equal(ranks, by_scores)
        np.testing.assert_array_equal(lists, lists_by_scores)


def test_gru4rec_says_what_to_do_about_nan(model: GRU4Rec) -> None:
    broken = GRU4Rec(model.parameters)
    broken.n_items_ = model.n_items_
    broken.set_arrays(model.arrays() | {"item_bias": np.full(90, np.nan, np.float32)})
    sessions = Sessions.from_lists([[1, 2, 3]])
    with pytest.raises(TrainingError, match="scores an item as NaN.* lower its learning_rate"):
        broken.rank_positions(sessions, sessions.targets())


def test_gru4rec_without_weights_is_collapsed(model: GRU4Rec) -> None:
    collapsed = GRU4Rec(model.parameters)
    collapsed.n_items_ = model.n_items_
    collapsed.set_arrays({name: np.zeros_like(array) for name, array in model.arrays().items()})
    sessions = Sessions.from_lists([[1, 2, 3]])
    assert collapsed.rank_positions(sessions, sessions.targets())[0].tolist() == [90, 90]
    with pytest.raises(TrainingError, match="collapsed"):
        measure(collapsed, sessions, np.ones(90), EvaluationSettings(bootstrap=100))
