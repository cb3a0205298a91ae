"""Where the next item stands among all items, and the metrics of those ranks.

Full ranking, next item only, conservative ties: the rank of a target is the number of items that score at least as high, the target
included, so that a collapsed model, which scores all items alike, ranks last and not first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.errors import TrainingError
from recsys.models.interface import Model
from recsys.sessions.table import Positions, Sessions

CUTOFFS = (1, 5, 10, 20)
LIST_LENGTH = 20
"""Length of the recommendation lists behind coverage and novelty."""
_LOOKED_AT = 64
"""Predictions whose scores are looked at for a difference between items, at most; nearly always the first shows one."""


@dataclass(frozen=True)
class Ranking:
    """P ranked predictions.

    Attributes
    ----------
    positions
        What was predicted.
    ranks : int64 [P]
        Conservative ranks, 1 is best; `recsys.models.scores.EXCLUDED` where the target may not be recommended.
    lists : int32 [P, at most 20], optional
        The recommended items; -1 where fewer are left.
    """

    positions: Positions
    ranks: np.ndarray
    lists: np.ndarray | None = None


def rank_targets(
    model: Model,
    sessions: Sessions,
    exclude_session_items: bool = False,
    with_lists: bool = False,
    positions: Positions | None = None,
) -> Ranking:
    """Rank clicks of sessions against all items.

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
    positions
        Which clicks, session by session; None: every click after a session's first.

    Raises
    ------
    TrainingError
        If a score is NaN.
    """
    positions = sessions.targets() if positions is None else positions
    length = min(LIST_LENGTH, model.n_items_) if with_lists else 0
    ranks, lists = model.rank_positions(sessions, positions, length, exclude_session_items)
    return Ranking(positions, ranks, lists if with_lists else None)


def refuse_collapsed(model: Model, sessions: Sessions, positions: Positions) -> None:
    """Make sure that the model tells items apart; its figures would be those of no model.

    A collapsed model scores all items alike, up to rounding, whatever the session. Popularity, which scores alike for all sessions, is
    none. Looked at are predictions evenly spread over `positions`.

    Raises
    ------
    TrainingError
        If the model is collapsed.
    """
    if model.n_items_ < 2 or not len(positions):
        return
    chosen = np.unique(np.linspace(0, len(positions) - 1, _LOOKED_AT, dtype=np.int64))
    for place in chosen:
        prefix = sessions.items[sessions.offsets[positions.session[place]] : positions.click[place]]
        scores = model.score_all(Sessions.from_lists([prefix]))[0]  # [items]
        scores = scores[~np.isneginf(scores)]  # which are not recommended at all
        if not len(scores):
            continue
        low, high = float(scores.min()), float(scores.max())
        if not (low == high or high - low <= 1e-6 * max(abs(low), abs(high))):  # NaN is left to the ranking
            return
    raise TrainingError(
        f"the model is collapsed: it scores all {model.n_items_:,} items alike for each of {len(chosen)} sessions looked at, so that its "
        "figures would say nothing; train it again with a lower learning_rate or without the parameter that was changed last"
    )


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
