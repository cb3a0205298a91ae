"""The server's side of a connection: uvicorn's, with patience that ends, and answers that are sent in one piece.

uvicorn waits for the head of a request for as long as its client likes, and keeps all of it, however long it becomes. It writes the head of
an answer and its body apart, and uvloop sends each at once, which takes longer than anything else that Python does for a request.
"""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from recsys.serving.http import JSON, refusal

LARGEST_HEAD = 65_536
"""Bytes of a request's line and headers, where they come in more than one piece."""
HEAD_SECONDS = 10.0
"""How long the head of a request may take, from its first byte, and a new connection to send any."""

_BROKEN = refusal("MALFORMED_REQUEST", "The request is not valid HTTP.")
_TOO_LARGE = refusal("REQUEST_TOO_LARGE", f"The request's line and headers may have at most {LARGEST_HEAD} bytes.")


class Exchange(RequestResponseCycle):
    """A request and its answer; beside what ASGI asks for, both whole."""

    def whole_body(self) -> bytes | None:
        """The body of the request; None if it is not all there yet."""
        if self.more_body or self.disconnected or self.response_complete:
            return None
        body = bytes(self.body)
        self.body = bytearray()
        self.message_event.clear()
        return body

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send an answer; False if it has to take its turn."""
        if self.response_started or self.flow.write_paused:
            return False
        self.response_started = True
        if self.disconnected:
            return True
        parts = [STATUS_LINE[status]]
        for name, value in (*self.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
            if name == b"connection":
                self.keep_alive = False  # the only thing that is ever said of it
        if not self.keep_alive and (b"connection", b"close") not in headers:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        if self.scope["method"] != "HEAD":
            parts.append(body)
        self.transport.write(b"".join(parts))
        self.waiting_for_100_continue = False
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


class Connection(HttpToolsProtocol):
    """One connection."""

    _lost = False
    _then: Callable[[], None] | None = None
    _in_head = False
    _until: float | None = None
    _arrived = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._watch(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._lost = True
        if self._then is not None:
            self._then()

    def when_lost(self, then: Callable[[], None]) -> None:
        """Have `then` called when the connection has ended; at once if it has."""
        if self._lost:
            then()
        else:
            self._then = then

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._in_head, self._until = False, None
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.__class__ = Exchange  # uvicorn has no place to name it

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        cycle = self.cycle
        if self._in_head or (self.timeout_keep_alive_task is None and (cycle is None or cycle.response_complete)):
            self._watch(len(data))

    def _watch(self, arrived: int) -> None:
        """Nothing is being answered: what arrived must become a request before long."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self._until is None:
            self._until, self._arrived = now + HEAD_SECONDS, 0
        self._arrived += arrived
        if self._arrived > LARGEST_HEAD:
            self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE)
        else:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(max(self._until - now, 0.0), self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP as everything else is refused."""
        self._refuse(b"400 Bad Request", _BROKEN)

    def _refuse(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, JSON, len(body))
        self.transport.write(head + body)
        self.transport.close()
