"""Which run is refitted: the best on validation, seeds averaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.evaluation.bootstrap import paired_difference
from recsys.evaluation.ranking import gains
from recsys.files import read_json
from recsys.models.interface import Epoch
from recsys.settings.training import EvaluationSettings, TrainingSettings
from recsys.training.loop import best_epoch


def read_gains(ranks: list[Path], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Each prediction's share of `metric`, averaged over several runs' ranks, and its session; both [P]."""
    tables = [pl.read_parquet(path) for path in ranks]
    for table, path in zip(tables, ranks, strict=True):
        if not table.select("session", "position").equals(tables[0].select("session", "position")):
            raise DataError(f"{path} ranks other predictions than {ranks[0]}; evaluate both runs on the same sessions")
    return np.mean([gains(metric, table["rank"].to_numpy()) for table in tables], axis=0), tables[0]["session"].to_numpy()


def select_run(folders: list[Path], settings: EvaluationSettings, training: TrainingSettings) -> dict[str, Any]:
    """The content of choice.json.

    Parameters
    ----------
    folders
        One a run, with `params.json`, `metrics.json`, `ranks.parquet` and `history.parquet`.
    settings
        The metric to choose by, and the resamples.
    training
        The metric that names a run's best epoch, and whether that is the one to keep.
    """
    by_name: dict[str, list[Path]] = {}
    for folder in folders:
        by_name.setdefault(read_json(folder / "params.json")["name"], []).append(folder)
    values, session = {}, np.empty(0)
    for name, own in by_name.items():
        values[name], session = read_gains([folder / "ranks.parquet" for folder in own], settings.metric)
    order = sorted(values, key=lambda name: (-values[name].mean(), name))
    described = {name: read_json(own[0] / "params.json") for name, own in by_name.items()}

    def apart(name: str, other: str) -> dict[str, float]:
        return paired_difference(values[name], values[other], session, settings.bootstrap, settings.confidence)

    winner, kept = _winner(order, described, apart)
    table = []
    for name in order:
        runs = [read_json(folder / "metrics.json") for folder in by_name[name]]
        kind, cutoff = settings.metric.split("@")
        each = [run[kind][cutoff] for run in runs]
        row = {"name": name, "model": runs[0]["model"], "seeds": len(runs), "mean": float(values[name].mean())}
        row |= {"lowest": min(each), "highest": max(each)}
        if name != winner:
            row["winner_minus_this"] = apart(winner, name)
        table.append(row)

    own = by_name[winner]
    params = described[winner]
    epochs = [_kept_epoch(folder / "history.parquet", training) for folder in own]
    chosen_epochs = round(float(np.median([epoch for epoch in epochs if epoch]))) if any(epochs) else None
    parameters = params["parameters"] | ({"epochs": chosen_epochs} if chosen_epochs else {})
    if parameters.get("combines"):
        parameters["combines"] = [_with_kept_epoch(member, folders, training) for member in parameters["combines"]]
    refit = {"run": winner, "name": winner, "model": params["model"], "seed": params["seed"], "parameters": parameters}
    why = (
        f"{winner} has the highest {settings.metric} on validation{' of those that are kept' * (winner != order[0])}, "
        f"{values[winner].mean():.4f} (mean of {len(own)} seed{'s' * (len(own) > 1)})"
    )
    others = [row for row in table if row["name"] != winner]
    if winner == order[0] and others:
        second = others[0]
        gap = second["winner_minus_this"]
        why += (
            f"; {second['name']} follows with {second['mean']:.4f}, {gap['mean']:+.4f} in between ({gap['low']:+.4f} to {gap['high']:+.4f})"
        )
    why += kept
    return {
        "run": winner,
        "runs": sorted(folder.name for folder in own),
        "metric": settings.metric,
        "why": why,
        "epochs": epochs,
        "learned": own[0].name if parameters.get("combines") else None,
        "refit": refit,
        "table": table,
    }


def _winner(order: list[str], described: dict[str, dict[str, Any]], apart: Callable[[str, str], dict[str, float]]) -> tuple[str, str]:
    """The first of the runs, best first, and what is told of the choice; but a re-ranker only where it is surely better than the blend
    whose order it corrects.
    """
    told = ""
    for name in order:
        blend = next((other for other in order if _is_the_blend_of(described[other], described[name])), None)
        if described[name]["model"] != "reranker" or blend is None:
            return name, told
        gap = apart(name, blend)
        by = f"than {blend}: {gap['mean']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})"
        if gap["low"] > 0:
            return name, f"{told}; it is surely better {by}"
        told += f"; {name} is not kept, not being surely better {by}"
    raise AssertionError("a re-ranker that is not kept has a blend beside it")


def _is_the_blend_of(described: dict[str, Any], reranker: dict[str, Any]) -> bool:
    """Whether a run is a blend of the same members as a re-ranker."""
    members = [{member["name"] for member in run["parameters"].get("combines", [])} for run in (described, reranker)]
    return described["model"] == "blend" and members[0] == members[1]


def _with_kept_epoch(member: dict[str, Any], folders: list[Path], training: TrainingSettings) -> dict[str, Any]:
    """A member as it is refitted: for the number of epochs that was best in its own run."""
    folder = next((folder for folder in folders if folder.name == member["run"]), None)
    if folder is None:
        raise DataError(f"the member {member['run']} of the chosen run is not among the runs; pass its folder too")
    epoch = _kept_epoch(folder / "history.parquet", training)
    return member | {"parameters": member["parameters"] | ({"epochs": epoch} if epoch else {})}


def _kept_epoch(path: Path, training: TrainingSettings) -> int | None:
    """The epoch whose arrays a run kept; None for a model that has no epochs."""
    rows = pl.read_parquet(path)
    if not rows.height:
        return None
    if training.keep == "last" or training.metric not in rows.columns:
        return int(rows["epoch"].max())
    return best_epoch([Epoch(row["epoch"], row["loss"], 0.0, 0, 0, row) for row in rows.to_dicts()], training.metric)
