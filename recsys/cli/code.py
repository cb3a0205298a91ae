"""`recsys code`: events with codes for names, for jobs that each make the sessions of some visitors."""

from pathlib import Path
from typing import Annotated

import typer


def code(
    events: Annotated[list[Path], typer.Argument(help="Event parts of the log.")],
    coded: Annotated[Path, typer.Option(help="Folder to write.")],
    settings: Annotated[str, typer.Option(help='JSON: {"sessions": …}.')] = "{}",
    test_events: Annotated[list[Path] | None, typer.Option(help="Event parts of a separate test log.")] = None,
    exclusions: Annotated[Path | None, typer.Option(help="Rows that checks remove, as `recsys check` writes them.")] = None,
) -> None:
    """Write the events with codes for their items and types, and the catalogue."""
    from recsys.cli.arguments import existing
    from recsys.files import whole_folder
    from recsys.sessions.large import code_events, open_log
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.sessions import SessionSettings

    chosen = section(parse_settings(settings), "sessions", SessionSettings)
    parts, test_parts = [existing(path) for path in events], [existing(path) for path in test_events or []]
    log = open_log(parts, test_parts, existing(exclusions) if exclusions else None)
    with whole_folder(coded) as folder:
        code_events(log, chosen, folder)
