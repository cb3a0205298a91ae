"""GRU4Rec's training on the CPU.

A `Trainer` runs blocks of steps of a session-parallel schedule (Hidasi et al., ICLR 2016; Hidasi & Karatzoglou, CIKM 2018)
over NumPy arrays that the caller owns and that are changed in place. Results do not depend on the number of threads. Samples
and dropout masks follow from the seed and the number of the step, so that a resume needs no state of a random generator.

Shapes: V items, N predictions in T steps, M lanes of a step, H units of a layer, D width of its input.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import numpy as np

__all__ = ["Trainer"]

_Array = np.ndarray[Any, Any]

@final
class Trainer:
    """Runs GRU4Rec through its schedule.

    Parameters
    ----------
    inputs, targets : int32 [N]
        Items clicked, and the items clicked next; copied, like the other arrays of the schedule.
    keep : float32 [N]
        0 where a new session begins, else 1.
    lanes : int32 [N]
        The lane of each entry, ascending within a step.
    steps : int64 [T + 1]
        Where each step begins.
    counts : int64 [V]
        Clicks of each item in training, 1 or more.
    layers, loss, batch_size, learning_rate, momentum, n_sample, sample_alpha, dropout_embedding, dropout_hidden, bpreg, elu_param, logq
        As in the paper; `batch_size` divides the loss, also when the batch has shrunk.
    embedding, embedding_width
        What inputs are looked up in: the item table, a table of its own of that width, or a table with an entry a gate and unit.
    seed
        What everything random is derived from.
    threads
        Threads that work, the calling one included.

    Raises
    ------
    SettingError
        If a setting is out of its range.
    ColumnError
        If an array is of the wrong type or length, or names an item that there is not.
    """

    def __new__(
        cls,
        inputs: _Array,
        targets: _Array,
        keep: _Array,
        lanes: _Array,
        steps: _Array,
        counts: _Array,
        *,
        layers: Sequence[int],
        loss: Literal["bpr-max", "cross-entropy"],
        batch_size: int,
        learning_rate: float,
        momentum: float,
        n_sample: int,
        sample_alpha: float,
        seed: int,
        threads: int,
        dropout_embedding: float = 0.0,
        dropout_hidden: float = 0.0,
        bpreg: float = 0.0,
        elu_param: float = 0.0,
        logq: float = 0.0,
        embedding: Literal["shared", "separate", "none"] = "shared",
        embedding_width: int | None = None,
    ) -> Trainer: ...
    @property
    def shapes(self) -> list[tuple[str, list[int]]]:
        """The arrays that `run` changes, by name, with their shapes.

        `item_table` [V, H], `item_bias` [V], `input_table` [V, width] where inputs have a table of their own, and for each layer
        `weight_input.L` [3H, D] (the first layer has none where items have no embedding), `weight_hidden.L` [3H, H],
        `bias_input.L` and `bias_hidden.L` [3H], with the gates stacked as reset, update, new.
        """
    def run(
        self,
        parameters: Mapping[str, _Array],
        accumulators: Mapping[str, _Array],
        velocities: Mapping[str, _Array],
        states: Sequence[_Array],
        begin: int,
        end: int,
        first: int,
    ) -> float:
        """Train on the steps `begin:end` of an epoch; the sum of their losses. Other Python threads run meanwhile.

        Parameters
        ----------
        parameters, accumulators, velocities : float32
            Arrays of `shapes`, C-contiguous, no two sharing memory; changed in place, and not to be touched meanwhile.
            Velocities are looked at where there is momentum only.
        states : float32 [lanes of the first step, H] a layer
            The lanes' states, those of the step before `begin` at the front; left as step `end - 1` leaves them.
        begin, end
            The steps.
        first
            The number of step `begin`, counted from the start of the training.

        Raises
        ------
        ColumnError
            If an array is not as said.
        SettingError
            If there are no such steps.
        """
    def samples(self, step: int) -> list[int]:
        """The negative samples of a step, counted from the start of the training: `n_sample` items."""
    def masks(self, step: int, lanes: int) -> tuple[list[float], list[list[float]]]:
        """The dropout masks of a step, counted from the start of the training: of the embedding [M, D], and of each layer [M, H]."""
    def measure(self, on: bool = True) -> None:
        """Measure from now on, or no longer, where the time of the steps goes."""
    def profile(self) -> list[tuple[str, float]]:
        """Seconds spent in each phase of the steps since measuring began."""
