"""GRU4Rec's learned arrays, and the network's outputs after every click, in NumPy.

Sources: Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016 (the network);
Hidasi & Karatzoglou, "Recurrent neural networks with top-k gains for session-based recommendations", CIKM 2018 (the shared table).

Shapes: Q sessions, D width of a layer's input, H units of a layer, V items.
"""

import numpy as np

from recsys.sessions.table import Sessions
from recsys.settings.gru4rec import GRU4RecParameters

Arrays = dict[str, np.ndarray]
"""Learned arrays by name, float32: see `initial_arrays`."""

GATES = 3
"""Of a cell: reset, update, new."""

_TOGETHER = 8_192
"""Sessions followed side by side."""


def initial_arrays(n_items: int, chosen: GRU4RecParameters, seed: int) -> Arrays:
    """Weights uniform in ±sqrt(6 / (rows + columns)), for the gates each on its own; biases 0.

    Returns
    -------
    `item_table` [V, H of the last layer] and `item_bias` [V], which score items; `input_table` [V, D], which looks inputs up, where
    the item table does not; and of each layer, numbered from the input on, `weight_input` [3H, D], `weight_hidden` [3H, H],
    `bias_input` [3H] and `bias_hidden` [3H]. Gates are stacked as reset, update, new. Without an embedding, `input_table` holds the
    gates' products with the items' one-hot vectors, [V, 3H], and there is no `weight_input.0`.
    """
    generator = np.random.default_rng(seed)

    def uniform(rows: int, columns: int) -> np.ndarray:
        bound = (6.0 / (rows + columns)) ** 0.5
        return (generator.random((rows, columns), np.float32) * 2 - 1) * np.float32(bound)

    arrays = {"item_table": uniform(n_items, chosen.layers[-1]), "item_bias": np.zeros(n_items, np.float32)}
    if chosen.embedding == "separate":
        arrays["input_table"] = uniform(n_items, chosen.input_width)
    elif chosen.embedding == "none":
        arrays["input_table"] = np.concatenate([uniform(n_items, chosen.layers[0]) for _ in range(3)], axis=1)
    width = chosen.input_width
    for layer, units in enumerate(chosen.layers):
        if layer or chosen.embedding != "none":
            arrays[f"weight_input.{layer}"] = np.concatenate([uniform(units, width) for _ in range(3)])
        arrays[f"weight_hidden.{layer}"] = np.concatenate([uniform(units, units) for _ in range(3)])
        arrays[f"bias_input.{layer}"] = np.zeros(3 * units, np.float32)
        arrays[f"bias_hidden.{layer}"] = np.zeros(3 * units, np.float32)
        width = units
    return arrays


def input_table(arrays: Arrays) -> np.ndarray:
    """The table that inputs are looked up in: [V, D]."""
    return arrays.get("input_table", arrays["item_table"])


def count_layers(arrays: Arrays) -> int:
    """GRU layers among the arrays."""
    return sum(name.startswith("weight_hidden.") for name in arrays)


def cell(arrays: Arrays, layer: int, entered: np.ndarray, state: np.ndarray) -> np.ndarray:
    """One GRU step of one layer: the new state [Q, H] from the input [Q, D] and the state [Q, H]."""
    units = state.shape[1]
    weight = arrays.get(f"weight_input.{layer}")
    from_input = (entered if weight is None else entered @ weight.T) + arrays[f"bias_input.{layer}"]  # [Q, 3H]
    from_state = state @ arrays[f"weight_hidden.{layer}"].T + arrays[f"bias_hidden.{layer}"]  # [Q, 3H]
    gates = _sigmoid(from_input[:, : 2 * units] + from_state[:, : 2 * units])  # [Q, 2H]
    reset, update = gates[:, :units], gates[:, units:]
    new = np.tanh(from_input[:, 2 * units :] + reset * from_state[:, 2 * units :])  # [Q, H]
    return new + update * (state - new)


def outputs(arrays: Arrays, sessions: Sessions) -> np.ndarray:
    """The network's output after every click, float32 [clicks, H of the last layer]; each session starts from zero."""
    table = input_table(arrays)
    found = np.empty((len(sessions.items), arrays["item_table"].shape[1]), np.float32)
    longest_first = np.argsort(-sessions.lengths, kind="stable")
    for begin in range(0, len(sessions), _TOGETHER):
        order = longest_first[begin : begin + _TOGETHER]
        lengths, starts = sessions.lengths[order], sessions.offsets[:-1][order]
        states = [np.zeros((len(order), arrays[f"weight_hidden.{layer}"].shape[1]), np.float32) for layer in range(count_layers(arrays))]
        for position in range(int(lengths[0])):
            alive = int(np.searchsorted(-lengths, -position, side="left"))  # sessions with more than `position` clicks
            clicks = starts[:alive] + position
            entered = table[sessions.items[clicks]]
            for layer, state in enumerate(states):
                entered = states[layer] = cell(arrays, layer, entered, state[:alive])
            found[clicks] = entered
    return found


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), by way of tanh, which does not overflow."""
    return 0.5 * np.tanh(0.5 * x) + np.float32(0.5)
