"""What Python's garbage collector need not look at again: all that a server has loaded, for which it would hold every thread up."""

import gc


def settle() -> None:
    """Free what is garbage, and count all else as there to stay, until the next time."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
