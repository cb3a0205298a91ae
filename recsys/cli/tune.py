"""`recsys tune`: what a search found."""

from pathlib import Path
from typing import Annotated

import typer


def tune(
    trials: Annotated[list[Path], typer.Argument(help="What came out of each trial.")],
    table: Annotated[Path, typer.Option(help="CSV to write: a row a trial.")],
    best: Annotated[Path, typer.Option(help="YAML to write: the best trial, for a run to name.")],
    history: Annotated[Path, typer.Option(help="SVG to write: the value of every trial.")],
    importances: Annotated[Path, typer.Option(help="SVG to write: which parameters mattered.")],
    parallel: Annotated[Path, typer.Option(help="SVG to write: parallel coordinates.")],
    settings: Annotated[str, typer.Option(help='JSON: {"tune": …}.')],
) -> None:
    """Gather the trials in a table and figures, and write the best one as a configuration."""
    from recsys.cli.arguments import existing
    from recsys.figures import tuning as figures
    from recsys.figures.style import save
    from recsys.files import whole_file
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.tuning import TuneSettings
    from recsys.tuning import outcome
    from recsys.tuning.found import write_found
    from recsys.tuning.importance import importances as shares_of

    search = section(parse_settings(settings), "tune", TuneSettings)
    outcomes = sorted((outcome.Outcome.read(existing(path)) for path in trials), key=lambda one: one.trial)
    found = outcome.best(outcomes)
    with whole_file(table) as partial:
        outcome.table(outcomes).write_csv(partial)
    save(figures.history(outcomes), history)
    save(figures.importances(shares_of(outcomes, search.space)), importances)
    save(figures.parallel_coordinates(outcomes, search.space), parallel)
    write_found(found, len(outcomes), best)
    print(f"the best of {len(outcomes)} trials is trial {found.trial}: {found.metric} {found.value:.4f}, with {found.drawn}")
    print(f"a run takes its parameters with `tuned: {best}`")
