"""A member of a zip archive, streamed out whole or not at all."""

import shutil
import zipfile
import zlib
from pathlib import Path

from recsys.errors import DownloadError
from recsys.events.sources.fetch import Waiting, alone, check_space, fetch
from recsys.events.sources.verify import difference
from recsys.files import whole_file
from recsys.settings.raw_files import Archive, Expected


def fetch_member(origin: Archive, path: Path, work: Path, expected: Expected | None = None, waiting: Waiting | None = None) -> None:
    """Fetch an archive, unless it is in `work` already, and extract one member to `path`.

    Raises
    ------
    DownloadError
        If the archive cannot be fetched, is damaged, or does not hold the member.
    """
    archive = archive_path(origin, work)
    with alone(archive):
        if not archive.is_file():
            fetch(origin.url, archive, work, Expected(md5=origin.md5) if origin.md5 else None, waiting)
        extract(archive, origin.member, path, expected)


def archive_path(origin: Archive, work: Path) -> Path:
    """Where an archive lies while members are taken out of it."""
    return work / origin.url.rstrip("/").rpartition("/")[2]


def extract(archive: Path, member: str, path: Path, expected: Expected | None = None) -> None:
    """Stream a member of a zip archive to `path`; a damaged archive is removed.

    Parameters
    ----------
    archive : Path
    member : str
        Its name in the archive.
    path : Path
        Appears once the member is whole, fits its checksum in the archive and is what it is expected to be.
    expected : Expected, optional
        Size and digests of the member.

    Raises
    ------
    DownloadError
        If the archive is damaged, lacks the member, or the disk cannot hold it.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            found = opened.getinfo(member)
            check_space(path.parent, found.file_size, f"{path}")
            with whole_file(path) as partial:
                with opened.open(found) as source, partial.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                told = difference(partial, expected) if expected else None
                if told:
                    raise zipfile.BadZipFile(f"{member} is not the published file: {told}")
    except KeyError:
        raise DownloadError(f"{archive} has no member {member!r}; the archive may be another edition: correct source.url") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        archive.unlink(missing_ok=True)
        raise DownloadError(f"{archive} is damaged ({str(error).rstrip('.')}); it was removed: run again to fetch it anew") from None
    print(f"{path}: {path.stat().st_size:,} bytes, from {archive.name}", flush=True)
