"""The one look at the test split: the refitted champion beside its baselines."""

from pathlib import Path
from typing import Any

import numpy as np

from recsys.evaluation.bootstrap import paired_difference
from recsys.evaluation.measure import measure
from recsys.evaluation.ranking import Ranking, gains
from recsys.models.registry import load_model
from recsys.sessions.table import Sessions
from recsys.settings.training import EvaluationSettings

_RANKED = ("recall", "mrr", "ndcg")


def score_on_test(
    choice: dict[str, Any], champion: Path, baselines: dict[str, Path], test: Sessions, support: np.ndarray, settings: EvaluationSettings
) -> tuple[dict[str, Any], dict[str, Any], Ranking]:
    """The champion's metrics.json, the comparison with its intervals, and the champion's ranks.

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
    metrics = {"run": name, "model": family, "predictions": len(ranking.ranks)}
    metrics |= {kind: champion_metrics[kind] for kind in _RANKED}
    metrics["baselines"] = {baseline: {kind: measured[baseline][kind] for kind in _RANKED} for baseline in baselines}

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
    return metrics, {"models": extra, "paired_differences": differences, "confidence": settings.confidence}, ranking
