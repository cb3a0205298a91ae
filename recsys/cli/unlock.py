"""`recsys unlock`: what a killed workflow left locked."""

from pathlib import Path
from typing import Annotated

import typer


def unlock(folder: Annotated[Path, typer.Argument(help="Working directory of the workflow.")] = Path(".")) -> None:
    """Remove Snakemake's locks, once it is proven that no process of the workflow lives in the folder."""
    from recsys.workflow_lock import remove_stale_locks

    removed = remove_stale_locks(folder.resolve())
    if removed:
        print(f"unlocked {folder.resolve()}: the workflow that had locked it is gone")
