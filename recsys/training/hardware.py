"""Threads, memory and device of a process that trains or scores."""

import ctypes
import os
import resource
import sys
from pathlib import Path

import psutil

from recsys.errors import ConfigurationError, TrainingError
from recsys.storage import size
from recsys.threads import allow

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def use_threads(threads: int) -> None:
    """Set the threads of this process's arithmetic, and keep freed memory instead of handing it back to the system.

    The same sizes are needed at every step, and fresh pages cost more than the arithmetic on them.
    """
    allow(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by torch when it is imported
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads, "blas")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def _driver_sees_gpu() -> bool:
    """Whether NVIDIA's driver counts a device: asked before torch, which takes seconds to import."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def pick_device(name: str) -> str:
    """The device of a name, such as `cpu` or `cuda`; `auto` is the GPU where there is one.

    Raises
    ------
    ConfigurationError
        If a GPU is asked for and there is none.
    """
    if name == "cpu" or (name == "auto" and not _driver_sees_gpu()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda" if name == "auto" else name
    if name == "auto":
        return "cpu"
    raise ConfigurationError(f"the device is {name!r}, but torch finds no GPU here; use --device cpu or auto")


def free_memory(device: str) -> int:
    """Bytes that this process may still take: of the GPU, or of the machine, its container and its own limit, whichever has least."""
    if device.startswith("cuda"):
        import torch

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


def require_memory(needed: int, device: str, what: str, fix: str) -> None:
    """Make sure that there is memory before it is asked for bit by bit, and the system ends the process that asks last.

    Raises
    ------
    TrainingError
        With the figures, `what` needs them and the `fix`.
    """
    free = free_memory(device)
    if needed > free:
        where = "of the GPU's memory" if device.startswith("cuda") else "of memory"
        raise TrainingError(f"{what} needs about {size(needed)} {where}, and {size(free)} are free; {fix}")
