"""`recsys catalogue`: what a shop knows of its items."""

from pathlib import Path
from typing import Annotated

import typer


def catalogue(
    events: Annotated[Path, typer.Option(help="A part of the log's events, which says of what type item ids are.")],
    properties: Annotated[Path, typer.Option(help="Parquet file to write the items' properties to.")],
    categories: Annotated[Path, typer.Option(help="Parquet file to write the category tree to.")],
    settings: Annotated[str, typer.Option(help='JSON: {"items": [a layout a file, …], "tree": layout}.')],
    items: Annotated[list[Path] | None, typer.Option(help="An item file.")] = None,
    tree: Annotated[Path | None, typer.Option(help="The file of the category tree.")] = None,
) -> None:
    """Read item files and the category tree."""
    import sys

    from recsys.catalogue.build import build_catalogue
    from recsys.cli.arguments import existing
    from recsys.errors import ConfigurationError
    from recsys.settings.catalogue import CategoryLayout, ItemLayout
    from recsys.settings.reading import parse_settings, section

    given = parse_settings(settings)
    layouts = given.get("items", [])
    if len(layouts) != len(items or []):
        raise ConfigurationError(f"--settings holds {len(layouts)} layouts of items, but {len(items or [])} files are given; give one each")
    files = [(existing(path), section({"items": layout}, "items", ItemLayout)) for path, layout in zip(items or [], layouts, strict=True)]
    counts, warnings = build_catalogue(
        files, (existing(tree), section(given, "tree", CategoryLayout)) if tree else None, existing(events), properties, categories
    )
    for warning in warnings:
        print(f"recsys: warning: {warning}", file=sys.stderr)
    print(
        f"{counts['properties']:,} properties of {counts['items']:,} items, {counts['categories']:,} categories; "
        f"{counts['log_items_known']:,} of the {counts['log_items']:,} items of {events.stem} are known"
    )
