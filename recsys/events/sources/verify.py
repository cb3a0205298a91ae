"""Whether a published file is the published one: its size and its digests."""

import hashlib
from pathlib import Path

from recsys.errors import DataError
from recsys.settings.raw_files import Expected


def difference(path: Path, expected: Expected) -> str | None:
    """What tells `path` from the published file, in words; None if nothing does."""
    size = path.stat().st_size
    if expected.size is not None and size != expected.size:
        return f"it has {size:,} bytes instead of {expected.size:,}"
    for name in ("sha256", "md5"):
        wanted = getattr(expected, name)
        if wanted is None:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, name).hexdigest()
        if found != wanted.lower():
            return f"its {name} is {found} instead of {wanted.lower()}"
    return None


def verify(path: Path, expected: Expected | None, page: str = "") -> None:
    """Refuse a file that is not the published one.

    Parameters
    ----------
    path : Path
    expected : Expected or None
        None if nothing is known of the file, or the user wants no verification.
    page : str
        Where people find the file.

    Raises
    ------
    DataError
        Naming the difference and the fix.
    """
    if expected is None:
        return
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; fetch it from {page or 'where it is published'}")
    told = difference(path, expected)
    if told:
        where = page or "where it is published"
        raise DataError(
            f"{path} is not the published file: {told}; fetch it again from {where}, or set source.verify: false if it is meant to differ "
            "(an excerpt, say)"
        )
