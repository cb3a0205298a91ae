"""`recsys examples`: example sessions with their recommendations."""

from pathlib import Path
from typing import Annotated

import typer


def examples(
    package: Annotated[Path, typer.Argument(help="The package.")],
    items: Annotated[Path, typer.Option(help="The final window's vocabulary.")],
    held_out: Annotated[Path, typer.Option(help="Test sessions.")],
    output: Annotated[Path, typer.Option(help="The HTML page to write.")],
    properties: Annotated[Path | None, typer.Option(help="The catalogue's properties, where the shop has them.")] = None,
) -> None:
    """Ask the package for recommendations in ten test sessions."""
    import polars as pl

    from recsys.cli.arguments import existing
    from recsys.report.examples import describe_items, recommend_examples, write_examples
    from recsys.serving.quiet import quiet_mlflow
    from recsys.sessions.table import Sessions

    quiet_mlflow()
    item_ids = pl.read_parquet(existing(items), columns=["index", "item_id"]).sort("index")["item_id"]
    sessions = Sessions.from_parquet(existing(held_out), columns=("items", "start", "times"))
    known = pl.read_parquet(existing(properties)) if properties is not None else None
    chosen = recommend_examples(existing(package), sessions, item_ids)
    shown = {int(index) for example in chosen for part in (example.seen, example.to_come, example.recommended) for index in part}
    write_examples(output, chosen, len(sessions), describe_items(item_ids, sorted(shown - {-1}), known))
    print(f"wrote {len(chosen)} example sessions")
