"""Top items from a GRU4Rec's own arrays: its states in Rust, and the best items by bounds, which are exact.

Shapes: B sessions, V items, W entries of a query, S entries of a session's state.
"""

from itertools import chain
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from recsys.models.gru4rec_ensemble import Product, apart
from recsys.models.gru4rec_forward import GATES, Arrays, count_layers
from rust_sessionizer.inference import Network
from rust_sessionizer.ranking import ItemIndex

_SCORING = ("item_table", "item_bias")


def write_network(arrays: Arrays, path: Path) -> None:
    """Write what is served of a model's arrays, `recsys.serving.onnx_runtime.NETWORK`."""
    members = apart(arrays)
    product = Product.of(members)
    served = {"item_table": product.table, "item_bias": product.bias}
    for number, member in enumerate(members):
        prefix = f"members.{number}." if len(members) > 1 else ""
        served |= {f"{prefix}{name}": array for name, array in member.items() if name not in _SCORING}
        if product.covariances:
            served[f"{prefix}covariance"] = product.covariances[number]
    save_file({name: np.ascontiguousarray(array, np.float32) for name, array in served.items()}, path)


class NetworkScorer:
    """Follows sessions, whole or click by click, and searches items; a `StepwiseScorer`.

    Parameters
    ----------
    path
        What `write_network` wrote.
    exclude_session_items
        Whether the session's own items are left out.

    Attributes
    ----------
    state_width
        S: units of all layers of all networks.
    """

    def __init__(self, path: Path, exclude_session_items: bool) -> None:
        arrays = load_file(path)
        table, bias = (arrays.pop(name) for name in _SCORING)
        members = apart(arrays)
        self._product = Product(table, bias, tuple(member["covariance"] for member in members if "covariance" in member))
        self._items = ItemIndex(table, bias)
        # In an ensemble's table every network has its items' vectors, and behind them their biases.
        self._networks = [
            Network(member, self._items, column=number * (table.shape[1] // len(members))) for number, member in enumerate(members)
        ]
        self._layers = [[len(member[f"bias_hidden.{layer}"]) // GATES for layer in range(count_layers(member))] for member in members]
        self.state_width = sum(map(sum, self._layers))
        self._exclude = exclude_session_items

    def follow(self, sessions: list[list[int]]) -> np.ndarray:
        """States, float32 [B, S], after sessions of item indices, none of them empty."""
        items, offsets = _clicks(sessions)
        return np.concatenate([layer for network in self._networks for layer in network.states(items, offsets)], axis=1)

    def step(self, states: np.ndarray, items: list[int]) -> np.ndarray:
        """States, float32 [B, S], after one click more each; from zeros, after the first click."""
        clicked = np.array(items, np.int32)
        found, begin = [], 0
        for network, layers in zip(self._networks, self._layers, strict=True):
            ends = begin + np.cumsum(layers)
            own = np.split(states[:, begin : ends[-1]], ends[:-1] - begin, axis=1)
            found += network.step(clicked, [np.ascontiguousarray(layer) for layer in own])
            begin = ends[-1]
        return np.concatenate(found, axis=1)

    def best(self, states: np.ndarray, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `top`, of sessions whose states are known."""
        ends = np.cumsum([sum(layers) for layers in self._layers])
        lasts = [states[:, end - layers[-1] : end] for end, layers in zip(ends, self._layers, strict=True)]
        queries = np.ascontiguousarray(self._product.queries(lasts))  # [B, W]
        excluded = None
        if self._exclude:
            items, offsets = _clicks(sessions)
            excluded = (offsets[:-1], offsets[1:], items)
        return self._items.search(queries, min(k, len(self._items)), excluded=excluded)

    def vectors(self, items: np.ndarray) -> np.ndarray:
        """Vectors of items, float32 [items, W]: like items have like directions."""
        return self._product.table[items]

    def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices int32 and scores float32, [B, k], of sessions of item indices, none of them empty; -1 and -inf where nothing is left."""
        return self.best(self.follow(sessions), sessions, k)


def _clicks(sessions: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Items int32 of all sessions, and where each begins and the last ends: int64 [B + 1]."""
    offsets = np.zeros(len(sessions) + 1, np.int64)
    np.cumsum([len(session) for session in sessions], out=offsets[1:])
    return np.fromiter(chain.from_iterable(sessions), np.int32, int(offsets[-1])), offsets
