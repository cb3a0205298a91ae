"""Top items from a GRU4Rec's own arrays: its states in Rust, and the best items by bounds, which are exact.

Shapes: B sessions, V items, W entries of a query.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from recsys.models.gru4rec_ensemble import Product, apart
from recsys.models.gru4rec_forward import Arrays
from rust_sessionizer.inference import Network
from rust_sessionizer.ranking import ItemIndex

NETWORK = "network.safetensors"
"""What is served of a network: `item_table` [V, W] and `item_bias` [V] of what scores items; and, of each network of an ensemble below
`members.N.`, its layers' arrays, its input table where it has one, and the covariance of its scores."""

_SCORING = ("item_table", "item_bias")


def write_network(arrays: Arrays, path: Path) -> None:
    """Write what is served of a model's arrays."""
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
    """Follows sessions and searches items.

    Parameters
    ----------
    path
        What `write_network` wrote.
    exclude_session_items
        Whether the session's own items are left out.
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
        self._exclude = exclude_session_items

    def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices int32 and scores float32, [B, k], of sessions of item indices, none of them empty; -1 and -inf where nothing is left."""
        ends = np.cumsum([len(session) for session in sessions])
        offsets = np.concatenate([[0], ends]).astype(np.int64)
        items = np.fromiter((item for session in sessions for item in session), np.int32, int(offsets[-1]))
        queries = self._product.queries([network.states(items, offsets)[-1] for network in self._networks])  # [B, W]
        excluded = (offsets[:-1], offsets[1:], items) if self._exclude else None
        return self._items.search(np.ascontiguousarray(queries), min(k, len(self._items)), excluded=excluded)
