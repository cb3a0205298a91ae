import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """What an ASGI application answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def content(self) -> Any:
        return orjson.loads(self.body)

    def header(self, name: bytes) -> bytes | None:
        return next((value for given, value in self.headers if given.lower() == name), None)


class InProcess:
    """An ASGI application in a loop of its own, asked as uvicorn asks, without a socket."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()

    def send(self, method: str, target: str, body: bytes = b"", headers: dict[str, str | bytes] | None = None, pieces: int = 1) -> Answer:
        return self.loop.run_until_complete(self.asend(method, target, body, headers, pieces))

    async def asend(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str | bytes] | None = None, pieces: int = 1
    ) -> Answer:
        raw_path, _, query = target.partition("?")
        given = {"Host": "127.0.0.1"} | (headers or {})
        size = max(1, -(-len(body) // pieces))
        left = [body[begin : begin + size] for begin in range(0, len(body), size)] or [b""]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (name.lower().encode("latin-1"), value if isinstance(value, bytes) else value.encode("latin-1"))
                for name, value in given.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not left:
                return {"type": "http.disconnect"}
            piece = left.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(left)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        assert [message["type"] for message in sent[:1]] == ["http.response.start"], "an answer has one beginning"
        assert all(message["type"] == "http.response.body" for message in sent[1:])
        assert sum(not message.get("more_body", False) for message in sent[1:]) == 1, "an answer has one end"
        return Answer(sent[0]["status"], list(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:]))

    def close(self) -> None:
        self.app.close()
        self.loop.run_until_complete(asyncio.sleep(0))
