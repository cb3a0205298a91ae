"""How runs learned: loss and watched metric by epoch, read from their histories."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.files import read_json


@dataclass(frozen=True)
class Curve:
    """One fit.

    Attributes
    ----------
    name
        Of the named run; its seeds share it.
    loss_name
        The loss function, or the family's name where it has only one.
    epochs, loss
        E numbers each.
    validation
        E values of the watched metric; empty where the fit had no validation.
    """

    name: str
    loss_name: str
    epochs: list[int]
    loss: list[float]
    validation: list[float]

    @property
    def best(self) -> float:
        """The highest value on validation, by which runs are ordered."""
        return max(self.validation, default=float("-inf"))


def read_curve(params: Path, history: Path, metric: str) -> Curve | None:
    """The curve of a fit; None where its family does not learn in epochs.

    Parameters
    ----------
    params, history
        As `recsys train` or `recsys refit` writes them.
    metric
        The metric that training watched.
    """
    table = pl.read_parquet(history)
    if not table.height:
        return None
    described = read_json(params)
    return Curve(
        name=described["name"],
        loss_name=described["parameters"].get("loss", described["model"]),
        epochs=table["epoch"].to_list(),
        loss=table["loss"].to_list(),
        validation=table[metric].to_list() if metric in table.columns else [],
    )
