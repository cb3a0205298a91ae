"""Session-parallel training of GRU4Rec in torch: on a GPU, and the reference of the native trainer."""

import numpy as np
import torch

from recsys.models.gru4rec_forward import Arrays
from recsys.models.gru4rec_network import Gradients, Masks, Network
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training.optimizer import Adagrad
from recsys.training.sampling import NegativeSampler
from recsys.training.schedule import Schedule


class SessionParallelTrainer:
    """Runs a network through its schedule, block by block; the loop's `Trainer`."""

    def __init__(
        self, arrays: Arrays, chosen: GRU4RecParameters, schedule: Schedule, counts: np.ndarray, seed: int, device: torch.device
    ) -> None:
        self.schedule = schedule
        self.steps_per_epoch = len(schedule)
        self.events_per_epoch = len(schedule.inputs)
        self._device = device
        self._inputs, self._targets, self._keep = (
            torch.from_numpy(array).to(device) for array in (schedule.inputs, schedule.targets, schedule.keep)
        )
        clicks = torch.from_numpy(counts).to(device)
        self.network = Network({name: torch.tensor(array, device=device) for name, array in arrays.items()}, chosen, clicks.float().log())
        self._sampler = NegativeSampler(clicks, chosen.sample_alpha)
        self._random = torch.Generator(device).manual_seed(seed)
        self._optimizer = Adagrad(self.network.parameters, chosen.learning_rate, chosen.momentum)
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

    @torch.inference_mode()
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
            keep = self._keep[entries].unsqueeze(1)  # [M, 1]
            masks = Masks()
            if chosen.dropout_embedding:
                masks.embedding = self._dropout(chosen.dropout_embedding, lanes, chosen.input_width)
            if chosen.dropout_hidden:
                masks.hidden = [self._dropout(chosen.dropout_hidden, lanes, units) for units in chosen.layers]
            loss, self._states, gradients = self.network.step(
                self._inputs[entries],
                self._targets[entries],
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
        for name, (rows, gradient) in gradients.rows.items():
            self._optimizer.update_rows(name, rows, gradient)

    def arrays(self) -> Arrays:
        """The learned arrays."""
        return {name: array.cpu().numpy() for name, array in self.network.parameters.items()}

    def state(self) -> Arrays:
        """Optimizer, lanes and random state."""
        lanes = {f"lanes.{layer}": state for layer, state in enumerate(self._states)}
        named = self._optimizer.state() | lanes | {"random": self._random.get_state()}
        return {name: array.cpu().numpy() for name, array in named.items()}

    def restore(self, arrays: Arrays, state: Arrays) -> None:
        """Take over what `arrays` and `state` gave."""
        for name, array in self.network.parameters.items():
            array.copy_(torch.from_numpy(arrays[name]))
        given = {name: torch.from_numpy(array) for name, array in state.items()}
        self._optimizer.restore(given)
        self._states = [given[f"lanes.{layer}"].to(self._device) for layer in range(len(self._states))]
        self._random.set_state(given["random"])
