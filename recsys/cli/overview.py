"""`recsys overview`: what a first hour with the log would show."""

from pathlib import Path
from typing import Annotated

import typer


def overview(
    events: Annotated[list[Path], typer.Argument(help="Event parts of the log.")],
    quality: Annotated[list[Path], typer.Option(help="A quality file a part.")],
    sessions: Annotated[Path, typer.Option(help="Sessions, as `recsys sessionize` writes them.")],
    catalogue: Annotated[Path, typer.Option(help="The catalogue beside them.")],
    summary: Annotated[Path, typer.Option(help="The summary beside them.")],
    select: Annotated[Path, typer.Option(help="Counts of the select window.")],
    final: Annotated[Path, typer.Option(help="Counts of the final window.")],
    numbers: Annotated[Path, typer.Option(help="JSON to write: all numbers.")],
    table: Annotated[Path, typer.Option(help="CSV to write: the key figures.")],
    figures: Annotated[Path, typer.Option(help="Folder of the figures to write.")],
    settings: Annotated[str, typer.Option(help='JSON: {"sessions": …}.')] = "{}",
    test_events: Annotated[list[Path] | None, typer.Option(help="Event parts of a separate test log.")] = None,
    exclusions: Annotated[Path | None, typer.Option(help="Events that the checks dropped.")] = None,
    categories: Annotated[Path | None, typer.Option(help="The shop's category tree.")] = None,
    properties: Annotated[Path | None, typer.Option(help="The shop's item properties.")] = None,
) -> None:
    """Count and draw what the log holds, and what the preparation removed."""
    from recsys.cli.arguments import existing
    from recsys.figures.overview import draw
    from recsys.files import whole_file, write_json
    from recsys.overview.gather import Prepared, key_figures
    from recsys.overview.gather import overview as gather
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.sessions import SessionSettings

    files = Prepared(
        parts=[existing(path) for path in events],
        test_parts=[existing(path) for path in test_events or []],
        qualities=[existing(path) for path in quality],
        sessions=existing(sessions),
        catalogue=existing(catalogue),
        summary=existing(summary),
        counts={"select": existing(select), "final": existing(final)},
        exclusions=None if exclusions is None else existing(exclusions),
        categories=None if categories is None else existing(categories),
        properties=None if properties is None else existing(properties),
    )
    found = gather(files, section(parse_settings(settings), "sessions", SessionSettings).gap)
    draw(found, figures)
    with whole_file(table) as partial:
        key_figures(found).write_csv(partial)
    write_json(numbers, found)
    print(f"{sum(found['traffic']['events'].values()):,} events, {found['sessions']['sessions']:,} sessions")
