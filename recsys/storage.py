"""What a disk can refuse, and the sentence for it: no space left, read-only, not this user's, too large a file."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import ConfigurationError, RecsysError, StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_SIGNS = {
    "no space left on device": errno.ENOSPC,
    "database or disk is full": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "read-only file system": errno.EROFS,
    "readonly database": errno.EROFS,
    "file too large": errno.EFBIG,
}
"""What libraries that raise errors of their own (polars, pyarrow, SQLite, safetensors) say."""

_GOES_ON = "then run the same command again: nothing that was finished is lost"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _refusal(error: BaseException) -> tuple[int, str | None] | None:
    """The kind of refusal, as an `errno`, and the file the system named; None where an error is none."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in (*_FULL, *_FORBIDDEN, errno.EROFS, errno.EFBIG):
            return link.errno, link.filename if isinstance(link.filename, str) else None
        text = str(link).lower()
        for sign, kind in _SIGNS.items():
            if sign in text:
                return kind, None
    return None


def storage_error(error: BaseException, path: Path | None = None) -> StorageError | None:
    """The sentence for an error that a disk's refusal caused; None where something else did.

    Parameters
    ----------
    error
        What was raised, by whatever library.
    path
        What was being written; without it, the file that the system named, or the working directory.
    """
    refused = _refusal(error)
    if refused is None:
        return None
    kind, named = refused
    if kind in _FORBIDDEN and (named is None or (path is not None and Path(named).absolute().parent != path.absolute().parent)):
        return None  # a file that could not be read, say
    where = path or (Path(named) if named is not None else Path.cwd())
    return _told(kind, where, where.absolute().parent)


def _told(kind: int, where: Path, folder: Path) -> StorageError:
    """The sentence for a kind of refusal."""
    disk = folder
    while not disk.exists() or not disk.is_mount():
        disk = disk.parent
    match kind:
        case errno.EROFS:
            why = f"{disk} is read-only; make it writable, or choose a folder elsewhere with --directory"
        case errno.EFBIG:
            why = f"it grew larger than a file may be here; raise the limit (ulimit -f), {_GOES_ON}"
        case errno.EDQUOT:
            why = f"this user's share (quota) of {disk} is used up; remove files there, {_GOES_ON}"
        case errno.ENOSPC:
            why = f"the disk {disk} is full ({size(shutil.disk_usage(disk).free)} free); make room there, {_GOES_ON}"
        case _:
            why = f"this user may not write in {folder}; have that allowed, or choose a folder elsewhere with --directory"
    return StorageError(f"{where} cannot be written: {why}")


def size(count: float) -> str:
    """Bytes as a person reads them: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return ""


def parse_size(text: str) -> int:
    """Bytes of a text such as `4GiB`, `512 MB` or `1073741824`.

    Raises
    ------
    ConfigurationError
        If it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if match is None:
        raise ConfigurationError(f"{text!r} is no size; write a number and a unit, such as 4GiB or 4000MB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " "))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a disk's refusal while `path` is written into a `StorageError` that names it."""
    try:
        yield
    except RecsysError:
        raise
    except Exception as error:
        told = storage_error(error, path)
        if told is None:
            raise
        raise told from error


def require_writable(folder: Path) -> None:
    """Make sure that a folder takes files, if it is there.

    Raises
    ------
    StorageError
        If it is read-only, not this user's, or on a disk without space.
    """
    if not folder.is_dir():
        return
    for kind, refuses in (
        (errno.EROFS, bool(os.statvfs(folder).f_flag & os.ST_RDONLY)),
        (errno.EACCES, not os.access(folder, os.W_OK | os.X_OK)),
        (errno.ENOSPC, shutil.disk_usage(folder).free == 0),
    ):
        if refuses:
            raise _told(kind, folder, folder.absolute())
