"""Errors that come from the machine or from a library, not from this package, in the words of a user."""

import errno
import re

from recsys.errors import MemoryShortageError, RecsysError
from recsys.storage import size, storage_error

_NO_MEMORY = ("can't allocate memory", "out of memory", "cannot allocate memory", "std::bad_alloc", "unable to allocate", "malloc of size")
_ASKED = re.compile(r"(?:allocate|malloc of size) (\d+)(?: bytes|$)")


def told(error: BaseException) -> RecsysError | None:
    """The sentence for an error that the machine caused: no space, no permission, no memory. None where it is something else."""
    storage = storage_error(error)
    if storage is not None:
        return storage
    text = str(error)
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM or any(sign in text.lower() for sign in _NO_MEMORY):
        asked = _ASKED.search(text)
        needed = f" (it asked for {size(int(asked[1]))} at once)" if asked else ""
        return MemoryShortageError(
            f"the memory does not suffice for this stage{needed}; run fewer jobs side by side (a smaller --cores), make the model or the "
            "log smaller, or take a machine with more memory, then run the same command again: nothing that was finished is lost"
        )
    return None
