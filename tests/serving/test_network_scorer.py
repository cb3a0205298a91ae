"""The extension's answers from a network's arrays are the model's, and the graph's."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recsys.serving.export import check_scorer
from recsys.serving.network_scorer import NETWORK, NetworkScorer, write_network
from recsys.serving.onnx_graph import build_graph, write_graph
from recsys.serving.onnx_runtime import OnnxScorer, load_scorer
from tests.serving.conftest import random_gru4rec

EMBEDDINGS = [{}, {"embedding": "separate", "embedding_width": 5}, {"embedding": "none"}]


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("embedding", EMBEDDINGS, ids=str)
@pytest.mark.parametrize("exclude", [False, True], ids=["keep", "exclude"])
def test_answers_are_the_models(exclude: bool, embedding: dict, members: int, tmp_path: Path) -> None:
    for layers in ([8], [6, 10]):
        model = random_gru4rec(layers, members=members, **embedding)
        write_network(model.arrays(), tmp_path / NETWORK)
        check_scorer(NetworkScorer(tmp_path / NETWORK, exclude), model, exclude, longest=30)


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
    check_scorer(scorer, model, False, longest=5)


def test_a_package_from_before_the_arrays_is_answered_by_its_graph(tmp_path: Path) -> None:
    model = random_gru4rec([8])
    graph = build_graph(model.arrays(), False)
    (tmp_path / "session.onnx").write_bytes(graph.SerializeToString())  # with every array inside
    scorer = load_scorer(tmp_path, {"exclude_session_items": False})
    assert isinstance(scorer, OnnxScorer)
    check_scorer(scorer, model, False, longest=5)
