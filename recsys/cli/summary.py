"""`recsys summary`: what a finished pipeline found."""

from pathlib import Path
from typing import Annotated

import typer


def summary(results: Annotated[Path, typer.Argument(help="The results folder.")] = Path("results")) -> None:
    """Print the champion beside its baselines, and how to serve it."""
    import json
    import os

    import polars as pl
    from rich.console import Console
    from rich.table import Table

    from recsys.cli.arguments import existing
    from recsys.files import read_json

    metrics = read_json(existing(results / "champion" / "metrics.json"))
    choice = read_json(existing(results / "champion" / "choice.json"))
    registered = read_json(existing(results / "champion" / "registered.json"))
    manifest = read_json(existing(results / "champion" / "package" / "manifest.json"))
    items = pl.read_parquet(existing(results / "fit" / "final" / "items.parquet"), n_rows=2)["item_id"].to_list()

    console = Console()
    table = Table(title=f"Test split: {metrics['predictions']:,} predictions, each ranked against all items", title_justify="left")
    table.add_column("model")
    columns = [("recall", "1"), ("recall", "5"), ("recall", "10"), ("recall", "20"), ("mrr", "20"), ("ndcg", "20")]
    for kind, cutoff in columns:
        table.add_column(f"{kind}@{cutoff}", justify="right")
    rows = {metrics["run"]: metrics} | {name: row for name, row in metrics["baselines"].items() if name != metrics["run"]}
    for name, row in sorted(rows.items(), key=lambda entry: -entry[1]["recall"]["20"]):
        shown = name + (" (champion)" if name == metrics["run"] else "")
        table.add_row(shown, *(f"{row[kind][cutoff]:.4f}" for kind, cutoff in columns))
    console.print()
    console.print(table)
    console.print(f"Chosen because {choice['why']}.", highlight=False)
    console.print(f"{registered['name']}, version {registered['version']}: {registered['reason']}", highlight=False, soft_wrap=True)
    if metrics["run"] in metrics["baselines"]:
        console.print("A baseline won: on this log, learning from sequences does not pay yet.", highlight=False)
    request = {"dataframe_records": [{"session": [str(item) if manifest.get("id_type") == "hash" else item for item in items]}]}
    port = 5000
    console.print("\nServe it:      make serve   (or: snakemake serve --cores 1)", highlight=False)
    curl = f"curl -s http://127.0.0.1:{port}/invocations -H 'Content-Type: application/json' -d '{json.dumps(request)}'"
    print(f"Then ask it:   {curl}")
    print(f"Leaderboard:   {os.path.relpath(results / 'leaderboard.csv')}")
