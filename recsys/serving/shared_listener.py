"""Connections shared out evenly among the workers of a server.

The workers listen on one socket, and whichever wakes first takes what has arrived: of twenty connections that clients keep, one of two
workers may get eighteen, and a core lies idle. So a worker with more connections than another lets that one go first, for a few
milliseconds.
"""

import asyncio
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

from recsys.processes import lives
from recsys.serving.connection import Connection

PLACES_VARIABLE = "RECSYS_SERVE_PLACES"
"""Environment variable with the file in which the workers' connections are counted."""

_PLACE = struct.Struct("=ii")
_WAIT_SECONDS = 0.001
_WAITS = 5


def make_places(path: Path, workers: int) -> None:
    """Make the file, with a place for each worker, and have the processes that are started from now on find it."""
    path.write_bytes(_PLACE.pack(0, 0) * workers)
    os.environ[PLACES_VARIABLE] = str(path)


class Place:
    """This worker's count of connections beside those of the others.

    Parameters
    ----------
    path
        What `make_places` made.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._all = mmap.mmap(file.fileno(), 0)
            fcntl.flock(file, fcntl.LOCK_EX)
            count = len(self._all) // _PLACE.size
            free = [number for number in range(count) if not lives(self._read(number)[0])]
            self._own = free[0] if free else None  # more workers than places: this one takes what it can get
            if self._own is not None:
                self._write(os.getpid(), 0)
            fcntl.flock(file, fcntl.LOCK_UN)  # the mapping keeps the file open, and with it the lock
        self._others = [number for number in range(count) if number != self._own]
        self.connections = 0

    def _read(self, number: int) -> tuple[int, int]:
        return _PLACE.unpack_from(self._all, number * _PLACE.size)

    def _write(self, process: int, connections: int) -> None:
        _PLACE.pack_into(self._all, self._own * _PLACE.size, process, connections)

    def change(self, by: int) -> None:
        """Count a connection that came or went."""
        self.connections += by
        if self._own is not None:
            self._write(os.getpid(), self.connections)

    def ahead(self) -> bool:
        """Whether another worker has fewer connections."""
        if self._own is None:
            return False
        others = (self._read(number) for number in self._others)
        return any(connections < self.connections and lives(process) for process, connections in others)

    def leave(self) -> None:
        """Let nobody wait for this worker any more."""
        if self._own is not None:
            self._write(0, 0)
            self._own = None


class Listener:
    """Takes connections of a listening socket, one at a time; what uvicorn needs of a server.

    Parameters
    ----------
    loop
        The event loop.
    make_protocol
        Makes what handles a connection.
    listening
        The socket.
    place
        Where connections are counted.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, make_protocol: Callable[[], Any], listening: socket.socket, place: Place) -> None:
        self._loop, self._make_protocol, self._place = loop, make_protocol, place
        self._listening = listening.dup()
        self._listening.setblocking(False)
        self._beginning: set[asyncio.Task] = set()
        self._waits = 0
        self._closed = False
        self.sockets = (self._listening,)
        self._listen()

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        if self._waits < _WAITS and self._place.ahead():
            self._waits += 1
            self._loop.remove_reader(self._listening.fileno())
            self._loop.call_later(_WAIT_SECONDS, self._listen)
            return
        self._waits = 0
        try:
            connection, _ = self._listening.accept()
        except OSError:  # another worker was quicker, or the client is gone already
            return
        connection.setblocking(False)
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._place.change(+1)
        task = self._loop.create_task(self._begin(connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            _, protocol = await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            connection.close()
            self._place.change(-1)
            return
        protocol.when_lost(lambda: self._place.change(-1))

    def close(self) -> None:
        """Take no more connections."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listening.fileno())
            self._listening.close()
            self._place.leave()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for once `close` returned."""


class SharedListenerLoop(uvloop.Loop):
    """uvloop's event loop, whose servers share connections out with the other workers'."""

    async def create_server(self, protocol_factory: Callable[[], Connection], *, sock: socket.socket, **more: Any) -> Listener:
        """See `asyncio`; `sock` listens already."""
        return Listener(self, protocol_factory, sock, Place(Path(os.environ[PLACES_VARIABLE])))
