"""One run of the grid: fit, watched and resumable, and the folder it leaves."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from recsys.evaluation.ranking import flat_metrics, rank_targets
from recsys.files import file_digest, value_digest, whole_folder, write_json, write_parquet
from recsys.models.interface import Epoch, FitContext, FitData, Model
from recsys.models.registry import model_class
from recsys.processes import exclusive
from recsys.sessions.table import Sessions
from recsys.settings.reading import section
from recsys.settings.training import TrainingSettings
from recsys.training.checkpoint import Checkpoint
from recsys.training.hardware import pick_device
from recsys.training.progress import shown


def train_run(
    run: dict[str, Any],
    data_paths: dict[str, Path],
    training: TrainingSettings,
    exclude_session_items: bool,
    work: Path,
    code: str,
    device: str,
) -> tuple[Model, list[Epoch], dict[str, Any]]:
    """Fit a run and describe it.

    Parameters
    ----------
    run
        `{"run", "model", "seed", "parameters"}`, see `recsys.config.Run.settings`.
    data_paths
        `items`, `train` and, to stop early on, `valid`.
    training
        Early stopping and resume points.
    exclude_session_items
        Whether validation leaves the session's items out, as serving does.
    work
        Folder of the resume points of all runs; a run's own is named by a digest of its parameters, data and code.
    code
        Digest of the code.
    device
        cpu, cuda or auto.

    Returns
    -------
    The fitted model, its history, and the run's `params.json`.
    """
    described = run | {
        "training": training.model_dump(mode="json", include={"metric", "patience", "keep"}),
        "data": {name: file_digest(path) for name, path in sorted(data_paths.items())},
    }
    if "valid" in data_paths:
        described["exclude_session_items"] = exclude_session_items
    key = resume_key(described, code, device)
    kind = model_class(run["model"])
    model = kind(section(run, "parameters", kind.parameters_class), seed=run["seed"])
    valid = Sessions.from_parquet(data_paths["valid"]) if "valid" in data_paths else None
    data = FitData(Sessions.from_parquet(data_paths["train"]), pl.read_parquet(data_paths["items"]), valid)

    def validate(fitted: Model) -> dict[str, float]:
        return flat_metrics(rank_targets(fitted, valid, exclude_session_items).ranks)

    context = FitContext(
        device=device,
        resume_folder=work / key,
        checkpoint_every=training.checkpoint_every / 1000,
        validate=validate if valid is not None else None,
        metric=training.metric,
        patience=training.patience,
        keep=training.keep,
    )
    with exclusive(work / f"{key}.lock", f"the run {run['run']}"), shown(context, run["run"]):
        model.fit(data, context)
    return model, context.history, described


def write_model(model: Model, folder: Path) -> None:
    """The model folder, whole."""
    with whole_folder(folder) as partial:
        model.save(partial)


def write_history(history: list[Epoch], path: Path) -> None:
    """A row an epoch: epoch, loss, seconds (training alone), events, steps, and the validation metrics."""
    rows = [{name: value for name, value in asdict(row).items() if name != "metrics"} | row.metrics for row in history]
    empty = {"epoch": pl.Int64, "loss": pl.Float64, "seconds": pl.Float64, "events": pl.Int64, "steps": pl.Int64}
    write_parquet(pl.DataFrame(rows) if rows else pl.DataFrame(schema=empty), path)


def resume_key(described: dict[str, Any], code: str, device: str) -> str:
    """Name of a run's resume point: what would train differently has another."""
    return value_digest(described | {"code": code, "device": pick_device(device).type})[:24]


def finish(
    model: Model, history: list[Epoch], described: dict[str, Any], folder_paths: dict[str, Path], work: Path, code: str, device: str
) -> None:
    """Write what a run leaves, then forget its resume point."""
    write_model(model, folder_paths["model"])
    write_history(history, folder_paths["history"])
    write_json(folder_paths["params"], described)
    Checkpoint(work / resume_key(described, code, device)).clear()
