"""GRU4Rec's training step in torch: the reference of the native one, and the GPU's.

One step is written out by hand, forward and backward: nothing is propagated through time, so that the whole derivative is a page,
and no graph has to be recorded for it.

Sources: Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016 (the network);
Hidasi & Karatzoglou, "Recurrent neural networks with top-k gains for session-based recommendations", CIKM 2018 (samples and losses).

Shapes: B lanes, H units of a layer, D width of a layer's input, C = B targets + samples, V items.
"""

from dataclasses import dataclass, field

import torch

from recsys.settings.gru4rec import GRU4RecParameters

LOG_FLOOR = 1e-24
"""Added inside the losses' logarithms."""


def cell_forward(
    parameters: dict[str, torch.Tensor], layer: int, entered: torch.Tensor, state: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """One GRU step of one layer: the new state [B, H] and what the derivative needs."""
    units = state.shape[1]
    weight = parameters.get(f"weight_input.{layer}")
    bias = parameters[f"bias_input.{layer}"]
    from_input = entered + bias if weight is None else torch.addmm(bias, entered, weight.T)  # [B, 3H]
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
        f"weight_hidden.{layer}": in_state.T @ state,  # [3H, H]
        f"bias_input.{layer}": in_input.sum(0),  # [3H]
        f"bias_hidden.{layer}": in_state.sum(0),  # [3H]
    }
    weight = parameters.get(f"weight_input.{layer}")
    if weight is None:
        return in_input, gradients
    gradients[f"weight_input.{layer}"] = in_input.T @ entered  # [3H, D]
    return in_input @ weight, gradients


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
    """Of one step, by name: whole arrays, and the rows of the tables and the bias that the step touched, each once."""

    dense: dict[str, torch.Tensor]
    rows: dict[str, tuple[torch.Tensor, torch.Tensor]]


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
        Learned arrays by name, see `recsys.models.gru4rec_forward.initial_arrays`.
    settings
        The model's parameters.
    log_counts : [V]
        log(clicks in training) of each item; used where `logq` is above 0.
    """

    parameters: dict[str, torch.Tensor]
    settings: GRU4RecParameters
    log_counts: torch.Tensor | None = None

    @property
    def input_table(self) -> str:
        """The name of the table that inputs are looked up in."""
        return "item_table" if self.settings.embedding == "shared" else "input_table"

    def forward(
        self, inputs: torch.Tensor, states: list[torch.Tensor], masks: "Masks | None" = None
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[tuple[torch.Tensor, ...]]]:
        """The output [M, H] for input items [M], the new states (dropped out, one [M, H] a layer), what the derivative needs."""
        entered = self.parameters[self.input_table].index_select(0, inputs)  # [M, D]
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

        in_columns = in_scores.T @ output  # [C, H]
        gradient = in_scores @ vectors  # [M, H]
        dense: dict[str, torch.Tensor] = {}
        for layer in reversed(range(len(states))):
            if masks is not None and masks.hidden:
                gradient = gradient * masks.hidden[layer]
            gradient, of_layer = cell_backward(self.parameters, layer, gradient, saved[layer])
            dense |= of_layer
        if masks is not None and masks.embedding is not None:
            gradient = gradient * masks.embedding

        rows = {"item_bias": sum_by_row(columns, in_scores.sum(0))}
        if self.input_table == "item_table":
            rows["item_table"] = sum_by_row(torch.cat([columns, inputs]), torch.cat([in_columns, gradient]))
        else:
            rows["item_table"] = sum_by_row(columns, in_columns)
            rows["input_table"] = sum_by_row(inputs, gradient)
        return loss, new_states, Gradients(dense, rows)


@dataclass
class Masks:
    """Dropout masks of one step, 0 or 1 / (1 - p): `embedding` [M, D], `hidden` one [M, H] a layer; none drops nothing."""

    embedding: torch.Tensor | None = None
    hidden: list[torch.Tensor] = field(default_factory=list)
