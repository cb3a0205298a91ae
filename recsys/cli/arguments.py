"""What stages ask of the paths they are given."""

from pathlib import Path

from recsys.errors import DataError


def existing(path: Path) -> Path:
    """The path of a file or folder that must be there."""
    if not path.exists():
        raise DataError(f"{path} does not exist; correct the path, or run the stage that writes it first")
    return path
