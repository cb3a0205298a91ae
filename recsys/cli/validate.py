"""`recsys validate`: whether a configuration can be used, before anything runs."""

from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recsys.settings.raw_files import SourceFile


def validate(
    configuration: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("workflow_config.yaml"),
    directory: Annotated[
        Path, typer.Option(help="The folder that paths in the configuration start from, as for `snakemake --directory`.")
    ] = Path(),
) -> None:
    """Read a configuration and the first rows of the raw files that are there, and say what would run; a mistake is told with its line or
    key, and the fix."""
    from recsys.config import load_configuration
    from recsys.configuration_file import read_configuration
    from recsys.errors import ConfigurationError
    from recsys.settings.raw_files import Generated

    chosen = load_configuration(read_configuration(configuration))
    if not directory.is_dir():
        raise ConfigurationError(f"there is no folder {directory} (looked for it from {Path.cwd()}); make it, or correct --directory")
    with chdir(directory):
        files = chosen.raw_files
        # Generated files are the workflow's own: it makes them again where they no longer fit.
        there = [file for file in files if file.origin is None or (not isinstance(file.origin, Generated) and Path(file.path).exists())]
        for file in there:
            _look_into(file)
    runs, parts, later = len(chosen.grid), len(chosen.parts), len(files) - len(there)
    print(f"{configuration}: the shop {chosen.shop}, {_counted(parts, 'part')} of a log, {_counted(runs, 'run')} to train")
    if later:
        print(
            f"{_counted(later, 'raw file')} will be made or fetched by the workflow, and {'was' if later == 1 else 'were'} not looked into"
        )


def _look_into(file: "SourceFile") -> None:
    """Open a raw file as its stage does; of a published one, say where it is found."""
    from recsys.catalogue import properties, tree
    from recsys.errors import DataError
    from recsys.events import ingest

    look_into = {"events": ingest.look_into, "categories": tree.look_into}.get(file.role, properties.look_into)
    try:
        look_into(Path(file.path), file.layout)
    except DataError as error:
        if not file.page:
            raise
        raise DataError(f"{error} (the file should be as it is published: fetch it again from {file.page})") from None


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
