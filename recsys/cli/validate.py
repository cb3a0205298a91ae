"""`recsys validate`: whether a configuration can be used, before anything runs."""

from pathlib import Path
from typing import Annotated

import typer


def validate(
    configuration: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("workflow_config.yaml"),
) -> None:
    """Read a configuration and say what would run; a mistake is told with its line or key, and the fix."""
    from recsys.config import load_configuration
    from recsys.configuration_file import read_configuration

    chosen = load_configuration(read_configuration(configuration))
    runs, parts = len(chosen.grid), len(chosen.parts)
    print(
        f"{configuration}: the shop {chosen.shop}, {parts} {'part' if parts == 1 else 'parts'} of a log, {runs} "
        f"{'run' if runs == 1 else 'runs'} to train"
    )
