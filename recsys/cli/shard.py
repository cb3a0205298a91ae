"""`recsys shard`: the sessions of some visitors."""

from pathlib import Path
from typing import Annotated

import typer


def shard(
    coded: Annotated[Path, typer.Argument(help="Folder that `recsys code` wrote.")],
    shard: Annotated[str, typer.Option(help="Which part of the visitors: 1-of-8 to 8-of-8.")],
    output: Annotated[Path, typer.Option(help="Shard to write.")],
    settings: Annotated[str, typer.Option(help='JSON: {"sessions": …}.')] = "{}",
    threads: Annotated[int | None, typer.Option(help="Processor threads of the extension; without it, all cores.")] = None,
    memory_limit: Annotated[str, typer.Option(help="The most memory to hold.")] = "4GiB",
) -> None:
    """Make the sessions of the visitors of one shard."""
    from recsys.cli.arguments import existing
    from recsys.sessions.large import parse_shard, sessionize_coded
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.sessions import SessionSettings
    from recsys.storage import parse_size

    chosen = section(parse_settings(settings), "sessions", SessionSettings)
    output.parent.mkdir(parents=True, exist_ok=True)
    sessionize_coded(existing(coded), output, chosen, parse_size(memory_limit), threads, parse_shard(shard))
