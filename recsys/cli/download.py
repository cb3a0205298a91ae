"""`recsys download`: raw files, generated or fetched."""

from pathlib import Path
from typing import Annotated

import typer


def download(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH…", help="The raw files; of the demo shop all of them, log first."),
    ],
    settings: Annotated[str, typer.Option(help="The section `source`, as JSON.")],
    work: Annotated[Path, typer.Option(help="Folder for half downloads, which are resumed.")] = Path("results/work/download"),
) -> None:
    """Generate the demo shop's raw log, or fetch files of a public one."""
    from recsys.events.sources.download import download as bring
    from recsys.events.sources.download import source_of
    from recsys.settings.reading import parse_settings

    bring(source_of(parse_settings(settings)), paths, work)
