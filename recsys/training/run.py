"""One run of the grid: fit, watched and resumable, and the folder it leaves."""

import datetime as dt
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.catalogue.lookup import categories_of
from recsys.errors import ConfigurationError
from recsys.evaluation.ranking import flat_metrics, rank_targets
from recsys.files import file_digest, value_digest, whole_folder, write_json, write_parquet
from recsys.models.interface import Epoch, FitContext, FitData, Model
from recsys.models.registry import model_class
from recsys.processes import exclusive
from recsys.sessions.table import Sessions
from recsys.settings.reading import section
from recsys.settings.training import TrainingSettings
from recsys.training.checkpoint import Checkpoint
from recsys.training.distributed import joined
from recsys.training.hardware import pick_device
from recsys.training.progress import shown


@dataclass(frozen=True)
class PreparedFit:
    """What a run is made from, and everything that its fit needs.

    Attributes
    ----------
    described
        The run, with its training settings and the digests of its data; what `params` will hold.
    model
        Not fitted yet.
    data, context
        What it is fitted on, and what surrounds the fit.
    """

    described: dict[str, Any]
    model: Model
    data: FitData
    context: FitContext


def prepare(
    run: dict[str, Any],
    data_paths: dict[str, Path],
    training: TrainingSettings,
    work: Path,
    code: str,
    device: str,
    exclude_session_items: bool = False,
    members: dict[str, Path] | None = None,
    learned: Path | None = None,
) -> PreparedFit:
    """Read what a run needs; the parameters are those of `train_run`."""
    members = members or {}
    parts = members | ({"learned": learned} if learned is not None else {})
    described = run | {
        "training": training.model_dump(mode="json", include={"metric", "patience", "keep"}),
        "data": {name: file_digest(path) for name, path in sorted(data_paths.items())},
    }
    if parts:
        described["models"] = {name: file_digest(folder / "manifest.json") for name, folder in sorted(parts.items())}
    if "valid" in data_paths:
        described["exclude_session_items"] = exclude_session_items
    key = value_digest(described | {"code": code, "device": pick_device(device).partition(":")[0]})[:24]
    kind = model_class(run["model"])
    model = kind(section(run, "parameters", kind.parameters_class), seed=run["seed"])
    valid = Sessions.from_parquet(data_paths["valid"]) if "valid" in data_paths else None
    train, items = Sessions.from_parquet(data_paths["train"]), pl.read_parquet(data_paths["items"])
    categories = category_codes(data_paths["properties"], items, train) if "properties" in data_paths else None
    data = FitData(train, items, valid, categories)

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
        members=members,
        learned=learned,
    )
    return PreparedFit(described, model, data, context)


def train_run(
    run: dict[str, Any],
    data_paths: dict[str, Path],
    outputs: dict[str, Path],
    training: TrainingSettings,
    work: Path,
    code: str,
    device: str,
    exclude_session_items: bool = False,
    members: dict[str, Path] | None = None,
    learned: Path | None = None,
) -> None:
    """Fit a run, write its model, history and description, then forget its resume point.

    Under torchrun all processes train together, and the first one does the rest.

    Parameters
    ----------
    run
        `{"run", "model", "seed", "parameters"}`, see `recsys.config.Run.settings`.
    data_paths
        `items`, `train`, to stop early on `valid`, and, of a family that asks for categories, `properties`.
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
    members, learned
        Of a model over models: see `FitContext`.

    Raises
    ------
    BusyError
        If another process trains the same run.
    """
    with joined(pick_device(device)) as (ranks, own_device):
        fit = prepare(run, data_paths, training, work, code, own_device, exclude_session_items, members, learned)
        context, point = fit.context, fit.context.resume_folder
        ranks.agree(point.name, "run, data or version")
        context.ranks = ranks
        if not ranks.leads:
            context.resume_folder = None
            fit.model.fit(fit.data, context)
            return
        with exclusive(point.with_suffix(".lock"), f"the run {run['run']}"):
            with shown(context, run["run"]):
                fit.model.fit(fit.data, context)
            with whole_folder(outputs["model"]) as partial:
                fit.model.save(partial)
            _write_history(context.history, outputs["history"])
            write_json(outputs["params"], fit.described)
            Checkpoint(point).clear()


def category_codes(properties: Path, items: pl.DataFrame, train: Sessions) -> np.ndarray | None:
    """The category of each item as it was known when the last training session started: int32 [items], -1 where none was; None where the
    shop has no categories.
    """
    if train.starts is None or not len(train):
        return None
    at = dt.datetime.fromtimestamp(int(train.starts.max()) / 1000, tz=dt.UTC)
    known = categories_of(pl.scan_parquet(properties), at)
    if not known.height:
        return None
    codes = known.select("item_id", pl.col("category").rank("dense").cast(pl.Int32).alias("code_of_category") - 1)
    joined = items.sort("index").join(codes, on="item_id", how="left", maintain_order="left")
    return joined["code_of_category"].fill_null(-1).to_numpy()


def member_folders(run: dict[str, Any], folders: list[Path]) -> dict[str, Path]:
    """The folders of a run's members, given in the members' order, by the members' names."""
    names = [member["name"] for member in run["parameters"].get("combines", [])]
    if len(names) != len(folders):
        raise ConfigurationError(
            f"the run {run['run']} has {len(names)} members ({', '.join(names)}), but {len(folders)} folders were given; "
            "pass one --member each"
        )
    return dict(zip(names, folders, strict=True))


def _write_history(history: list[Epoch], path: Path) -> None:
    """A row an epoch: epoch, loss, seconds (training alone), events, steps, and the validation metrics."""
    rows = [{name: value for name, value in asdict(row).items() if name != "metrics"} | row.metrics for row in history]
    empty = {"epoch": pl.Int64, "loss": pl.Float64, "seconds": pl.Float64, "events": pl.Int64, "steps": pl.Int64}
    write_parquet(pl.DataFrame(rows) if rows else pl.DataFrame(schema=empty), path)
