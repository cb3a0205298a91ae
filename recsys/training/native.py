"""Session-parallel training of GRU4Rec on the CPU, by the Rust extension."""

import mmap

import numpy as np
import torch

from recsys.models.gru4rec_network import Masks, Network
from recsys.training.optimizer import Adagrad
from recsys.training.schedule import Schedule
from rust_sessionizer import training

_HUGE_PAGE = 2 << 20


class NativeTrainer:
    """Runs a float32 network through its schedule, block by block; the loop's `Trainer`.

    Everything random follows from the seed and the number of the step, so that a resume needs that number only, and the result does
    not depend on the number of threads, which is torch's.
    """

    def __init__(self, network: Network, schedule: Schedule, counts: torch.Tensor, seed: int) -> None:
        chosen = network.settings
        self.network = network
        self.schedule = schedule
        self.steps_per_epoch = len(schedule)
        self.events_per_epoch = len(schedule.inputs)
        self._optimizer = Adagrad(network.parameters, chosen.learning_rate, chosen.momentum)
        for arrays in (network.parameters, self._optimizer.accumulators, self._optimizer.velocities):
            for name, array in arrays.items():
                arrays[name] = _on_huge_pages(array)
        self._states = [np.zeros((int(schedule.steps[1]), units), np.float32) for units in chosen.layers]
        self._steps = 0
        self._native = training.Trainer(
            schedule.inputs.numpy(),
            schedule.targets.numpy(),
            schedule.keep.numpy(),
            schedule.lanes,
            schedule.steps,
            counts.numpy(),
            seed=seed % 2**64,
            threads=torch.get_num_threads(),
            **chosen.model_dump(exclude={"epochs"}),
        )

    def begin_epoch(self) -> None:
        """Empty lanes."""
        for state in self._states:
            state.fill(0.0)

    def run_block(self, begin: int, end: int) -> float:
        """Train on the steps `begin:end`; the sum of their losses."""
        parameters, accumulators, velocities = (
            {name: array.numpy() for name, array in arrays.items()}
            for arrays in (self.network.parameters, self._optimizer.accumulators, self._optimizer.velocities)
        )
        loss = self._native.run(parameters, accumulators, velocities, self._states, begin, end, self._steps)
        self._steps += end - begin
        return loss

    def samples(self, step: int) -> torch.Tensor:
        """The negative samples of a step, counted from the start of the training: int64 [n_sample]."""
        return torch.tensor(self._native.samples(step), dtype=torch.int64)

    def masks(self, step: int, lanes: int) -> Masks:
        """The dropout masks of a step, counted from the start of the training, of so many lanes."""
        chosen = self.network.settings
        embedding, hidden = self._native.masks(step, lanes)
        masks = Masks()
        if chosen.dropout_embedding:
            masks.embedding = torch.tensor(embedding).reshape(lanes, -1)  # [M, D]
        if chosen.dropout_hidden:
            masks.hidden = [torch.tensor(mask).reshape(lanes, -1) for mask in hidden]  # [M, H] a layer
        return masks

    def profile(self) -> dict[str, float]:
        """Seconds spent in each phase of the steps since the last call; the first call begins to measure."""
        spent = dict(self._native.profile())
        self._native.measure()
        return spent

    def parameters(self) -> dict[str, torch.Tensor]:
        """The learned arrays, live."""
        return self.network.parameters

    def state(self) -> dict[str, torch.Tensor]:
        """Optimizer, lanes and the number of steps taken, from which everything random follows."""
        lanes = {f"lanes.{layer}": torch.from_numpy(state) for layer, state in enumerate(self._states)}
        return self._optimizer.state() | lanes | {"steps": torch.tensor(self._steps)}

    def restore(self, parameters: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> None:
        """Take over what `parameters` and `state` gave."""
        self.use(parameters)
        self._optimizer.restore(state)
        for layer, kept in enumerate(self._states):
            kept[:] = state[f"lanes.{layer}"].numpy()
        self._steps = int(state["steps"])

    def use(self, parameters: dict[str, torch.Tensor]) -> None:
        """Take over learned arrays only."""
        for name, array in self.network.parameters.items():
            array.copy_(parameters[name])


def _on_huge_pages(array: torch.Tensor) -> torch.Tensor:
    """A copy, on huge pages where the system has them and the array is large.

    A step touches some thousand rows far apart: on small pages, finding them takes as long as the arithmetic on them.
    """
    if array.nbytes < _HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return array.clone()
    memory = mmap.mmap(-1, array.nbytes + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    begin = -np.frombuffer(memory, np.uint8).ctypes.data % _HUGE_PAGE
    copy = torch.frombuffer(memory, dtype=array.dtype, count=array.numel(), offset=begin).reshape(array.shape)
    return copy.copy_(array)
