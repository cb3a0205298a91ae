"""A file from a web server, whole or not at all: a half download is kept and resumed where the server can prove that it fits."""

import errno
import fcntl
import http.client
import json
import os
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from recsys.errors import DownloadError
from recsys.events.sources.verify import difference
from recsys.files import value_digest, whole_file, write_json
from recsys.settings.raw_files import Expected
from recsys.storage import size, writing

ATTEMPTS = 5
"""Tries without a byte gained before a download is given up."""
PAUSE = 1.0
"""Seconds before the second try; each further try waits twice as long."""
PATIENCE = 60.0
"""Seconds without a sign of the server before a connection is given up."""
_CHUNK = 1 << 20
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be different in a moment."""


class _Interrupted(Exception):
    """The transfer ended early, and may go on."""


@dataclass(frozen=True)
class Waiting:
    """How often and how long to try; tests wait less.

    Attributes
    ----------
    attempts : int
        Tries without a byte gained.
    pause : float
        Seconds before the second try, doubled for each further one.
    patience : float
        Seconds without a sign of the server.
    """

    attempts: int = ATTEMPTS
    pause: float = PAUSE
    patience: float = PATIENCE


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process works on `path`, and hold the others off meanwhile; the lock ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch(url: str, path: Path, work: Path, expected: Expected | None = None, waiting: Waiting | None = None) -> None:
    """Fetch `url` to `path`.

    Parameters
    ----------
    url : str
        http or https (file is understood too).
    path : Path
        Appears once the file is whole and what it is expected to be.
    work : Path
        Folder for the half download, which a later call resumes if the server says, by the file's ETag or time, that it is still the same.
    expected : Expected, optional
        Size and digests.
    waiting : Waiting, optional
        How often and how long to try.

    Raises
    ------
    DownloadError
        If the server cannot be reached or has no such file, the disk is full, or the file is not what is expected; the latter is removed.
    """
    waiting = waiting or Waiting()
    partial = work / f"{path.name}.{value_digest(url)[:12]}.part"
    with alone(partial):
        print(f"{url}: fetching", flush=True)
        failures = 0
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            try:
                with writing(partial):
                    _transfer(url, partial, waiting.patience)
                break
            except _Interrupted as reason:
                gained = partial.exists() and partial.stat().st_size > before
                failures = 1 if gained else failures + 1
                if failures >= waiting.attempts:
                    kept = partial.stat().st_size if partial.exists() else 0
                    raise DownloadError(
                        f"{url} cannot be fetched: {reason}; check the network and run again"
                        + f" ({kept:,} bytes are kept and will be resumed)" * bool(kept)
                        + ", or fetch the file by other means and name its folder as source.folder"
                    ) from None
                print(f"{url}: {reason}; trying again", flush=True)
                time.sleep(waiting.pause * 2 ** (failures - 1))
        told = difference(partial, expected) if expected else None
        if told:
            _discard(partial)
            raise DownloadError(
                f"{url} is not the published file: {told}; it was removed: run again, and if it stays so, fetch the file from "
                "its page, name its folder as source.folder, and set source.verify: false if it is meant to differ"
            )
        _move(partial, path)
        _discard(partial)
        print(f"{path}: {path.stat().st_size:,} bytes", flush=True)


def check_space(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises
    ------
    DownloadError
        If fewer than `needed` bytes are free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{what} needs {size(needed)}, but the disk of {folder.resolve()} has {size(free)} free; make room there, or work in a folder "
            "on another disk (--directory)"
        )


def _state(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _discard(partial: Path) -> None:
    for path in (partial, _state(partial)):
        path.unlink(missing_ok=True)


def _transfer(url: str, partial: Path, patience: float) -> None:
    """Bring the partial file to its full length."""
    state = _state(partial)
    known = json.loads(state.read_text(encoding="utf-8")) if state.is_file() and partial.is_file() else {}
    have = partial.stat().st_size if known.get("validator") else 0
    request = urllib.request.Request(url, headers={"User-Agent": "session-recommender", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known["validator"])
    try:
        with urllib.request.urlopen(request, timeout=patience) as answer:
            start = _start(answer.headers) if getattr(answer, "status", None) == 206 else 0
            if start != have and start:
                _discard(partial)
                raise _Interrupted(f"the server went on at byte {start:,} instead of {have:,}")
            length = answer.headers.get("Content-Length")
            whole = None if length is None else start + int(length)
            if start:
                print(f"{url}: going on at byte {start:,}", flush=True)
            else:
                partial.unlink(missing_ok=True)
                write_json(state, {"url": url, "validator": _validator(answer.headers)})
            check_space(partial.parent, 0 if whole is None else whole - start, url)
            with partial.open("ab") as file:
                _copy(answer, file, start, whole, url)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                return  # nothing was left to fetch
            _discard(partial)
            raise _Interrupted("the server has no more bytes than are here already, so it begins anew") from None
        if error.code in _PASSING:
            raise _Interrupted(f"the server answers {error.code} {error.reason}") from None
        raise DownloadError(
            f"{url} cannot be fetched: the server answers {error.code} {error.reason}; the file may have moved: correct source.url, or "
            "fetch the file by other means and name its folder as source.folder"
        ) from None
    except urllib.error.URLError as error:
        raise _Interrupted(_reason(error.reason)) from None
    except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise _Interrupted(_reason(error)) from None


def _copy(answer: BinaryIO, file: BinaryIO, done: int, whole: int | None, url: str) -> None:
    told = done
    while chunk := answer.read(_CHUNK):
        file.write(chunk)
        done += len(chunk)
        if whole and done - told >= max(whole // 10, 10 * _CHUNK):
            told = done
            print(f"{url}: {done:,} of {whole:,} bytes", flush=True)
    if whole is not None and done < whole:
        file.flush()
        raise _Interrupted(f"the connection ended after {done:,} of {whole:,} bytes")


def _start(headers: Message) -> int:
    """First byte of a partial answer, by its `Content-Range: bytes 5-9/10`."""
    span = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(span) if span.isdigit() else -1


def _validator(headers: Message) -> str | None:
    """What proves that a later answer is of the same file: a strong ETag, or else its time."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _reason(error: object) -> str:
    if isinstance(error, socket.gaierror):
        return "the server's name cannot be resolved (no network?)"
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    if isinstance(error, ConnectionRefusedError):
        return "the server refuses the connection"
    text = str(error).strip().rstrip(".")
    return text if text else f"the connection broke ({type(error).__name__})"


def _move(partial: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with whole_file(path) as copy:
            shutil.copyfile(partial, copy)
