"""The extension's network and item index against NumPy, and what they refuse."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.models.gru4rec_forward import cell, count_layers, initial_arrays, outputs
from recsys.sessions.table import Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from rust_sessionizer import ColumnError, SettingError
from rust_sessionizer.inference import Network
from rust_sessionizer.ranking import ItemIndex, ScoreError, rank

N_ITEMS = 30
SHAPES = [
    {"layers": [24]},
    {"layers": [16, 10]},
    {"layers": [20, 7, 5], "embedding": "separate", "embedding_width": 9},
    {"layers": [12, 12], "embedding": "none"},
]


def arrays_of(**parameters: object) -> dict[str, np.ndarray]:
    arrays = initial_arrays(N_ITEMS, GRU4RecParameters(**parameters), seed=3)
    random = np.random.default_rng(4)
    return {name: array + random.normal(0, 0.3, array.shape).astype(np.float32) for name, array in arrays.items()}


def sessions_of(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    sessions = Sessions.from_lists(lists)
    return sessions.items.astype(np.int32), sessions.offsets.astype(np.int64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=30)
@given(lists=st.lists(st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=12), min_size=1, max_size=9))
def test_states_are_those_of_the_model(shape: dict, lists: list[list[int]]) -> None:
    arrays = arrays_of(**shape)
    network = Network(arrays)
    states = network.states(*sessions_of(lists))
    assert [own.shape for own in states] == [(len(lists), units) for units in shape["layers"]]
    expected = outputs(arrays, Sessions.from_lists(lists))[np.cumsum([len(session) for session in lists]) - 1]
    np.testing.assert_allclose(states[-1], expected, rtol=1e-4, atol=2e-6)
    alone = network.states(*sessions_of(lists[:1]))
    for own, one in zip(states, alone, strict=True):
        np.testing.assert_array_equal(own[0], one[0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_click_at_a_time_gives_the_whole_sessions_states(shape: dict) -> None:
    arrays = arrays_of(**shape)
    network = Network(arrays)
    lists = [[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]]
    states = network.states(*sessions_of([[], []]))
    slow = [np.zeros_like(own) for own in states]
    for click in range(6):
        clicked = np.array([session[click] for session in lists], np.int32)
        states = network.step(clicked, states)
        entered = arrays.get("input_table", arrays["item_table"])[clicked]
        for layer in range(count_layers(arrays)):
            entered = slow[layer] = cell(arrays, layer, entered, slow[layer])
        for own, at_once, expected in zip(states, network.states(*sessions_of([s[: click + 1] for s in lists])), slow, strict=True):
            np.testing.assert_array_equal(own, at_once)
            np.testing.assert_allclose(own, expected, rtol=1e-4, atol=2e-6)


def test_networks_share_the_table_of_an_index() -> None:
    arrays = arrays_of(layers=[16, 10, 12])
    beside = np.ones((N_ITEMS, 3), np.float32)
    index = ItemIndex(np.concatenate([beside, arrays["item_table"], beside], axis=1), arrays["item_bias"])
    layers = {name: array for name, array in arrays.items() if "table" not in name}
    asked = sessions_of([[3, 1, 4], [], [1, 5]])
    for own, shared in zip(Network(arrays).states(*asked), Network(layers, index, column=3).states(*asked), strict=True):
        np.testing.assert_array_equal(own, shared)
    with pytest.raises(SettingError, match="the last column that enters is 19; it must be within the table"):
        Network(layers, index, column=7)


def test_a_network_says_what_does_not_fit() -> None:
    arrays = arrays_of(layers=[8])
    assert repr(Network(arrays)) == "<Network: layers [8] over 30 items>"
    with pytest.raises(ColumnError, match=r"there is no array 'bias_input.0'"):
        Network({name: array for name, array in arrays.items() if name != "bias_input.0"})
    with pytest.raises(ColumnError, match=r"'weight_hidden.0' must be a NumPy array of float32 with 2"):
        Network(arrays | {"weight_hidden.0": arrays["weight_hidden.0"].astype(np.float64)})
    with pytest.raises(ColumnError, match=r"'weight_hidden.0' has 96 entries where 192 are needed"):
        Network(arrays | {"weight_hidden.0": arrays["weight_hidden.0"][:12]})
    with pytest.raises(ColumnError, match=r"entry 5 of 'bias_hidden.0' is not a finite number"):
        Network(arrays | {"bias_hidden.0": np.where(np.arange(24) == 5, np.nan, 0).astype(np.float32)})
    with pytest.raises(SettingError, match="layers is 0"):
        Network({"item_table": arrays["item_table"]})
    network = Network(arrays)
    with pytest.raises(ColumnError, match=r"'items' holds the item 30; the items are 0 to 29"):
        network.states(np.array([30], np.int32), np.array([0, 1]))
    with pytest.raises(SettingError, match=r"offsets is from 0 to 2; it must be ascending numbers"):
        network.states(np.array([3], np.int32), np.array([0, 2]))
    with pytest.raises(ColumnError, match=r"'states' has 8 entries where 16 are needed"):
        network.step(np.array([3, 4], np.int32), network.states(*sessions_of([[1]])))


numbers = st.integers(-3, 3).map(float) | st.floats(-1, 1, width=32)


@settings(max_examples=60)
@given(data=st.data())
def test_what_is_found_is_what_ranking_everything_lists(data: st.DataObject) -> None:
    queries, items, width = (data.draw(st.integers(1, most)) for most in (17, 70, 33))
    draw = lambda count: np.array(data.draw(st.lists(numbers, min_size=count, max_size=count)), np.float32)  # noqa: E731
    table, bias, asked = draw(items * width).reshape(items, width), draw(items), draw(queries * width).reshape(queries, width)
    k = data.draw(st.integers(1, 80))
    left_out = data.draw(st.lists(st.lists(st.integers(0, items - 1), max_size=6), min_size=queries, max_size=queries))
    ends = np.cumsum([len(own) for own in left_out])
    begins = ends - [len(own) for own in left_out]
    excluded = (begins.astype(np.int64), ends.astype(np.int64), np.array([item for own in left_out for item in own], np.int32))
    found, scores = ItemIndex(table, bias).search(asked, k, excluded=excluded)
    all_scores = asked.astype(np.float64) @ table.T.astype(np.float64) + bias
    for query, own in enumerate(left_out):
        allowed = np.setdiff1d(np.arange(items), own)
        listed = found[query][found[query] >= 0]
        assert len(listed) == min(k, len(allowed)) == len(set(listed.tolist()))
        assert set(listed.tolist()) <= set(allowed.tolist())
        np.testing.assert_allclose(scores[query, : len(listed)], np.sort(all_scores[query, allowed])[::-1][:k], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(scores[query, : len(listed)], all_scores[query, listed], rtol=1e-5, atol=1e-4)
        assert np.isneginf(scores[query, len(listed) :]).all()
        order = list(zip(-scores[query, : len(listed)], listed, strict=True))
        assert order == sorted(order)


def test_the_index_agrees_with_the_ranking_at_a_shops_size() -> None:
    random = np.random.default_rng(1)
    table = random.normal(size=(20_000, 100)).astype(np.float32)
    bias = random.normal(size=20_000).astype(np.float32)
    queries = random.normal(size=(50, 100)).astype(np.float32)
    found, _ = ItemIndex(table, bias).search(queries, 20)
    expected = rank(queries, table, bias, np.zeros(50, np.int32), length=20, threads=2).items
    np.testing.assert_array_equal(found, expected)


def test_an_index_says_what_does_not_fit() -> None:
    table, bias = np.ones((4, 3), np.float32), np.zeros(4, np.float32)
    index = ItemIndex(table, bias)
    assert len(index) == 4
    assert repr(index) == "<ItemIndex: 4 items, vectors of 3>"
    with pytest.raises(ColumnError, match="row 2 of 'table' holds a number that is not finite"):
        ItemIndex(np.where(np.arange(4)[:, None] == 2, np.inf, table).astype(np.float32), bias)
    with pytest.raises(ColumnError, match="'table' has 12 entries where 9 are needed"):
        ItemIndex(table, bias[:3])
    with pytest.raises(ColumnError, match="'queries' has rows of 2 entries and the table of 3"):
        index.search(np.ones((1, 2), np.float32), 1)
    with pytest.raises(ColumnError, match="row 0 of 'queries' holds a number that is not finite"):
        index.search(np.full((1, 3), np.nan, np.float32), 1)
    with pytest.raises(SettingError, match="k is 0; it must be 1 or more"):
        index.search(np.ones((1, 3), np.float32), 0)
    with pytest.raises(ColumnError, match="'excluded' holds the item 4"):
        index.search(np.ones((1, 3), np.float32), 1, excluded=(np.array([0]), np.array([1]), np.array([4], np.int32)))
    huge = ItemIndex(np.array([[3e38, -3e38]], np.float32), np.zeros(1, np.float32))
    with pytest.raises(ScoreError, match="query 0 scores item 0 as NaN"):
        huge.search(np.full((1, 2), 3e38, np.float32), 1)


def test_other_threads_search_at_the_same_time() -> None:
    random = np.random.default_rng(2)
    index = ItemIndex(random.normal(size=(5_000, 64)).astype(np.float32), np.zeros(5_000, np.float32))
    queries = random.normal(size=(40, 64)).astype(np.float32)
    expected = index.search(queries, 10)
    found: list = [None] * 4

    def search(place: int) -> None:
        found[place] = index.search(queries, 10)

    threads = [threading.Thread(target=search, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        np.testing.assert_array_equal(one[0], expected[0])
        np.testing.assert_array_equal(one[1], expected[1])
