"""`recsys ingest`: one raw file to events."""

from pathlib import Path
from typing import Annotated

import typer


def ingest(
    raw: Annotated[Path, typer.Argument(help="The raw file.")],
    events: Annotated[Path, typer.Option(help="Parquet file to write the events to.")],
    quarantine: Annotated[Path, typer.Option(help="Parquet file to write the refused rows to.")],
    quality: Annotated[Path, typer.Option(help="JSON file to write the counts to.")],
    settings: Annotated[str, typer.Option(help="The sections `source` and `checks`, as JSON.")],
) -> None:
    """Read one raw file into events, and set the rows that cannot be read aside."""
    import json

    from pydantic import TypeAdapter

    from recsys.events.ingest import ingest as ingest_file
    from recsys.settings.source import Checks, Source

    sections = json.loads(settings)
    source = TypeAdapter(Source).validate_python(sections["source"])
    ingest_file(raw, source, Checks.model_validate(sections.get("checks", {})), events, quarantine, quality)
