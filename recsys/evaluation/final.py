"""The one look at the test split: the refitted champion beside its baselines."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.evaluation.bootstrap import paired_difference
from recsys.evaluation.measure import measure
from recsys.evaluation.ranking import Ranking, gains
from recsys.files import write_parquet
from recsys.models.registry import load_model
from recsys.sessions.table import Sessions
from recsys.settings.training import EvaluationSettings

_RANKED = ("recall", "mrr", "ndcg")
MEMBERS = "members"
"""Folder, below a model over models, of its members."""


def score_on_test(
    choice: dict[str, Any], champion: Path, baselines: dict[str, Path], test: Sessions, support: np.ndarray, settings: EvaluationSettings
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Ranking]]:
    """The champion's metrics.json, the comparison with its intervals, and every tested model's ranks by name, the champion's first.

    A champion that combines other models is tested beside these, as they were refitted with it.

    Parameters
    ----------
    choice
        The content of choice.json.
    champion, baselines
        Model folders, the baselines' by name.
    test, support
        Test sessions, and each item's clicks in training.
    settings
        The resamples, and whether the session's items are left out.
    """
    name, family = choice["refit"]["name"], choice["refit"]["model"]
    ranking, champion_metrics = measure(load_model(champion), test, support, settings)
    rankings = {name: ranking}
    measured = {name: champion_metrics}
    for baseline, folder in baselines.items():
        # A champion that is itself a baseline was fitted twice; both are the same model.
        if baseline not in rankings:
            rankings[baseline], measured[baseline] = measure(load_model(folder), test, support, settings)
    members = champion / MEMBERS
    own = sorted(folder.name for folder in members.iterdir()) if members.is_dir() else []
    for member in own:
        if member not in rankings:
            rankings[member], measured[member] = measure(load_model(members / member), test, support, settings)
    metrics = {"run": name, "model": family, "predictions": len(ranking.ranks)}
    metrics |= {kind: champion_metrics[kind] for kind in _RANKED}
    metrics["baselines"] = {baseline: {kind: measured[baseline][kind] for kind in _RANKED} for baseline in baselines}

    if own:
        metrics["members"] = {member: {kind: measured[member][kind] for kind in _RANKED} for member in own}

    session = ranking.positions.session
    order = sorted(rankings, key=lambda model: -measured[model]["recall"]["20"])
    pairs = [(better, worse) for place, better in enumerate(order) for worse in order[place + 1 :]]
    differences = {
        metric: [
            {"better": better, "worse": worse}
            | paired_difference(
                gains(metric, rankings[better].ranks),
                gains(metric, rankings[worse].ranks),
                session,
                settings.bootstrap,
                settings.confidence,
            )
            for better, worse in pairs
        ]
        for metric in dict.fromkeys((settings.metric, "recall@20", "mrr@20"))
    }
    extra = {model: {key: measured[model][key] for key in ("intervals", "coverage", "novelty")} for model in rankings}
    return metrics, {"models": extra, "paired_differences": differences, "confidence": settings.confidence}, rankings


def write_test_ranks(rankings: dict[str, Ranking], path: Path) -> None:
    """A row a model and prediction: `model`, `session`, `position` (clicks before the target in the flat table), `rank`."""
    tables = [
        pl.DataFrame(
            {"session": ranking.positions.session, "position": ranking.positions.click, "rank": ranking.ranks},
        ).select(pl.lit(model).alias("model"), pl.all())
        for model, ranking in rankings.items()
    ]
    write_parquet(pl.concat(tables), path)


def write_exposure(rankings: dict[str, Ranking], path: Path) -> None:
    """A row a model and item that stands in one of its lists: `model`, `index`, `recommended` (the lists it stands in)."""
    tables = []
    for model, ranking in rankings.items():
        index, recommended = np.unique(ranking.lists[ranking.lists >= 0], return_counts=True)
        counted = pl.DataFrame({"index": index.astype(np.int32), "recommended": recommended.astype(np.int64)})
        tables.append(counted.select(pl.lit(model).alias("model"), pl.all()))
    write_parquet(pl.concat(tables), path)
