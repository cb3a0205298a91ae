"""`recsys trial`: one trial of a search."""

from pathlib import Path
from typing import Annotated

import typer


def trial(
    sessions: Annotated[Path, typer.Argument(help="Training sessions of a fit window.")],
    number: Annotated[int, typer.Option(help="The trial, from 0.")],
    items: Annotated[Path, typer.Option(help="The window's vocabulary.")],
    valid: Annotated[Path, typer.Option(help="Validation sessions that tell what the trial is worth.")],
    output: Annotated[Path, typer.Option(help="JSON to write: what came out.")],
    store: Annotated[Path, typer.Option(help="The journal in which trials learn from each other.")],
    work: Annotated[Path, typer.Option(help="Folder of the resume points.")],
    settings: Annotated[str, typer.Option(help='JSON: {"tune": …, "training": …, "exclude_session_items": …}.')],
    code: Annotated[str, typer.Option(help="Digest of the code; other code begins another study.")] = "",
    threads: Annotated[int, typer.Option(help="Processor threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Draw parameters and train with them until the pruner or the last epoch; a killed trial goes on where it stood."""
    from recsys.cli.arguments import existing
    from recsys.settings.reading import parse_settings, required, section
    from recsys.settings.training import TrainingSettings
    from recsys.settings.tuning import TuneSettings
    from recsys.training.hardware import use_threads
    from recsys.tuning.trial import run_trial

    use_threads(threads)
    given = parse_settings(settings)
    required(given, "tune")
    outcome = run_trial(
        number,
        section(given, "tune", TuneSettings),
        section(given, "training", TrainingSettings),
        {"items": existing(items), "train": existing(sessions), "valid": existing(valid)},
        store,
        work,
        code,
        device,
        given.get("exclude_session_items", False),
    )
    outcome.write(output)
    reached = "" if outcome.value is None else f", {outcome.metric} {outcome.value:.4f}"
    print(f"trial {number}: {outcome.state}{reached}, with {outcome.drawn}")
