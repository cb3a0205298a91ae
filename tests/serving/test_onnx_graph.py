from pathlib import Path

import numpy as np
import onnx
import pytest

from recsys.errors import PackageError
from recsys.models.gru4rec import GRU4Rec
from recsys.serving.export import check_scorer, check_steps
from recsys.serving.network_scorer import write_network
from recsys.serving.onnx_graph import build_graph, build_step_graph, reorder_gates, write_graph
from recsys.serving.onnx_runtime import NETWORK, STEP, OnnxScorer, StepwiseOnnxScorer
from recsys.serving.recommender import StepwiseScorer
from tests.serving.conftest import random_gru4rec


def exported(model: GRU4Rec, exclude: bool, folder: Path) -> OnnxScorer:
    return written(build_graph(model.arrays(), exclude), model, folder)


def written(graph: onnx.ModelProto, model: GRU4Rec, folder: Path) -> OnnxScorer:
    write_network(model.arrays(), folder / NETWORK)
    write_graph(graph, folder / "session.onnx", folder / NETWORK)
    return OnnxScorer(folder / "session.onnx")


@pytest.mark.parametrize("exclude", [False, True], ids=["keep", "exclude"])
@pytest.mark.parametrize("layers", [[8], [6, 10]], ids=["one layer", "two layers"])
def test_the_graph_answers_as_the_model_over_batches_and_lengths(layers: list[int], exclude: bool, tmp_path: Path) -> None:
    model = random_gru4rec(layers)
    check_scorer(exported(model, exclude, tmp_path), model, exclude, longest=30)


@pytest.mark.parametrize("embedding", [{"embedding": "separate", "embedding_width": 5}, {"embedding": "none"}], ids=["separate", "none"])
@pytest.mark.parametrize("layers", [[8], [6, 10]], ids=["one layer", "two layers"])
def test_the_graph_looks_inputs_up_as_the_model_does(layers: list[int], embedding: dict, tmp_path: Path) -> None:
    model = random_gru4rec(layers, **embedding)
    check_scorer(exported(model, True, tmp_path), model, True, longest=30)


@pytest.mark.parametrize("embedding", [{}, {"embedding": "separate", "embedding_width": 5}, {"embedding": "none"}], ids=str)
@pytest.mark.parametrize("layers", [[8], [6, 10]], ids=["one layer", "two layers"])
def test_the_graph_of_an_ensemble_answers_as_the_model(layers: list[int], embedding: dict, tmp_path: Path) -> None:
    model = random_gru4rec(layers, members=3, **embedding)
    check_scorer(exported(model, True, tmp_path), model, True, longest=30)


def test_the_reset_gate_is_applied_after_the_product(tmp_path: Path) -> None:
    graph = build_graph(random_gru4rec([6, 10]).arrays(), False).graph
    gates = [node for node in graph.node if node.op_type == "GRU"]
    assert len(gates) == 2
    for node in gates:
        assert onnx.helper.get_node_attr_value(node, "linear_before_reset") == 1


@pytest.mark.parametrize("fault", ["linear_before_reset", "gate order", "biases"])
def test_the_check_finds_the_faults_it_is_there_for(fault: str, tmp_path: Path) -> None:
    model = random_gru4rec([8])
    arrays = model.arrays()
    if fault == "gate order":
        arrays |= {name: reorder_gates(array) for name, array in arrays.items() if name.startswith(("weight_", "bias_"))}
    if fault == "biases":
        arrays["bias_hidden.0"] = np.zeros_like(arrays["bias_hidden.0"])
    graph = build_graph(arrays, False)
    if fault == "linear_before_reset":
        for node in graph.graph.node:
            if node.op_type == "GRU":
                next(attribute for attribute in node.attribute if attribute.name == "linear_before_reset").i = 0
    with pytest.raises(PackageError, match="differ"):
        check_scorer(written(graph, model, tmp_path), model, False, longest=10)


@pytest.mark.parametrize("members", [1, 2])
def test_the_graph_holds_nothing_that_it_does_not_use(members: int) -> None:
    graph = build_graph(random_gru4rec([8], members=members).arrays(), False).graph
    used = {name for node in graph.node for name in node.input}
    assert {array.name for array in graph.initializer} <= used


def test_padding_excludes_no_item(tmp_path: Path) -> None:
    scorer = exported(random_gru4rec([8]), True, tmp_path)
    indices, scores = scorer.top([[5], [7, 8, 9]], 60)
    listed = [set(row[np.isfinite(values)].tolist()) for row, values in zip(indices, scores, strict=True)]
    assert listed[0] == set(range(60)) - {5}  # item 0 is what the row is padded with
    assert listed[1] == set(range(60)) - {7, 8, 9}


def test_more_items_than_there_are_gives_them_all(tmp_path: Path) -> None:
    indices, scores = exported(random_gru4rec([8]), False, tmp_path).top([[1]], 1000)
    assert indices.shape == scores.shape == (1, 60)


def test_ties_go_to_the_smaller_index(tmp_path: Path) -> None:
    model = random_gru4rec([8])
    arrays = model.arrays()
    arrays["item_table"][:], arrays["item_bias"][:] = 1.0, 0.5
    model.set_arrays(arrays)
    indices, _ = exported(model, False, tmp_path).top([[3, 4]], 5)
    assert indices.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("members", [1, 2])
def test_the_tables_are_written_once(members: int, tmp_path: Path) -> None:
    model = random_gru4rec([8], members=members, embedding="separate", embedding_width=5)
    exported(model, False, tmp_path)
    graph = onnx.load(tmp_path / "session.onnx", load_external_data=False).graph
    outside = {array.name for array in graph.initializer if array.data_location == onnx.TensorProto.EXTERNAL}
    tables = {"input_table"} if members == 1 else {"members.0.input_table", "members.1.input_table"}
    assert {"item_table", "item_bias"} | tables <= outside
    assert {path.name for path in tmp_path.iterdir()} == {"session.onnx", NETWORK}


def test_a_model_without_an_array_is_refused() -> None:
    arrays = random_gru4rec([8]).arrays()
    del arrays["bias_hidden.0"]
    with pytest.raises(PackageError, match=r"bias_hidden\.0"):
        build_graph(arrays, False)


@pytest.mark.parametrize("exclude", [False, True], ids=["keep", "exclude"])
@pytest.mark.parametrize("embedding", [{}, {"embedding": "separate", "embedding_width": 5}, {"embedding": "none"}], ids=str)
@pytest.mark.parametrize("members", [1, 2])
def test_the_graphs_go_on_from_where_a_session_was_left(members: int, embedding: dict, exclude: bool, tmp_path: Path) -> None:
    for layers in ([8], [6, 10]):
        model = random_gru4rec(layers, members=members, **embedding)
        exported(model, exclude, tmp_path)
        write_graph(build_step_graph(model.arrays(), exclude), tmp_path / STEP, tmp_path / NETWORK)
        scorer = StepwiseOnnxScorer(tmp_path)
        assert isinstance(scorer, StepwiseScorer)
        assert scorer.state_width == members * sum(layers)
        check_scorer(scorer, model, exclude, longest=20)
        check_steps(scorer, model.n_items_, longest=20)


def test_a_step_that_forgets_is_found(tmp_path: Path) -> None:
    model = random_gru4rec([8])
    exported(model, False, tmp_path)
    arrays = model.arrays()
    arrays["weight_hidden.0"] = arrays["weight_hidden.0"] * 0
    write_graph(build_step_graph(arrays, False), tmp_path / STEP, tmp_path / NETWORK)
    with pytest.raises(PackageError, match="click by click"):
        check_steps(StepwiseOnnxScorer(tmp_path), model.n_items_, longest=5)
