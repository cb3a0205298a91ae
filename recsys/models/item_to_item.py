"""Item-to-item counts: what is clicked after the session's last items.

Source: the sequential rules of Ludewig & Jannach, "Evaluation of session-based recommendation algorithms", UMUAI 2018,
section 3.1.3 (a pair at distance d in a session counts 1/d).
"""

from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import polars as pl

from recsys.models.interface import Capabilities, FitContext, FitData, Model, Queries
from recsys.models.scores import refuse_length
from recsys.sessions.table import Sessions
from recsys.settings.baselines import ItemToItemParameters

_NONE = np.empty(0, np.int32)
_MOST_FOR_POPULARITY = 1e-4
"""Most that popularity adds to a score: it decides among equal counts, and fills the list behind them."""


class ItemToItem(Model):
    """Scores an item by the weighted counts of its pairs with the session's last items.

    An item that is clicked again later in a session follows itself: in logs with repeats that is the likeliest next click of all.

    Attributes
    ----------
    offsets_ : int64 [items + 1]
        Where each item's followers begin in the two arrays below.
    followers_ : int32 [pairs]
        Items that follow, the most frequent first.
    weights_ : float32 [pairs]
        Their counts, divided by the largest of the item; among equal counts, the item clicked more weighs a little more.
    fill_ : float32 [items]
        Scores of items without a pair: by their clicks, all below the smallest weight.
    """

    family: ClassVar[str] = "item_to_item"
    capabilities: ClassVar[Capabilities] = Capabilities(runtime="native")
    parameters_class: ClassVar[type[ItemToItemParameters]] = ItemToItemParameters

    offsets_: np.ndarray
    followers_: np.ndarray
    weights_: np.ndarray
    fill_: np.ndarray

    def fit(self, data: FitData, context: FitContext | None = None) -> Self:
        """Count the pairs."""
        items, lengths = data.train.items, data.train.lengths
        session = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
        counts: pl.DataFrame | None = None
        for distance in range(1, min(self.parameters.reach, int(lengths.max(initial=1)) - 1) + 1):
            together = session[:-distance] == session[distance:]
            earlier, later = items[:-distance][together], items[distance:][together]
            if self.parameters.direction == "both":
                earlier, later = np.concatenate([earlier, later]), np.concatenate([later, earlier])
            pairs = pl.DataFrame({"item": earlier, "follower": later, "weight": np.full(len(earlier), 1.0 / distance)})
            counts = _sum_pairs(pairs if counts is None else pl.concat([counts, pairs]))
        if counts is None:
            counts = pl.DataFrame(schema={"item": pl.Int32, "follower": pl.Int32, "weight": pl.Float64})
        clicks = np.bincount(items, minlength=data.n_items)
        share = clicks / max(clicks.max(initial=0), 1)
        counts = counts.sort("item", "weight", "follower", descending=[False, True, False])
        counts = counts.filter(pl.int_range(pl.len()).over("item") < self.parameters.neighbours)
        counts = _break_ties(counts.with_columns(pl.col("weight") / pl.col("weight").max().over("item")), share)
        self.n_items_ = data.n_items
        self.offsets_ = np.searchsorted(counts["item"].to_numpy(), np.arange(data.n_items + 1)).astype(np.int64)
        self.followers_ = counts["follower"].to_numpy().astype(np.int32)
        self.weights_ = counts["weight"].to_numpy().astype(np.float32)
        least = float(self.weights_.min(initial=1.0)) / self.parameters.last_items
        self.fill_ = (share * min(0.5 * least, _MOST_FOR_POPULARITY)).astype(np.float32)
        return self

    def score_all(self, queries: Queries) -> np.ndarray:
        """Scores of every item for every query: float32 [Q, items]."""
        scores = np.tile(self.fill_, (len(queries), 1))
        for query in range(len(queries)):
            pairs = self._pairs(queries[query])
            for own in pairs:
                scores[query, self.followers_[own]] = 0
            for rank, own in enumerate(pairs, start=1):
                scores[query, self.followers_[own]] += self.weights_[own] / np.float32(rank)
        return scores

    def recommend(
        self, queries: Queries, k: int, candidates: np.ndarray | None = None, exclude: Sessions | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Model.recommend`, from the pairs of each query's last items and the items clicked most, the same to the last bit."""
        if candidates is not None:
            return super().recommend(queries, k, candidates, exclude)
        refuse_length(k, self.n_items_)
        items = np.full((len(queries), k), -1, np.int32)
        found = np.full((len(queries), k), -np.inf, np.float32)
        # Of every item, a query's score and where the item stands among those the query concerns; what is not concerned is never read.
        scores, places = np.empty(self.n_items_, np.float32), np.empty(self.n_items_, np.int32)
        for query in range(len(queries)):
            left_out = exclude[query] if exclude is not None else _NONE
            popular = self._by_fill[: k + len(left_out)]
            pairs = self._pairs(queries[query])
            followers = [self.followers_[own] for own in pairs]
            scores[popular] = self.fill_[popular]
            for own in followers:
                scores[own] = 0
            for rank, own in enumerate(pairs, start=1):
                scores[followers[rank - 1]] += self.weights_[own] / np.float32(rank)
            # Whoever has a pair scores above all that have none, so that of these as many are enough as may be listed or left out.
            concerned = np.concatenate([*followers, popular])
            scores[left_out] = -np.inf
            order = np.arange(len(concerned), dtype=np.int32)
            places[concerned] = order
            concerned = concerned[places[concerned] == order]  # each once
            own = scores[concerned]
            if len(own) > k:
                good = own >= np.partition(own, len(own) - k)[len(own) - k]
                concerned, own = concerned[good], own[good]
            order = np.lexsort((concerned, -own))[:k]
            order = order[np.isfinite(own[order])]
            items[query, : len(order)] = concerned[order]
            found[query, : len(order)] = own[order]
        return items, found

    def _pairs(self, session: np.ndarray) -> list[slice]:
        """Where the pairs of a session's last items stand, the last item's first."""
        last = session[-self.parameters.last_items :][::-1]
        return [slice(self.offsets_[item], self.offsets_[item + 1]) for item in last]

    @cached_property
    def _by_fill(self) -> np.ndarray:
        """int64 [items]: all items by their fill, the smaller index first among equals."""
        return np.argsort(-self.fill_, kind="stable")

    def arrays(self) -> dict[str, np.ndarray]:
        """`offsets`, `followers`, `weights`, `fill`."""
        return {"offsets": self.offsets_, "followers": self.followers_, "weights": self.weights_, "fill": self.fill_}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what `arrays` gave."""
        self.offsets_, self.followers_ = arrays["offsets"], arrays["followers"]
        self.weights_, self.fill_ = arrays["weights"], arrays["fill"]


def _sum_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.group_by("item", "follower", maintain_order=True).agg(pl.col("weight").sum())


def _break_ties(counts: pl.DataFrame, share: np.ndarray) -> pl.DataFrame:
    """Add a little to each weight, by the follower's share of the clicks: less than half the smallest gap between the item's weights."""
    gap = -pl.col("weight").diff().over("item")
    smallest = pl.when(gap > 1e-9).then(gap).min().over("item").fill_null(1.0)
    popular = pl.Series(share[counts["follower"].to_numpy()])
    counts = counts.with_columns(pl.col("weight") + pl.min_horizontal(0.5 * smallest, _MOST_FOR_POPULARITY) * popular)
    counts = counts.with_columns(pl.col("weight") / pl.col("weight").max().over("item"))
    return counts.sort("item", "weight", "follower", descending=[False, True, False])
