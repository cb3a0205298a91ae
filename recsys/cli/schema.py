"""`recsys schema`: the configuration's JSON Schema."""

from pathlib import Path
from typing import Annotated

import typer


def schema(output: Annotated[Path, typer.Argument(help="JSON file to write.")]) -> None:
    """Write the schema that the typed configuration generates."""
    from recsys.config import json_schema
    from recsys.files import write_json

    write_json(output, json_schema())
