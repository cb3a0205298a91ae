"""Threads and memory of a process that trains or scores."""

import ctypes
import sys

import torch

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
