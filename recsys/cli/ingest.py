"""`recsys ingest`: one raw file to events."""

from pathlib import Path
from typing import Annotated

import typer


def ingest(
    raw: Annotated[Path, typer.Argument(help="The raw file.")],
    events: Annotated[Path, typer.Option(help="Parquet file to write the events to.")],
    quarantine: Annotated[Path, typer.Option(help="Parquet file to write the refused rows to.")],
    quality: Annotated[Path, typer.Option(help="JSON file to write the counts to.")],
    settings: Annotated[str, typer.Option(help="JSON: the sections `source` (the file's layout) and `checks`, and what the file must be.")],
) -> None:
    """Read one raw file into events, and set the rows that cannot be read aside."""

    from recsys.cli.arguments import existing
    from recsys.errors import ConfigurationError, DataError
    from recsys.events.ingest import ingest as ingest_file
    from recsys.events.sources.verify import verify
    from recsys.files import read_json
    from recsys.settings.checks import Checks
    from recsys.settings.raw_files import Expected
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.source import FilesSource

    given = parse_settings(settings)
    source = given.get("source", {})
    if source.get("type") != "files":
        raise ConfigurationError(f"--settings source.type is {source.get('type')!r}; a raw file's layout is described as type 'files'")
    layout = section({"source": source | {"paths": [str(raw)]}}, "source", FilesSource)
    page = given.get("page", "")
    verify(existing(raw), section(given, "expected", Expected) if given.get("expected") else None, page)
    try:
        ingest_file(raw, layout, section(given, "checks", Checks), events, quarantine, quality, given.get("dated", True))
    except DataError as error:
        if not page:
            raise
        raise DataError(f"{error} (the file should be as it is published: fetch it again from {page})") from None
    counts = read_json(quality)
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in counts["quarantined"].items())
    print(
        f"{counts['part']}: {counts['events']:,} events, {sum(counts['quarantined'].values()):,} rows set aside"
        + f" ({reasons})" * bool(reasons)
    )
