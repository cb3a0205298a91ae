"""The items that any of several models lists for a query, and what each model thinks of them.

Shapes: Q queries, M members, N items a list, U candidates of all queries together.
"""

from dataclasses import dataclass

import numpy as np

Lists = tuple[np.ndarray, np.ndarray]
"""Items int32 [Q, N], best first, -1 where there are fewer; and their scores float32 [Q, N]."""


def gone_on(best: Lists, lists: list[Lists], n_items: int) -> Lists:
    """`best`, filled up behind its ends with the other items of the members' lists, which hold the items of `best` too.

    They follow by the best place that a member gives them, the first member first among equals, so that longer lists change nothing before
    their own ends. Each scores so little below the one before that the difference only tells their order.
    """
    items, scores = best[0].copy(), best[1].copy()
    k = items.shape[1]
    first = np.empty(n_items, np.int64)  # where each item stands first
    for query in np.flatnonzero((items < 0).any(axis=1)):
        own = items[query][items[query] >= 0]
        row = np.concatenate([own, np.stack([listed[query] for listed, _ in lists], axis=1).ravel()])
        row = row[row >= 0]
        order = np.arange(len(row))
        first[row[::-1]] = order[::-1]  # the last write stays
        row = row[first[row] == order][:k]
        known = scores[query, : len(own)]
        last, largest = known[-1] if len(own) else 0.0, np.abs(known).max(initial=1)
        items[query, : len(row)] = row
        # In double precision, by steps that float32 can tell apart for ten million items.
        steps = 4 * float(np.spacing(np.float32(largest))) * np.arange(1, len(row) - len(own) + 1)
        scores[query, len(own) : len(row)] = float(last) - steps
    return items, scores


def only(lists: Lists, chosen: np.ndarray, n_items: int, k: int) -> Lists:
    """The k best items of each list that are among the chosen ones."""
    items, scores = lists
    allowed = np.zeros(n_items, bool)
    allowed[chosen] = True
    kept = (items >= 0) & allowed[items]
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(kept, order, axis=1)
    items, scores = (np.take_along_axis(values, order, axis=1) for values in (items, scores))
    return np.where(kept, items, np.int32(-1)), np.where(kept, scores, np.float32(-np.inf))


@dataclass(frozen=True)
class Candidates:
    """U candidates, query by query; query q's are `offsets[q]:offsets[q + 1]`, by ascending item.

    Attributes
    ----------
    offsets : int64 [Q + 1]
        Where each query's candidates begin; the last entry is U.
    items : int32 [U]
        Item indices.
    scores : float32 [U, M]
        Each member's score; of an item that it does not list, the score of the last one that it lists.
    ranks : int32 [U, M]
        The item's place in each member's list, 1 is best; 0 where it is not listed.
    """

    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def queries(self) -> np.ndarray:
        """int64 [U]: the query of each candidate."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def over_queries(self, values: np.ndarray, reduce: np.ufunc) -> np.ndarray:
        """What `reduce`, such as `np.maximum`, makes of each query's values [U], at each of its candidates: [U]."""
        counts = np.diff(self.offsets)
        filled = counts > 0  # reduceat knows no empty part
        if not filled.any():
            return values.copy()
        return np.repeat(reduce.reduceat(values, self.offsets[:-1][filled]), counts[filled])

    @classmethod
    def union(cls, lists: list[Lists], n_items: int) -> "Candidates":
        """The items of all members' lists; every query has as many lists as there are members."""
        n_queries = len(lists[0][0])
        keys, found = [], []
        for items, _ in lists:
            listed = items >= 0
            keys.append((items + np.arange(n_queries, dtype=np.int64)[:, None] * n_items)[listed])
            found.append(listed)
        each, places = np.unique(np.concatenate(keys), return_inverse=True)
        query, item = np.divmod(each, n_items)
        offsets = np.searchsorted(query, np.arange(n_queries + 1))
        scores = np.empty((len(each), len(lists)), np.float32)
        ranks = np.zeros((len(each), len(lists)), np.int32)
        end = 0
        for member, ((_, own), listed) in enumerate(zip(lists, found, strict=True)):
            begin, end = end, end + len(keys[member])
            least = np.min(own, axis=1, initial=np.inf, where=listed)
            scores[:, member] = np.where(np.isfinite(least), least, 0)[query]
            scores[places[begin:end], member] = own[listed]
            ranks[places[begin:end], member] = np.broadcast_to(np.arange(1, own.shape[1] + 1, dtype=np.int32), own.shape)[listed]
        return cls(offsets, item.astype(np.int32), scores, ranks)

    def places_of(self, targets: np.ndarray, n_items: int) -> np.ndarray:
        """Where each query's target [Q] stands among the candidates: int64 [Q]; -1 where it is none."""
        keys = self.queries * n_items + self.items
        wanted = np.arange(len(self), dtype=np.int64) * n_items + targets
        places = np.searchsorted(keys, wanted)
        there = places < len(keys)
        there[there] = keys[places[there]] == wanted[there]
        return np.where(there, places, -1)

    def of(self, chosen: np.ndarray) -> "Candidates":
        """Those of some queries, bool [Q]."""
        kept = np.repeat(chosen, np.diff(self.offsets))
        offsets = np.concatenate([[0], np.cumsum(np.diff(self.offsets)[chosen])])
        return Candidates(offsets, self.items[kept], self.scores[kept], self.ranks[kept])

    def at(self, places: np.ndarray) -> "Candidates":
        """Some candidates of the same queries, by their rows in ascending order."""
        offsets = np.searchsorted(places, self.offsets)
        return Candidates(offsets, self.items[places], self.scores[places], self.ranks[places])

    @classmethod
    def concatenate(cls, parts: "list[Candidates]") -> "Candidates":
        """The candidates of all parts' queries, one part after the other."""
        ends = np.concatenate([[0], np.cumsum([len(part.items) for part in parts])])
        offsets = [part.offsets[1:] + end for part, end in zip(parts, ends, strict=False)]
        return cls(
            np.concatenate([[0], *offsets]).astype(np.int64),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.ranks for part in parts]),
        )

    def best(self, scores: np.ndarray, k: int) -> Lists:
        """The k best candidates of each query by `scores` [U], best first, ties to the smaller index; -inf is not listed."""
        counts = np.diff(self.offsets)
        query, place = self.queries, np.arange(len(self.items))
        place -= np.repeat(self.offsets[:-1], counts)
        below = np.full((len(self), int(counts.max(initial=0))), np.inf, np.float32)
        below[query, place] = -scores
        # A query's candidates stand by ascending item, and so do those that score alike.
        order = np.argsort(below, axis=1, kind="stable")[:, :k]
        items = np.full((len(self), k), -1, np.int32)
        found = np.full((len(self), k), -np.inf, np.float32)
        own = -np.take_along_axis(below, order, axis=1)
        listed = ~np.isneginf(own)
        every = np.zeros(below.shape, np.int32)
        every[query, place] = self.items
        items[:, : own.shape[1]] = np.where(listed, np.take_along_axis(every, order, axis=1), -1)
        found[:, : own.shape[1]] = own
        return items, found
