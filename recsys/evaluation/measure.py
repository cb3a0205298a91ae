"""A model's figures on held-out sessions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.evaluation.bootstrap import interval
from recsys.evaluation.ranking import Ranking, coverage, gains, novelty, rank_targets, ranking_metrics, refuse_collapsed
from recsys.files import write_parquet
from recsys.models.interface import Model
from recsys.models.scores import EXCLUDED
from recsys.sessions.pairs import Pairs
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

    Raises
    ------
    TrainingError
        If a score is NaN, or the model scores all items alike.
    """
    positions = sessions.targets()
    refuse_collapsed(model, sessions, positions)
    ranking = rank_targets(model, sessions, settings.exclude_session_items, with_lists=True, positions=positions)
    return ranking, _figures(ranking, positions.session, support, settings)


def measure_pairs(model: Model, pairs: Pairs, support: np.ndarray, settings: EvaluationSettings) -> tuple[Ranking, dict[str, Any]]:
    """As `measure`, for pairs of a prefix and the item that follows; a target that the model does not know is missed.

    The figures also count what the model does not know: `unknown_targets`, `unknown_clicks` (skipped in the prefixes) and
    `empty_prefixes` (of which nothing is known, so that they are scored as a session that has not begun).
    """
    refuse_collapsed(model, pairs.sessions, pairs.positions)
    ranking = rank_targets(model, pairs.sessions, settings.exclude_session_items, with_lists=True, positions=pairs.positions)
    ranking = replace(ranking, ranks=np.where(pairs.known, ranking.ranks, EXCLUDED))
    unknown = {
        "unknown_targets": int(np.count_nonzero(~pairs.known)),
        "unknown_clicks": pairs.unknown_clicks,
        "empty_prefixes": int(np.count_nonzero(pairs.sessions.lengths == 1)),
    }
    return ranking, _figures(ranking, pairs.owners, support, settings) | unknown


def _figures(ranking: Ranking, sessions: np.ndarray, support: np.ndarray, settings: EvaluationSettings) -> dict[str, Any]:
    """Of ranked predictions, of which those of one of `sessions` [P] hang together."""
    metrics = {"predictions": len(ranking.ranks)} | ranking_metrics(ranking.ranks)
    metrics |= {"coverage": coverage(ranking.lists, len(support)), "novelty": novelty(ranking.lists, support)}
    metrics["intervals"] = {
        name: interval(gains(name, ranking.ranks), sessions, settings.bootstrap, settings.confidence)
        for name in dict.fromkeys((settings.metric, *INTERVAL_METRICS))
    }
    return metrics


def write_ranks(ranking: Ranking, path: Path) -> None:
    """A row a prediction: `session`, `position` (clicks before the target in the flat table), `rank`."""
    columns = {"session": ranking.positions.session, "position": ranking.positions.click, "rank": ranking.ranks}
    write_parquet(pl.DataFrame(columns), path)
