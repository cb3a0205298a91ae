"""`recsys train`: one run of the grid."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    sessions: Annotated[Path, typer.Argument(help="Training sessions of a fit window.")],
    items: Annotated[Path, typer.Option(help="The window's vocabulary.")],
    valid: Annotated[Path, typer.Option(help="Validation sessions to stop early on.")],
    params: Annotated[Path, typer.Option(help="Description of the run to write.")],
    model: Annotated[Path, typer.Option(help="Model folder to write.")],
    history: Annotated[Path, typer.Option(help="History to write, a row an epoch.")],
    work: Annotated[Path, typer.Option(help="Folder of the resume points.")],
    settings: Annotated[str, typer.Option(help='JSON: {"run": …, "training": …, "exclude_session_items": …}.')],
    properties: Annotated[Path | None, typer.Option(help="The shop's item properties, for families that look at categories.")] = None,
    member: Annotated[list[Path] | None, typer.Option(help="Of a blend or reranker: a member's model folder.")] = None,
    code: Annotated[str, typer.Option(help="Digest of the code, part of the resume point's name.")] = "",
    threads: Annotated[int, typer.Option(help="Processor threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Train a run; a killed one goes on where it stood."""

    from recsys.cli.arguments import existing
    from recsys.settings.reading import parse_settings, required, section
    from recsys.settings.training import TrainingSettings
    from recsys.training.hardware import use_threads
    from recsys.training.run import member_folders, train_run

    use_threads(threads)
    given = parse_settings(settings)
    paths = {"items": existing(items), "train": existing(sessions), "valid": existing(valid)}
    if properties is not None:
        paths["properties"] = existing(properties)
    training = section(given, "training", TrainingSettings)
    run, exclude = required(given, "run"), given.get("exclude_session_items", False)
    outputs = {"model": model, "history": history, "params": params}
    members = member_folders(run, [existing(folder) for folder in member or []])
    train_run(run, paths, outputs, training, work, code, device, exclude, members=members)
