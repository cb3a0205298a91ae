"""`recsys test`: the champion and its baselines on test."""

from pathlib import Path
from typing import Annotated

import typer


def test(
    model: Annotated[Path, typer.Argument(help="The refitted champion.")],
    choice: Annotated[Path, typer.Option(help="Which run it is.")],
    items: Annotated[Path, typer.Option(help="The final window's vocabulary.")],
    held_out: Annotated[Path, typer.Option(help="Test sessions.")],
    metrics: Annotated[Path, typer.Option(help="Test metrics to write.")],
    comparison: Annotated[Path, typer.Option(help="Intervals and paired differences to write.")],
    ranks: Annotated[Path, typer.Option(help="Every model's rank of every prediction to write.")],
    exposure: Annotated[Path, typer.Option(help="How often every model recommends an item, to write.")],
    baseline: Annotated[list[Path] | None, typer.Option(help="A refitted baseline's model folder.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="The baseline's name, in the order of the folders.")] = None,
    settings: Annotated[str, typer.Option(help='JSON: {"evaluation": …}.')] = "{}",
    threads: Annotated[int, typer.Option(help="Processor threads.")] = 1,
) -> None:
    """Score on test, once."""
    import polars as pl

    from recsys.cli.arguments import existing
    from recsys.evaluation.final import score_on_test, write_exposure, write_test_ranks
    from recsys.files import read_json, write_json
    from recsys.sessions.table import Sessions
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.training import EvaluationSettings
    from recsys.training.hardware import use_threads

    use_threads(threads)
    found, compared, rankings = score_on_test(
        read_json(existing(choice)),
        existing(model),
        {label: existing(folder) for label, folder in zip(name or [], baseline or [], strict=True)},
        Sessions.from_parquet(existing(held_out)),
        pl.read_parquet(existing(items))["support"].to_numpy(),
        section(parse_settings(settings), "evaluation", EvaluationSettings),
    )
    write_test_ranks(rankings, ranks)
    write_exposure(rankings, exposure)
    write_json(comparison, compared)
    write_json(metrics, found)
