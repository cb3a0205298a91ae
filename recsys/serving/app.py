"""The served app: our endpoints in front of MLflow's scoring app, which answers whatever is not ours.

The endpoints are plain ASGI, because a framework's routing costs more than the inference of a request.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson

from recsys.serving.batching import Batcher, Overloaded
from recsys.serving.champion import Champion
from recsys.serving.engine import Engine, KeptClick
from recsys.serving.explore import describe_catalogue, describe_items, read_page, sample_session
from recsys.serving.garbage import settle
from recsys.serving.http import Disconnected, Guard, Receive, Scope, Send, read_body, refusal, respond
from recsys.serving.metrics import Metrics
from recsys.serving.openapi import describe
from recsys.serving.request_log import RequestLog, request_id
from recsys.serving.requests import (
    LONGEST_KEY,
    MOST_DESCRIBED,
    BadRequest,
    OtherForm,
    check_content_type,
    read_click,
    read_request,
)
from recsys.serving.rules import Rules
from recsys.settings.serving import ServeSettings

_logger = logging.getLogger("recsys.serving")

_TELL_SECONDS = 1.0

_RETRY = ((b"retry-after", b"1"),)
_REFUSED = {
    "queue": "The server has more requests than it can answer; try again in a second.",
    "timeout": "The server could not answer this request in time; try again in a second.",
    "store": "Too many clicks of this session arrived at the same time; try again in a second.",
}
_OPEN = frozenset(("/", "/ping", "/health", "/ready"))
"""Pages that need no token: they tell nothing of the shop, and `/` asks for one."""


class App:
    """The ASGI application.

    Parameters
    ----------
    engine
        Answers.
    settings
        Limits.
    metrics
        Where requests are counted.
    guard
        Who may ask.
    champion
        Where a newer model may come from; None: nowhere.
    """

    def __init__(self, engine: Engine, settings: ServeSettings, metrics: Metrics, guard: Guard, champion: Champion | None = None) -> None:
        self.engine, self._settings, self._metrics, self._guard, self._champion = engine, settings, metrics, guard, champion
        self._patience = settings.timeout / 1_000
        self._log = RequestLog(settings.log_sample)
        self._batcher = Batcher(engine.answer, settings.threads, settings.batch, settings.queue, self._patience)
        self._in_flight = 0
        self._elsewhere = 0
        """Requests that MLflow is answering."""
        self._ended = threading.Event()
        self._started = self._stopping = False
        self.belongings: Any = None
        """What lives as long as the app."""
        self._pages: dict[tuple[str, str], Callable[[Scope, Send], Awaitable[None]]] = {
            ("GET", "/"): self._page,
            ("GET", "/ping"): self._alive,
            ("GET", "/health"): self._alive,
            ("GET", "/ready"): self._ready,
            ("GET", "/metrics"): self._numbers,
            ("GET", "/openapi.json"): self._description,
            ("GET", "/sample"): self._sample,
            ("GET", "/items"): self._items,
            ("GET", "/catalogue"): self._catalogue,
        }
        self._paths = {path for _, path in self._pages} | {"/invocations"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see the ASGI specification."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _start(self) -> None:
        self._started = True
        self._metrics.starts.inc()
        self._metrics.bound.set(self._settings.queue)
        self._batcher.start()
        self._tell()
        # Not one of the loop's own threads, whose end it would wait for: a registry may take its time.
        threading.Thread(target=self._refresh, name="refresh", daemon=True).start()

    def close(self) -> None:
        """Answer what waits, and nothing new."""
        self._stopping = True
        self._ended.set()
        self._batcher.close()

    def _refresh(self) -> None:
        """Look for a new champion and for changed rules, now and then."""
        while not self._ended.is_set():
            self._look()
            self._ended.wait(self._settings.refresh / 1_000)

    def _look(self) -> None:
        self._metrics.measure_process()
        try:
            if self._champion is not None:
                found = self._champion.look(self._settings, self._metrics)
                if found is not None:
                    self.engine.serve(found)
                    settle()
                    self._log.write({"at": round(time.time(), 3), "event": "champion loaded", "version": found.version})
            complaints = self.engine.served.recommender.refresh()
            self._metrics.stale_rules.set(len(complaints))
            self._metrics.available.set(self.engine.served.recommender.available)
            for complaint in complaints:
                _logger.warning("%s; what it held before still holds", complaint)
        except Exception:
            _logger.exception("looking for changes failed; the server goes on with what it has")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = time.perf_counter()
        if not self._started:
            self._start()
        path, method = scope["path"], scope["method"]
        headers = _chosen(scope["headers"])
        if path == "/invocations":
            endpoint = "invocations"
        elif path.startswith("/sessions/"):
            endpoint = "clicks"
        else:
            endpoint = "pages"
        identifier = request_id(headers.get(b"x-request-id"))
        marks = ((b"x-request-id", identifier),)
        told: dict[str, Any] = {}
        self._in_flight += endpoint != "pages"
        status = 500
        try:
            self._guard.check_host(headers.get(b"host"))
            if path not in _OPEN:
                self._guard.check_token(headers.get(b"authorization"))
            if endpoint == "invocations" and method == "POST":
                status, body = await self._invocations(scope, receive, headers, told)
                await respond(send, status, body, headers=marks)
            elif endpoint == "clicks":
                status, body = await self._clicks(method, path, receive, headers, told)
                await respond(send, status, body, headers=marks)
            elif ("GET" if method == "HEAD" else method, path) in self._pages:
                status = 200
                await self._pages["GET", path](scope, send)
            elif path in self._paths:
                raise _not_allowed(b"POST" if endpoint == "invocations" else b"GET, HEAD")
            else:
                status = await self._mlflow(scope, receive, send)
        except BadRequest as refused:
            status = refused.status
            await respond(send, status, refusal(refused.error_code, refused.sentence), headers=(*marks, *refused.headers))
        except Overloaded as overloaded:
            status, reason = 503, str(overloaded) or "timeout"
            self._metrics.refused(reason)
            await respond(send, 503, refusal("TEMPORARILY_UNAVAILABLE", _REFUSED[reason]), headers=(*marks, *_RETRY))
        except Disconnected:
            status = 499
        except Exception:
            status = 500
            _logger.exception("a request to %s failed", endpoint)
            sentence = "The server could not answer this request; its log says why."
            await respond(send, 500, refusal("INTERNAL_ERROR", sentence), headers=marks)
        finally:
            self._in_flight -= endpoint != "pages"
            seconds = time.perf_counter() - begin
            self._metrics.request(endpoint, status, seconds)
            self._log.request(identifier, endpoint, status, seconds, **told)

    async def _invocations(self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], told: dict[str, Any]) -> tuple[int, bytes]:
        body = b""
        try:
            form = None
            try:
                check_content_type(_text(headers.get(b"content-type")), _text(headers.get(b"content-encoding")))
            except OtherForm as other:
                form = other
            body = await read_body(receive, self._settings.max_body_bytes, self._patience)
            if form is not None:
                raise form
            recommender = self.engine.served.recommender
            request = read_request(body, recommender.id_type, self._settings.max_sessions)
            self._check_rules(request.rules)
        except OtherForm:
            return await self._mlflow_invocations(scope, body)
        told.update(sessions=len(request.sessions), k=request.k)
        return 200, await self._submit(request, max(len(request.sessions), 1))

    async def _submit(self, content: Any, size: int) -> bytes:
        try:
            future = self._batcher.submit(content, size)
        except Overloaded:
            raise Overloaded("queue") from None
        return await future

    def _check_rules(self, rules: Rules) -> None:
        recommender = self.engine.served.recommender
        if rules.categories is not None and not recommender.has_categories:
            raise BadRequest("params.categories cannot be used: the served package knows no categories.")
        if rules.diversity and not recommender.can_diversify:
            raise BadRequest("params.diversity cannot be used: the served model has no item vectors and its package no categories.")

    async def _clicks(
        self, method: str, path: str, receive: Receive, headers: dict[bytes, bytes], told: dict[str, Any]
    ) -> tuple[int, bytes]:
        """`POST /sessions/{id}/clicks` and `DELETE /sessions/{id}`."""
        key, _, rest = path.removeprefix("/sessions/").partition("/")
        if rest not in ("", "clicks") or not key:
            raise BadRequest("There is no such page.", 404, "RESOURCE_DOES_NOT_EXIST")
        if len(key) > LONGEST_KEY:
            raise BadRequest(f"The id of a session may have at most {LONGEST_KEY} characters.")
        if method != ("POST" if rest else "DELETE"):
            raise _not_allowed(b"POST" if rest else b"DELETE")
        if method == "DELETE":
            found = await asyncio.to_thread(self.engine.forget, key)
            if not found:
                raise BadRequest("No such session is kept.", 404, "RESOURCE_DOES_NOT_EXIST")
            return 200, orjson.dumps({"forgotten": True})
        try:
            check_content_type(_text(headers.get(b"content-type")), _text(headers.get(b"content-encoding")))
        except OtherForm:
            raise BadRequest("The content type must be application/json, in UTF-8.", 415, "UNSUPPORTED_MEDIA_TYPE") from None
        body = await read_body(receive, self._settings.max_body_bytes, self._patience)
        click = read_click(body, self.engine.served.recommender.id_type)
        self._check_rules(click.rules)
        told.update(k=click.k)
        return 200, await self._submit(KeptClick(key, click), 1)

    async def _mlflow_invocations(self, scope: Scope, body: bytes) -> tuple[int, bytes]:
        """MLflow's answer to a form that only it reads; its refusals, which may tell what was sent, are replaced."""
        if self._elsewhere >= self._settings.queue:
            raise Overloaded("queue")
        self._elsewhere += 1
        try:
            status, answer = await _call(self.engine.served.scoring_app, scope, body)
        except Exception:  # what MLflow could not read, it also answers with 500
            _logger.debug("MLflow failed on a request", exc_info=True)
            status = 500
        finally:
            self._elsewhere -= 1
        if status >= 400:
            raise BadRequest("The body cannot be read in this form; send dataframe_records, dataframe_split or inputs.")
        return status, answer

    async def _mlflow(self, scope: Scope, receive: Receive, send: Send) -> int:
        """MLflow's own pages."""
        status, answer = await _call(self.engine.served.scoring_app, scope, b"")
        if status == 404:
            raise BadRequest("There is no such page.", 404, "RESOURCE_DOES_NOT_EXIST")
        if status == 405:
            raise _not_allowed(b"GET")
        content_type = b"text/html; charset=utf-8" if answer.lstrip()[:1] == b"<" else b"application/json"
        await respond(send, status, answer, content_type)
        return status

    async def _alive(self, scope: Scope, send: Send) -> None:
        await respond(send, 200, b"\n")

    async def _ready(self, scope: Scope, send: Send) -> None:
        if self._stopping:
            raise BadRequest("The server is about to end.", 503, "TEMPORARILY_UNAVAILABLE")
        served = self.engine.served
        content = {"family": served.family, "version": served.version, "package": served.digest, "items": len(served.recommender)}
        await respond(send, 200, orjson.dumps(content))

    def _tell(self) -> None:
        """Tell how much is waiting; the other workers' pages show it too, so it is told without being asked."""
        self._metrics.waiting.set(self._batcher.waiting)
        self._metrics.in_flight.set(self._in_flight)
        if not self._ended.is_set():
            asyncio.get_running_loop().call_later(_TELL_SECONDS, self._tell)

    async def _numbers(self, scope: Scope, send: Send) -> None:
        self._metrics.in_flight.set(self._in_flight)
        self._metrics.waiting.set(self._batcher.waiting)
        self._metrics.measure_process()
        page = await asyncio.to_thread(self._metrics.page)
        await respond(send, 200, page, b"text/plain; version=0.0.4; charset=utf-8")

    async def _description(self, scope: Scope, send: Send) -> None:
        served = self.engine.served
        await respond(send, 200, orjson.dumps(describe(served.recommender, self._settings, self._guard.needs_token)))

    async def _page(self, scope: Scope, send: Send) -> None:
        page, headers = read_page()
        await respond(send, 200, page, b"text/html; charset=utf-8", headers)

    async def _sample(self, scope: Scope, send: Send) -> None:
        session = await asyncio.to_thread(sample_session, self.engine.served.recommender)
        await respond(send, 200, orjson.dumps({"session": session}))

    async def _items(self, scope: Scope, send: Send) -> None:
        asked = [value for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True) if name == "id"]
        if len(asked) > MOST_DESCRIBED:
            raise BadRequest(f"At most {MOST_DESCRIBED} items can be asked about at once.")
        described = describe_items(self.engine.served.recommender, asked)
        await respond(send, 200, orjson.dumps({"items": described}))

    async def _catalogue(self, scope: Scope, send: Send) -> None:
        await respond(send, 200, orjson.dumps(await asyncio.to_thread(describe_catalogue, self.engine.served.recommender)))


def _not_allowed(methods: bytes) -> BadRequest:
    return BadRequest("This method is not allowed here.", 405, "BAD_REQUEST", ((b"allow", methods),))


def _chosen(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers, by name in lower case."""
    return dict(headers)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


async def _call(app: Any, scope: Scope, body: bytes) -> tuple[int, bytes]:
    """Status and body of another ASGI application's answer."""
    sent: list[bytes] = []
    status = 500
    given = False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            sent.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, b"".join(sent)
