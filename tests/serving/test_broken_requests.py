"""Requests that are wrong in every way that can be thought of, or that chance finds: each is refused in a sentence, or answered."""

import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.transport import Response

from recsys.serving import connection
from recsys.serving.connection import Connection
from recsys.serving.server import Start, build_app
from recsys.settings.serving import ServeSettings
from tests.serving.conftest import MAX_LENGTH, Shop, integer_ids
from tests.serving.in_process import JSON, Answer, InProcess

CASES = int(os.environ.get("CASES", "100"))
MANY = settings(max_examples=CASES, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=max(CASES // 3, 1), suppress_health_check=list(HealthCheck))

IDS = integer_ids()
SECRET = "zq7secret"
TRACES = (b"Traceback", b'File "', b".py", b"site-packages", b"/tmp", b"/home", b"Exception", SECRET.encode())
LIMITS = ServeSettings(max_session_length=MAX_LENGTH, log_sample=0, timeout=60_000, max_body_bytes=20_000, max_sessions=50)
REFUSED = {400, 413, 415}


@pytest.fixture(scope="module")
def inside(shop: Shop) -> Iterator[InProcess]:
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    running = InProcess(build_app(Start(package=shop.package, settings=LIMITS)))
    yield running
    running.close()


def check(answer: Answer, refused: set[int] = REFUSED, keys: set[str] = frozenset({"predictions"})) -> None:
    assert answer.header(b"content-type") == b"application/json"
    content = answer.content
    if answer.status == 200:
        assert set(content) == keys
        for each in content.get("predictions", [content]):
            assert len(each["recommendations"]) == len(each["scores"]) <= 100
            assert each["fallback"] in (None, "popular")
        return
    assert answer.status in refused, answer
    assert set(content) == {"error_code", "message"}
    assert content["message"].endswith(".")
    assert not [trace for trace in TRACES if trace in answer.body]


# What the OpenAPI document says.

OPERATIONS = [
    ("/invocations", "POST"),
    ("/sessions/{id}/clicks", "POST"),
    ("/sessions/{id}", "DELETE"),
    ("/items", "GET"),
    ("/sample", "GET"),
    ("/catalogue", "GET"),
    ("/ready", "GET"),
    ("/health", "GET"),
    ("/metrics", "GET"),
    ("/", "GET"),
]
NOT_SAID = ("Each entry of ", "The columns of inputs ")
"""Refusals of requests that the document allows, for no schema can say that two lists have as many values."""


def is_beyond_a_schema(answer: Answer, body: Any) -> bool:
    """Whether a request is refused for what no schema can say of it: of what type a cell is depends on its column's name elsewhere."""
    return answer.content["message"].startswith(NOT_SAID) or (isinstance(body, dict) and "dataframe_split" in body)


@pytest.fixture(scope="module")
def document(inside: InProcess) -> Any:
    return schemathesis.openapi.from_dict(inside.send("GET", "/openapi.json").content)


def written_as_integers(content: Any) -> Any:
    """Whole numbers without a fraction, since to a schema 7.0 is an integer too."""
    if isinstance(content, dict):
        return {key: written_as_integers(value) for key, value in content.items()}
    if isinstance(content, list):
        return [written_as_integers(value) for value in content]
    return int(content) if isinstance(content, float) and content.is_integer() else content


def send_case(inside: InProcess, case: Any) -> tuple[Answer, Response]:
    told = case.as_transport_kwargs(base_url="http://127.0.0.1")
    known = ("method", "url", "headers", "params", "json", "data")
    prepared = requests.Request(**{name: told[name] for name in known if name in told}).prepare()
    body = prepared.body or b""
    body = body if isinstance(body, bytes) else body.encode()
    answer = inside.send(prepared.method, prepared.path_url, body, dict(prepared.headers))
    headers: dict[str, list[str]] = {}
    for name, value in answer.headers:
        headers.setdefault(name.decode().lower(), []).append(value.decode())
    return answer, Response(answer.status, headers, answer.body, prepared, elapsed=0.0, verify=False)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=["as described", "not as described"])
@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=[path for path, _ in OPERATIONS])
def test_every_answer_is_as_the_document_says(path: str, method: str, mode: GenerationMode, inside: InProcess, document: Any) -> None:
    operation = document[path][method]
    if mode == GenerationMode.NEGATIVE and not (operation.body or operation.query):
        pytest.skip("nothing of it can be wrong")  # but the length of a session's id, which chance seldom reaches

    @FEW
    @given(operation.as_strategy(generation_mode=mode))
    def every_case(case: Any) -> None:
        case.body = written_as_integers(case.body)
        answer, response = send_case(inside, case)
        assert answer.status < 500
        if answer.status == 413:  # a refusal too, which the check of wrong data does not count
            assert set(answer.content) == {"error_code", "message"}
            return
        if mode == GenerationMode.POSITIVE and answer.status == 400 and is_beyond_a_schema(answer, case.body):
            return
        case.validate_response(response)

    every_case()


def test_the_document_asks_for_a_token_where_the_server_does(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_SERVE_TOKEN", "t" * 24)
    app = InProcess(build_app(Start(package=shop.package, settings=LIMITS)))
    assert app.send("GET", "/openapi.json").status == 401
    described = app.send("GET", "/openapi.json", headers={"Authorization": "Bearer " + "t" * 24}).content
    assert described["security"] == [{"token": []}]
    assert described["paths"]["/health"]["get"]["security"] == []
    for path, operations in described["paths"].items():
        if "get" in operations:
            answer = app.send("GET", path)
            assert answer.status == (200 if "security" in operations["get"] else 401), path
    app.close()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/invocations", b"POST"),
        ("POST", "/health", b"GET, HEAD"),
        ("DELETE", "/version", b"GET"),
        ("GET", "/sessions/a/clicks", b"POST"),
        ("POST", "/sessions/a", b"DELETE"),
    ],
)
def test_a_method_that_is_not_allowed_is_told_which_one_is(method: str, path: str, allowed: bytes, inside: InProcess) -> None:
    answer = inside.send(method, path, b"{}", JSON)
    assert (answer.status, answer.header(b"allow")) == (405, allowed)


@pytest.mark.parametrize("item", ["--5", "5-", "٣", "9" * 30, "%", "%2520", "", "\x00"])
def test_the_page_of_items_takes_any_text_for_an_id(item: str, inside: InProcess) -> None:
    answer = inside.send("GET", requests.Request("GET", "http://x/items", params={"id": item}).prepare().path_url)
    assert answer.status == 200
    assert answer.content["items"][0]["id"] == item


# What chance makes of a valid body.

texts = st.text(st.characters(codec=None), max_size=8).map(lambda text: SECRET + text) | st.sampled_from(
    ["", "1000", "session", "\x00", "\ud800"]
)
numbers = st.integers() | st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**400, 1e308, -0.0])
scalars = st.none() | st.booleans() | numbers | texts
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8)

sessions = st.lists(st.sampled_from(IDS) | st.integers(-5, 5), max_size=2 * MAX_LENGTH)
rules = st.fixed_dictionaries(
    {},
    optional={
        "k": st.integers(1, 100),
        "exclude": st.none() | st.lists(st.sampled_from(IDS), max_size=5),
        "categories": st.none(),
        "available": st.booleans(),
        "diversity": st.none() | st.floats(0, 1),
    },
)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for session in draw(st.lists(sessions, max_size=3)):
        row: dict[str, Any] = {"session": session}
        if draw(st.booleans()):
            row["events"] = draw(st.none() | st.just(["view"] * len(session)))
            row["visitor"] = draw(st.none() | st.just("someone") | st.just(7))
        found.append(row)
    return found


@st.composite
def invocations(draw: st.DrawFn) -> dict[str, Any]:
    """A valid body."""
    form = draw(st.sampled_from(["dataframe_records", "inputs", "dataframe_split", "columns"]))
    body: dict[str, Any]
    if form in ("dataframe_records", "inputs"):
        body = {form: draw(rows())}
    else:
        asked = draw(st.lists(sessions, max_size=3))
        split = {"dataframe_split": {"columns": ["session"], "data": [[session] for session in asked]}}
        body = split if form == "dataframe_split" else {"inputs": {"session": asked}}
    if draw(st.booleans()):
        body["params"] = draw(rules)
    return body


clicks = st.fixed_dictionaries(
    {"item": st.sampled_from(IDS) | st.integers(0, 9)}, optional={"session": st.none() | sessions, "params": rules}
)


def places(content: Any, path: tuple = ()) -> list[tuple]:
    found = [path]
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, child in children:
        found += places(child, (*path, key))
    return found


def changed(draw: st.DrawFn, content: Any, path: tuple) -> Any:
    if path:
        copy = content.copy()
        copy[path[0]] = changed(draw, content[path[0]], path[1:])
        return copy
    match draw(st.sampled_from(["replaced", "wrapped", "key", "dropped", "repeated", "nested"])):
        case "wrapped":
            return [content]
        case "key" if isinstance(content, dict):
            return content | {
                draw(texts | st.sampled_from(["inputs", "dataframe_records", "instances", "params", "messages"])): draw(anything)
            }
        case "dropped" if content and isinstance(content, dict):
            return {key: value for key, value in content.items() if key != draw(st.sampled_from(sorted(content, key=str)))}
        case "repeated" if isinstance(content, list):
            return content * draw(st.integers(0, 60))
        case "nested":
            nested: Any = content
            for _ in range(draw(st.integers(1, 400))):
                nested = [nested]
            return nested
    return draw(anything)


@st.composite
def broken(draw: st.DrawFn, valid: st.SearchStrategy) -> bytes:
    """A body that was valid before up to three things happened to it, and then something to its bytes."""
    content = draw(valid)
    for _ in range(draw(st.integers(1, 3))):
        content = changed(draw, content, draw(st.sampled_from(places(content))))
    text = json.dumps(content)
    written = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32", "cp037"]))
    body = text.encode(written, "replace")
    match draw(st.sampled_from(["whole"] * 6 + ["cut", "byte", "twice", "bytes"])):
        case "cut":
            return body[: draw(st.integers(0, len(body)))]
        case "byte":
            at = draw(st.integers(0, max(len(body) - 1, 0)))
            return body[:at] + draw(st.binary(min_size=1, max_size=3)) + body[at + 1 :]
        case "twice":
            return body + body
        case "bytes":
            return draw(st.binary(max_size=200))
    return body


@MANY
@given(body=broken(invocations()), pieces=st.integers(1, 3))
def test_a_body_that_chance_broke_is_refused_or_answered(body: bytes, pieces: int, inside: InProcess) -> None:
    check(inside.send("POST", "/invocations", body, JSON, pieces))


@MANY
@given(body=broken(clicks), key=st.text(min_size=1, max_size=5))
def test_a_click_that_chance_broke_is_refused_or_answered(body: bytes, key: str, inside: InProcess) -> None:
    target = (
        requests.Request("POST", f"http://x/sessions/{requests.utils.quote(key.encode('utf-8', 'replace'), safe='')}/clicks")
        .prepare()
        .path_url
    )
    answer = inside.send("POST", target, body, JSON)
    check(
        answer,
        REFUSED | ({404} if "/" in key else {405} if key in (".", "..") else set()),
        {"recommendations", "scores", "fallback", "clicks"},
    )


header_values = st.binary(max_size=20) | st.sampled_from(
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b"application/json;charset=latin-1",
        b"text/csv",
        b"text/plain",
        b"*/*",
        b";",
        b"gzip",
    ]
)


@MANY
@given(
    headers=st.dictionaries(
        st.sampled_from(["Content-Type", "Content-Encoding", "Authorization", "X-Request-Id", "Accept", "Content-Length", SECRET]),
        header_values,
    ),
    body=invocations() | st.just({"inputs": [{"session": [SECRET]}]}),
)
def test_headers_of_any_kind_are_survived(headers: dict[str, bytes], body: dict, inside: InProcess) -> None:
    check(inside.send("POST", "/invocations", json.dumps(body).encode(), headers))


@FEW
@given(
    body=broken(
        st.builds(lambda asked: {"instances": [{"session": session} for session in asked]}, st.lists(sessions, min_size=1, max_size=3))
    )
)
def test_the_forms_that_only_mlflow_reads_are_refused_alike(body: bytes, inside: InProcess) -> None:
    check(inside.send("POST", "/invocations", body, JSON))


@FEW
@given(body=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: b"session\n" + text.encode("utf-8", "replace")))
def test_csv_is_refused_alike(body: bytes, inside: InProcess) -> None:
    check(inside.send("POST", "/invocations", body, {"Content-Type": "text/csv"}))


@FEW
@given(body=invocations())
def test_valid_bodies_are_answered(body: dict, inside: InProcess) -> None:
    assert inside.send("POST", "/invocations", json.dumps(body).encode(), JSON).status == 200


# Side by side with MLflow's own parser.


@FEW
@given(
    asked=st.lists(sessions, min_size=1, max_size=4),
    k=st.integers(1, 100),
    form=st.sampled_from(["dataframe_records", "dataframe_split", "inputs"]),
)
def test_the_answers_are_those_of_mlflows_own_app(asked: list[list[int]], k: int, form: str, inside: InProcess) -> None:
    records = [{"session": session} for session in asked]
    body = {
        "dataframe_records": {"dataframe_records": records},
        "dataframe_split": {"dataframe_split": {"columns": ["session"], "data": [[session] for session in asked]}},
        "inputs": {"inputs": records},
    }[form]
    mlflow = InProcess(inside.app.engine.served.scoring_app)
    mlflow.loop = inside.loop
    both = [each.send("POST", "/invocations", json.dumps(body | {"params": {"k": k}}).encode(), JSON) for each in (inside, mlflow)]
    assert [answer.status for answer in both] == [200, 200]
    for ours, theirs in zip(*(answer.content["predictions"] for answer in both), strict=True):
        assert ours["fallback"] == theirs["fallback"]
        np.testing.assert_allclose(ours["scores"], theirs["scores"], rtol=1e-5, atol=1e-5)
        # Items whose scores are equal but for rounding may have changed places.
        place = {item: score for item, score in zip(theirs["recommendations"], theirs["scores"], strict=True)}
        np.testing.assert_allclose(
            [place.get(item, theirs["scores"][-1]) for item in ours["recommendations"]], ours["scores"], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("form", ["columns", "instances"])
def test_forms_in_which_mlflow_cannot_read_lists(form: str, inside: InProcess) -> None:
    asked = [IDS[:3], IDS[4:7]]
    body = {"inputs": {"session": asked}} if form == "columns" else {"instances": [{"session": session} for session in asked]}
    mlflow = InProcess(inside.app.engine.served.scoring_app)
    mlflow.loop = inside.loop
    ours, theirs = (each.send("POST", "/invocations", json.dumps(body).encode(), JSON).status for each in (inside, mlflow))
    assert (ours, theirs) == ((200, 400) if form == "columns" else (400, 400))


# What arrives at the socket.


@pytest.fixture(scope="module")
def address(shop: Shop) -> Iterator[tuple[str, int]]:
    """A server in a thread of this process, with real sockets and little patience."""
    limits = LIMITS.model_copy(update={"timeout": 1_000})
    options = {"loop": "uvloop", "http": Connection, "ws": "none", "lifespan": "on", "log_level": "critical", "access_log": False}
    server = uvicorn.Server(uvicorn.Config(build_app(Start(package=shop.package, settings=limits)), port=0, **options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "HEAD_SECONDS", 1.0)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()
        server.should_exit = True
        thread.join(60)


BODY = json.dumps({"inputs": [{"session": IDS[:2]}]}).encode()
HEAD = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GOOD = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def talk(address: tuple[str, int], *pieces: bytes, half_close: bool = False) -> bytes:
    """What the server says until it ends the connection, or a second request on it was answered."""
    with socket.create_connection(address, timeout=60) as client:
        heard = b""
        try:
            for piece in pieces:
                client.sendall(piece)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            while piece := client.recv(65_536):
                heard += piece
        except (BrokenPipeError, ConnectionResetError):
            pass
        return heard


def answers(heard: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", heard)]


def still_serves(address: tuple[str, int]) -> bool:
    return answers(talk(address, GOOD.replace(b"Host", b"Connection: close\r\nHost"))) == [200]


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"", []),
        (b"\r\n\r\n\r\n", []),
        (b"POST /invocations HT", []),
        (HEAD, []),
        (HEAD + b"Content-Length: 100\r\n\r\n", [408]),
        (HEAD + b"Content-Length: 100\r\n\r\n" + BODY[:10], [408]),
        (HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"inp', [408]),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY, [400]),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", [400]),
        (HEAD + b"Content-Length: -5\r\n\r\n", [400]),
        (HEAD + b"Content-Length: 9999999999999999999999\r\n\r\n", [400]),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", [400]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), [400]),
        (b"GET / HTTP/9.9\r\n\r\n", [400]),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", [400]),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", [400]),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n bad folding\r\nX\r\n\r\n", [400]),
        (b"GET /health HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n", [421]),
        (b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", [421]),
        (b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n", [200]),
        (b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", [200]),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", [404]),
        (b"GET /%00%ff%2e%2e HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", [404]),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n", [200]),
        (HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY, [200]),
    ],
)
def test_what_is_no_request_is_refused_and_ends(sent: bytes, statuses: list[int], address: tuple[str, int]) -> None:
    heard = talk(address, sent)
    assert [status for status in answers(heard) if status != 100] == statuses
    assert b"Traceback" not in heard
    assert still_serves(address)


def test_a_client_that_asks_whether_to_go_on_is_told(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert answers(client.recv(1_000)) == [100]
        client.sendall(BODY)
        heard = b""
        while piece := client.recv(65_536):
            heard += piece
    assert answers(heard) == [200]
    assert heard.count(b"connection: close\r\n") == 1


def test_the_head_of_a_page_comes_without_the_page_and_the_connection_is_kept(address: tuple[str, int]) -> None:
    ask = b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    heard = talk(address, ask + ask + GOOD.replace(b"Host", b"Connection: close\r\nHost"))
    assert answers(heard) == [200, 200, 200]
    assert b"<html" not in heard
    assert heard.endswith(b"}")


def test_a_head_without_end_is_refused(address: tuple[str, int]) -> None:
    heard = talk(address, HEAD, *[b"X-%d: %s\r\n" % (number, b"x" * 8_000) for number in range(40)])
    assert answers(heard) in ([431], [])  # a client that is still sending may find the connection closed
    assert still_serves(address)


def test_a_head_that_comes_byte_by_byte_is_ended(address: tuple[str, int]) -> None:
    begin = time.monotonic()
    with socket.create_connection(address, timeout=60) as client:
        client.settimeout(0.05)
        ended = False
        for byte in HEAD * 100:
            try:
                client.sendall(bytes([byte]))
                ended = client.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
            if ended:
                break
    assert ended
    assert time.monotonic() - begin < 50


def test_a_body_that_trickles_is_ended(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        heard = b""
        client.settimeout(0.05)
        for _ in range(600):
            try:
                client.sendall(b" ")
                heard += client.recv(1_000)
            except TimeoutError:
                continue
            except OSError:
                break
            if b"HTTP/1.1 " in heard:
                break
    assert answers(heard) == [408]
    assert still_serves(address)


def test_a_body_of_any_length_is_refused_without_keeping_it(address: tuple[str, int]) -> None:
    heard = talk(address, HEAD + b"Content-Length: 10000000\r\n\r\n", *[b" " * 50_000] * 200)
    assert answers(heard) in ([413], [])
    short = talk(address, HEAD + b"Connection: close\r\nContent-Length: 25000\r\n\r\n" + b" " * 25_000)
    assert answers(short) == [413]
    assert still_serves(address)


def test_pipelined_requests_are_answered_in_turn(address: tuple[str, int]) -> None:
    missing = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    heard = talk(address, (GOOD + missing) * 20 + GOOD.replace(b"Host", b"Connection: close\r\nHost"))
    assert answers(heard) == [200, 404] * 20 + [200]


def test_clients_that_leave_before_their_answer_leave_nothing_behind(address: tuple[str, int]) -> None:
    for _ in range(100):
        with socket.create_connection(address, timeout=60) as client:
            client.sendall(GOOD * 3)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert still_serves(address)
    assert answers(talk(address, GOOD, half_close=True)) in ([200], [])


@settings(max_examples=CASES // 2, suppress_health_check=list(HealthCheck))
@given(noise=st.binary(min_size=1, max_size=300), at=st.integers(0, len(GOOD)), dropped=st.integers(0, 40))
def test_bytes_that_chance_put_into_a_request_are_survived(noise: bytes, at: int, dropped: int, address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(GOOD[:at] + noise + GOOD[at + dropped :])
        client.shutdown(socket.SHUT_WR)
        heard = b""
        try:
            while piece := client.recv(65_536):
                heard += piece
        except ConnectionResetError:
            pass
    assert not [status for status in answers(heard) if status >= 500]
    assert b"Traceback" not in heard
