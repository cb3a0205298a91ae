"""`recsys download`: the demo shop's raw files."""

from pathlib import Path
from typing import Annotated

import typer


def download(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="The raw files, in time order; .csv or .parquet.")],
    settings: Annotated[str, typer.Option(help="The section `source`, as JSON.")],
) -> None:
    """Write the demo shop's raw log."""
    from recsys.events.sources.demo import write_demo
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.source import DemoSource

    write_demo(section({"source": parse_settings(settings)}, "source", DemoSource), paths)
