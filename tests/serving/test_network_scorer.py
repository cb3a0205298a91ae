"""The extension's answers from a network's arrays are the model's, and the graph's."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.serving.export import check_scorer, check_steps
from recsys.serving.network_scorer import NetworkScorer, write_network
from recsys.serving.onnx_graph import build_graph, build_step_graph, write_graph
from recsys.serving.onnx_runtime import NETWORK, STEP, OnnxScorer, StepwiseOnnxScorer, load_scorer
from recsys.serving.recommender import StepwiseScorer
from tests.serving.conftest import N_ITEMS, random_gru4rec

SESSIONS = st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=12)
EMBEDDINGS = [{}, {"embedding": "separate", "embedding_width": 5}, {"embedding": "none"}]


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("embedding", EMBEDDINGS, ids=str)
@pytest.mark.parametrize("exclude", [False, True], ids=["keep", "exclude"])
def test_answers_are_the_models(exclude: bool, embedding: dict, members: int, tmp_path: Path) -> None:
    for layers in ([8], [6, 10]):
        model = random_gru4rec(layers, members=members, **embedding)
        write_network(model.arrays(), tmp_path / NETWORK)
        check_scorer(NetworkScorer(tmp_path / NETWORK, exclude), model, exclude, longest=30)


@pytest.fixture(scope="module", params=[(1, [8]), (1, [6, 10]), (2, [6, 10])], ids=str)
def scorer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NetworkScorer:
    members, layers = request.param
    path = tmp_path_factory.mktemp("network") / NETWORK
    write_network(random_gru4rec(layers, members=members).arrays(), path)
    return NetworkScorer(path, exclude_session_items=True)


@given(sessions=st.lists(SESSIONS, min_size=1, max_size=20), k=st.integers(1, N_ITEMS))
def test_click_by_click_is_the_whole_session(scorer: NetworkScorer, sessions: list[list[int]], k: int) -> None:
    assert isinstance(scorer, StepwiseScorer)
    states = np.zeros((len(sessions), scorer.state_width), np.float32)
    for place in range(max(map(len, sessions))):
        rows = [row for row, session in enumerate(sessions) if len(session) > place]
        states[rows] = scorer.step(states[rows], [sessions[row][place] for row in rows])
    np.testing.assert_array_equal(states, scorer.follow(sessions))
    for found, expected in zip(scorer.best(states, sessions, k), scorer.top(sessions, k), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("exclude", [False, True], ids=["keep", "exclude"])
def test_answers_are_the_graphs(exclude: bool, tmp_path: Path) -> None:
    model = random_gru4rec([12], members=2)
    write_network(model.arrays(), tmp_path / NETWORK)
    write_graph(build_graph(model.arrays(), exclude), tmp_path / "session.onnx", tmp_path / NETWORK)
    sessions = [[5], [7, 8, 9], [1, 1, 2, 3, 5, 8]]
    for k in (1, 7, 60, 1_000):
        indices, scores = NetworkScorer(tmp_path / NETWORK, exclude).top(sessions, k)
        expected_indices, expected = OnnxScorer(tmp_path / "session.onnx").top(sessions, k)
        assert indices.shape == expected_indices.shape
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
        listed = np.isfinite(expected)
        np.testing.assert_array_equal(indices[listed], expected_indices[listed])


def test_without_the_extension_the_graph_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_gru4rec([8])
    write_network(model.arrays(), tmp_path / NETWORK)
    write_graph(build_graph(model.arrays(), False), tmp_path / "session.onnx", tmp_path / NETWORK)
    manifest = {"exclude_session_items": False}
    assert isinstance(load_scorer(tmp_path, manifest), NetworkScorer)
    monkeypatch.setitem(sys.modules, "rust_sessionizer.inference", None)
    monkeypatch.delitem(sys.modules, "recsys.serving.network_scorer")
    scorer = load_scorer(tmp_path, manifest)
    assert isinstance(scorer, OnnxScorer)
    assert not isinstance(scorer, StepwiseScorer)
    check_scorer(scorer, model, False, longest=5)
    write_graph(build_step_graph(model.arrays(), False), tmp_path / STEP, tmp_path / NETWORK)
    scorer = load_scorer(tmp_path, manifest)
    assert isinstance(scorer, StepwiseOnnxScorer)
    check_steps(scorer, model.n_items_, longest=5)


def test_a_package_from_before_the_arrays_is_answered_by_its_graph(tmp_path: Path) -> None:
    model = random_gru4rec([8])
    graph = build_graph(model.arrays(), False)
    (tmp_path / "session.onnx").write_bytes(graph.SerializeToString())  # with every array inside
    scorer = load_scorer(tmp_path, {"exclude_session_items": False})
    assert isinstance(scorer, OnnxScorer)
    check_scorer(scorer, model, False, longest=5)
