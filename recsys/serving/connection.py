"""The server's side of a connection: uvicorn's, and patience that ends.

uvicorn waits for the head of a request for as long as its client likes, and keeps all of it, however long it becomes.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recsys.serving.http import JSON, refusal

LARGEST_HEAD = 65_536
"""Bytes of a request's line and headers, where they come in more than one piece."""
HEAD_SECONDS = 10.0
"""How long the head of a request may take, from its first byte, and a new connection to send any."""

_BROKEN = refusal("MALFORMED_REQUEST", "The request is not valid HTTP.")
_TOO_LARGE = refusal("REQUEST_TOO_LARGE", f"The request's line and headers may have at most {LARGEST_HEAD} bytes.")


class Connection(HttpToolsProtocol):
    """One connection."""

    _in_head = False
    _until: float | None = None
    _arrived = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._watch(0)

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._in_head, self._until = False, None
        super().on_headers_complete()

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
