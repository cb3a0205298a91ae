"""Session-parallel training of GRU4Rec on the CPU, by the Rust extension."""

import mmap

import numpy as np

from recsys.models.gru4rec_forward import Arrays
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.threads import threads as process_threads
from recsys.training.schedule import Schedule
from rust_sessionizer import training

_HUGE_PAGE = 2 << 20


class NativeTrainer:
    """Runs GRU4Rec's arrays through a schedule, block by block; the loop's `Trainer`.

    Everything random follows from the seed and the number of the step, so that a resume needs that number only, and the result does
    not depend on the number of threads.

    Parameters
    ----------
    arrays
        Where training starts from, see `initial_arrays`; they are copied.
    chosen
        The model's parameters.
    schedule
        What each step feeds and predicts.
    counts : int64 [V]
        Clicks of each item in training, at least 1.
    seed
        Of the samples and dropout masks.
    threads
        Of its arithmetic; None takes the process's.
    """

    def __init__(
        self, arrays: Arrays, chosen: GRU4RecParameters, schedule: Schedule, counts: np.ndarray, seed: int, threads: int | None = None
    ) -> None:
        self.steps_per_epoch = len(schedule)
        self.events_per_epoch = len(schedule.inputs)
        self._arrays = {name: _on_huge_pages(array) for name, array in arrays.items()}
        self._accumulators = {name: _on_huge_pages(np.zeros_like(array)) for name, array in arrays.items()}
        self._velocities = {name: _on_huge_pages(np.zeros_like(array)) for name, array in arrays.items()} if chosen.momentum else {}
        self._states = [np.zeros((int(schedule.steps[1]), units), np.float32) for units in chosen.layers]
        self._steps = 0
        self._native = training.Trainer(
            schedule.inputs,
            schedule.targets,
            schedule.keep,
            schedule.lanes,
            schedule.steps,
            counts,
            seed=seed % 2**64,
            threads=threads if threads is not None else process_threads(),
            **chosen.model_dump(exclude={"average", "epochs", "members"}),
        )

    def begin_epoch(self) -> None:
        """Empty lanes."""
        for state in self._states:
            state.fill(0.0)

    def run_block(self, begin: int, end: int) -> float:
        """Train on the steps `begin:end`; the sum of their losses."""
        loss = self._native.run(self._arrays, self._accumulators, self._velocities, self._states, begin, end, self._steps)
        self._steps += end - begin
        return loss

    def samples(self, step: int) -> np.ndarray:
        """The negative samples of a step, counted from the start of the training: [n_sample]."""
        return np.array(self._native.samples(step), dtype=np.int64)

    def masks(self, step: int, lanes: int) -> tuple[np.ndarray | None, list[np.ndarray]]:
        """The dropout masks of a step of so many lanes: of the embedding [M, D], and of each layer [M, H]; 0 or 1 / (1 - p)."""
        embedding, hidden = self._native.masks(step, lanes)
        of_input = np.array(embedding, np.float32).reshape(lanes, -1) if len(embedding) else None
        return of_input, [np.array(mask, np.float32).reshape(lanes, -1) for mask in hidden]

    def profile(self) -> dict[str, float]:
        """Seconds spent in each phase of the steps since the last call; the first call begins to measure."""
        spent = dict(self._native.profile())
        self._native.measure()
        return spent

    def arrays(self) -> Arrays:
        """The learned arrays, live."""
        return self._arrays

    def _in_place(self) -> Arrays:
        named = {f"accumulator.{name}": array for name, array in self._accumulators.items()}
        named |= {f"velocity.{name}": array for name, array in self._velocities.items()}
        return named | {f"lanes.{layer}": state for layer, state in enumerate(self._states)}

    def state(self) -> Arrays:
        """Optimizer, lanes and the number of steps taken, from which everything random follows."""
        return self._in_place() | {"steps": np.array([self._steps])}

    def restore(self, arrays: Arrays, state: Arrays) -> None:
        """Take over what `arrays` and `state` gave."""
        for name, array in self._arrays.items():
            array[:] = arrays[name]
        for name, array in self._in_place().items():
            array[:] = state[name]
        self._steps = int(state["steps"][0])


def _on_huge_pages(array: np.ndarray) -> np.ndarray:
    """A copy, on huge pages where the system has them and the array is large.

    A step touches some thousand rows far apart: on small pages, finding them takes as long as the arithmetic on them.
    """
    if array.nbytes < _HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return array.copy()
    memory = mmap.mmap(-1, array.nbytes + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    begin = -np.frombuffer(memory, np.uint8).ctypes.data % _HUGE_PAGE
    copy = np.frombuffer(memory, array.dtype, array.size, begin).reshape(array.shape)
    copy[:] = array
    return copy
