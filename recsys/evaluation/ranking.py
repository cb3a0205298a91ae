"""Where the next item stands among all items, and the metrics of those ranks.

Full ranking, next item only, conservative ties: the rank of a target is the number of items that score at least as high, the target
included, so that a collapsed model, which scores all items alike, ranks last and not first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.errors import TrainingError
from recsys.models.interface import Model, top_k
from recsys.sessions.table import Positions, Sessions

CUTOFFS = (1, 5, 10, 20)
LIST_LENGTH = 20
"""Length of the recommendation lists behind coverage and novelty."""
CHUNK = 256
"""Predictions scored at a time: what is held is one [256, items] matrix."""
EXCLUDED = 2**31 - 1
"""Rank of a target that may not be recommended: missed, however few items there are."""


@dataclass(frozen=True)
class Ranking:
    """P ranked predictions.

    Attributes
    ----------
    positions
        What was predicted.
    ranks : int64 [P]
        Conservative ranks, 1 is best; `EXCLUDED` where the target may not be recommended.
    lists : int32 [P, at most 20], optional
        The recommended items; -1 where fewer are left.
    """

    positions: Positions
    ranks: np.ndarray
    lists: np.ndarray | None = None


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
            raise TrainingError("the model scores an item as NaN, so that nothing can be ranked; lower its learning_rate and train again")
        ranks[query] = np.count_nonzero(row >= row[target])
    return ranks


def rank_targets(model: Model, sessions: Sessions, exclude_session_items: bool = False, with_lists: bool = False) -> Ranking:
    """Rank every click after a session's first against all items.

    Parameters
    ----------
    model
        A fitted model.
    sessions
        Sessions over the model's vocabulary.
    exclude_session_items
        Leave the items clicked so far out, as serving does; a target among them then counts as missed.
    with_lists
        Also keep the recommended items.
    """
    positions = sessions.targets()
    ranks = np.empty(len(positions), dtype=np.int64)
    length = min(LIST_LENGTH, model.n_items_)
    lists = np.empty((len(positions) if with_lists else 0, length), dtype=np.int32)
    done = 0
    for scores in model.score_positions(sessions, positions, CHUNK):
        part = slice(done, done + len(scores))
        if exclude_session_items:
            scores = np.array(scores)
            begins, ends = sessions.offsets[positions.session[part]], positions.click[part]
            for row, (begin, end) in enumerate(zip(begins, ends, strict=True)):
                scores[row, sessions.items[begin:end]] = -np.inf
        targets = positions.target[part]
        ranks[part] = np.where(np.isneginf(scores[np.arange(len(targets)), targets]), EXCLUDED, conservative_ranks(scores, targets))
        if with_lists:
            lists[part] = top_k(scores, length)[0]
        done = part.stop
    return Ranking(positions, ranks, lists if with_lists else None)


def gains(metric: str, ranks: np.ndarray) -> np.ndarray:
    """Each prediction's share of a metric such as `recall@20`: float64 [P], whose mean is the metric."""
    name, cutoff = metric.split("@")
    hit = ranks <= int(cutoff)
    match name:
        case "recall":
            return hit.astype(np.float64)
        case "mrr":
            return hit / ranks
        case "ndcg":
            return hit / np.log2(ranks + 1.0)
        case _:
            raise ValueError(f"there is no metric {metric!r}; the metrics are recall@K, mrr@K and ndcg@K")


def ranking_metrics(ranks: np.ndarray, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, dict[str, float]]:
    """`{"recall": {"1": …}, "mrr": {…}, "ndcg": {…}}` of ranks [P]; the mean over all predictions, hits and misses alike."""
    if not len(ranks):
        return {name: {str(cutoff): 0.0 for cutoff in cutoffs} for name in ("recall", "mrr", "ndcg")}
    return {name: {str(cutoff): float(gains(f"{name}@{cutoff}", ranks).mean()) for cutoff in cutoffs} for name in ("recall", "mrr", "ndcg")}


def flat_metrics(ranks: np.ndarray, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """The same by flat names, such as `recall@20`."""
    return {f"{name}@{cutoff}": value for name, values in ranking_metrics(ranks, cutoffs).items() for cutoff, value in values.items()}


def coverage(lists: np.ndarray, n_items: int) -> float:
    """Share of the vocabulary that stands in at least one list [P, K]."""
    return len(np.unique(lists[lists >= 0])) / n_items if n_items else 0.0


def novelty(lists: np.ndarray, support: np.ndarray) -> float:
    """Mean self-information, in bits, of the recommended items: -log2(share of the training clicks) (Zhou et al., PNAS 2010).

    Parameters
    ----------
    lists : [P, K]
        Recommended items; -1 is none.
    support : [items]
        Clicks in training; an item without any counts as one.
    """
    if not (lists >= 0).any():
        return 0.0
    bits = -np.log2(np.maximum(support, 1) / max(support.sum(), 1))
    return float(bits[lists[lists >= 0]].mean())
