"""Where a model is good and where it is not: its test metrics by group of predictions, and what its recommendations concentrate on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.evaluation.bootstrap import intervals
from recsys.evaluation.ranking import gains
from recsys.sessions.table import Positions, Sessions
from recsys.settings.training import EvaluationSettings

METRICS = ("recall@20", "mrr@20")
"""What is broken down."""
STEPS = (1, 2, 3, 4, 5, 6, 8, 11, 21, 51)
"""Where groups of counts begin: single numbers first, then wider and wider."""
TENTHS = 10
SHARES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the vocabulary, the most popular items first, for which the share of the recommendations is told."""
CURVE_POINTS = 200


@dataclass(frozen=True)
class Grouping:
    """Groups of predictions.

    Attributes
    ----------
    names
        A group's name, such as `6–7`, in order; only groups that hold a prediction.
    group : int64 [P]
        The group of each prediction.
    """

    names: list[str]
    group: np.ndarray


def span(low: int, high: int | None) -> str:
    """How a range of whole numbers is written: `5`, `6–7`, `51+`."""
    if high is None:
        return f"{low:,}+"
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def by_count(counts: np.ndarray, steps: Sequence[int] = STEPS) -> Grouping:
    """Predictions grouped by a count [P], in groups that begin at `steps`; the last one has no end."""
    group = np.searchsorted(steps, counts, side="right") - 1
    present, group = np.unique(group, return_inverse=True)
    ends = [*(step - 1 for step in steps[1:]), None]
    return Grouping([span(steps[place], ends[place]) for place in present], group)


def by_tenths(values: np.ndarray) -> Grouping:
    """Predictions grouped into tenths by a whole number [P], the lowest first.

    Equal numbers stay together, so that there may be fewer than ten groups, and not all of one size.
    """
    if not len(values):
        return Grouping([], np.empty(0, np.int64))
    ordered = np.sort(values)
    # The tenth of a number is the one in which its first equal stands.
    group = np.searchsorted(ordered, values, side="left") * TENTHS // len(values)
    present, group = np.unique(group, return_inverse=True)
    return Grouping([span(int(values[group == place].min()), int(values[group == place].max())) for place in range(len(present))], group)


def ranks_by_model(table: pl.DataFrame, positions: Positions) -> dict[str, np.ndarray]:
    """Ranks [P] of each model, in the order of the models in champion/ranks.parquet.

    Raises
    ------
    DataError
        If they are not the ranks of these predictions.
    """
    found = {}
    for (model,), rows in table.group_by("model", maintain_order=True):
        if not np.array_equal(rows["position"].to_numpy(), positions.click):
            raise DataError(f"the ranks of {model} belong to other predictions than the test sessions'; run the test stage again")
        found[str(model)] = rows["rank"].to_numpy()
    return found


def break_down(grouping: Grouping, ranks: dict[str, np.ndarray], session: np.ndarray, settings: EvaluationSettings) -> list[dict[str, Any]]:
    """A row a group: `group`, `predictions`, `sessions`, and `models`: each model's metrics as `{"mean", "low", "high"}`.

    Parameters
    ----------
    grouping
        The groups.
    ranks : name to [P]
        Each model's ranks.
    session : [P]
        The session of each prediction.
    settings
        The resamples and the intervals' coverage.
    """
    columns = [(model, metric) for model in ranks for metric in METRICS]
    values = np.stack([gains(metric, ranks[model]) for model, metric in columns], axis=1)  # [P, models × metrics]
    rows = []
    for place, name in enumerate(grouping.names):
        inside = grouping.group == place
        measured = intervals(values[inside], session[inside], settings.bootstrap, settings.confidence)
        models: dict[str, dict[str, Any]] = {model: {} for model in ranks}
        for (model, metric), found in zip(columns, measured, strict=True):
            models[model][metric] = found
        rows.append(
            {"group": name, "predictions": int(inside.sum()), "sessions": len(np.unique(session[inside])), "models": models},
        )
    return rows


def groupings(sessions: Sessions, positions: Positions, support: np.ndarray) -> dict[str, Grouping]:
    """The three ways in which test predictions are grouped.

    Parameters
    ----------
    sessions, positions
        Test sessions and their predictions.
    support : [items]
        Clicks of each item in training.

    Returns
    -------
    `session_length` (clicks of the whole session), `position` (clicks before the target), `popularity` (tenths of the target's clicks in
    training).
    """
    return {
        "session_length": by_count(sessions.lengths[positions.session]),
        "position": by_count(positions.click - sessions.offsets[positions.session]),
        "popularity": by_tenths(support[positions.target]),
    }


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of non-negative counts [items]: 0 where all items are equal, towards 1 where one item has everything."""
    total = counts.sum()
    if not len(counts) or not total:
        return 0.0
    ordered = np.sort(counts).astype(np.float64)
    # The area between the line of equality and the Lorenz curve, whose points are the cumulated shares.
    below = (np.cumsum(ordered) / total).sum() - 0.5
    return float(1 - 2 * below / len(ordered))


def concentration(counts: np.ndarray, support: np.ndarray) -> dict[str, Any]:
    """What shows how far recommendations, or clicks, go to few items.

    Parameters
    ----------
    counts : [items]
        How often each item is recommended, or clicked.
    support : [items]
        Its clicks in training.

    Returns
    -------
    `coverage` (share of the items that occur at all), `gini`, `novelty` (mean -log2 of the item's share of the training clicks, in bits),
    `share_of_top` (share that goes to a share of the items, the most popular in training first) and `curve`, the same as points.
    """
    total = max(int(counts.sum()), 1)
    popular = np.argsort(-support, kind="stable")
    gathered = np.cumsum(counts[popular]) / total  # [items]
    bits = -np.log2(np.maximum(support, 1) / max(int(support.sum()), 1))

    def share(items: float) -> float:
        return float(gathered[max(1, round(items * len(counts))) - 1])

    points = np.unique(np.geomspace(1, len(counts), min(CURVE_POINTS, len(counts))).round().astype(np.int64))
    return {
        "counted": int(counts.sum()),
        "coverage": float((counts > 0).mean()),
        "gini": gini(counts),
        "novelty": float((bits * counts).sum() / total),
        "share_of_top": {f"{items:g}": share(items) for items in SHARES},
        "curve": {"items": [int(point) for point in points], "share": [float(gathered[point - 1]) for point in points]},
    }


def concentrations(exposure: pl.DataFrame, models: Sequence[str], targets: np.ndarray, support: np.ndarray) -> dict[str, Any]:
    """`concentration` of what each model recommends, under `models`, and of the clicks that were to be predicted, under `clicks`.

    Parameters
    ----------
    exposure
        champion/exposure.parquet.
    models
        Their names.
    targets : [P]
        The items that were clicked next.
    support : [items]
        Clicks of each item in training.
    """
    found = {}
    for model in models:
        rows = exposure.filter(pl.col("model") == model)
        counts = np.zeros(len(support), dtype=np.int64)
        counts[rows["index"].to_numpy()] = rows["recommended"].to_numpy()
        found[model] = concentration(counts, support)
    return {"models": found, "clicks": concentration(np.bincount(targets, minlength=len(support)), support)}


def leaderboards(runs: Sequence[dict[str, Any]], metrics: dict[str, Any], comparison: dict[str, Any], metric: str) -> dict[str, Any]:
    """What the leaderboard shows: rows with intervals, best first.

    Parameters
    ----------
    runs
        Each run's validation metrics (`runs/*/metrics.json`).
    metrics, comparison
        The champion's `metrics.json` and `comparison.json`.
    metric
        The metric the champion was chosen by.

    Returns
    -------
    `metrics`, and rows under `valid` and `test`: `run`, `predictions`, `champion` (whether it is the champion, or a seed of it) and
    `intervals` by metric.
    """
    shown = list(dict.fromkeys((metric, *METRICS)))

    def rows(measured: list[tuple[str, str, int, dict[str, Any]]]) -> list[dict[str, Any]]:
        found = [
            {
                "run": run,
                "champion": name == metrics["run"],
                "predictions": predictions,
                "intervals": {shown_one: intervals_of[shown_one] for shown_one in shown},
            }
            for run, name, predictions, intervals_of in measured
        ]
        return sorted(found, key=lambda row: -row["intervals"][metric]["mean"])

    valid = [(run["run"], run["name"], run["predictions"], run["intervals"]) for run in runs]
    test = [(name, name, metrics["predictions"], model["intervals"]) for name, model in comparison["models"].items()]
    return {"metrics": shown, "valid": rows(valid), "test": rows(test)}
