"""What the training sessions say of each item, and what a session so far says of a candidate; nothing of what came after the cut.

Items with few clicks are described alike. Public logs are often published after items with fewer than, say, 5 clicks *in all* were taken
out: there, an item with one click before the cut is known to have four after it, and a model that can read such a count foresees them
(docs/evaluation.md). In a shop's own log so small a count says next to nothing.

Shapes: V items, C clicks in training, Q queries, U candidates of all queries together.
"""

from dataclasses import dataclass

import numpy as np

from recsys.models.candidates import Candidates
from recsys.models.interface import Queries
from recsys.sessions.table import Sessions

_LOOKED_AT = 50
"""Clicks of a query that its candidates are compared with, the last ones."""
_SKIPS = (1, 2)
"""Distances, in clicks, at which items are counted as following each other."""


@dataclass(frozen=True)
class ItemFacts:
    """Counts over the training sessions.

    Attributes
    ----------
    clicks : float32 [V]
        Clicks of each item; of items with fewer than the least that is told, that.
    trend : float32 [V]
        Logarithm of an item's share of the last sessions' clicks over its share of all, both smoothed; 0 with few clicks.
    age : float32 [V]
        Share of the training sessions that started after the last one with the item; a half with few clicks.
    repeats : float32 [V]
        Share of an item's clicks after which the session comes back to it, smoothed; what the smoothing gives with few clicks.
    pairs : int64 [pairs]
        `distance * V * V + item * V + follower` of every pair of clicks at a distance of 1 or 2, from 0, ascending.
    counts : float32 [pairs]
        How often.
    categories : int32 [V]
        What the item belongs to; -1 where it is not known.
    """

    clicks: np.ndarray
    trend: np.ndarray
    age: np.ndarray
    repeats: np.ndarray
    pairs: np.ndarray
    counts: np.ndarray
    categories: np.ndarray

    @classmethod
    def of(cls, train: Sessions, n_items: int, recent: float, least: int, categories: np.ndarray | None = None) -> "ItemFacts":
        """The facts of training sessions ordered by their start.

        Parameters
        ----------
        train
            The sessions.
        n_items
            V.
        recent
            The share of the sessions, the last ones, that tell an item's trend.
        least
            Clicks from which on an item's own counts are told.
        categories
            What each item belongs to, where that is known.
        """
        items = train.items.astype(np.int64)
        session = np.repeat(np.arange(len(train)), train.lengths)
        clicks = np.bincount(items, minlength=n_items)
        late = np.bincount(items[session >= int((1 - recent) * len(train))], minlength=n_items)
        share, late_share = (clicks + 1) / (clicks.sum() + n_items), (late + 1) / (late.sum() + n_items)
        last = np.zeros(n_items)
        np.maximum.at(last, items, session)
        within = np.unique(session * n_items + items, return_counts=True)
        again = np.bincount(within[0] % n_items, weights=within[1] - 1, minlength=n_items)
        pairs, counts = [], []
        for place, distance in enumerate(_SKIPS):
            together = session[:-distance] == session[distance:]
            keys = (place * n_items + items[:-distance][together]) * n_items + items[distance:][together]
            found = np.unique(keys, return_counts=True)
            pairs.append(found[0])
            counts.append(found[1])
        few = clicks < least
        return cls(
            np.maximum(clicks, least).astype(np.float32),
            np.where(few, 0, np.log(late_share / share)).astype(np.float32),
            np.where(few, 0.5, 1 - last / max(len(train) - 1, 1)).astype(np.float32),
            np.where(few, 1 / 10, (again + 1) / (clicks + 10)).astype(np.float32),
            np.concatenate(pairs),
            np.concatenate(counts).astype(np.float32),
            np.full(n_items, -1, np.int32) if categories is None else categories,
        )

    def followed(self, place: int, items: np.ndarray, followers: np.ndarray) -> np.ndarray:
        """How often each of `followers` [U] came after `items` [U], at the distance of that place: float32 [U]; 0 where one is below 0."""
        n_items = len(self.clicks)
        keys = (place * n_items + items.astype(np.int64)) * n_items + followers
        places = np.minimum(np.searchsorted(self.pairs, keys), max(len(self.pairs) - 1, 0))
        if not len(self.pairs):
            return np.zeros(len(keys), np.float32)
        return np.where((self.pairs[places] == keys) & (items >= 0) & (followers >= 0), self.counts[places], 0).astype(np.float32)


def facts_of_candidates(facts: ItemFacts, queries: Queries, candidates: Candidates) -> dict[str, np.ndarray]:
    """Features by name, float32 [U] each, of candidates in the light of their queries."""
    n_items = len(facts.clicks)
    query, items = candidates.queries, candidates.items
    lengths = queries.lengths  # [Q]
    ends = queries.offsets[1:]
    last = _click(queries, ends - 1)[query]  # [U]
    before = _click(queries, ends - 2)[query]
    # The last clicks of all queries, one below the other, and how far each is from its query's end.
    looked = np.minimum(lengths, _LOOKED_AT)
    owner = np.repeat(np.arange(len(queries)), looked)
    back = np.arange(len(owner)) - np.repeat(np.cumsum(looked) - looked, looked)  # 0: the last click
    clicked = queries.items[ends[owner] - 1 - back].astype(np.int64)
    order = np.lexsort((back, owner * n_items + clicked))
    keys, firsts, times = np.unique((owner * n_items + clicked)[order], return_index=True, return_counts=True)
    distinct = np.bincount(keys // n_items, minlength=len(queries))  # [Q]
    wanted = query.astype(np.int64) * n_items + items
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    there = keys[place] == wanted if len(keys) else np.zeros(len(wanted), bool)
    found = {
        "length": lengths[query],
        "distinct share": (distinct / np.maximum(looked, 1))[query],
        "times clicked": np.where(there, times[place] if len(keys) else 0, 0),
        "clicks since": np.where(there, back[order][firsts[place]] if len(keys) else 0, _LOOKED_AT),
        "clicks in training": facts.clicks[items],
        "trend": facts.trend[items],
        "age": facts.age[items],
        "repeats": facts.repeats[items],
        "last item's clicks": np.where(last >= 0, facts.clicks[last], 0),
        "last item's repeats": np.where(last >= 0, facts.repeats[last], 0),
    }
    for name, item, skip in (("last", last, 0), ("last, skipping one", last, 1), ("the one before, skipping one", before, 1)):
        count = facts.followed(skip, item, items)
        found[f"followed {name}"] = count
        found[f"share that followed {name}"] = count / np.maximum(np.where(item >= 0, facts.clicks[item], 0), 1)
    found["followed by last"] = facts.followed(0, items, last)
    # Also where no category is known: what one window's trees learned is asked in another, whose shop may have come to know some.
    category = facts.categories[items]
    found["last item's category"] = (category >= 0) & (category == np.where(last >= 0, facts.categories[last], -1))
    n_categories = int(facts.categories.max(initial=-1)) + 1
    group, count = np.unique(owner * (n_categories + 1) + facts.categories[clicked] + 1, return_counts=True)
    asked = query * (n_categories + 1) + category + 1
    at = np.minimum(np.searchsorted(group, asked), max(len(group) - 1, 0))
    alike = (category >= 0) & (group[at] == asked) if len(group) else np.zeros(len(asked), bool)
    found["category's share"] = np.where(alike, count[at] if len(group) else 0, 0) / np.maximum(looked, 1)[query]
    return {name: values.astype(np.float32) for name, values in found.items()}


def _click(queries: Queries, places: np.ndarray) -> np.ndarray:
    """The clicks at the given places of the flat array, int64 [Q]; -1 where that is before the query begins."""
    there = places >= queries.offsets[:-1]
    return (
        np.where(there, queries.items[np.where(there, places, 0)], -1).astype(np.int64) if len(queries.items) else np.full(len(places), -1)
    )
