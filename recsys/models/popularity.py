"""Popularity: the items clicked most, for everyone the same."""

from typing import ClassVar, Self

import numpy as np

from recsys.errors import DataError
from recsys.models.interface import Capabilities, FitContext, FitData, Model, Queries
from recsys.settings.baselines import PopularityParameters


class Popularity(Model):
    """Scores an item by its clicks in training, or in the training's last part.

    Attributes
    ----------
    clicks_ : float32 [items]
        Clicks of each item.
    """

    family: ClassVar[str] = "popularity"
    capabilities: ClassVar[Capabilities] = Capabilities(runtime="native")
    parameters_class: ClassVar[type[PopularityParameters]] = PopularityParameters

    clicks_: np.ndarray

    def fit(self, data: FitData, context: FitContext | None = None) -> Self:
        """Count the clicks.

        Raises
        ------
        DataError
            If a window is configured and the sessions have no starts.
        """
        items = data.train.items
        if self.parameters.window is not None and data.train.starts is None:
            raise DataError(
                "popularity's window needs to know when sessions start; read them with their column `start`, or leave window out"
            )
        if self.parameters.window is not None and len(data.train):
            recent = data.train.starts >= data.train.starts.max() - self.parameters.window
            items = items[np.repeat(recent, data.train.lengths)]
        self.n_items_ = data.n_items
        self.clicks_ = np.bincount(items, minlength=data.n_items).astype(np.float32)
        return self

    def score_all(self, queries: Queries) -> np.ndarray:
        """The same scores for every query: float32 [Q, items]."""
        return np.broadcast_to(self.clicks_, (len(queries), self.n_items_))

    def arrays(self) -> dict[str, np.ndarray]:
        """`clicks` float32 [items]."""
        return {"clicks": self.clicks_}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over `clicks`."""
        self.clicks_ = arrays["clicks"]
