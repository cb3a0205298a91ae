"""Networks of one ensemble, trained side by side: the loop sees one trainer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from recsys.models.gru4rec_ensemble import apart, together
from recsys.training.loop import Trainer


class EnsembleTrainer:
    """Trains members that see the same schedule; the loop's `Trainer`.

    Members train at the same time, a thread each, as long as there are threads: arithmetic that is shared among threads waits for the
    slowest of them, members wait for none.

    Parameters
    ----------
    make
        Makes the trainer of a member, by its number, with so many threads.
    members
        How many.
    threads
        Of all of them together; 1 trains member after member.
    """

    def __init__(self, make: Callable[[int, int], Trainer], members: int, threads: int) -> None:
        rounds = [range(begin, min(begin + threads, members)) for begin in range(0, members, threads)]
        self._rounds = [[make(member, threads // len(numbers)) for member in numbers] for numbers in rounds]
        self._members = [trainer for trainers in self._rounds for trainer in trainers]
        self._pool = ThreadPoolExecutor(threads)
        self.steps_per_epoch = self._members[0].steps_per_epoch
        self.events_per_epoch = self._members[0].events_per_epoch

    def begin_epoch(self) -> None:
        """Get every member ready for step 0."""
        for trainer in self._members:
            trainer.begin_epoch()

    def run_block(self, begin: int, end: int) -> float:
        """Run the steps `begin:end` of every member; the mean of their losses."""
        losses = [loss for trainers in self._rounds for loss in self._pool.map(partial(_run, begin, end), trainers)]
        return sum(losses) / len(losses)

    def arrays(self) -> dict[str, np.ndarray]:
        """The learned arrays of all members."""
        return together([trainer.arrays() for trainer in self._members])

    def state(self) -> dict[str, np.ndarray]:
        """The states of all members."""
        return together([trainer.state() for trainer in self._members])

    def restore(self, arrays: dict[str, np.ndarray], state: dict[str, np.ndarray]) -> None:
        """Take over what `arrays` and `state` gave."""
        for trainer, own_arrays, own_state in zip(self._members, apart(arrays), apart(state), strict=True):
            trainer.restore(own_arrays, own_state)


def _run(begin: int, end: int, trainer: Trainer) -> float:
    return trainer.run_block(begin, end)
