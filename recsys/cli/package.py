"""`recsys package`: the MLflow model folder, and the proof that it answers as the fitted model does."""

from pathlib import Path
from typing import Annotated

import typer


def package(
    model: Annotated[Path, typer.Option(help="The fitted model's folder.")],
    export: Annotated[Path, typer.Option(help="The export folder.")],
    items: Annotated[Path, typer.Option(help="The window's vocabulary (items.parquet).")],
    test: Annotated[Path, typer.Option(help="The window's test sessions (test.parquet).")],
    metrics: Annotated[Path, typer.Option(help="The champion's test metrics (metrics.json).")],
    package: Annotated[Path, typer.Option(help="The package folder to write.")],
    parity: Annotated[Path, typer.Option(help="Where to write what was compared (parity.json).")],
    properties: Annotated[
        Path | None, typer.Option(help="The catalogue's properties, where the shop has them: names and categories for the server.")
    ] = None,
    settings: Annotated[
        str, typer.Option(help="JSON with shop, evaluation, serve and the hashes of split, data and configuration.")
    ] = "{}",
) -> None:
    """Build the package, open it through MLflow and compare it with the fitted model."""
    from recsys.serving.package import build_package
    from recsys.serving.parity import check_parity, write_parity
    from recsys.serving.quiet import quiet_mlflow
    from recsys.serving.settings import read_settings

    quiet_mlflow()
    chosen = read_settings(settings)
    build_package(export, items, package, chosen, properties)
    found = check_parity(model, package, items, test, metrics, chosen)
    write_parity(found, parity)
    recall = found["test"]["recall@20 through the package"]
    print(f"packaged to {package}; over {found['queries']} queries scores differ by {found['largest_absolute_difference']:.2g} at most")
    print(f"test recall@20 through the package: {recall:.4f}")
