"""The session-parallel mini-batch schedule."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.sessions.table import Sessions
from rust_sessionizer import training_schedule


@dataclass(frozen=True)
class Schedule:
    """What each of T steps feeds and predicts; step t holds the entries `steps[t]:steps[t + 1]` of N.

    Sessions run side by side in lanes, in the order of their start; a lane whose session ends takes the next one and its state is
    zeroed; when no session is left the lane vanishes and the batch shrinks (Hidasi et al., ICLR 2016, section 3.1.1).

    Attributes
    ----------
    inputs, targets : int32 [N]
        Items clicked, and the items clicked next.
    keep : float32 [N]
        0 where a new session begins (its state is zeroed), else 1.
    lanes : int32 [N]
        The lane of each entry, ascending within a step.
    steps : int64 [T + 1]
        Where each step begins.
    """

    inputs: np.ndarray
    targets: np.ndarray
    keep: np.ndarray
    lanes: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(cls, sessions: Sessions, lanes: int) -> "Schedule":
        """The schedule of sessions in their order, with at most `lanes` lanes."""
        plan = training_schedule(pl.Series(sessions.lengths), lanes)
        clicks = pl.Series(plan.inputs).to_numpy()
        return cls(
            inputs=sessions.items[clicks],
            targets=sessions.items[clicks + 1],
            keep=(~pl.Series(plan.resets).to_numpy()).astype(np.float32),
            lanes=pl.Series(plan.lanes).to_numpy(),
            steps=pl.Series(plan.steps).to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.steps) - 1
