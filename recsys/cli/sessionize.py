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
    memory_limit: Annotated[str, typer.Option(help="A log that would take more is sessionized by way of files.")] = "4GiB",
) -> None:
    """Join the events' parts into sessions."""
    from recsys.cli.arguments import existing
    from recsys.files import scratch_folder, whole_file, write_json, write_parquet
    from recsys.sessions.build import build_sessions
    from recsys.sessions.large import code_events, describe, fits, open_log, sessionize_coded
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.sessions import SessionSettings, SplitSettings
    from recsys.storage import parse_size

    given = parse_settings(settings)
    chosen, split = section(given, "sessions", SessionSettings), section(given, "split", SplitSettings)
    parts, test_parts = [existing(path) for path in events], [existing(path) for path in test_events or []]
    removed = existing(exclusions) if exclusions else None
    limit = parse_size(memory_limit)
    log = open_log(parts, test_parts, removed)
    if fits(log, limit):
        table, items, counts = build_sessions(parts, test_parts, chosen, split, threads, removed)
        write_parquet(table, sessions)
    else:
        with scratch_folder(sessions.with_name("coded")) as folder, whole_file(sessions) as partial:
            code_events(log, chosen, folder)
            sessionize_coded(folder, partial, chosen, limit, threads, scratch=folder)
            items, counts = describe(folder, partial, chosen, split)
    write_parquet(items, catalogue)
    write_json(summary, counts)
    print(f"{counts['sessions']:,} sessions with {counts['clicks']:,} clicks on {counts['items']:,} items")
