"""Threads, memory and device of a process that trains or scores."""

import ctypes
import sys

import torch

from recsys.errors import ConfigurationError

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
