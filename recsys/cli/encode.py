"""`recsys encode`: a fit window from the sessions."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def encode(
    sessions: Annotated[Path, typer.Argument(help="Sessions, as `recsys sessionize` writes them.")],
    catalogue: Annotated[Path, typer.Option(help="The catalogue beside them.")],
    summary: Annotated[Path, typer.Option(help="The summary beside them, which holds the cut points.")],
    window: Annotated[str, typer.Option(help="select (train, valid) or final (train + valid, test).")],
    items: Annotated[Path, typer.Option(help="Vocabulary to write.")],
    train: Annotated[Path, typer.Option(help="Training sessions to write.")],
    held_out: Annotated[Path, typer.Option(help="Validation or test sessions to write.")],
    counts: Annotated[Path, typer.Option(help="Counts after every step to write.")],
    settings: Annotated[str, typer.Option(help='JSON: {"filter": …, "protocol": …, "checks": …}.')] = "{}",
) -> None:
    """Write a fit window."""
    import polars as pl

    from recsys.cli.arguments import existing
    from recsys.errors import ConfigurationError
    from recsys.files import read_json, write_json, write_parquet
    from recsys.sessions.encode import WINDOWS, encode_window
    from recsys.sessions.split import Cuts
    from recsys.settings.checks import Checks
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.sessions import FilterSettings

    if window not in WINDOWS:
        raise ConfigurationError(f"--window is {window!r}; it is one of {', '.join(WINDOWS)}")
    given = parse_settings(settings)
    protocol: Literal["strict", "gru4rec"] = given.get("protocol", "strict")
    table = pl.read_parquet(existing(sessions))
    tables = encode_window(
        table,
        pl.read_parquet(existing(catalogue), columns=["item_id"]),
        Cuts(**read_json(existing(summary))["cuts"]),
        window,
        section(given, "filter", FilterSettings),
        protocol,
        section(given, "checks", Checks).unseen_items,
    )
    for frame, path in zip(tables[:3], (items, train, held_out), strict=True):
        write_parquet(frame, path)
    write_json(counts, tables[3])
    print(f"{window}: {tables[1].height:,} training sessions on {tables[0].height:,} items, {tables[3]['predictions']:,} predictions")
