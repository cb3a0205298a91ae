"""`recsys catalogue`: what a shop knows of its items."""

from pathlib import Path
from typing import Annotated

import typer


def catalogue(
    events: Annotated[Path, typer.Option(help="A part of the log's events, which says of what type item ids are.")],
    properties: Annotated[Path, typer.Option(help="Parquet file to write the items' properties to.")],
    categories: Annotated[Path, typer.Option(help="Parquet file to write the category tree to.")],
    settings: Annotated[str, typer.Option(help='JSON: {"items": […, …], "tree": …}: of each file its layout, and what it must be.')],
    items: Annotated[list[Path] | None, typer.Option(help="An item file.")] = None,
    tree: Annotated[Path | None, typer.Option(help="The file of the category tree.")] = None,
) -> None:
    """Read item files and the category tree."""
    import sys

    from recsys.catalogue.build import build_catalogue
    from recsys.cli.arguments import existing
    from recsys.errors import ConfigurationError, DataError
    from recsys.events.sources.verify import verify
    from recsys.settings.catalogue import CategoryLayout, ItemLayout
    from recsys.settings.raw_files import Expected
    from recsys.settings.reading import parse_settings, section

    def read(path: Path, told: dict, kind: type[ItemLayout] | type[CategoryLayout]) -> tuple:
        verify(existing(path), section(told, "expected", Expected) if told.get("expected") else None, told.get("page", ""))
        return path, section(told, "layout", kind)

    given = parse_settings(settings)
    described = given.get("items", [])
    if len(described) != len(items or []):
        raise ConfigurationError(f"--settings describes {len(described)} item files, but {len(items or [])} are given; describe each")
    files = [read(path, told, ItemLayout) for path, told in zip(items or [], described, strict=True)]
    root = read(tree, given.get("tree", {}), CategoryLayout) if tree else None
    try:
        counts, warnings = build_catalogue(files, root, existing(events), properties, categories)
    except DataError as error:
        pages = {told.get("page", "") for told in [*described, given.get("tree", {})]} - {""}
        if not pages:
            raise
        raise DataError(f"{error} (the file should be as it is published: fetch it again from {' or '.join(sorted(pages))})") from None
    for warning in warnings:
        print(f"recsys: warning: {warning}", file=sys.stderr)
    print(
        f"{counts['properties']:,} properties of {counts['items']:,} items, {counts['categories']:,} categories; "
        f"{counts['log_items_known']:,} of the {counts['log_items']:,} items of {events.stem} are known"
    )
