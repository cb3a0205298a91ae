"""What follows from the scores of all items: where a target stands, and what is recommended."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from recsys.errors import RecsysError, TrainingError
from recsys.sessions.table import Positions, Sessions

EXCLUDED = 2**31 - 1
"""Rank of a target that may not be recommended: missed, however few items there are."""


def refuse_length(k: int, n_items: int) -> None:
    """Make sure that so many items can be listed.

    Raises
    ------
    RecsysError
        If they cannot.
    """
    if not 1 <= k <= n_items:
        raise RecsysError(f"k is {k}, but must lie between 1 and the {n_items} items of the vocabulary")


def not_a_number() -> TrainingError:
    """The refusal of a model that scores an item as NaN."""
    return TrainingError("the model scores an item as NaN, so that nothing can be ranked; lower its learning_rate and train again")


def conservative_ranks(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Number of items that score at least as high as the target: int64 [Q] of scores [Q, items] and targets [Q].

    Raises
    ------
    TrainingError
        If a score is NaN.
    """
    ranks = np.empty(len(targets), dtype=np.int64)
    for query, (row, target) in enumerate(zip(scores, targets, strict=True)):  # a row at a time stays in the cache
        if np.isnan(row.min()):
            raise not_a_number()
        ranks[query] = np.count_nonzero(row >= row[target])
    return ranks


def rank_scores(
    chunks: Iterable[np.ndarray], sessions: Sessions, positions: Positions, length: int = 0, exclude_clicked: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks int64 [P] and lists int32 [P, length] from the scores of all predictions, some [at most P, items] a time.

    Parameters
    ----------
    chunks
        The scores, in the order of the predictions.
    sessions, positions
        What is predicted.
    length
        How many items to list; at most the vocabulary's size.
    exclude_clicked
        Leave the items clicked so far out; a target among them has the rank `EXCLUDED`.

    Raises
    ------
    TrainingError
        If a score is NaN.
    """
    ranks = np.empty(len(positions), dtype=np.int64)
    lists = np.empty((len(positions), length), dtype=np.int32)
    done = 0
    for scores in chunks:
        part = slice(done, done + len(scores))
        if exclude_clicked:
            scores = np.array(scores)
            begins, ends = sessions.offsets[positions.session[part]], positions.click[part]
            for row, (begin, end) in enumerate(zip(begins, ends, strict=True)):
                scores[row, sessions.items[begin:end]] = -np.inf
        targets = positions.target[part]
        ranks[part] = np.where(np.isneginf(scores[np.arange(len(targets)), targets]), EXCLUDED, conservative_ranks(scores, targets))
        if length:
            lists[part] = top_k(scores, length)[0]
        done = part.stop
    return ranks, lists


def top_scores(
    chunks: Iterable[np.ndarray], sessions: Sessions, positions: Positions, length: int, exclude_clicked: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Lists int32 [P, length] and their scores float32 [P, length]; the parameters are those of `rank_scores`."""
    lists, best, done = [], [], 0
    for scores in chunks:
        part = slice(done, done + len(scores))
        own = prefixes(sessions, positions, part) if exclude_clicked else None
        items, values = top_k(scores, length, exclude=own)
        lists.append(items)
        best.append(values)
        done = part.stop
    if not lists:
        return np.empty((0, length), np.int32), np.empty((0, length), np.float32)
    return np.concatenate(lists), np.concatenate(best)


def prefixes(sessions: Sessions, positions: Positions, part: slice) -> Sessions:
    """What each of some predictions may look at: the clicks of its session before the target, and when the session starts."""
    owners = positions.session[part]
    ranges = zip(sessions.offsets[owners], positions.click[part], strict=True)
    own = Sessions.from_lists([sessions.items[start:end] for start, end in ranges])
    return own if sessions.starts is None else replace(own, starts=sessions.starts[owners])


def top_k(
    scores: np.ndarray, k: int, candidates: np.ndarray | None = None, exclude: Sessions | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k best columns of each row of `scores` [Q, items], best first, ties to the smaller index; see `Model.recommend`."""
    n_queries, n_items = scores.shape
    refuse_length(k, n_items)
    scores = scores.astype(np.float32, copy=True)
    if candidates is not None:
        masked = np.full_like(scores, -np.inf)
        masked[:, candidates] = scores[:, candidates]
        scores = masked
    if exclude is not None:
        scores[np.repeat(np.arange(n_queries), exclude.lengths), exclude.items] = -np.inf
    # Every item at least as good as the k-th best takes part, so that ties are broken by index and not by the partition.
    threshold = np.partition(scores, n_items - k, axis=1)[:, n_items - k]  # [Q]
    items = np.full((n_queries, k), -1, dtype=np.int32)
    best = np.full((n_queries, k), -np.inf, dtype=np.float32)
    for query in range(n_queries):
        contenders = np.flatnonzero(scores[query] >= threshold[query])
        order = contenders[np.argsort(-scores[query, contenders], kind="stable")[:k]]
        order = order[np.isfinite(scores[query, order])]
        items[query, : len(order)] = order
        best[query, : len(order)] = scores[query, order]
    return items, best
