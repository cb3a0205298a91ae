"""How many threads this process computes with."""

_threads = 1


def allow(threads: int) -> None:
    """Let this process compute with so many threads."""
    global _threads
    _threads = threads


def threads() -> int:
    """The threads that `allow` gave this process; 1 before, as in a server."""
    return _threads
