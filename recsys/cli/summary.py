"""`recsys summary`: what a finished pipeline found."""

from pathlib import Path
from typing import Annotated

import typer


def summary(
    results: Annotated[Path, typer.Argument(help="The results folder.")] = Path("results"),
    configuration: Annotated[Path, typer.Option(help="The configuration the pipeline ran with.")] = Path("workflow_config.yaml"),
) -> None:
    """Print the champion beside its baselines, the checks of the log that failed, and how to serve it."""
    import json
    import os
    import shlex

    import polars as pl
    from rich.console import Console
    from rich.table import Table

    from recsys.checks.finding import failed_checks
    from recsys.cli.arguments import existing
    from recsys.config import load_configuration
    from recsys.configuration_file import read_configuration
    from recsys.errors import DataError
    from recsys.files import read_json
    from recsys.report.verdict import baseline_won

    if not (results / "champion" / "metrics.json").exists():
        elsewhere = "" if results == Path("results") else f" --directory {shlex.quote(str(results.parent))}"
        given = "" if configuration == Path("workflow_config.yaml") else f" --configfile {shlex.quote(str(configuration))}"
        raise DataError(
            f"there is no finished run in {results.resolve()}; run the pipeline first (`snakemake --cores N{elsewhere}{given}`), or name "
            "the results folder of another one"
        )
    serve = load_configuration(read_configuration(configuration)).serve
    metrics = read_json(existing(results / "champion" / "metrics.json"))
    choice = read_json(existing(results / "champion" / "choice.json"))
    registered = read_json(existing(results / "champion" / "registered.json"))
    quality = read_json(existing(results / "quality" / "quality.json"))
    manifest = read_json(existing(results / "champion" / "package" / "manifest.json"))
    items = pl.read_parquet(existing(results / "fit" / "final" / "items.parquet"), n_rows=2)["item_id"].to_list()

    console = Console()
    table = Table(title=f"Test split: {metrics['predictions']:,} predictions, full ranking (R: recall)", title_justify="left")
    table.add_column("model", no_wrap=True)
    columns = [("recall", "1"), ("recall", "5"), ("recall", "10"), ("recall", "20"), ("mrr", "20")]
    for kind, cutoff in columns:
        table.add_column(f"{'R' if kind == 'recall' else kind.upper()}@{cutoff}", justify="right")
    rows = {metrics["run"]: metrics} | {name: row for name, row in metrics["baselines"].items() if name != metrics["run"]}
    for name, row in sorted(rows.items(), key=lambda entry: -entry[1]["recall"]["20"]):
        shown = name + (" (champion)" if name == metrics["run"] else "")
        table.add_row(shown, *(f"{row[kind][cutoff]:.4f}" for kind, cutoff in columns))
    console.print()
    console.print(table)
    console.print(f"Chosen because {choice['why']}.", highlight=False, soft_wrap=True)
    console.print(f"{registered['name']}, version {registered['version']}: {registered['reason']}", highlight=False, soft_wrap=True)
    if won := baseline_won(metrics):
        console.print(won, highlight=False)
    if failed := failed_checks(quality):
        console.print(f"\n{len(failed)} of {len(quality['checks'])} checks of the log failed:", highlight=False)
        for sentence in failed:
            console.print(f"- {sentence}", highlight=False, markup=False, soft_wrap=True)
    request = {"dataframe_records": [{"session": [str(item) if manifest.get("id_type") == "hash" else item for item in items]}]}
    host = f"[{serve.host}]" if ":" in serve.host else serve.host
    address = f"http://{host}:{serve.port}/invocations"
    own = "" if configuration == Path("workflow_config.yaml") else shlex.quote(str(configuration))
    command = f"make serve CONFIG={own}" if own else "make serve"
    if results != Path("results"):
        command = f"snakemake serve --cores 1 --directory {shlex.quote(str(results.parent))}" + (f" --configfile {own}" if own else "")
    console.print(f"\nServe it:      {command}", highlight=False, soft_wrap=True)
    print(f"Then ask it:   curl -s {address} -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(request))}")
    print(f"Leaderboard:   {os.path.relpath(results / 'leaderboard.csv')}")
