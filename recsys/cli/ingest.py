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

    from recsys.cli.arguments import existing
    from recsys.errors import ConfigurationError
    from recsys.events.ingest import ingest as ingest_file
    from recsys.files import read_json
    from recsys.settings.checks import Checks
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.source import DemoSource, FilesSource

    given = parse_settings(settings)
    source = given.get("source", {})
    if source.get("type") not in ("demo", "files"):
        raise ConfigurationError(f"--settings source.type is {source.get('type')!r}; it is 'demo' or 'files'")
    if source["type"] == "files":
        given = given | {"source": source | {"paths": [str(raw)]}}
    layout = section(given, "source", FilesSource if source["type"] == "files" else DemoSource)
    ingest_file(existing(raw), layout, section(given, "checks", Checks), events, quarantine, quality)
    counts = read_json(quality)
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in counts["quarantined"].items())
    print(
        f"{counts['part']}: {counts['events']:,} events, {sum(counts['quarantined'].values()):,} rows set aside"
        + f" ({reasons})" * bool(reasons)
    )
