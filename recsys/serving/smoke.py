"""The smoke test: a real server on the package, good requests whose answers are known, and broken ones it must refuse and survive."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import PackageError
from recsys.processes import END_WITH_PARENT
from recsys.serving.manifest import package_digest, read_package
from recsys.serving.recommender import LARGEST_K, POPULAR
from recsys.serving.server import READY
from recsys.serving.settings import StageSettings
from recsys.settings.serving import ServeSettings

_JSON = {"Content-Type": "application/json"}
_START_SECONDS = 180
_TRACES = ("Traceback", 'File "', ".py")
"""What an answer holds when a trace has leaked into it."""

_SESSIONS = 50


@dataclass(frozen=True)
class Reply:
    """What the server answered."""

    status: int
    body: bytes

    @property
    def content(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


class Server:
    """A running server; made by `running_server`.

    Attributes
    ----------
    address
        Host and port.
    process
        Its process id, where it is known.
    """

    def __init__(self, host: str, port: int, process: int | None = None) -> None:
        self._host, self._port = host, port
        self.address = f"{host}:{port}"
        self.process = process

    def send(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        """Send one request."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.read())
        finally:
            connection.close()

    def invoke(self, content: Any) -> Reply:
        """Send JSON to /invocations."""
        return self.send("POST", "/invocations", json.dumps(content).encode(), _JSON)


@contextlib.contextmanager
def running_server(package: Path, settings: ServeSettings, workers: int = 1) -> Iterator[Server]:
    """`recsys serve` on a package and a free port of the loopback, as a process that ends with the block, or with this process.

    Raises
    ------
    PackageError
        If it does not come up.
    """
    alone = settings.model_copy(update={"workers": workers, "model": None, "host": "127.0.0.1"})
    told = json.dumps({"serve": alone.model_dump(mode="json")})
    command = [sys.executable, "-m", "recsys", "serve", "--model", str(package), "--settings", told, "--port", "0"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, END_WITH_PARENT: str(os.getpid())}
        )
        # A server that hangs at the start is ended, which also ends the reading of its first line.
        watch = threading.Timer(_START_SECONDS, process.kill)
        watch.start()
        try:
            line = process.stdout.readline().decode()
            watch.cancel()
            address = re.search(r"http://([0-9.]+):([0-9]+)", line) if line.startswith(READY) else None
            if address is None:
                process.kill()
                process.wait()
                log.seek(0)
                last = (log.read().decode(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]
                raise PackageError(f"the server did not start on {package}: {last}")
            yield Server(address[1], int(address[2]), process.pid)
        finally:
            watch.cancel()
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def _prefixes(test: Path, items: Path, as_text: bool) -> list[list]:
    """Item ids of up to 50 test sessions so far, the last click left out, spread over the test window."""
    ids = pl.read_parquet(items, columns=["index", "item_id"]).sort("index")["item_id"].to_list()
    ids = [str(item) for item in ids] if as_text else ids
    sessions = pl.read_parquet(test, columns=["items"])["items"]
    rows = np.unique(np.linspace(0, len(sessions) - 1, min(_SESSIONS, len(sessions))).astype(int)) if len(sessions) else []
    found = [[ids[index] for index in sessions[int(row)].to_list()[:-1]] for row in rows]
    return [session for session in found if session] or [ids[:3]]


def good_requests(sessions: list[list]) -> dict[str, tuple[dict[str, Any], list[list], int]]:
    """By name: a body, the sessions it asks about, and its k."""
    records = [{"session": session} for session in sessions]
    return {
        "dataframe_records": ({"dataframe_records": records}, sessions, 20),
        "dataframe_split": ({"dataframe_split": {"columns": ["session"], "data": [[session] for session in sessions]}}, sessions, 20),
        "inputs as records": ({"inputs": records}, sessions, 20),
        "inputs as columns": ({"inputs": {"session": sessions}}, sessions, 20),
        "k of 1": ({"dataframe_records": records[:3], "params": {"k": 1}}, sessions[:3], 1),
        "k of 100": ({"dataframe_records": records[:3], "params": {"k": 100}}, sessions[:3], 100),
        "an empty session": ({"dataframe_records": [{"session": []}]}, [[]], 20),
        "one session": ({"dataframe_records": records[:1]}, sessions[:1], 20),
        "the optional columns": (
            {
                "dataframe_records": [
                    {
                        "session": sessions[0],
                        "visitor": "someone",
                        "events": ["view"] * len(sessions[0]),
                        "times": list(range(len(sessions[0]))),
                    }
                ]
            },
            sessions[:1],
            20,
        ),
    }


def broken_requests(session: list, settings: ServeSettings) -> dict[str, tuple[int, str, bytes | None, dict[str, str]]]:
    """By name: the status it must be refused with, method, body and headers."""
    good = json.dumps({"dataframe_records": [{"session": session}]}).encode()

    def post(status: int, content: Any) -> tuple[int, str, bytes, dict[str, str]]:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return 413 if len(body) > settings.max_body_bytes else status, "POST", body, _JSON

    def rows(*sessions: Any, **more: Any) -> dict[str, Any]:
        return {"dataframe_records": [{"session": given} for given in sessions], **more}

    return {
        "no JSON": post(400, b'{"dataframe_records": ['),
        "an empty body": post(400, b""),
        "not UTF-8": post(400, b'{"dataframe_records": [{"session": ["\xff\xfe"]}]}'),
        "NaN": post(400, b'{"dataframe_records": [{"session": [NaN]}]}'),
        "deep nesting": post(400, b"[" * 100_000),
        "deep nesting in a session": post(400, b'{"dataframe_records": [{"session": ' + b"[" * 900 + b"]" * 900 + b"}]}"),
        "a list as the body": post(400, [session]),
        "no form": post(400, {"params": {"k": 3}}),
        "two forms": post(400, {"dataframe_records": [], "inputs": []}),
        "an unknown key": post(400, rows(session, extra=1)),
        "rows that are no objects": post(400, {"dataframe_records": [session]}),
        "a row without session": post(400, {"dataframe_records": [{"visitor": "someone"}]}),
        "an unknown column": post(400, {"dataframe_records": [{"session": session, "price": 3}]}),
        "a session that is null": post(400, rows(None)),
        "a session that is a text": post(400, rows("1,2,3")),
        "a session that is a number": post(400, rows(7)),
        "a nested session": post(400, rows([session])),
        "a null item": post(400, rows([*session, None])),
        "a truth value as an item": post(400, rows([*session, True])),
        "an item with a fraction": post(400, rows([*session, 1.5])),
        "an object as an item": post(400, rows([*session, {}])),
        "a split table without data": post(400, {"dataframe_split": {"columns": ["session"]}}),
        "a split table with short rows": post(400, {"dataframe_split": {"columns": ["session", "visitor"], "data": [[session]]}}),
        "columns of different lengths": post(400, {"inputs": {"session": [session], "visitor": []}}),
        "events that do not match": post(400, {"dataframe_records": [{"session": session, "events": ["view"] * (len(session) + 1)}]}),
        "an unknown parameter": post(400, rows(session, params={"top": 3})),
        "parameters that are no object": post(400, rows(session, params=[20])),
        **{f"k of {json.dumps(k)}": post(400, rows(session, params={"k": k})) for k in (0, -1, 101, 10**9, 1.5, "20", True, None, [5])},
        "too many sessions": post(413, rows(*[[]] * (settings.max_sessions + 1))),
        "a body over the limit": post(413, b" " * (settings.max_body_bytes + 1)),
        "no content type": (415, "POST", good, {}),
        "another content type": (415, "POST", good, {"Content-Type": "text/plain"}),
        "CSV, which holds no session": (400, "POST", b"session\n7\n", {"Content-Type": "text/csv"}),
        "rows that exclude nothing": post(400, rows(session, params={"exclude": 7})),
        "an available that is no truth value": post(400, rows(session, params={"available": "yes"})),
        "a diversity beyond 1": post(400, rows(session, params={"diversity": 1.5})),
        "a compressed body": (415, "POST", good, {**_JSON, "Content-Encoding": "gzip"}),
        "GET": (405, "GET", None, {}),
        "PUT": (405, "PUT", good, _JSON),
    }


def _same(given: Any, expected: list[dict[str, Any]]) -> bool:
    """Whether a reply's predictions are the expected ones; scores may differ by the rounding of another batch size."""
    if not isinstance(given, dict) or list(given) != ["predictions"] or len(given["predictions"]) != len(expected):
        return False
    for one, other in zip(given["predictions"], expected, strict=True):
        if set(one) != set(other) or one["fallback"] != other["fallback"] or len(one["scores"]) != len(other["scores"]):
            return False
        if not np.allclose(one["scores"], other["scores"], rtol=1e-4, atol=1e-5):
            return False
        # Items whose scores are equal but for rounding may change places; all others must stand where they stood.
        score = dict(zip(other["recommendations"], other["scores"], strict=True))
        for place, item in enumerate(one["recommendations"]):
            if not np.isclose(score.get(item, other["scores"][-1]), one["scores"][place], rtol=1e-4, atol=1e-5):
                return False
    return True


def _clean_refusal(reply: Reply, status: int) -> bool:
    text = reply.body.decode(errors="replace")
    if reply.status != status or any(trace in text for trace in _TRACES):
        return False
    try:
        content = json.loads(text)
    except ValueError:
        return False
    return isinstance(content.get("message"), str) and set(content) == {"error_code", "message"}


def smoke_test(package: Path, test: Path, items: Path, settings: StageSettings) -> dict[str, Any]:
    """Start the server on a package, and check its answers, its refusals and that it goes on serving.

    Returns
    -------
    `ok`, `package_hash` and `checks`, each with `name`, `status` and `ok`; no times and no ports.

    Raises
    ------
    PackageError
        If the package was altered or the server does not start.
    """
    import mlflow.pyfunc
    import pandas as pd

    limits = settings.serve
    manifest = read_package(package)
    sessions = _prefixes(test, items, manifest["id_type"] == "hash")[: limits.max_sessions]
    sessions = [session[-limits.max_session_length :] for session in sessions]
    while len(sessions) > 1 and len(json.dumps(sessions)) > limits.max_body_bytes // 4:
        sessions = sessions[: len(sessions) // 2]
    model = mlflow.pyfunc.load_model(str(package))
    checks: list[dict[str, Any]] = []

    def check(name: str, status: int, ok: bool) -> None:
        checks.append({"name": name, "status": status, "ok": bool(ok)})

    with running_server(package, limits) as server:
        for path in ("/ping", "/health", "/version"):
            reply = server.send("GET", path)
            check(path, reply.status, reply.status == 200)
        good = good_requests(sessions)
        for name, (content, asked, k) in good.items():
            reply = server.invoke(content)
            expected = model.predict(pd.DataFrame({"session": asked}), params={"k": k})
            check(name, reply.status, reply.status == 200 and _same(reply.content, expected))

        unknown = "no such item" if manifest["id_type"] == "string" else "-77" if manifest["id_type"] == "hash" else -77
        reply = server.invoke({"dataframe_records": [{"session": [unknown, *sessions[0]]}]})
        expected = model.predict(pd.DataFrame({"session": sessions[:1]}))
        check("unknown items are skipped", reply.status, reply.status == 200 and _same(reply.content, expected))
        reply = server.invoke({"dataframe_records": [{"session": [unknown]}]})
        popular = model.predict(pd.DataFrame({"session": [[]]}))
        told = reply.status == 200 and reply.content["predictions"][0]["fallback"] == POPULAR
        check("without known items, popular ones", reply.status, told and _same(reply.content, popular))
        content = {"dataframe_records": [{"session": (sessions[0] * 10_000)[:10_000]}], "params": {"k": LARGEST_K}}
        reply = server.invoke(content)
        check(
            "a session of 10,000 clicks", reply.status, reply.status == (413 if len(json.dumps(content)) > limits.max_body_bytes else 200)
        )

        for name, (status, method, body, headers) in broken_requests(sessions[0], limits).items():
            reply = server.send(method, "/invocations", body, headers)
            check(name, reply.status, _clean_refusal(reply, status))
        wrong_kind = [1] if manifest["id_type"] == "string" else [str(sessions[0][0])] if manifest["id_type"] == "integer" else [1.0]
        reply = server.invoke({"dataframe_records": [{"session": wrong_kind}]})
        check("ids of another type", reply.status, _clean_refusal(reply, 400))

        content, asked, k = good["dataframe_records"]
        reply = server.invoke(content)
        expected = model.predict(pd.DataFrame({"session": asked}), params={"k": k})
        check("good requests after the broken ones", reply.status, reply.status == 200 and _same(reply.content, expected))
    return {"ok": all(done["ok"] for done in checks), "package_hash": package_digest(package), "checks": checks}
