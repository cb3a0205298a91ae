"""Locks of a workflow that was killed, and the proof that nobody needs them any more."""

import json
import os
import socket
import time
from itertools import pairwise
from pathlib import Path

import psutil

from recsys.errors import BusyError
from recsys.processes import OWNER

_ORPHANS_END_WITHIN = 10.0
"""Seconds that stages get to end after the Snakemake that started them."""


def _runs(arguments: list[str], program: str) -> bool:
    """Whether a command line runs `program` as a script or a module."""
    names = [Path(argument).name for argument in arguments[:2]]
    as_script = names[:1] == [program] or (names[1:] == [program] and names[0].startswith("python"))
    return as_script or ("-m", program) in pairwise(arguments)


def living_processes(folder: Path, program: str) -> list[int]:
    """Ids of the processes of `program` that work in `folder`; this process and its ancestors do not count."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            if _runs(process.cmdline(), program) and Path(process.cwd()) == folder and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return sorted(found)


def remove_stale_locks(folder: Path) -> bool:
    """Remove Snakemake's locks of `folder`; whether there were any.

    Raises
    ------
    BusyError
        If a process of the workflow lives, or may live on another machine.
    """
    locks = folder / ".snakemake" / "locks"
    stale = sorted(locks.iterdir()) if locks.is_dir() else []
    if not stale:
        return False
    owner = folder / OWNER
    host = json.loads(owner.read_text())["host"] if owner.is_file() else socket.gethostname()
    if host != socket.gethostname():
        raise BusyError(
            f"{folder} is locked by a workflow on the machine {host}, which cannot be looked at from here; "
            "if it has ended there, run `snakemake --unlock`"
        )
    if alive := living_processes(folder, "snakemake"):
        raise BusyError(f"{folder} is locked by a workflow that still runs (process {alive[0]}); wait for it to end, or end it with Ctrl-C")
    deadline = time.monotonic() + _ORPHANS_END_WITHIN
    while alive := [pid for pid in living_processes(folder, "recsys") if not _serves(pid)]:
        if time.monotonic() > deadline:
            raise BusyError(f"a stage of the killed workflow still runs in {folder} (process {alive[0]}); end it with `kill {alive[0]}`")
        time.sleep(0.2)
    for lock in stale:
        lock.unlink()
    owner.unlink(missing_ok=True)
    return True


def _serves(pid: int) -> bool:
    """Whether a process is the server, which reads results and writes none."""
    try:
        arguments = psutil.Process(pid).cmdline()
        return "serve" in arguments and arguments.index("serve") <= 4
    except psutil.NoSuchProcess:
        return False
