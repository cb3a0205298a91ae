"""`recsys select`: the run that is refitted."""

from pathlib import Path
from typing import Annotated

import typer


def select(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    choice: Annotated[Path, typer.Option(help="The choice to write, and why.")],
    settings: Annotated[str, typer.Option(help='JSON: {"evaluation": …, "training": …}.')] = "{}",
) -> None:
    """Choose on validation, seeds averaged."""
    from recsys.cli.arguments import existing
    from recsys.evaluation.select import select_run
    from recsys.files import write_json
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.training import EvaluationSettings, TrainingSettings

    given = parse_settings(settings)
    folders = [existing(folder) for folder in runs]
    chosen = select_run(folders, section(given, "evaluation", EvaluationSettings), section(given, "training", TrainingSettings))
    write_json(choice, chosen)
    print(chosen["why"])
