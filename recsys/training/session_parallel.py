"""Session-parallel training of GRU4Rec in torch: on a GPU, and the reference of the native trainer."""

import torch

from recsys.models.gru4rec_network import Gradients, Masks, Network
from recsys.training.optimizer import Adagrad
from recsys.training.sampling import NegativeSampler
from recsys.training.schedule import Schedule


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
