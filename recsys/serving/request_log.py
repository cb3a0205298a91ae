"""JSON lines about requests, to standard error: a share of them, and every failure; nothing in them says who asked for what."""

import itertools
import os
import random
import re
import sys
import time
from typing import Any

import orjson

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PROCESS = os.urandom(8).hex().encode()
_numbers = itertools.count(1)


def request_id(given: bytes | None) -> bytes:
    """The client's id of a request where it can be used, else a new one: the process's own, and a number."""
    return given if given is not None and _ID.fullmatch(given) else b"%s-%d" % (_PROCESS, next(_numbers))


class RequestLog:
    """Writes lines.

    Parameters
    ----------
    share
        Of requests that went well, those written.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def request(self, identifier: bytes, endpoint: str, status: int, seconds: float, **more: Any) -> None:
        """Write a request, if it is one of the sample or failed."""
        if status < 500 and (not self._share or random.random() >= self._share):
            return
        line = {"at": round(time.time(), 3), "request_id": identifier.decode(), "endpoint": endpoint, "status": status}
        self.write(line | {"ms": round(seconds * 1_000, 3)} | more)

    def write(self, line: dict[str, Any]) -> None:
        """Write a line, whole."""
        sys.stderr.write(orjson.dumps(line).decode() + "\n")
        sys.stderr.flush()
