"""What the server says and hears in HTTP, without a framework in between: bodies, answers, refusals, and who may ask."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from recsys.serving.requests import BadRequest

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = b"application/json"
CLOSE = ((b"connection", b"close"),)
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_DRAIN = 16
"""How many times the largest body is read and thrown away, so that a client hears the refusal before its connection ends."""


class Disconnected(Exception):
    """The client is gone."""


async def read_body(receive: Receive, largest: int, seconds: float) -> bytes:
    """The body of a request.

    Raises
    ------
    BadRequest
        413 if it has more than `largest` bytes, 408 if the client does not send it in time.
    Disconnected
        If the client is gone.
    """
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise Disconnected
                part, more = message.get("body", b""), message.get("more_body", False)
                size += len(part)
                if size <= largest:
                    parts.append(part)
                else:
                    parts.clear()
                    if size > _DRAIN * largest:
                        break
    except TimeoutError:
        raise BadRequest("The body did not arrive in time.", 408, "REQUEST_TIMEOUT", CLOSE) from None
    if size > largest:
        raise BadRequest(f"The body may have at most {largest} bytes.", 413, "REQUEST_TOO_LARGE", CLOSE if more else ())
    return b"".join(parts)


async def respond(send: Send, status: int, body: bytes, content_type: bytes = JSON, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """Send an answer."""
    head = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def refusal(error_code: str, sentence: str) -> bytes:
    """The body of a refusal, with MLflow's keys."""
    return orjson.dumps({"error_code": error_code, "message": sentence})


class Guard:
    """Decides who may ask.

    Parameters
    ----------
    hosts
        Host names by which clients may call; `*` is any.
    token
        What they must show as `Authorization: Bearer …`; None: nothing.
    """

    def __init__(self, hosts: list[str], token: str | None) -> None:
        self._any = "*" in hosts
        self._hosts = {host.lower().encode() for host in hosts}
        self._token = None if token is None else b"bearer " + token.encode()

    @property
    def needs_token(self) -> bool:
        """Whether clients must show a token."""
        return self._token is not None

    def check_host(self, host: bytes | None) -> None:
        """Refuse a request that calls the server by another name.

        Raises
        ------
        BadRequest
            421.
        """
        if not self._any and _name(host) not in self._hosts:
            raise BadRequest("The server does not answer by this Host name; see serve.allowed_hosts.", 421, "BAD_REQUEST")

    def check_token(self, authorization: bytes | None) -> None:
        """Refuse a request without the token.

        Raises
        ------
        BadRequest
            401.
        """
        if self._token is None:
            return
        scheme, _, shown = (authorization or b"").partition(b" ")
        if not hmac.compare_digest(scheme.lower() + b" " + shown.strip(), self._token):
            challenge = ((b"www-authenticate", b"Bearer"),)
            raise BadRequest("A valid token is required, as Authorization: Bearer.", 401, "UNAUTHENTICATED", challenge)


def _name(host: bytes | None) -> bytes:
    """The name in a Host header, without its port."""
    if host is None:
        return b""
    if host.startswith(b"["):
        return host[1:].partition(b"]")[0].lower()
    return host.partition(b":")[0].lower()
