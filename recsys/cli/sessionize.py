"""`recsys sessionize`: events to sessions and the catalogue."""

from pathlib import Path
from typing import Annotated

import typer


def sessionize(
    events: Annotated[list[Path], typer.Argument(help="Event parts of the log.")],
    sessions: Annotated[Path, typer.Option(help="Sessions to write.")],
    catalogue: Annotated[Path, typer.Option(help="Catalogue to write.")],
    summary: Annotated[Path, typer.Option(help="Counts and cut points to write.")],
    settings: Annotated[str, typer.Option(help='JSON: {"sessions": …, "split": …}.')] = "{}",
    threads: Annotated[int | None, typer.Option(help="Processor threads of the extension; without it, all cores.")] = None,
    test_events: Annotated[list[Path] | None, typer.Option(help="Event parts of a separate test log.")] = None,
    exclusions: Annotated[Path | None, typer.Option(help="Rows that checks remove, as `recsys check` writes them.")] = None,
) -> None:
    """Join the events' parts into sessions."""
    from recsys.cli.arguments import existing
    from recsys.files import write_json, write_parquet
    from recsys.sessions.build import build_sessions
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.sessions import SessionSettings, SplitSettings

    given = parse_settings(settings)
    table, items, counts = build_sessions(
        [existing(path) for path in events],
        [existing(path) for path in test_events or []],
        section(given, "sessions", SessionSettings),
        section(given, "split", SplitSettings),
        threads,
        existing(exclusions) if exclusions else None,
    )
    write_parquet(table, sessions)
    write_parquet(items, catalogue)
    write_json(summary, counts)
    print(f"{counts['sessions']:,} sessions with {counts['clicks']:,} clicks on {counts['items']:,} items")
