"""The epochs of a fit: progress, validation, early stopping, resume points."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

import numpy as np

from recsys.errors import TrainingError
from recsys.models.interface import Epoch, FitContext
from recsys.training.averaging import moving_average
from recsys.training.checkpoint import Checkpoint

BLOCK = 128
"""Steps between two looks at the clock and the loss; what a block needs at random is drawn at its start."""


class Trainer(Protocol):
    """What a model gives the loop: an epoch of steps, run in blocks, and a state that can be put aside."""

    steps_per_epoch: int
    events_per_epoch: int

    def begin_epoch(self) -> None:
        """Get ready for step 0."""

    def run_block(self, begin: int, end: int) -> float:
        """Run the steps `begin:end` of the epoch; the sum of their losses."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The learned arrays; they may change with the next block."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything else a resume needs: optimizer, lanes, random state."""

    def restore(self, arrays: dict[str, np.ndarray], state: dict[str, np.ndarray]) -> None:
        """Take over what `arrays` and `state` gave."""


def run_epochs(
    trainer: Trainer,
    epochs: int,
    context: FitContext,
    validate: Callable[[dict[str, np.ndarray]], dict[str, float]] | None,
    average: float = 0.0,
) -> dict[str, np.ndarray]:
    """Train up to `epochs` epochs; with validation of the learned arrays, end early.

    An interrupted fit goes on from its last resume point and ends with the same arrays, bit for bit.

    Parameters
    ----------
    trainer
        Runs the steps.
    epochs
        Most epochs.
    context
        What surrounds the fit.
    validate
        The validation metrics of learned arrays.
    average
        Above 0, the learned arrays are the moving average of those after each epoch, of which an epoch leaves this share.

    Returns
    -------
    The learned arrays: the best epoch's where there is validation and `context.keep` says so, else the last one's.

    Raises
    ------
    TrainingError
        If the loss is not finite.
    """
    checkpoint = Checkpoint(context.resume_folder)
    history: list[Epoch] = context.history
    history.clear()
    averaged: dict[str, np.ndarray] = {}
    best: dict[str, np.ndarray] = {}
    epoch, step, loss_sum, seconds = 0, 0, 0.0, 0.0

    resumed = context.ranks.told(checkpoint.load())
    if resumed is not None:
        arrays, state = resumed
        trainer.restore(_part(arrays, "learned."), _part(arrays, "state."))
        averaged, best = _part(arrays, "averaged."), _part(arrays, "best.")
        history.extend(Epoch(**row) for row in state["history"])
        epoch, step, loss_sum, seconds = state["epoch"], state["step"], state["loss_sum"], state["seconds"]

    def keep() -> None:
        if context.resume_folder is None:
            return
        arrays = {f"learned.{name}": array for name, array in trainer.arrays().items()}
        arrays |= {f"state.{name}": array for name, array in trainer.state().items()}
        arrays |= {f"averaged.{name}": array for name, array in averaged.items()}
        arrays |= {f"best.{name}": array for name, array in best.items()}
        state = {"history": [asdict(row) for row in history], "epoch": epoch, "step": step, "loss_sum": loss_sum, "seconds": seconds}
        checkpoint.save(arrays, state)

    kept = clock = time.monotonic()
    while epoch < epochs and not _is_over(history, context):
        if step == 0:
            trainer.begin_epoch()
        while step < trainer.steps_per_epoch:
            end = min(step + BLOCK, trainer.steps_per_epoch)
            block_loss = trainer.run_block(step, end)
            if not math.isfinite(block_loss):
                raise TrainingError(
                    f"the loss is {block_loss} between the steps {step} and {end} of epoch {epoch + 1}; "
                    "lower learning_rate or momentum (or, for bpr-max, raise bpreg)"
                )
            loss_sum, step = loss_sum + block_loss, end
            now = time.monotonic()
            seconds, clock = seconds + now - clock, now
            if context.checkpoint_every <= now - kept and step < trainer.steps_per_epoch:
                keep()
                kept = clock = time.monotonic()
            if context.progress is not None:
                context.progress(epoch + 1, epochs, step / trainer.steps_per_epoch, loss_sum / step)
        if average:
            averaged = moving_average(averaged, trainer.arrays(), average, epoch + 1)
        learned = averaged or trainer.arrays()
        metrics = context.ranks.told(validate(learned) if validate is not None and context.ranks.leads else {})
        row = Epoch(epoch + 1, loss_sum / trainer.steps_per_epoch, seconds, trainer.events_per_epoch, trainer.steps_per_epoch, metrics)
        history.append(row)
        if metrics and context.keep == "best" and best_epoch(history, context.metric) == row.epoch:
            best = {name: array.copy() for name, array in learned.items()}
        epoch, step, loss_sum, seconds = epoch + 1, 0, 0.0, 0.0
        keep()
        kept = clock = time.monotonic()
    return best or averaged or trainer.arrays()


def best_epoch(history: list[Epoch], metric: str) -> int:
    """The first epoch with the highest `metric`; the last epoch where nothing was validated."""
    if not history[-1].metrics:
        return history[-1].epoch
    return max(history, key=lambda row: (row.metrics[metric], -row.epoch)).epoch


def _is_over(history: list[Epoch], context: FitContext) -> bool:
    if not history or not history[-1].metrics or context.keep == "last":
        return False
    return history[-1].epoch - best_epoch(history, context.metric) >= context.patience


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
