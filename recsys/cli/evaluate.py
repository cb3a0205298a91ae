"""`recsys evaluate`: a run's validation metrics."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    params: Annotated[Path, typer.Option(help="The run's description.")],
    items: Annotated[Path, typer.Option(help="The window's vocabulary.")],
    held_out: Annotated[Path, typer.Option(help="Sessions to predict.")],
    metrics: Annotated[Path, typer.Option(help="Metrics to write.")],
    ranks: Annotated[Path, typer.Option(help="Rank of every prediction to write.")],
    settings: Annotated[str, typer.Option(help='JSON: {"evaluation": …}.')] = "{}",
    threads: Annotated[int, typer.Option(help="Processor threads.")] = 1,
) -> None:
    """Rank every prediction against all items."""
    import polars as pl

    from recsys.cli.arguments import existing
    from recsys.evaluation.measure import measure, write_ranks
    from recsys.files import read_json, write_json
    from recsys.models.registry import load_model
    from recsys.sessions.table import Sessions
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.training import EvaluationSettings
    from recsys.training.hardware import use_threads

    use_threads(threads)
    support = pl.read_parquet(existing(items))["support"].to_numpy()
    run = read_json(existing(params))
    ranking, measured = measure(
        load_model(existing(model)),
        Sessions.from_parquet(existing(held_out)),
        support,
        section(parse_settings(settings), "evaluation", EvaluationSettings),
    )
    write_ranks(ranking, ranks)
    write_json(metrics, {key: run[key] for key in ("run", "name", "model", "seed")} | {"split": "valid"} | measured)
    recall, mrr = measured["recall"]["20"], measured["mrr"]["20"]
    print(f"{run['run']}: recall@20 {recall:.4f}, mrr@20 {mrr:.4f} over {measured['predictions']:,} predictions")
