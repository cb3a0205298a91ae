"""GRU4Rec as ONNX graphs: from the clicks of padded sessions to the best items and their scores; and one click at a time.

The graphs are written node by node, so that what is served can be read here: gather, GRU layers, product with the item table, top k.
An ensemble's members have their GRU layers each, and share one product; see `recsys.models.gru4rec_ensemble.Product`.
Shapes: B sessions, T clicks of the longest, D width of a layer's input, H units, S units of all layers of all networks, V items, W entries
of a query.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from recsys.errors import PackageError
from recsys.models.gru4rec_ensemble import LEAST_VARIANCE, Product, apart
from recsys.models.gru4rec_forward import Arrays, count_layers

OPSET = 17
IR_VERSION = 9
"""Old enough for every onnxruntime of the last years."""


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


class _Part:
    """Nodes and constants of one network, from the items to what the product is asked with; all names begin with the prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def _add(self, kind: str, inputs: list[str], outputs: list[str], **attributes: object) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [f"{self.prefix}{name}" for name in outputs], **attributes))

    def _own(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def _keep(self, name: str, array: np.ndarray) -> str:
        self.constants[self._own(name)] = array
        return self._own(name)

    def look_up(self, arrays: Arrays, number: int) -> None:
        """`entered.0` [T, B, D]: the clicks as the first layer sees them."""
        if "input_table" in arrays:
            table = self._keep("input_table", arrays["input_table"].astype(np.float32, copy=False))  # [V, D]
            self._add("Gather", [table, "items_by_click"], ["entered.0"], axis=0)
            return
        if not self.prefix:
            self._add("Gather", ["item_table", "items_by_click"], ["entered.0"], axis=0)
            return
        width = arrays["item_table"].shape[1]
        begin = self._keep("begin", np.array([number * (width + 1)], dtype=np.int64))
        end = self._keep("end", np.array([number * (width + 1) + width], dtype=np.int64))
        columns = self._keep("columns", np.array([2], dtype=np.int64))
        self._add("Gather", ["item_table", "items_by_click"], ["rows"], axis=0)  # [T, B, W]
        self._add("Slice", [self._own("rows"), begin, end, columns], ["entered.0"])

    def follow(self, arrays: Arrays) -> None:
        """`state` [B, H]: the last layer's output at each session's last click; `after.N` [B, H] of every layer."""
        layers = count_layers(arrays)
        for layer in range(layers):
            # outputs [T, 1, B, H] and, at each session's last click, [1, B, H]
            self._add_layer(arrays, layer, f"entered.{layer}", ["lengths_32"], [f"outputs.{layer}", f"last.{layer}"])
            self._add("Squeeze", [self._own(f"last.{layer}"), "axis_0"], [f"after.{layer}"])
            if layer + 1 < layers:
                self._add("Squeeze", [self._own(f"outputs.{layer}"), "axis_1"], [f"entered.{layer + 1}"])  # [T, B, H]
        self._add("Identity", [self._own(f"after.{layers - 1}")], ["state"])

    def step(self, arrays: Arrays, begin: int) -> None:
        """`after.N` [B, H] of every layer, one click after its part of `states` [B, S], which begins at `begin`; and `state`, the last
        layer's part itself.
        """
        layers = count_layers(arrays)
        entered = "entered.0"
        for layer in range(layers):
            end = begin + arrays[f"weight_hidden.{layer}"].shape[1]
            bounds = [self._keep(f"{name}.{layer}", np.array([at], dtype=np.int64)) for name, at in (("first", begin), ("past", end))]
            self._add("Slice", ["states", *bounds, "axis_1"], [f"before.{layer}"])  # [B, H]
            self._add("Unsqueeze", [self._own(f"before.{layer}"), "axis_0"], [f"initial.{layer}"])  # [1, B, H]
            self._add_layer(arrays, layer, entered, ["", self._own(f"initial.{layer}")], ["", f"last.{layer}"])
            self._add("Squeeze", [self._own(f"last.{layer}"), "axis_0"], [f"after.{layer}"])
            entered, begin = f"last.{layer}", end  # of one click, [1, B, H]
        self._add("Identity", [self._own(f"before.{layers - 1}")], ["state"])

    def afters(self, arrays: Arrays) -> list[str]:
        """The names of what `follow` or `step` found, layer by layer."""
        return [self._own(f"after.{layer}") for layer in range(count_layers(arrays))]

    def _add_layer(self, arrays: Arrays, layer: int, entered: str, more: list[str], outputs: list[str]) -> None:
        hidden = arrays[f"weight_hidden.{layer}"].shape[1]
        weight_input = arrays.get(f"weight_input.{layer}", np.eye(3 * hidden, dtype=np.float32))  # the table holds the products
        weight_input, weight_hidden = reorder_gates(weight_input), reorder_gates(arrays[f"weight_hidden.{layer}"])
        bias = np.concatenate([reorder_gates(arrays[f"bias_{kind}.{layer}"]) for kind in ("input", "hidden")])
        inputs = [
            self._own(entered),
            self._keep(f"weight_input.{layer}", weight_input[np.newaxis].astype(np.float32)),  # [1, 3H, D]
            self._keep(f"weight_hidden.{layer}", weight_hidden[np.newaxis].astype(np.float32)),  # [1, 3H, H]
            self._keep(f"bias.{layer}", bias[np.newaxis].astype(np.float32)),  # [1, 6H]
            *more,
        ]
        self.nodes.append(
            helper.make_node(
                "GRU",
                inputs,
                [name and self._own(name) for name in outputs],
                name=self._own(f"gru.{layer}"),
                hidden_size=hidden,
                # The reset gate is applied after the product with the state and its bias, as in training; ONNX's default is before.
                linear_before_reset=1,
            )
        )

    def standardise(self, covariance: np.ndarray) -> None:
        """`standardised` [B, H + 1]: the state and a one, by the deviation of the scores that they give."""
        held = self._keep("covariance", covariance.astype(np.float32, copy=False))  # [H + 1, H + 1]
        self._add("Pad", [self._own("state"), "one_more", "a_one"], ["extended"])  # [B, H + 1]
        self._add("MatMul", [self._own("extended"), held], ["covaried"])
        self._add("Mul", [self._own("covaried"), self._own("extended")], ["terms"])
        self._add("ReduceSum", [self._own("terms"), "axis_1"], ["variance"], keepdims=1)  # [B, 1]
        self._add("Max", [self._own("variance"), "least_variance"], ["bounded"])
        self._add("Sqrt", [self._own("bounded")], ["deviation"])
        self._add("Div", [self._own("extended"), self._own("deviation")], ["standardised"])


def build_graph(arrays: Arrays, exclude_session_items: bool) -> onnx.ModelProto:
    """The graph of a GRU4Rec with the given arrays.

    Inputs are `items` int64 [B, T] (padded on the right with any item), `lengths` int64 [B] (at least 1) and `k` int64 [1]
    (more than V is taken as V; of 0, nothing is searched); outputs are `indices` int64 [B, k] and `scores` float32 [B, k], best first, ties
    to the smaller index, and `states` float32 [B, S], which `build_step_graph` goes on from.

    Parameters
    ----------
    arrays
        As `GRU4Rec.arrays` gives them, of one network or an ensemble: gates stacked as reset, update, new, and
        new = tanh(W x + b + r * (U h + c)).
    exclude_session_items
        Whether the session's own items get the score -inf.
    """
    graph = _Graph(arrays)
    graph.nodes += [
        helper.make_node("Transpose", ["items"], ["items_by_click"], perm=[1, 0]),  # [T, B]
        helper.make_node("Cast", ["lengths"], ["lengths_32"], to=TensorProto.INT32),  # [B]
    ]
    for number, (member, part) in enumerate(graph.parts):
        part.look_up(member, number)
        part.follow(member)
    graph.gather("states")
    graph.search("items", exclude_session_items)
    return graph.model(
        "session",
        [
            helper.make_tensor_value_info("items", TensorProto.INT64, ["batch", "clicks"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
            _K,
        ],
        [*_LISTS, helper.make_tensor_value_info("states", TensorProto.FLOAT, ["batch", graph.width])],
    )


def build_step_graph(arrays: Arrays, exclude_session_items: bool) -> onnx.ModelProto:
    """The graph that goes on from where sessions were left, and finds their best items.

    Inputs are `states` float32 [B, S], `items` int64 [B], `sessions` int64 [B, T] with `lengths` int64 [B], and `k` int64 [1]. Outputs are
    two things that do not depend on each other: `next_states` float32 [B, S], the states once each session has clicked its item; and
    `indices` and `scores` [B, k], as `build_graph` has them, of `states` as they are. Of a k of 0, nothing is searched. Zeros are the
    states before the first click. Where session items stay in, `sessions` and `lengths` are no inputs.

    Parameters
    ----------
    arrays, exclude_session_items
        As `build_graph` has them.
    """
    graph = _Graph(arrays)
    graph.nodes.append(helper.make_node("Unsqueeze", ["items", "axis_0"], ["items_by_click"]))  # [1, B]
    begin = 0
    for number, (member, part) in enumerate(graph.parts):
        part.look_up(member, number)
        part.step(member, begin)
        begin += _units(member)
    graph.gather("next_states")
    graph.search("sessions", exclude_session_items)
    inputs = [
        helper.make_tensor_value_info("states", TensorProto.FLOAT, ["batch", graph.width]),
        helper.make_tensor_value_info("items", TensorProto.INT64, ["batch"]),
        _K,
    ]
    if exclude_session_items:
        inputs += [
            helper.make_tensor_value_info("sessions", TensorProto.INT64, ["batch", "clicks"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
        ]
    return graph.model("step", inputs, [helper.make_tensor_value_info("next_states", TensorProto.FLOAT, ["batch", graph.width]), *_LISTS])


_K = helper.make_tensor_value_info("k", TensorProto.INT64, [1])
_LISTS = (
    helper.make_tensor_value_info("indices", TensorProto.INT64, ["batch", "listed"]),
    helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "listed"]),
)


def _units(member: Arrays) -> int:
    """Units of all layers of a network."""
    return sum(member[f"weight_hidden.{layer}"].shape[1] for layer in range(count_layers(member)))


class _Graph:
    """What both graphs have in common: the networks, and the search from their states."""

    def __init__(self, arrays: Arrays) -> None:
        members = apart(arrays)
        for member in members:
            require_arrays(member)
        self._product = Product.of(members)
        prefixes = [f"members.{number}." for number in range(len(members))] if len(members) > 1 else [""]
        self.parts = [(member, _Part(prefix)) for member, prefix in zip(members, prefixes, strict=True)]
        self.width = sum(map(_units, members))
        self.nodes: list[onnx.NodeProto] = []
        self._after: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {
            "item_table": self._product.table.astype(np.float32, copy=False),  # [V, W]
            "item_bias": self._product.bias.astype(np.float32, copy=False),  # [V]
            "n_items": np.array([len(self._product.bias)], dtype=np.int64),
            "axis_0": np.array([0], dtype=np.int64),
            "axis_1": np.array([1], dtype=np.int64),
        }

    def gather(self, name: str) -> None:
        """`name` [B, S]: every layer's states side by side."""
        afters = [after for member, part in self.parts for after in part.afters(member)]
        self._after.append(helper.make_node("Concat", afters, [name], axis=1))

    def search(self, items: str, exclude_session_items: bool) -> None:
        """`indices` and `scores` [B, k] of every part's `state`; `items` [B, T] are the session's own, `lengths` [B] as many.

        Where k is 0, of no session, so that it costs nothing.
        """
        nodes, constants = self._after, self._constants
        query = "state"
        if len(self.parts) > 1:
            query = "query"
            for (_, part), covariance in zip(self.parts, self._product.covariances, strict=True):
                part.standardise(covariance)
            constants |= {
                "one_more": np.array([0, 0, 0, 1], dtype=np.int64),
                "a_one": np.array(1, dtype=np.float32),
                "least_variance": np.array(LEAST_VARIANCE, dtype=np.float32),
            }
            nodes.append(helper.make_node("Concat", [f"{part.prefix}standardised" for _, part in self.parts], [query], axis=1))  # [B, W]
        constants |= {
            "zero": np.array(0, dtype=np.int64),
            "one": np.array(1, dtype=np.int64),
            "start": np.array([0], dtype=np.int64),
            "stop": np.array([1], dtype=np.int64),
        }
        nodes += [
            helper.make_node("Min", ["k", "stop"], ["whether"]),  # [1]
            helper.make_node("Shape", [query], ["query_shape"]),
            helper.make_node("Gather", ["query_shape", "start"], ["batch_size"], axis=0),  # [1]
            helper.make_node("Mul", ["batch_size", "whether"], ["asked"]),  # [1]: B, or 0
            helper.make_node("Slice", [query, "start", "asked", "axis_0"], ["asked_query"]),  # [B, W]
            helper.make_node("Gemm", ["asked_query", "item_table", "item_bias"], ["all_scores"], transB=1),  # [B, V]
        ]
        ranked = "all_scores"
        if exclude_session_items:
            ranked = "kept_scores"
            constants["minus_infinity"] = np.array(-np.inf, dtype=np.float32)
            nodes += [
                helper.make_node("Slice", [items, "start", "asked", "axis_0"], ["asked_items"]),  # [B, T]
                helper.make_node("Slice", ["lengths", "start", "asked", "axis_0"], ["asked_lengths"]),  # [B]
                helper.make_node("Shape", ["asked_items"], ["items_shape"]),
                helper.make_node("Gather", ["items_shape", "one"], ["longest"], axis=0),
                helper.make_node("Range", ["zero", "longest", "one"], ["clicks"]),  # [T]
                helper.make_node("Unsqueeze", ["asked_lengths", "axis_1"], ["lengths_column"]),  # [B, 1]
                helper.make_node("Less", ["clicks", "lengths_column"], ["is_click"]),  # [B, T]
                # Padding stands for no item: the session's first one, masked anyway, takes its place.
                helper.make_node("Slice", ["asked_items", "start", "stop", "axis_1"], ["first_items"]),  # [B, 1]
                helper.make_node("Where", ["is_click", "asked_items", "first_items"], ["own_items"]),  # [B, T]
                helper.make_node("Expand", ["minus_infinity", "items_shape"], ["masks"]),  # [B, T]
                helper.make_node("ScatterElements", ["all_scores", "own_items", "masks"], [ranked], axis=1),  # [B, V]
            ]
        nodes += [
            helper.make_node("Min", ["k", "n_items"], ["listed"]),  # [1]
            helper.make_node("TopK", [ranked, "listed"], ["scores", "indices"], axis=1, largest=1, sorted=1),  # [B, k] each
        ]

    def model(self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """The whole."""
        nodes, constants = list(self.nodes), dict(self._constants)
        for _, part in self.parts:
            nodes += part.nodes
            constants |= part.constants
        nodes += self._after
        used = {entry for node in nodes for entry in node.input}
        held = [numpy_helper.from_array(np.ascontiguousarray(array), key) for key, array in constants.items() if key in used]
        graph = helper.make_graph(nodes, name, inputs=inputs, outputs=outputs, initializer=held)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="session-recommender"
        )


def write_graph(model: onnx.ModelProto, path: Path, arrays: Path) -> None:
    """Write and check a graph that refers to a file of arrays beside it.

    Parameters
    ----------
    model
        The graph; what it holds of the file's arrays is taken out of it.
    path
        The graph's file.
    arrays
        A safetensors file in the same folder. What of the graph's constants has a name and shape of it is not written a second time.

    Raises
    ------
    PackageError
        If the graph breaks ONNX's rules.
    """
    held, begin = _described(arrays)
    for constant in model.graph.initializer:
        own = held.get(constant.name)
        if own is not None and list(constant.dims) == own["shape"] and constant.data_type == TensorProto.FLOAT:
            first, last = own["data_offsets"]
            set_external_data(constant, arrays.name, begin + first, last - first)
            constant.ClearField("raw_data")
    path.write_bytes(model.SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).splitlines()[0]
        raise PackageError(f"the graph {path.name} breaks ONNX's rules ({reason}); this is a fault of the exporter") from error


def _described(path: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its arrays, and where their bytes begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)), 8 + length
