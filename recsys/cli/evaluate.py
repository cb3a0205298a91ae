"""`recsys evaluate`: a model's figures on held-out sessions, or on pairs of a prefix and the item that follows."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    params: Annotated[Path, typer.Option(help="The run's description.")],
    items: Annotated[Path, typer.Option(help="The window's vocabulary.")],
    metrics: Annotated[Path, typer.Option(help="Metrics to write.")],
    ranks: Annotated[Path, typer.Option(help="Rank of every prediction to write.")],
    held_out: Annotated[Path | None, typer.Option(help="Sessions to predict, as `recsys encode` writes them.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Pairs to predict instead: a Parquet file with a prefix and a target a row.")] = None,
    prefix_column: Annotated[str, typer.Option(help="Column of the pairs: lists of item ids, as in the log.")] = "prefix",
    target_column: Annotated[str, typer.Option(help="Column of the pairs: the item id that follows.")] = "target",
    session_column: Annotated[
        str | None, typer.Option(help="Column of the pairs: which are of one session, for the intervals; without it, each is alone.")
    ] = None,
    settings: Annotated[str, typer.Option(help='JSON: {"evaluation": …}.')] = "{}",
    threads: Annotated[int, typer.Option(help="Processor threads.")] = 1,
) -> None:
    """Rank every prediction against all items."""
    import polars as pl

    from recsys.cli.arguments import existing
    from recsys.errors import ConfigurationError
    from recsys.evaluation.measure import measure, measure_pairs, write_ranks
    from recsys.files import read_json, write_json
    from recsys.models.registry import load_model
    from recsys.sessions.pairs import PairColumns, read_pairs
    from recsys.sessions.table import Sessions
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.training import EvaluationSettings
    from recsys.training.hardware import use_threads

    if (held_out is None) == (pairs is None):
        raise ConfigurationError("what is to be predicted must be said in one way: give either --held-out or --pairs")
    use_threads(threads)
    vocabulary = pl.read_parquet(existing(items))
    support = vocabulary["support"].to_numpy()
    run = read_json(existing(params))
    chosen = section(parse_settings(settings), "evaluation", EvaluationSettings)
    if pairs is None:
        split = "valid"
        ranking, measured = measure(load_model(existing(model)), Sessions.from_parquet(existing(held_out)), support, chosen)
    else:
        split = "pairs"
        given = read_pairs(existing(pairs), vocabulary, PairColumns(prefix_column, target_column, session_column))
        ranking, measured = measure_pairs(load_model(existing(model)), given, support, chosen)
    write_ranks(ranking, ranks)
    write_json(metrics, {key: run[key] for key in ("run", "name", "model", "seed")} | {"split": split} | measured)
    recall, mrr = measured["recall"]["20"], measured["mrr"]["20"]
    print(f"{run['run']}: recall@20 {recall:.4f}, mrr@20 {mrr:.4f} over {measured['predictions']:,} predictions")
    if measured.get("unknown_targets"):
        print(f"{measured['unknown_targets']:,} of the targets are unknown to the model and count as missed")
