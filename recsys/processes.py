"""Processes that end with the one that started them, and locks that end with their process."""

import ctypes
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import BusyError

_PR_SET_PDEATHSIG = 1
END_WITH_PARENT = "RECSYS_END_WITH_PARENT"
"""Environment variable with the id of the process that a stage must not outlive; a killed Snakemake then leaves none running."""


def lives(process: int) -> bool:
    """Whether there is a process with this id; 0 is nobody's."""
    if not process:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def end_with_parent() -> None:
    """Have the kernel kill this process when the one named in `RECSYS_END_WITH_PARENT` dies (Linux only); at once if it is gone already."""
    named = os.environ.pop(END_WITH_PARENT, "")
    if named and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if str(os.getppid()) != named:  # it died before the kernel was told
            sys.exit(1)


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold a lock that the operating system drops with this process, however it ends.

    Raises
    ------
    BusyError
        If another living process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{what} is already being worked on by another process (it holds {path}); wait for it to end") from None
        yield


OWNER = Path(".snakemake", "recsys-owner.json")
"""Who runs the workflow in this folder."""


def record_owner() -> None:
    """Note this process as the one that runs the workflow in the working directory."""
    OWNER.parent.mkdir(exist_ok=True)
    OWNER.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))


def forget_owner() -> None:
    """Remove the note, if it is this process's own."""
    if OWNER.is_file() and json.loads(OWNER.read_text())["pid"] == os.getpid():
        OWNER.unlink()


def announce_checkout(folder: str | Path) -> None:
    """Tell child processes where the checkout is: the post-deploy scripts of conda environments build the extension from there."""
    os.environ["RECSYS_CHECKOUT"] = str(folder)
