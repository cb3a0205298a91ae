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
    outputs: dict[str, Path],
    training: TrainingSettings,
    work: Path,
    code: str,
    device: str,
    exclude_session_items: bool = False,
) -> None:
    """Fit a run, write its model, history and description, then forget its resume point.

    Parameters
    ----------
    run
        `{"run", "model", "seed", "parameters"}`, see `recsys.config.Run.settings`.
    data_paths
        `items`, `train` and, to stop early on, `valid`.
    outputs
        `model`, a folder; `history`, a row an epoch; `params`, what the run was made from.
    training
        Early stopping and resume points.
    work
        Folder of the resume points of all runs; a run's own is named by a digest of its parameters, data, code and device.
    code
        Digest of the code.
    device
        cpu, cuda or auto.
    exclude_session_items
        Whether validation leaves the session's items out, as serving does.

    Raises
    ------
    BusyError
        If another process trains the same run.
    """
    described = run | {
        "training": training.model_dump(mode="json", include={"metric", "patience", "keep"}),
        "data": {name: file_digest(path) for name, path in sorted(data_paths.items())},
    }
    if "valid" in data_paths:
        described["exclude_session_items"] = exclude_session_items
    key = value_digest(described | {"code": code, "device": pick_device(device).partition(":")[0]})[:24]
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
    with exclusive(work / f"{key}.lock", f"the run {run['run']}"):
        with shown(context, run["run"]):
            model.fit(data, context)
        with whole_folder(outputs["model"]) as partial:
            model.save(partial)
        _write_history(context.history, outputs["history"])
        write_json(outputs["params"], described)
        Checkpoint(context.resume_folder).clear()


def _write_history(history: list[Epoch], path: Path) -> None:
    """A row an epoch: epoch, loss, seconds (training alone), events, steps, and the validation metrics."""
    rows = [{name: value for name, value in asdict(row).items() if name != "metrics"} | row.metrics for row in history]
    empty = {"epoch": pl.Int64, "loss": pl.Float64, "seconds": pl.Float64, "events": pl.Int64, "steps": pl.Int64}
    write_parquet(pl.DataFrame(rows) if rows else pl.DataFrame(schema=empty), path)
