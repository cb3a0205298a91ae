"""Threads, memory and device of a process that trains or scores."""

import ctypes
import resource
import sys
from pathlib import Path

import psutil
import torch

from recsys.errors import ConfigurationError, TrainingError
from recsys.storage import size

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def use_threads(threads: int) -> None:
    """Give torch its threads, and keep freed memory instead of handing it back to the system.

    The same sizes are needed at every step, and fresh pages cost more than the arithmetic on them.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    torch.set_num_threads(threads)


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is the GPU where there is one.

    Raises
    ------
    ConfigurationError
        If a GPU is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError(f"the device is {name!r}, but torch finds no GPU here; use --device cpu or auto")
    return torch.device(name)


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take: of the GPU, or of the machine, its container and its own limit, whichever has least."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [psutil.virtual_memory().available, *_free_of_containers()]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        free.append(limit - psutil.Process().memory_info().vms)
    return max(0, min(free))


def _free_of_containers(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What the limits of the control groups around this process leave, in bytes; files that the kernel can drop count as free."""
    free = []
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return free
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            base, limit, used, dropped = mounted, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit, used, dropped = mounted / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        folder = base / name.lstrip("/")
        for group in (folder, *(parent for parent in folder.parents if parent.is_relative_to(base))):
            try:
                figures = dict(figure.split() for figure in (group / "memory.stat").read_text().splitlines())
                taken = int((group / used).read_text()) - int(figures.get(dropped, 0))
                free.append(int((group / limit).read_text()) - taken)
            except (OSError, ValueError):  # no such file, or "max"
                continue
    return free


def require_memory(needed: int, device: torch.device, what: str, fix: str) -> None:
    """Make sure that there is memory before it is asked for bit by bit, and the system ends the process that asks last.

    Raises
    ------
    TrainingError
        With the figures, `what` needs them and the `fix`.
    """
    free = free_memory(device)
    if needed > free:
        where = "of the GPU's memory" if device.type == "cuda" else "of memory"
        raise TrainingError(f"{what} needs about {size(needed)} {where}, and {size(free)} are free; {fix}")
