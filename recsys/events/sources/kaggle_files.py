"""Files of Kaggle's data sets, fetched with Kaggle's own client, or the sentence that says what to do by hand."""

import contextlib
import io
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

from recsys.errors import DownloadError
from recsys.events.sources.fetch import alone
from recsys.events.sources.verify import difference
from recsys.files import whole_file
from recsys.settings.raw_files import Expected, Kaggle

_CHUNK = 1 << 20


def fetch_kaggle(origin: Kaggle, path: Path, work: Path, expected: Expected | None = None, also: list[str] | None = None) -> None:
    """Fetch a file of a data set.

    Parameters
    ----------
    origin : Kaggle
    path : Path
        Appears once the file is whole and what it is expected to be.
    work : Path
        Folder for the half download, which the client resumes.
    expected : Expected, optional
        Size and digests.
    also : list of str, optional
        The log's other files of the data set, named where people have to fetch them by hand.

    Raises
    ------
    DownloadError
        If there are no credentials, Kaggle cannot be reached or refuses, or the file is not what is expected; the latter is removed.
    """
    by_hand = f"put {', '.join([origin.file, *(also or [])])} from {origin.page} into a folder and name it as source.folder"
    folder = work / origin.dataset.replace("/", "+") / origin.file
    with alone(folder):
        folder.mkdir(parents=True, exist_ok=True)
        client = _client(origin, by_hand)
        print(f"{origin.page}: fetching {origin.file}", flush=True)
        _download(client, origin, folder, by_hand)
        arrived = [file for file in sorted(folder.iterdir()) if file.name in (origin.file, f"{origin.file}.zip", "archive.zip")]
        if not arrived:
            raise DownloadError(f"{origin.page}: Kaggle's client has not left {origin.file} in {folder}; {by_hand}")
        try:
            _take(arrived[0], origin.file, path, expected)
        except zipfile.BadZipFile as error:
            shutil.rmtree(folder)
            raise DownloadError(
                f"{origin.file} of {origin.page} is not the published file: {str(error).rstrip('.')}; it was removed: run again, and if it "
                f"stays so, {by_hand}"
            ) from None
        shutil.rmtree(folder)
        print(f"{path}: {path.stat().st_size:,} bytes", flush=True)


def _client(origin: Kaggle, by_hand: str) -> Any:
    """Kaggle's client once it has found credentials: KAGGLE_API_TOKEN, ~/.kaggle/access_token, KAGGLE_USERNAME with KAGGLE_KEY,
    kaggle.json, or those of `kaggle auth login`.
    """
    said = io.StringIO()
    try:
        # The client looks for credentials when it is imported, prints help where it finds none, and ends the process when asked again.
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            import kaggle

            kaggle.api.authenticate()
    except ImportError as error:
        raise DownloadError(
            f"{origin.page} is fetched with Kaggle's client, which cannot be imported ({error}); install the group `download` of "
            f"pyproject.toml, or {by_hand}"
        ) from None
    except SystemExit:
        raise DownloadError(
            f"{origin.page} needs a Kaggle account, and no credentials were found; set KAGGLE_API_TOKEN (or put the token into "
            f"~/.kaggle/access_token), or {by_hand}"
        ) from None
    except OSError as error:  # the client's network errors are of this kind too
        raise DownloadError(
            f"{origin.page}: Kaggle's client cannot sign in: {_first_line(error)}; check the network, or {by_hand}"
        ) from None
    return kaggle.api


def _download(client: Any, origin: Kaggle, folder: Path, by_hand: str) -> None:
    try:
        client.dataset_download_file(origin.dataset, origin.file, path=str(folder), force=False, quiet=True)
    except OSError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            told = f"Kaggle refuses it ({status}): check the token, and open {origin.page} once while signed in to accept its licence"
        elif status == 404:
            told = f"Kaggle has no such file ({status})"
        else:
            told = f"{_first_line(error)}; check the network and run again, and the download goes on where it ended"
        raise DownloadError(f"{origin.file} cannot be fetched from {origin.page}: {told}, or {by_hand}") from None
    except ValueError as error:
        raise DownloadError(f"{origin.file} cannot be fetched from {origin.page}: {_first_line(error)}; run again, or {by_hand}") from None


def _take(arrived: Path, name: str, path: Path, expected: Expected | None) -> None:
    """Move the file to its place, out of the archive that Kaggle wraps large files in."""
    wrapped = arrived.name != name or (not name.endswith(".zip") and zipfile.is_zipfile(arrived))
    if not wrapped:
        _check(arrived, expected)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(arrived, path)
        return
    with zipfile.ZipFile(arrived) as archive, whole_file(path) as partial:
        members = [member for member in archive.namelist() if member.rpartition("/")[2] == name]
        if not members:
            raise zipfile.BadZipFile(f"{arrived.name} holds no {name}")
        with archive.open(members[0]) as source, partial.open("wb") as target:
            while chunk := source.read(_CHUNK):
                target.write(chunk)
        _check(partial, expected)


def _check(path: Path, expected: Expected | None) -> None:
    told = difference(path, expected) if expected else None
    if told:
        raise zipfile.BadZipFile(told)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
