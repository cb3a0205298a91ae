"""Session-parallel training of GRU4Rec in torch: on GPUs, on several processes, and the reference of the native trainer."""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch

from recsys.models.gru4rec_forward import Arrays
from recsys.models.gru4rec_network import PLAIN, Gradients, Network, Operations
from recsys.models.ranks import ALONE, Ranks
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training.device_blocks import DeviceBlocks, steps_of_block
from recsys.training.device_random import Randomness
from recsys.training.graph import captured
from recsys.training.optimizer import Adagrad
from recsys.training.schedule import Schedule


def memory_of_training(settings: GRU4RecParameters, n_items: int, schedule: Schedule, ranks: int = 1) -> tuple[int, int]:
    """About how many bytes a trainer holds on its device: in what is as large as the shop and its log, and in a block of steps.

    Parameters
    ----------
    settings
        The model's parameters.
    n_items
        Items of the vocabulary.
    schedule
        What each step feeds and predicts.
    ranks
        Processes that train together.
    """
    lanes = -(-int(schedule.steps[1]) // ranks)
    columns, width = lanes * ranks + settings.n_sample, settings.layers[-1]
    inputs = settings.input_width if settings.embedding != "shared" else 0
    # Tables: learned, squares of Adagrad, momentum. An item: log count, two entries to draw from. A step of a lane: input, target, keep.
    tables = 4 * n_items * (width + 1 + inputs) * (2 + (settings.momentum > 0)) + 20 * n_items
    tables += 9 * (len(schedule) + 1) * lanes * ranks
    steps = steps_of_block(settings, lanes)
    masks = steps * lanes * (settings.input_width + sum(settings.layers))
    uses = steps * (8 * columns + 4 * lanes * ranks)
    scores = (13 if settings.loss == "bpr-max" else 5) * lanes * columns
    vectors = 6 * (columns + lanes * ranks) * width
    return tables, 60 * masks + 24 * uses + 4 * (scores + vectors)


class SessionParallelTrainer:
    """Runs GRU4Rec's arrays through a schedule, block by block; the loop's `Trainer`.

    Schedule, tables, samples and states lie on the device. A step has fixed shapes, is recorded once as a CUDA graph and replayed;
    the host looks at the loss once a block. On a CPU the very same step runs without a graph.

    With several ranks each has its share of the lanes; the targets of all are columns for all, their gradients are added up, and every
    rank takes the same update, so that their arrays stay alike.

    Parameters
    ----------
    arrays
        Where training starts from, see `initial_arrays`; they are copied, and trained in their precision.
    chosen
        The model's parameters.
    schedule
        What each step feeds and predicts.
    counts : int64 [V]
        Clicks of each item in training, at least 1.
    seed
        Of the samples and dropout masks, which are the native trainer's.
    device
        Where it is trained.
    ranks
        The processes that train together.
    fused
        Whether the elementwise parts run as Triton kernels; None: on a GPU, where Triton is installed.
    """

    def __init__(
        self,
        arrays: Arrays,
        chosen: GRU4RecParameters,
        schedule: Schedule,
        counts: np.ndarray,
        seed: int,
        device: torch.device,
        ranks: Ranks = ALONE,
        fused: bool | None = None,
    ) -> None:
        if device.index is not None:
            torch.cuda.set_device(device)  # where graphs are recorded and kernels launched
        self.steps_per_epoch = len(schedule)
        self.events_per_epoch = len(schedule.inputs)
        self._ranks = ranks
        self._steps = 0
        self._all_lanes = int(schedule.steps[1])
        lanes = -(-self._all_lanes // ranks.count)
        self._first = ranks.rank * lanes
        parts = _parts(device.type == "cuda" and find_spec("triton") is not None if fused is None else fused)
        self.network = Network(arrays, chosen, counts, device, parts.operations)
        dtype = self.network.stored["dense"].dtype
        own = slice(self._first, self._first + lanes)
        self._blocks = DeviceBlocks(schedule, chosen, counts, parts.randomness(seed), device, own, lanes * ranks.count, dtype)
        self._optimizer = parts.adagrad(self.network.stored, chosen.learning_rate, chosen.momentum)
        self._gradients = Gradients(self.network, len(self._blocks.step.columns), lanes * ranks.count)
        self._states = [torch.zeros(lanes, units, dtype=dtype, device=device) for units in chosen.layers]
        self._loss = torch.zeros((), dtype=dtype, device=device)
        # The schedule's end feeds nothing, so that nothing is learned while the graphs are recorded.
        self._blocks.seek(self.steps_per_epoch, 0)
        self._make = captured(self._blocks.make, device)
        self._step = captured(self._train_step, device)
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Empty lanes."""
        for state in self._states:
            state.zero_()
        self._gather_states()

    @torch.inference_mode()
    def run_block(self, begin: int, end: int) -> float:
        """Train on the steps `begin:end`; the sum of their losses."""
        self._loss.zero_()
        for first in range(begin, end, self._blocks.steps):
            count = min(self._blocks.steps, end - first)
            self._blocks.seek(first, self._steps)
            self._make()
            for _ in range(count):
                self._step()
            self._steps += count
        self._ranks.add_up(self._loss)
        self._gather_states()
        return float(self._loss)

    def _gather_states(self) -> None:
        """Know the lanes of all ranks, so that the leader can keep them by itself."""
        self._known_states = [self._ranks.gathered(state) for state in self._states]  # [A, H] a layer

    def _train_step(self) -> None:
        """Learn from the next step, on the device alone."""
        self._blocks.advance()
        step, gradients = self._blocks.step, self._gradients
        if self._ranks.count > 1:
            gradients.inputs.zero_()  # what the others' lanes left there
        loss, states = self.network.step(
            step.inputs,
            step.columns,
            [state * step.keep for state in self._states],
            step.masks,
            gradients,
            self._first,
        )
        self._loss += loss
        for state, new in zip(self._states, states, strict=True):
            state.copy_(new)
        self._ranks.add_up(gradients.memory)

        self._optimizer.update("dense", gradients.dense)
        self._optimizer.update_uses("item_bias", step.uses["item_bias"], gradients.bias)
        if gradients.shared is not None:
            self._optimizer.update_uses("item_table", step.uses["item_table"], gradients.shared)
        else:
            self._optimizer.update_uses("item_table", step.uses["item_table"], gradients.columns)
            self._optimizer.update_uses("input_table", step.uses["input_table"], gradients.inputs)

    def arrays(self) -> Arrays:
        """The learned arrays; on a CPU, live."""
        return {name: array.cpu().numpy() for name, array in self.network.named(self.network.stored).items()}

    def _optimizer_state(self) -> dict[str, torch.Tensor]:
        parts = {"accumulator": self._optimizer.accumulators, "velocity": self._optimizer.velocities}
        return {f"{part}.{name}": array for part, stored in parts.items() if stored for name, array in self.network.named(stored).items()}

    def state(self) -> Arrays:
        """Optimizer, lanes of all ranks, and the number of steps taken, from which everything random follows."""
        lanes = {f"lanes.{layer}": state[: self._all_lanes] for layer, state in enumerate(self._known_states)}
        named = {name: array.cpu().numpy() for name, array in (self._optimizer_state() | lanes).items()}
        return named | {"steps": np.array([self._steps])}

    def restore(self, arrays: Arrays, state: Arrays) -> None:
        """Take over what `arrays` and `state` gave, whatever the number of ranks was."""
        self.network.load(arrays)
        for name, array in self._optimizer_state().items():
            array.copy_(torch.from_numpy(state[name]))
        for layer, lanes in enumerate(self._states):
            own = state[f"lanes.{layer}"][self._first : self._first + len(lanes)]  # fewer where the last ranks have lanes to spare
            lanes[: len(own)] = torch.from_numpy(own)
        self._gather_states()
        self._steps = int(state["steps"][0])


class _Parts(NamedTuple):
    """What runs as Triton kernels or in plain torch."""

    operations: Operations
    adagrad: type[Adagrad]
    randomness: type[Randomness]


def _parts(fused: bool) -> _Parts:
    if not fused:
        return _Parts(PLAIN, Adagrad, Randomness)
    from recsys.training.device_kernels import FUSED, FusedAdagrad, FusedRandomness

    return _Parts(FUSED, FusedAdagrad, FusedRandomness)
