"""`recsys refit`: the chosen run, or a baseline, on training and validation together."""

from pathlib import Path
from typing import Annotated

import typer


def refit(
    sessions: Annotated[Path, typer.Argument(help="Training sessions of the final window.")],
    items: Annotated[Path, typer.Option(help="The window's vocabulary.")],
    model: Annotated[Path, typer.Option(help="Model folder to write.")],
    history: Annotated[Path, typer.Option(help="History to write.")],
    params: Annotated[Path, typer.Option(help="Description of the fit to write.")],
    work: Annotated[Path, typer.Option(help="Folder of the resume points.")],
    choice: Annotated[Path | None, typer.Option(help="Which run was chosen; without it, the run of the settings.")] = None,
    learned: Annotated[
        list[Path] | None, typer.Option(help="Model folder of a run of the grid that combines others, where it learned to.")
    ] = None,
    properties: Annotated[Path | None, typer.Option(help="The shop's item properties, for families that look at categories.")] = None,
    settings: Annotated[str, typer.Option(help='JSON: {"training": …, "run": …}.')] = "{}",
    code: Annotated[str, typer.Option(help="Digest of the code, part of the resume point's name.")] = "",
    threads: Annotated[int, typer.Option(help="Processor threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Fit without validation, for the number of epochs that was best."""

    from recsys.cli.arguments import existing
    from recsys.files import read_json
    from recsys.settings.reading import parse_settings, required, section
    from recsys.settings.training import TrainingSettings
    from recsys.training.hardware import use_threads
    from recsys.training.run import train_run

    use_threads(threads)
    given = parse_settings(settings)
    chosen = {} if choice is None else read_json(existing(choice))
    run = chosen["refit"] if chosen else required(given, "run")
    fitted = {folder.parent.name: folder for folder in learned or []}
    taught = existing(fitted[chosen["learned"]]) if chosen.get("learned") in fitted else None
    paths = {"items": existing(items), "train": existing(sessions)}
    if properties is not None:
        paths["properties"] = existing(properties)
    outputs = {"model": model, "history": history, "params": params}
    train_run(run, paths, outputs, section(given, "training", TrainingSettings), work, code, device, learned=taught)
