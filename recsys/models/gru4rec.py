"""GRU4Rec: a recurrent network over the clicks of a session, trained session-parallel on sampled ranking losses.

Sources: Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016 (the network and the schedule);
Hidasi & Karatzoglou, "Recurrent neural networks with top-k gains for session-based recommendations", CIKM 2018 (samples and losses).

One step is written out by hand, forward and backward: nothing is propagated through time, so that the whole derivative is a page,
and no graph has to be recorded for it.

Shapes: B lanes, H units of a layer, D width of a layer's input, C = B targets + samples, V items.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch

from recsys.errors import DataError
from recsys.models.interface import Capabilities, FitContext, FitData, Model, Queries
from recsys.sessions.table import Positions, Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training.hardware import pick_device, require_memory
from recsys.training.loop import BLOCK, run_epochs
from recsys.training.optimizer import Adagrad
from recsys.training.sampling import NegativeSampler
from recsys.training.schedule import Schedule

LOG_FLOOR = 1e-24
"""Added inside the losses' logarithms."""

_ENCODE_CLICKS = 16_384
"""Clicks whose states are held at a time while sessions are scored."""


def initial_parameters(n_items: int, layers: list[int], seed: int) -> dict[str, torch.Tensor]:
    """Weights uniform in ±sqrt(6 / (rows + columns)), for the gates each on its own; biases 0.

    Gates are stacked as reset, update, new: [3H, D].
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(rows: int, columns: int) -> torch.Tensor:
        bound = (6.0 / (rows + columns)) ** 0.5
        return (torch.rand(rows, columns, generator=generator) * 2 - 1) * bound

    parameters = {"item_table": uniform(n_items, layers[-1]), "item_bias": torch.zeros(n_items)}
    width = layers[-1]
    for layer, units in enumerate(layers):
        parameters[f"weight_input.{layer}"] = torch.cat([uniform(units, width) for _ in range(3)])  # [3H, D]
        parameters[f"weight_hidden.{layer}"] = torch.cat([uniform(units, units) for _ in range(3)])  # [3H, H]
        parameters[f"bias_input.{layer}"] = torch.zeros(3 * units)
        parameters[f"bias_hidden.{layer}"] = torch.zeros(3 * units)
        width = units
    return parameters


def cell_forward(
    parameters: dict[str, torch.Tensor], layer: int, entered: torch.Tensor, state: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """One GRU step of one layer: the new state [B, H] and what the derivative needs."""
    units = state.shape[1]
    from_input = torch.addmm(parameters[f"bias_input.{layer}"], entered, parameters[f"weight_input.{layer}"].T)  # [B, 3H]
    from_state = torch.addmm(parameters[f"bias_hidden.{layer}"], state, parameters[f"weight_hidden.{layer}"].T)  # [B, 3H]
    gates = torch.sigmoid(from_input[:, : 2 * units] + from_state[:, : 2 * units])  # [B, 2H]
    reset, update = gates[:, :units], gates[:, units:]  # [B, H] each
    remembered = from_state[:, 2 * units :]  # [B, H]
    new = torch.tanh(torch.addcmul(from_input[:, 2 * units :], reset, remembered))  # [B, H]
    return torch.lerp(new, state, update), (entered, state, reset, update, remembered, new)


def cell_backward(
    parameters: dict[str, torch.Tensor], layer: int, gradient: torch.Tensor, saved: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """From the loss's gradient in the new state [B, H] to that in the layer's input [B, D] and in its weights.

    The state before the step is a constant: nothing is propagated through time.
    """
    entered, state, reset, update, remembered, new = saved
    in_update = gradient * (state - new) * update * (1 - update)  # [B, H]
    in_new = gradient * (1 - update) * (1 - new * new)  # [B, H]
    in_reset = in_new * remembered * reset * (1 - reset)  # [B, H]
    in_input = torch.cat([in_reset, in_update, in_new], dim=1)  # [B, 3H]
    in_state = torch.cat([in_reset, in_update, in_new * reset], dim=1)  # [B, 3H]
    gradients = {
        f"weight_input.{layer}": in_input.T @ entered,  # [3H, D]
        f"weight_hidden.{layer}": in_state.T @ state,  # [3H, H]
        f"bias_input.{layer}": in_input.sum(0),  # [3H]
        f"bias_hidden.{layer}": in_state.sum(0),  # [3H]
    }
    return in_input @ parameters[f"weight_input.{layer}"], gradients


def cross_entropy(scores: torch.Tensor, correction: torch.Tensor | None, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax cross-entropy over targets and samples (CIKM 2018, section 3.2).

    Parameters
    ----------
    scores : [M, C]
        Column m < M is lane m's target. Overwritten.
    correction : [C], optional
        Subtracted from every row: logq * log(count) for targets, logq * alpha * log(count) for samples.
    batch_size
        The configured number of lanes, by which the sum over the M lanes is divided, also when the batch has shrunk.

    Returns
    -------
    The loss, and its gradient in the scores [M, C].
    """
    if correction is not None:
        scores -= correction
    share = torch.softmax(scores, dim=1)  # [M, C]
    of_target = share.diagonal()  # [M]
    loss = -torch.log(of_target + LOG_FLOOR).sum() / batch_size
    strength = of_target / (of_target + LOG_FLOOR)  # [M]
    gradient = share * (strength / batch_size).unsqueeze(1)  # [M, C]
    gradient.diagonal().sub_(strength / batch_size)
    return loss, gradient


def bpr_max(scores: torch.Tensor, bpreg: float, elu_param: float, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """BPR-max with its score regulariser (CIKM 2018, section 3.3); parameters and result as in `cross_entropy`."""
    if scores.shape[1] == 1:  # a single lane and no samples: nothing to compare with
        return scores.new_zeros(()), torch.zeros_like(scores)
    raw = scores
    if elu_param > 0:
        scores = torch.nn.functional.elu(raw, alpha=elu_param)  # [M, C]
    target = scores.diagonal().unsqueeze(1)  # [M, 1]
    negatives = scores.clone()
    negatives.diagonal().fill_(-torch.inf)
    weight = torch.softmax(negatives, dim=1)  # [M, C], 0 at the lane's own target
    better = torch.sigmoid(target - scores)  # [M, C]
    weighted = weight * better  # [M, C]
    expected = weighted.sum(1, keepdim=True)  # [M, 1]
    square = scores * scores  # [M, C]
    penalty = (weight * square).sum(1, keepdim=True)  # [M, 1]
    loss = (bpreg * penalty - torch.log(expected + LOG_FLOOR)).sum() / batch_size

    inverse = 1 / (expected + LOG_FLOOR)  # [M, 1]
    slope = weighted * (1 - better)  # [M, C]: weight * sigmoid'
    # In a negative's score: through the sigmoid, through the softmax weights, and through the regulariser.
    gradient = (slope - weighted + weight * expected) * inverse  # [M, C]
    gradient += bpreg * weight * (2 * scores + square - penalty)
    gradient.diagonal().copy_((-slope.sum(1, keepdim=True) * inverse).squeeze(1))
    if elu_param > 0:
        gradient *= torch.where(raw > 0, 1.0, scores + elu_param)
    return loss, gradient.div_(batch_size)


@dataclass
class Gradients:
    """Of one step: whole arrays by name, and the rows of the item table and its bias that the step touched."""

    dense: dict[str, torch.Tensor]
    table_rows: torch.Tensor
    table: torch.Tensor
    bias_rows: torch.Tensor
    bias: torch.Tensor


def sum_by_row(ids: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct `ids` [N], ascending, and the sum of the `values` [N, …] of each.

    Most ids stand there once: their values are copied, and only the others are added up.
    """
    ordered, order = torch.sort(ids, stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=first[1:])
    repeated = ~first
    sums = values.index_select(0, order[first])
    sums.index_add_(0, (torch.cumsum(first, 0) - 1)[repeated], values.index_select(0, order[repeated]))
    return ordered[first], sums


@dataclass
class Network:
    """The learned arrays, and one training step over them.

    Attributes
    ----------
    parameters
        Learned arrays by name, see `initial_parameters`.
    settings
        The model's parameters.
    log_counts : [V]
        log(clicks in training) of each item; used where `logq` is above 0.
    """

    parameters: dict[str, torch.Tensor]
    settings: GRU4RecParameters
    log_counts: torch.Tensor | None = None

    def forward(
        self, inputs: torch.Tensor, states: list[torch.Tensor], masks: "Masks | None" = None
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[tuple[torch.Tensor, ...]]]:
        """The output [M, H] for input items [M], the new states (dropped out, one [M, H] a layer), what the derivative needs."""
        entered = self.parameters["item_table"].index_select(0, inputs)  # [M, D]
        if masks is not None and masks.embedding is not None:
            entered = entered * masks.embedding
        new_states, saved = [], []
        for layer, state in enumerate(states):
            entered, kept = cell_forward(self.parameters, layer, entered, state)
            if masks is not None and masks.hidden:
                entered = entered * masks.hidden[layer]
            new_states.append(entered)
            saved.append(kept)
        return entered, new_states, saved

    def loss(self, scores: torch.Tensor, targets: torch.Tensor, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The configured loss of scores [M, C], and its gradient in them."""
        chosen = self.settings
        if chosen.loss == "bpr-max":
            return bpr_max(scores, chosen.bpreg, chosen.elu_param, chosen.batch_size)
        correction = None
        if chosen.logq > 0:
            popularity = torch.cat([self.log_counts[targets], chosen.sample_alpha * self.log_counts[samples]])  # [C]
            correction = chosen.logq * popularity
        return cross_entropy(scores, correction, chosen.batch_size)

    def step(
        self,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        samples: torch.Tensor,
        states: list[torch.Tensor],
        masks: "Masks | None" = None,
    ) -> tuple[torch.Tensor, list[torch.Tensor], Gradients]:
        """The loss of one step, the states it leaves, and its gradients.

        Parameters
        ----------
        inputs, targets : int64 [M]
            The lanes' clicks and next clicks.
        samples : int64 [n_sample]
            Shared negative samples; they may collide with targets, which is not masked.
        states
            [M, H] a layer, before the step.
        masks
            Dropout masks; None drops nothing.
        """
        output, new_states, saved = self.forward(inputs, states, masks)
        columns = torch.cat([targets, samples])  # [C]
        vectors = self.parameters["item_table"].index_select(0, columns)  # [C, H]
        scores = torch.addmm(self.parameters["item_bias"].index_select(0, columns), output, vectors.T)  # [M, C]
        loss, in_scores = self.loss(scores, targets, samples)

        in_uses = vectors.new_empty(len(columns) + len(inputs), vectors.shape[1])  # [C + M, H]: as output vectors, as inputs
        torch.mm(in_scores.T, output, out=in_uses[: len(columns)])
        gradient = in_scores @ vectors  # [M, H]
        dense: dict[str, torch.Tensor] = {}
        for layer in reversed(range(len(states))):
            if masks is not None and masks.hidden:
                gradient = gradient * masks.hidden[layer]
            gradient, of_layer = cell_backward(self.parameters, layer, gradient, saved[layer])
            dense |= of_layer
        if masks is not None and masks.embedding is not None:
            gradient = gradient * masks.embedding

        in_uses[len(columns) :] = gradient
        bias_rows, in_bias = sum_by_row(columns, in_scores.sum(0))
        table_rows, in_table = sum_by_row(torch.cat([columns, inputs]), in_uses)
        return loss, new_states, Gradients(dense, table_rows, in_table, bias_rows, in_bias)


@dataclass
class Masks:
    """Dropout masks of one step, 0 or 1 / (1 - p): `embedding` [M, D], `hidden` one [M, H] a layer; none drops nothing."""

    embedding: torch.Tensor | None = None
    hidden: list[torch.Tensor] = field(default_factory=list)


class SessionParallelTrainer:
    """Runs a network through its schedule, block by block; the loop's `Trainer`."""

    def __init__(self, network: Network, schedule: Schedule, counts: torch.Tensor, seed: int) -> None:
        chosen = network.settings
        self.network = network
        self.schedule = schedule
        self.steps_per_epoch = len(schedule)
        self.events_per_epoch = len(schedule.inputs)
        self._device = schedule.inputs.device
        self._sampler = NegativeSampler(counts, chosen.sample_alpha)
        self._random = torch.Generator(self._device).manual_seed(seed)
        self._optimizer = Adagrad(network.parameters, chosen.learning_rate, chosen.momentum)
        self._states: list[torch.Tensor] = []
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Empty lanes."""
        lanes = int(self.schedule.steps[1])
        dtype = self.network.parameters["item_table"].dtype
        self._states = [torch.zeros(lanes, units, dtype=dtype, device=self._device) for units in self.network.settings.layers]

    def _dropout(self, p: float, *shape: int) -> torch.Tensor:
        """Dropout mask of any shape: 0 with probability p, else 1 / (1 - p)."""
        return torch.empty(*shape, device=self._device).bernoulli_(1 - p, generator=self._random).div_(1 - p)

    def run_block(self, begin: int, end: int) -> float:
        """Train on the steps `begin:end`; the sum of their losses."""
        chosen, schedule = self.network.settings, self.schedule
        samples = self._sampler.draw(end - begin, chosen.n_sample, self._random)  # [steps, n_sample]
        losses = torch.zeros((), device=self._device)
        for step in range(begin, end):
            entries = slice(int(schedule.steps[step]), int(schedule.steps[step + 1]))
            lanes = entries.stop - entries.start
            survivors = schedule.survivors(step)
            if survivors is not None:
                rows = torch.from_numpy(survivors).to(self._device)
                self._states = [state.index_select(0, rows) for state in self._states]
            keep = schedule.keep[entries].unsqueeze(1)  # [M, 1]
            masks = Masks()
            if chosen.dropout_embedding:
                masks.embedding = self._dropout(chosen.dropout_embedding, lanes, chosen.layers[-1])
            if chosen.dropout_hidden:
                masks.hidden = [self._dropout(chosen.dropout_hidden, lanes, units) for units in chosen.layers]
            loss, self._states, gradients = self.network.step(
                schedule.inputs[entries],
                schedule.targets[entries],
                samples[step - begin],
                [state * keep for state in self._states],
                masks,
            )
            losses += loss
            self._apply(gradients)
        return float(losses)

    def _apply(self, gradients: Gradients) -> None:
        for name, gradient in gradients.dense.items():
            self._optimizer.update(name, gradient)
        self._optimizer.update_rows("item_table", gradients.table_rows, gradients.table)
        self._optimizer.update_rows("item_bias", gradients.bias_rows, gradients.bias)

    def parameters(self) -> dict[str, torch.Tensor]:
        """The learned arrays, live."""
        return self.network.parameters

    def state(self) -> dict[str, torch.Tensor]:
        """Optimizer, lanes and random state."""
        lanes = {f"lanes.{layer}": state for layer, state in enumerate(self._states)}
        return self._optimizer.state() | lanes | {"random": self._random.get_state()}

    def restore(self, parameters: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> None:
        """Take over what `parameters` and `state` gave."""
        self.use(parameters)
        self._optimizer.restore(state)
        self._states = [state[f"lanes.{layer}"].to(self._device) for layer in range(len(self._states))]
        self._random.set_state(state["random"])

    def use(self, parameters: dict[str, torch.Tensor]) -> None:
        """Take over learned arrays only."""
        for name, array in self.network.parameters.items():
            array.copy_(parameters[name])


def memory_of_fit(settings: GRU4RecParameters, n_items: int, sessions: int, clicks: int) -> tuple[int, int]:
    """About how many bytes a fit holds at once: in what is as large as the shop and its log, and in a step.

    Parameters
    ----------
    settings
        The model's parameters.
    n_items, sessions, clicks
        Of the training data.
    """
    width, lanes = settings.layers[-1], min(settings.batch_size, sessions)
    columns = lanes + settings.n_sample
    # The item table: initial, learned, squares of Adagrad, momentum, the best epoch's. A click: input, target, lane.
    tables = 4 * n_items * width * (4 + (settings.momentum > 0)) + 24 * clicks
    scores = (13 if settings.loss == "bpr-max" else 5) * lanes * columns
    vectors = 3 * (columns + lanes) * width + 12 * lanes * sum(settings.layers)
    return tables, 4 * (scores + vectors) + 8 * BLOCK * settings.n_sample


class GRU4Rec(Model):
    """GRU4Rec with one item table for input and output.

    Attributes
    ----------
    network_ : Network
        The learned arrays and the step over them; `arrays` gives them by name.
    """

    family: ClassVar[str] = "gru4rec"
    capabilities: ClassVar[Capabilities] = Capabilities(runtime="onnx", stepwise=True, seeded=True)
    parameters_class: ClassVar[type[GRU4RecParameters]] = GRU4RecParameters

    network_: Network

    def fit(self, data: FitData, context: FitContext | None = None) -> Self:
        """Train for the configured epochs, or until validation stops it.

        Raises
        ------
        DataError
            If there is no session to train on.
        TrainingError
            If the loss is not finite, or the memory does not suffice.
        """
        context = context if context is not None else FitContext()
        if not len(data.train):
            raise DataError("there is no training session with two clicks; lower filter.min_support or take a longer log")
        device = pick_device(context.device)
        self._require_memory(data, device)
        counts = torch.from_numpy(np.bincount(data.train.items, minlength=data.n_items).clip(min=1)).to(device)
        initial = initial_parameters(data.n_items, self.parameters.layers, self.seed)
        network = Network({name: array.to(device) for name, array in initial.items()}, self.parameters, counts.float().log())
        schedule = Schedule.of(data.train, self.parameters.batch_size, device)
        trainer = SessionParallelTrainer(network, schedule, counts, self.seed)
        self.n_items_ = data.n_items
        self.network_ = network
        validate = (lambda: context.validate(self)) if context.validate is not None else None
        with torch.inference_mode():
            run_epochs(trainer, self.parameters.epochs, context, validate)
        return self

    def _require_memory(self, data: FitData, device: torch.device) -> None:
        chosen = self.parameters
        tables, step = memory_of_fit(chosen, data.n_items, len(data.train), len(data.train.items))
        if step > tables:
            what = f"training with batch_size {chosen.batch_size:,} and n_sample {chosen.n_sample:,}"
            fix = "lower batch_size or n_sample"
        else:
            what = f"training with {data.n_items:,} items and layers {chosen.layers}"
            fix = "lower the last of layers, or raise filter.min_support"
        require_memory(tables + step, device, what, f"{fix} (under models.gru4rec, or in the run's parameters)")

    @torch.inference_mode()
    def _states(self, sessions: Sessions) -> torch.Tensor:
        """The network's output after every click: [clicks, H]. Each session starts from zero."""
        table = self.network_.parameters["item_table"]
        outputs = table.new_zeros(len(sessions.items), self.parameters.layers[-1])
        order = np.argsort(-sessions.lengths, kind="stable")
        lengths = sessions.lengths[order]
        starts = sessions.offsets[:-1][order]
        states = [table.new_zeros(len(order), units) for units in self.parameters.layers]
        for position in range(int(lengths[0]) if len(lengths) else 0):
            alive = int(np.searchsorted(-lengths, -position, side="left"))  # sessions with more than `position` clicks
            clicks = starts[:alive] + position
            inputs = torch.from_numpy(sessions.items[clicks].astype(np.int64)).to(table.device)
            output, states, _ = self.network_.forward(inputs, [state[:alive] for state in states])
            outputs[torch.from_numpy(clicks).to(table.device)] = output
        return outputs

    def _scores(self, outputs: torch.Tensor) -> np.ndarray:
        """float32 [Q, V] of outputs [Q, H]."""
        parameters = self.network_.parameters
        return torch.addmm(parameters["item_bias"], outputs, parameters["item_table"].T).cpu().numpy()

    @torch.inference_mode()
    def score_all(self, queries: Queries) -> np.ndarray:
        """Scores of every item for every query, float32 [Q, V]; an empty query is scored from the zero state."""
        outputs = self._states(queries)
        last = outputs.new_zeros(len(queries), outputs.shape[1])
        filled = np.flatnonzero(queries.lengths)
        last[torch.from_numpy(filled)] = outputs[torch.from_numpy(queries.offsets[1:][filled] - 1)]
        return self._scores(last)

    @torch.inference_mode()
    def score_positions(self, sessions: Sessions, positions: Positions, chunk: int) -> Iterator[np.ndarray]:
        """As the interface has it; every session is followed once, click by click."""
        first = 0
        while first < len(sessions):
            # Whole sessions, as many as fit; at least one.
            last = int(np.searchsorted(sessions.offsets, sessions.offsets[first] + _ENCODE_CLICKS, side="right")) - 1
            last = min(max(last, first + 1), len(sessions))
            begin, end = sessions.offsets[first], sessions.offsets[last]
            outputs = self._states(Sessions(sessions.items[begin:end], sessions.offsets[first : last + 1] - begin))
            wanted = positions.click[np.searchsorted(positions.session, first) : np.searchsorted(positions.session, last)]
            for part in range(0, len(wanted), chunk):
                rows = torch.from_numpy(wanted[part : part + chunk] - 1 - begin).to(outputs.device)
                yield self._scores(outputs[rows])
            first = last

    def arrays(self) -> dict[str, np.ndarray]:
        """Learned arrays by name: `item_table` [V, H], `item_bias` [V], and each layer's weights and biases."""
        return {name: array.cpu().numpy() for name, array in self.network_.parameters.items()}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over learned arrays; scoring then happens on the CPU."""
        self.network_ = Network({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, self.parameters)
