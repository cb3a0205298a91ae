"""`recsys leaderboard`: every run's metrics in one table."""

from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    champion: Annotated[Path, typer.Option(help="The champion's test metrics.")],
    comparison: Annotated[Path, typer.Option(help="Their intervals.")],
    history: Annotated[Path, typer.Option(help="The history of the champion's refit.")],
    output: Annotated[Path, typer.Option(help="CSV to write.")],
    settings: Annotated[str, typer.Option(help='JSON: {"evaluation": …, "baselines": {name: family}}.')],
) -> None:
    """Gather validation and test rows."""
    from recsys.cli.arguments import existing
    from recsys.evaluation.leaderboard import leaderboard as gather
    from recsys.files import whole_file
    from recsys.settings.reading import parse_settings, required, section
    from recsys.settings.training import EvaluationSettings

    given = parse_settings(settings)
    folders = [existing(folder) for folder in runs]
    metric = section(given, "evaluation", EvaluationSettings).metric
    table = gather(folders, existing(champion), existing(comparison), existing(history), required(given, "baselines"), metric)
    with whole_file(output) as partial:
        table.write_csv(partial, float_precision=6)
