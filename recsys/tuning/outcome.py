"""What came out of a trial, and of all trials of a search together."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from recsys.errors import TrainingError
from recsys.files import read_json, write_json

State = Literal["complete", "pruned", "diverged"]


@dataclass(frozen=True)
class Outcome:
    """What came out of a trial.

    Attributes
    ----------
    study, trial
        The search, and the trial's number in it, from 0.
    state
        `complete`; `pruned`, ended early since other trials were better by then; `diverged`, ended by a loss that is no number.
    metric, value
        The validation metric, and its value at the epoch that is kept; none where the trial diverged.
    epoch
        The epoch that is kept, from 1; none for families that do not learn in epochs.
    validation
        The metric after each epoch.
    drawn
        The values that the search gave.
    model, seed, parameters
        The family, its seed, and all parameters, drawn or not.
    data
        SHA-256 (hex) of the files that the trial read, by name.
    reason
        Why a trial diverged.
    """

    study: str
    trial: int
    state: State
    metric: str
    value: float | None
    epoch: int | None
    validation: list[float]
    drawn: dict[str, Any]
    model: str
    seed: int
    parameters: dict[str, Any]
    data: dict[str, str]
    reason: str | None = None

    def write(self, path: Path) -> None:
        """Write the outcome as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Outcome":
        """Read what `write` wrote."""
        return cls(**read_json(path))


def best(outcomes: Sequence[Outcome]) -> Outcome:
    """The complete trial with the highest value; of equals, the first.

    Raises
    ------
    TrainingError
        If no trial is complete.
    """
    complete = [outcome for outcome in outcomes if outcome.state == "complete"]
    if not complete:
        raise TrainingError(
            f"none of the {len(outcomes)} trials came to its end: the loss of each was no number at some point; lower the high end of "
            "learning_rate or momentum in tune.space"
        )
    return max(complete, key=lambda outcome: (outcome.value, -outcome.trial))


def table(outcomes: Sequence[Outcome]) -> pl.DataFrame:
    """A row a trial: what came out, then what was drawn."""
    rows = [
        {
            "trial": outcome.trial,
            "state": outcome.state,
            outcome.metric: outcome.value,
            "epoch": outcome.epoch,
            "epochs": len(outcome.validation),
        }
        | {name: value if isinstance(value, int | float) else str(value) for name, value in outcome.drawn.items()}
        for outcome in outcomes
    ]
    return pl.DataFrame(rows, infer_schema_length=None)
