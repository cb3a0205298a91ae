"""GRU4Rec as an ONNX graph: from the clicks of padded sessions to the best items and their scores.

The graph is written node by node, so that what is served can be read here: gather, GRU layers, product with the item table, top k.
Shapes: B sessions, T clicks of the longest, D width of a layer's input, H units, V items.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from recsys.errors import PackageError
from recsys.models.gru4rec_forward import Arrays, count_layers

OPSET = 17
IR_VERSION = 9
"""Old enough for every onnxruntime of the last years."""

LARGEST_PROTOBUF = 2**31 - 2**20
"""Bytes above which the arrays go into a file of their own, since a protobuf message ends at 2 GiB."""


def reorder_gates(array: np.ndarray) -> np.ndarray:
    """From reset, update, new (rows of [3H, …]) to ONNX's order update, reset, hidden."""
    reset, update, new = np.split(array, 3, axis=0)
    return np.concatenate([update, reset, new], axis=0)


def require_arrays(arrays: Arrays) -> None:
    """Make sure that every array of the model is there.

    Raises
    ------
    PackageError
        If one is missing.
    """
    layers = max(count_layers(arrays), 1)
    needed = ["item_table", "item_bias"]
    needed += [f"{kind}.{layer}" for kind in ("weight_input", "weight_hidden", "bias_input", "bias_hidden") for layer in range(layers)]
    if "input_table" in arrays and arrays["input_table"].shape[1] == len(arrays.get("bias_input.0", ())):
        needed.remove("weight_input.0")  # the table may hold the products with it
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise PackageError(f"the model lacks the array {missing[0]!r}; train it again")


def build_graph(arrays: Arrays, exclude_session_items: bool) -> onnx.ModelProto:
    """The graph of a GRU4Rec with the given arrays.

    Inputs are `items` int64 [B, T] (padded on the right with any item), `lengths` int64 [B] (at least 1) and `k` int64 [1]
    (more than V is taken as V); outputs are `indices` int64 [B, k] and `scores` float32 [B, k], best first, ties to the smaller index.

    Parameters
    ----------
    arrays
        As `GRU4Rec.arrays` gives them: gates stacked as reset, update, new, and new = tanh(W x + b + r * (U h + c)).
    exclude_session_items
        Whether the session's own items get the score -inf.
    """
    require_arrays(arrays)
    layers = count_layers(arrays)
    n_items = arrays["item_table"].shape[0]
    constants: dict[str, np.ndarray] = {
        "item_table": arrays["item_table"].astype(np.float32, copy=False),  # [V, H]
        "item_bias": arrays["item_bias"].astype(np.float32, copy=False),  # [V]
        "n_items": np.array([n_items], dtype=np.int64),
        "axis_0": np.array([0], dtype=np.int64),
    }
    looked_up = "item_table"
    if "input_table" in arrays:
        looked_up = "input_table"
        constants["input_table"] = arrays["input_table"].astype(np.float32, copy=False)  # [V, D]
    if layers > 1 or exclude_session_items:
        constants["axis_1"] = np.array([1], dtype=np.int64)
    nodes = [
        helper.make_node("Transpose", ["items"], ["items_by_click"], perm=[1, 0]),  # [T, B]
        helper.make_node("Gather", [looked_up, "items_by_click"], ["entered.0"], axis=0),  # [T, B, D]
        helper.make_node("Cast", ["lengths"], ["lengths_32"], to=TensorProto.INT32),  # [B]
    ]
    for layer in range(layers):
        hidden = arrays[f"weight_hidden.{layer}"].shape[1]
        weight_input = arrays.get(f"weight_input.{layer}", np.eye(3 * hidden, dtype=np.float32))  # the table holds the products
        weight_input, weight_hidden = reorder_gates(weight_input), reorder_gates(arrays[f"weight_hidden.{layer}"])
        bias = np.concatenate([reorder_gates(arrays[f"bias_{kind}.{layer}"]) for kind in ("input", "hidden")])
        constants[f"weight_input.{layer}"] = weight_input[np.newaxis].astype(np.float32)  # [1, 3H, D]
        constants[f"weight_hidden.{layer}"] = weight_hidden[np.newaxis].astype(np.float32)  # [1, 3H, H]
        constants[f"bias.{layer}"] = bias[np.newaxis].astype(np.float32)  # [1, 6H]
        nodes += [
            helper.make_node(
                "GRU",
                [f"entered.{layer}", f"weight_input.{layer}", f"weight_hidden.{layer}", f"bias.{layer}", "lengths_32"],
                [f"outputs.{layer}", f"last.{layer}"],  # [T, 1, B, H] and, at each session's last click, [1, B, H]
                name=f"gru.{layer}",
                hidden_size=hidden,
                # The reset gate is applied after the product with the state and its bias, as in training; ONNX's default is before.
                linear_before_reset=1,
            ),
            helper.make_node("Squeeze", [f"outputs.{layer}", "axis_1"], [f"entered.{layer + 1}"]),  # [T, B, H]
        ]
    nodes.pop()  # the last layer's output after every click is not needed
    nodes += [
        helper.make_node("Squeeze", [f"last.{layers - 1}", "axis_0"], ["state"]),  # [B, H]
        helper.make_node("Gemm", ["state", "item_table", "item_bias"], ["all_scores"], transB=1),  # [B, V]
    ]
    ranked = "all_scores"
    if exclude_session_items:
        ranked = "kept_scores"
        constants |= {
            "zero": np.array(0, dtype=np.int64),
            "one": np.array(1, dtype=np.int64),
            "start": np.array([0], dtype=np.int64),
            "stop": np.array([1], dtype=np.int64),
            "minus_infinity": np.array(-np.inf, dtype=np.float32),
        }
        nodes += [
            helper.make_node("Shape", ["items"], ["items_shape"]),
            helper.make_node("Gather", ["items_shape", "one"], ["longest"], axis=0),
            helper.make_node("Range", ["zero", "longest", "one"], ["clicks"]),  # [T]
            helper.make_node("Unsqueeze", ["lengths", "axis_1"], ["lengths_column"]),  # [B, 1]
            helper.make_node("Less", ["clicks", "lengths_column"], ["is_click"]),  # [B, T]
            # Padding stands for no item: the session's first one, masked anyway, takes its place.
            helper.make_node("Slice", ["items", "start", "stop", "axis_1"], ["first_items"]),  # [B, 1]
            helper.make_node("Where", ["is_click", "items", "first_items"], ["own_items"]),  # [B, T]
            helper.make_node("Expand", ["minus_infinity", "items_shape"], ["masks"]),  # [B, T]
            helper.make_node("ScatterElements", ["all_scores", "own_items", "masks"], [ranked], axis=1),  # [B, V]
        ]
    nodes += [
        helper.make_node("Min", ["k", "n_items"], ["listed"]),  # [1]
        helper.make_node("TopK", [ranked, "listed"], ["scores", "indices"], axis=1, largest=1, sorted=1),  # [B, k] each
    ]
    graph = helper.make_graph(
        nodes,
        "session",
        inputs=[
            helper.make_tensor_value_info("items", TensorProto.INT64, ["batch", "clicks"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
        ],
        outputs=[
            helper.make_tensor_value_info("indices", TensorProto.INT64, ["batch", "listed"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "listed"]),
        ],
        initializer=[numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="session-recommender"
    )


def write_graph(model: onnx.ModelProto, path: Path, largest: int = LARGEST_PROTOBUF) -> None:
    """Write and check a graph; arrays of more than `largest` bytes in all go into `{path}.data` beside it.

    Raises
    ------
    PackageError
        If the graph breaks ONNX's rules.
    """
    size = sum(len(array.raw_data) for array in model.graph.initializer)
    if size > largest:
        onnx.save_model(
            model, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=f"{path.name}.data", size_threshold=1024
        )
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(str(path), full_check=size <= largest)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).splitlines()[0]
        raise PackageError(f"the graph {path.name} breaks ONNX's rules ({reason}); this is a fault of the exporter") from error
