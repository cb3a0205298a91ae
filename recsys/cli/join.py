"""`recsys join`: the shards of all visitors to the table of sessions."""

from pathlib import Path
from typing import Annotated

import typer


def join(
    coded: Annotated[Path, typer.Argument(help="Folder that `recsys code` wrote.")],
    shards: Annotated[list[Path], typer.Argument(help="What `recsys shard` wrote for every shard.")],
    sessions: Annotated[Path, typer.Option(help="Sessions to write.")],
    catalogue: Annotated[Path, typer.Option(help="Catalogue to write.")],
    summary: Annotated[Path, typer.Option(help="Counts and cut points to write.")],
    settings: Annotated[str, typer.Option(help='JSON: {"sessions": …, "split": …}.')] = "{}",
    threads: Annotated[int | None, typer.Option(help="Processor threads of the extension; without it, all cores.")] = None,
    memory_limit: Annotated[str, typer.Option(help="The most memory to hold.")] = "4GiB",
) -> None:
    """Join the shards of all visitors into sessions and the catalogue."""
    from recsys.cli.arguments import existing
    from recsys.files import whole_file, write_json, write_parquet
    from recsys.sessions.large import describe, join_shards
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.sessions import SessionSettings, SplitSettings
    from recsys.storage import parse_size

    given = parse_settings(settings)
    chosen, split = section(given, "sessions", SessionSettings), section(given, "split", SplitSettings)
    with whole_file(sessions) as partial:
        join_shards([existing(path) for path in shards], partial, parse_size(memory_limit), threads)
        items, counts = describe(existing(coded), partial, chosen, split)
    write_parquet(items, catalogue)
    write_json(summary, counts)
    print(f"{counts['sessions']:,} sessions with {counts['clicks']:,} clicks on {counts['items']:,} items")
