"""`recsys curves`: how the runs learned."""

from pathlib import Path
from typing import Annotated

import typer


def curves(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    champion: Annotated[Path, typer.Option(help="The champion's folder, with the parameters and history of its refit.")],
    figure: Annotated[Path, typer.Option(help="SVG to write.")],
    settings: Annotated[str, typer.Option(help='JSON: {"training": …}.')] = "{}",
) -> None:
    """Draw loss and validation by epoch."""
    from recsys.cli.arguments import existing
    from recsys.figures.style import save
    from recsys.figures.training import curves as draw
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.training import TrainingSettings
    from recsys.training.curves import read_curve

    metric = section(parse_settings(settings), "training", TrainingSettings).metric
    folders = [existing(folder) for folder in (*runs, champion)]
    *grid, refit = [read_curve(folder / "params.json", folder / "history.parquet", metric) for folder in folders]
    learned = [curve for curve in grid if curve is not None]
    save(draw(learned, refit, metric), figure)
    print(f"{len(learned)} of {len(grid)} runs learn in epochs")
