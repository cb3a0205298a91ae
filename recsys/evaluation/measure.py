"""A model's figures on held-out sessions."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.evaluation.bootstrap import interval
from recsys.evaluation.ranking import Ranking, coverage, gains, novelty, rank_targets, ranking_metrics
from recsys.files import write_parquet
from recsys.models.interface import Model
from recsys.sessions.table import Sessions
from recsys.settings.training import EvaluationSettings

INTERVAL_METRICS = ("recall@20", "mrr@20", "ndcg@20")


def measure(model: Model, sessions: Sessions, support: np.ndarray, settings: EvaluationSettings) -> tuple[Ranking, dict[str, Any]]:
    """Ranks of all predictions, and their metrics with intervals, coverage and novelty.

    Parameters
    ----------
    model
        A fitted model.
    sessions
        Held-out sessions over its vocabulary.
    support : [items]
        Clicks of each item in training.
    settings
        How to compare.
    """
    ranking = rank_targets(model, sessions, settings.exclude_session_items, with_lists=True)
    metrics = {"predictions": len(ranking.ranks)} | ranking_metrics(ranking.ranks)
    metrics |= {"coverage": coverage(ranking.lists, len(support)), "novelty": novelty(ranking.lists, support)}
    metrics["intervals"] = {
        name: interval(gains(name, ranking.ranks), ranking.positions.session, settings.bootstrap, settings.confidence)
        for name in dict.fromkeys((settings.metric, *INTERVAL_METRICS))
    }
    return ranking, metrics


def write_ranks(ranking: Ranking, path: Path) -> None:
    """A row a prediction: `session`, `position` (clicks before the target in the flat table), `rank`."""
    columns = {"session": ranking.positions.session, "position": ranking.positions.click, "rank": ranking.ranks}
    write_parquet(pl.DataFrame(columns), path)
