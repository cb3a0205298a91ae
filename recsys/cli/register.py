"""`recsys register`: runs into the tracking store, the package into the registry."""

from pathlib import Path
from typing import Annotated

import typer


def register(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    package: Annotated[Path, typer.Option(help="The package.")],
    smoke: Annotated[Path, typer.Option(help="What the smoke test wrote.")],
    choice: Annotated[Path, typer.Option(help="Which run was chosen.")],
    metrics: Annotated[Path, typer.Option(help="The champion's test metrics.")],
    registered: Annotated[Path, typer.Option(help="Where to write what was registered and decided.")],
    data: Annotated[list[Path] | None, typer.Option(help="A file of the select window; together they tell one split from another.")] = None,
    sessions: Annotated[Path | None, typer.Option(help="The shop's sessions; their digest is the data's tag.")] = None,
    test: Annotated[Path | None, typer.Option(help="Test sessions, to score an older champion on.")] = None,
    items: Annotated[Path | None, typer.Option(help="The vocabulary of the test sessions.")] = None,
    settings: Annotated[str, typer.Option(help="JSON with shop, tracking, promotion, evaluation and the hashes.")] = "{}",
) -> None:
    """Upload the runs, register the package once, and decide whether it becomes the champion."""
    from recsys.files import write_json
    from recsys.serving.promotion import TestWindow
    from recsys.serving.quiet import quiet_mlflow
    from recsys.serving.register import register_package
    from recsys.serving.settings import read_settings

    quiet_mlflow()
    window = TestWindow(test, items) if test is not None and items is not None else None
    found = register_package(package, smoke, choice, metrics, runs, read_settings(settings), data, window, sessions)
    write_json(registered, found)
    state = "is the champion" if found["alias_promoted"] else f"was not promoted (version {found['champion_version']} stays)"
    print(f"version {found['version']} of {found['name']} {state}: {found['reason']}")
