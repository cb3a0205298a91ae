"""GRU4Rec's training step in torch: the GPU's, and the reference of the native one.

One step is written out by hand, forward and backward: nothing is propagated through time, so that the whole derivative is a page,
and no graph has to be recorded for it. Every shape is fixed and nothing is asked of the host, so that a GPU can replay it.

Sources: Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016 (the network);
Hidasi & Karatzoglou, "Recurrent neural networks with top-k gains for session-based recommendations", CIKM 2018 (samples and losses).

Shapes: M lanes of this process, A lanes of all, H units of a layer, D width of a layer's input, C = A targets + samples, V items.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from recsys.models.gru4rec_forward import Arrays
from recsys.settings.gru4rec import GRU4RecParameters

LOG_FLOOR = 1e-24
"""Added inside the losses' logarithms."""

TABLES = ("item_table", "item_bias", "input_table")
"""The arrays with a row an item, of which a step touches a few rows; all others are dense."""


@dataclass(frozen=True)
class Saved:
    """What the derivative of a layer's gates needs: its state before the step [M, H], and what was made of it.

    Attributes
    ----------
    state
        [M, H].
    gates
        Reset and update, [M, 2H].
    from_state
        The state's products with the weights, [M, 3H].
    new
        The candidate of the new state, [M, H].
    """

    state: torch.Tensor
    gates: torch.Tensor
    from_state: torch.Tensor
    new: torch.Tensor


def gates_forward(
    from_input: torch.Tensor, from_state: torch.Tensor, state: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, Saved]:
    """A layer's new state [M, H], dropped out, from the products of its input and its state [M, 3H] each; and what the derivative needs."""
    units = state.shape[1]
    gates = torch.sigmoid(from_input[:, : 2 * units] + from_state[:, : 2 * units])  # [M, 2H]
    new = torch.tanh(torch.addcmul(from_input[:, 2 * units :], gates[:, :units], from_state[:, 2 * units :]))  # [M, H]
    output = torch.lerp(new, state, gates[:, units:])  # [M, H]
    return output if mask is None else output * mask, Saved(state, gates, from_state, new)


def gates_backward(
    gradient: torch.Tensor, mask: torch.Tensor | None, saved: Saved, in_bias_input: torch.Tensor, in_bias_hidden: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """From the gradient in a layer's new state [M, H] to that in both products [M, 3H] each, and in the biases [3H], which are written to.

    The state before the step is a constant: nothing is propagated through time.
    """
    units = saved.state.shape[1]
    reset, update, remembered = saved.gates[:, :units], saved.gates[:, units:], saved.from_state[:, 2 * units :]  # [M, H] each
    if mask is not None:
        gradient = gradient * mask
    in_update = gradient * (saved.state - saved.new) * update * (1 - update)  # [M, H]
    in_new = gradient * (1 - update) * (1 - saved.new * saved.new)  # [M, H]
    in_reset = in_new * remembered * reset * (1 - reset)  # [M, H]
    in_input = torch.cat([in_reset, in_update, in_new], dim=1)  # [M, 3H]
    in_state = torch.cat([in_reset, in_update, in_new * reset], dim=1)  # [M, 3H]
    torch.sum(in_input, 0, out=in_bias_input)
    torch.sum(in_state, 0, out=in_bias_hidden)
    return in_input, in_state


@dataclass(frozen=True)
class Lanes:
    """Which columns and rows of a step's scores count.

    Attributes
    ----------
    first
        The column of the first lane's target; lane m's is `first + m`.
    absent : bool [C]
        Columns of targets of lanes that have vanished.
    batch_size
        The configured number of lanes, by which the sum over the lanes is divided, also when the batch has shrunk.
    """

    first: int
    absent: torch.Tensor
    batch_size: int

    def running(self, count: int) -> torch.Tensor:
        """Which of M = `count` lanes have not vanished: bool [M]."""
        return ~self.absent[self.first : self.first + count]


def cross_entropy(scores: torch.Tensor, correction: torch.Tensor | None, lanes: Lanes) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax cross-entropy over targets and samples (CIKM 2018, section 3.2).

    Parameters
    ----------
    scores : [M, C]
        Overwritten.
    correction : [C], optional
        Subtracted from every row: logq * log(count) for targets, logq * alpha * log(count) for samples.
    lanes
        What counts of them.

    Returns
    -------
    The sum of the lanes' losses, and its gradient in the scores [M, C].
    """
    if correction is not None:
        scores -= correction
    share = torch.softmax(scores.masked_fill_(lanes.absent, torch.finfo(scores.dtype).min), dim=1)  # [M, C]
    of_target = share.diagonal(lanes.first)  # [M]
    weight = lanes.running(len(scores)).to(scores.dtype) / lanes.batch_size  # [M]
    loss = -(torch.log(of_target + LOG_FLOOR) * weight).sum()
    strength = of_target / (of_target + LOG_FLOOR) * weight  # [M]
    gradient = share * strength.unsqueeze(1)  # [M, C]
    gradient.diagonal(lanes.first).sub_(strength)
    return loss, gradient


def bpr_max(scores: torch.Tensor, bpreg: float, elu_param: float, lanes: Lanes) -> tuple[torch.Tensor, torch.Tensor]:
    """BPR-max with its score regulariser (CIKM 2018, section 3.3); parameters and result as in `cross_entropy`."""
    raw = scores
    if elu_param > 0:
        scores = torch.nn.functional.elu(raw, alpha=elu_param)  # [M, C]
    target = scores.diagonal(lanes.first).unsqueeze(1)  # [M, 1]
    floor = torch.finfo(scores.dtype).min
    negatives = scores.masked_fill(lanes.absent, floor)
    negatives.diagonal(lanes.first).fill_(floor)
    # A lane that has nothing to compare with, the tail's last where no samples are drawn, teaches nothing.
    teaching = lanes.running(len(scores)) & ((~lanes.absent).sum() > 1)  # [M]
    weight = torch.softmax(negatives, dim=1) * teaching.unsqueeze(1)  # [M, C], 0 at the lane's own target
    better = torch.sigmoid(target - scores)  # [M, C]
    weighted = weight * better  # [M, C]
    expected = weighted.sum(1, keepdim=True)  # [M, 1]
    square = scores * scores  # [M, C]
    penalty = (weight * square).sum(1, keepdim=True)  # [M, 1]
    loss = ((bpreg * penalty - torch.log(expected + LOG_FLOOR)).squeeze(1) * teaching).sum() / lanes.batch_size

    inverse = 1 / (expected + LOG_FLOOR)  # [M, 1]
    slope = weighted * (1 - better)  # [M, C]: weight * sigmoid'
    # In a negative's score: through the sigmoid, through the softmax weights, and through the regulariser.
    gradient = (slope - weighted + weight * expected) * inverse  # [M, C]
    gradient += bpreg * weight * (2 * scores + square - penalty)
    gradient.diagonal(lanes.first).copy_((-slope.sum(1, keepdim=True) * inverse).squeeze(1))
    if elu_param > 0:
        gradient *= torch.where(raw > 0, 1.0, scores + elu_param)
    return loss, gradient.div_(lanes.batch_size)


@dataclass(frozen=True)
class Operations:
    """The elementwise parts of a step: in plain torch, or with the kernels of `recsys.training.device_kernels`."""

    gates_forward: Callable[..., tuple[torch.Tensor, Saved]]
    gates_backward: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    cross_entropy: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    bpr_max: Callable[..., tuple[torch.Tensor, torch.Tensor]]


PLAIN = Operations(gates_forward, gates_backward, cross_entropy, bpr_max)


def carve(memory: torch.Tensor, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Views of a piece of memory, one after the other, by name; `carved` tells how much they take."""
    views, begin = {}, 0
    for name, shape in shapes.items():
        entries = int(np.prod(shape))
        views[name] = memory[begin : begin + entries].view(shape)
        begin += carved({name: shape})
    return views


def carved(shapes: dict[str, tuple[int, ...]]) -> int:
    """Entries that arrays of such shapes take, each beginning where wide loads may begin."""
    return sum(-(-int(np.prod(shape)) // _ALIGNED) * _ALIGNED for shape in shapes.values())


_ALIGNED = 64
"""Entries."""


class Gradients:
    """One step's gradients, in a single piece of memory, so that processes can add theirs up at once.

    Attributes
    ----------
    memory
        All of them.
    dense : [G]
        Of the dense arrays.
    by_name
        The same by the names of the arrays.
    columns : [C, H]
        Of the vectors that score.
    bias : [C]
        Of their biases.
    inputs : [A, D]
        Of the inputs of all processes' lanes.
    shared : [C + A, H], or None
        `columns` and `inputs` in one, where inputs are looked up in the table that scores.
    """

    def __init__(self, network: "Network", columns: int, lanes: int) -> None:
        width, score_width = network.settings.input_width, network.settings.layers[-1]
        shared = network.input_table == "item_table"
        rows = {"both": (columns + lanes, width)} if shared else {"columns": (columns, score_width), "inputs": (lanes, width)}
        dense = network.stored["dense"]
        shapes = {"dense": tuple(dense.shape), "bias": (columns,)} | rows
        self.memory = dense.new_zeros(carved(shapes))
        views = carve(self.memory, shapes)
        self.dense, self.bias = views["dense"], views["bias"]
        self.by_name = network.dense_views(self.dense)
        self.shared = views.get("both")
        self.columns = views["columns"] if self.shared is None else self.shared[:columns]
        self.inputs = views["inputs"] if self.shared is None else self.shared[columns:]


@dataclass
class Masks:
    """Dropout masks of one step, 0 or 1 / (1 - p): `embedding` [M, D], `hidden` one [M, H] a layer; none drops nothing."""

    embedding: torch.Tensor | None = None
    hidden: list[torch.Tensor] = field(default_factory=list)

    def of(self, layer: int) -> torch.Tensor | None:
        """Of a layer's output [M, H]."""
        return self.hidden[layer] if self.hidden else None


class Network:
    """The learned arrays, and one training step over them.

    Parameters
    ----------
    arrays
        Where learning starts from, see `recsys.models.gru4rec_forward.initial_arrays`; they are copied.
    settings
        The model's parameters.
    counts : [V]
        Clicks of each item in training, at least 1.
    device
        Where the arrays lie.
    operations
        The elementwise parts of the step.

    Attributes
    ----------
    stored
        What is learned: the tables, each with a spare row V of zeros, which stands for no item and whose gradient is zero; and `dense`,
        one piece of memory for all other arrays [G].
    parameters
        The same by the names of the arrays, as views; tables with their spare row.
    """

    def __init__(
        self, arrays: Arrays, settings: GRU4RecParameters, counts: np.ndarray, device: torch.device, operations: Operations = PLAIN
    ) -> None:
        self.settings = settings
        self.operations = operations
        self.spare = len(counts)
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        dtype = torch.from_numpy(arrays["item_table"]).dtype
        self._dense_shapes = {name: shape for name, shape in shapes.items() if name not in TABLES}
        self.stored = {"dense": torch.zeros(carved(self._dense_shapes), dtype=dtype, device=device)}
        for name in TABLES:
            if name in shapes:
                self.stored[name] = torch.zeros(self.spare + 1, *shapes[name][1:], dtype=dtype, device=device)
        self.parameters = self.named(self.stored) | {name: array for name, array in self.stored.items() if name in TABLES}
        self.load(arrays)
        # Of targets, which occur with p ~ count, and of samples, which occur with p ~ count ** alpha.
        self._log_counts = torch.zeros(self.spare + 1, dtype=dtype, device=device)  # [V + 1]
        self._log_counts[: self.spare] = torch.from_numpy(np.log(counts))

    def named(self, stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """By the names of the learned arrays, as views without spare rows, what is laid out as `stored` is."""
        return carve(stored["dense"], self._dense_shapes) | {name: array[: self.spare] for name, array in stored.items() if name in TABLES}

    def dense_views(self, memory: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of memory [G] that is laid out as the dense arrays are, by their names."""
        return carve(memory, self._dense_shapes)

    def load(self, arrays: Arrays) -> None:
        """Take over learned arrays."""
        for name, array in self.named(self.stored).items():
            array.copy_(torch.from_numpy(arrays[name]))

    @property
    def input_table(self) -> str:
        """The name of the table that inputs are looked up in."""
        return "item_table" if self.settings.embedding == "shared" else "input_table"

    def forward(
        self, inputs: torch.Tensor, states: list[torch.Tensor], masks: Masks
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[tuple[torch.Tensor, Saved]]]:
        """The output [M, H] for input items [M], the new states (dropped out, one [M, H] a layer), what the derivative needs."""
        entered = self.parameters[self.input_table].index_select(0, inputs)  # [M, D]
        if masks.embedding is not None:
            entered = entered * masks.embedding
        new_states, saved = [], []
        for layer, state in enumerate(states):
            weight, bias = self.parameters.get(f"weight_input.{layer}"), self.parameters[f"bias_input.{layer}"]
            from_input = entered + bias if weight is None else torch.addmm(bias, entered, weight.T)  # [M, 3H]
            from_state = torch.addmm(self.parameters[f"bias_hidden.{layer}"], state, self.parameters[f"weight_hidden.{layer}"].T)  # [M, 3H]
            new_state, kept = self.operations.gates_forward(from_input, from_state, state, masks.of(layer))  # [M, H]
            new_states.append(new_state)
            saved.append((entered, kept))
            entered = new_state
        return entered, new_states, saved

    def backward(self, gradient: torch.Tensor, saved: list[tuple[torch.Tensor, Saved]], masks: Masks, gradients: Gradients) -> torch.Tensor:
        """From the loss's gradient in the output [M, H] to that in the inputs' rows [M, D]; that in the weights goes to `gradients`."""
        named = gradients.by_name
        for layer, (entered, kept) in reversed(list(enumerate(saved))):
            biases = named[f"bias_input.{layer}"], named[f"bias_hidden.{layer}"]
            in_input, in_state = self.operations.gates_backward(gradient, masks.of(layer), kept, *biases)  # [M, 3H] each
            torch.mm(in_state.T, kept.state, out=named[f"weight_hidden.{layer}"])  # [3H, H]
            weight = self.parameters.get(f"weight_input.{layer}")
            if weight is None:
                gradient = in_input
            else:
                torch.mm(in_input.T, entered, out=named[f"weight_input.{layer}"])  # [3H, D]
                gradient = in_input @ weight  # [M, D]
        return gradient if masks.embedding is None else gradient * masks.embedding

    def loss(self, scores: torch.Tensor, columns: torch.Tensor, first: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """The configured loss of scores [M, C], and its gradient in them; arguments as of `step`."""
        chosen = self.settings
        absent = columns == self.spare  # [C]
        lanes = Lanes(first, absent, chosen.batch_size)
        if chosen.loss == "bpr-max":
            return self.operations.bpr_max(scores, chosen.bpreg, chosen.elu_param, lanes)
        correction = None
        if chosen.logq > 0:
            correction = chosen.logq * self._log_counts.index_select(0, columns)  # [C]
            correction[len(columns) - chosen.n_sample :] *= chosen.sample_alpha
        return self.operations.cross_entropy(scores, correction, lanes)

    def step(
        self,
        inputs: torch.Tensor,
        columns: torch.Tensor,
        states: list[torch.Tensor],
        masks: Masks,
        gradients: Gradients,
        first: int = 0,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The loss of one step, and the states it leaves; its gradients go to `gradients`.

        Parameters
        ----------
        inputs : int64 [M]
            The lanes' clicks; the spare row for a lane that has vanished.
        columns : int64 [C]
            The next clicks of all processes' lanes, likewise, then the shared negative samples, which may collide with them; that is
            not masked.
        states
            [M, H] a layer, before the step.
        masks
            Dropout masks.
        gradients
            Written to; of its inputs, the M rows from `first` on.
        first
            The column of this process's first lane.
        """
        output, new_states, saved = self.forward(inputs, states, masks)
        vectors = self.parameters["item_table"].index_select(0, columns)  # [C, H]
        scores = torch.addmm(self.parameters["item_bias"].index_select(0, columns), output, vectors.T)  # [M, C]
        loss, in_scores = self.loss(scores, columns, first)
        torch.sum(in_scores, 0, out=gradients.bias)  # [C]
        torch.mm(in_scores.T, output, out=gradients.columns)  # [C, H]
        gradients.inputs[first : first + len(inputs)] = self.backward(in_scores @ vectors, saved, masks, gradients)  # [M, D]
        return loss, new_states
