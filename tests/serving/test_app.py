import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from recsys.errors import BusyError, ConfigurationError, PackageError
from recsys.provenance import closure, stage_modules
from recsys.serving import smoke
from recsys.serving.recommender import Recommender
from recsys.serving.server import Start, build_app, resolve_package, take_port
from recsys.serving.settings import StageSettings, read_settings
from recsys.serving.smoke import Reply, Server, broken_requests, good_requests, smoke_test
from recsys.sessions.table import Sessions
from recsys.settings.serving import ServeSettings
from tests.serving.conftest import MAX_LENGTH, N_ITEMS, Shop, integer_ids

IDS = integer_ids()
LIMITS = ServeSettings(max_session_length=MAX_LENGTH, log_sample=0)


def ask(shop: Shop, **settings) -> TestClient:
    limits = LIMITS.model_copy(update=settings)
    return TestClient(build_app(Start(package=shop.package, settings=limits)), base_url="http://127.0.0.1")


def test_the_answer_is_the_fitted_models(shop: Shop, server: Server) -> None:
    reply = server.invoke({"dataframe_records": [{"session": [IDS[1], 3, IDS[2]]}, {"session": [3]}], "params": {"k": 5}})
    assert reply.status == 200
    first, second = reply.content["predictions"]
    indices, scores = shop.model.recommend(Sessions.from_lists([[1, 2]]), 5)
    assert first["recommendations"] == [IDS[index] for index in indices[0]]
    np.testing.assert_allclose(first["scores"], scores[0], rtol=1e-4)
    assert first["fallback"] is None
    assert second == {"recommendations": IDS[:5], "scores": [160.0, 159.0, 158.0, 157.0, 156.0], "fallback": "popular"}


@pytest.mark.parametrize("name", good_requests([IDS[:2]]).keys())
def test_every_form_gives_as_many_items_as_asked(name: str, server: Server) -> None:
    content, sessions, k = good_requests([IDS[:2], IDS[5:9], IDS[30:31]])[name]
    reply = server.invoke(content)
    assert reply.status == 200
    assert [len(answer["recommendations"]) for answer in reply.content["predictions"]] == [min(k, N_ITEMS)] * len(sessions)


@pytest.mark.parametrize("name", broken_requests(IDS[:2], LIMITS).keys())
def test_a_broken_request_is_refused_in_one_sentence_and_the_next_one_answered(name: str, server: Server) -> None:
    status, method, body, headers = broken_requests(IDS[:2], LIMITS)[name]
    reply = server.send(method, "/invocations", body, headers)
    assert reply.status == status
    assert set(reply.content) == {"error_code", "message"}
    assert reply.content["message"].count(". ") == 0
    assert b"Traceback" not in reply.body
    assert server.invoke({"dataframe_records": [{"session": IDS[:2]}]}).status == 200


def test_only_the_last_clicks_of_a_very_long_session_count(server: Server) -> None:
    tail = IDS[:MAX_LENGTH]
    long = server.invoke({"dataframe_records": [{"session": ([IDS[40]] * 10_000 + tail)[-10_000:]}]})
    assert long.status == 200
    assert long.content == server.invoke({"dataframe_records": [{"session": tail}]}).content


def test_a_body_that_is_cut_off_leaves_the_server_serving(server: Server) -> None:
    connection = http.client.HTTPConnection(server._host, server._port, timeout=30)
    connection.putrequest("POST", "/invocations")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b'{"dataframe_records"')
    connection.close()
    assert server.invoke({"dataframe_records": [{"session": IDS[:2]}]}).status == 200


@pytest.mark.parametrize("path", ["/ping", "/health", "/version"])
def test_mlflows_own_pages_are_there(path: str, server: Server) -> None:
    assert server.send("GET", path).status == 200


def test_an_unknown_page_is_refused_alike(server: Server) -> None:
    reply = server.send("GET", "/nothing")
    assert reply.status == 404
    assert set(reply.content) == {"error_code", "message"}


@pytest.mark.parametrize(
    ("ids", "asked", "answered", "refused"),
    [
        ([f"item-{index}" for index in range(N_ITEMS)], "item-4", "item-", 4),
        ([2**60 + index for index in range(N_ITEMS)], 2**60 + 4, "11529215046068", 4.0),
    ],
    ids=["strings", "hashes"],
)
def test_ids_that_are_no_small_integers_travel_as_strings(ids: list, asked, answered: str, refused, new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(ids=ids)
    client = ask(shop)
    reply = client.post("/invocations", json={"inputs": [{"session": [asked]}]})
    assert reply.status_code == 200
    indices, _ = shop.model.recommend(Sessions.from_lists([[4]]), 20)
    assert reply.json()["predictions"][0]["recommendations"] == [str(ids[index]) for index in indices[0]]
    assert all(item.startswith(answered) for item in reply.json()["predictions"][0]["recommendations"])
    assert client.post("/invocations", json={"inputs": [{"session": [refused]}]}).status_code == 400


def test_session_items_are_left_out_where_the_package_was_made_so(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(family="item_to_item", exclude=True)
    client = ask(shop)
    answer = client.post("/invocations", json={"inputs": [{"session": IDS[3:6]}], "params": {"k": 100}}).json()["predictions"][0]
    assert set(answer["recommendations"]) == set(IDS) - set(IDS[3:6])


def test_a_fault_of_the_server_is_logged_and_not_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = ask(shop)

    def fail(*arguments, **options):
        raise RuntimeError("the secret of the server")

    with monkeypatch.context() as broken:
        broken.setattr(Recommender, "answer", fail)
        reply = client.post("/invocations", json={"inputs": [{"session": IDS[:1]}]})
    assert reply.status_code == 500
    assert set(reply.json()) == {"error_code", "message"}
    assert "secret" not in reply.text
    assert "the secret of the server" in caplog.text
    assert client.post("/invocations", json={"inputs": [{"session": IDS[:1]}]}).status_code == 200


def test_the_smoke_test_passes_on_a_sound_package_and_repeats_itself(shop: Shop, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import contextlib

    monkeypatch.setattr(smoke, "running_server", lambda package, limits: contextlib.nullcontext(server))
    settings = StageSettings(serve=LIMITS.model_dump())
    found = smoke_test(shop.package, shop.test, shop.items, settings)
    assert [check for check in found["checks"] if not check["ok"]] == []
    assert len(found["checks"]) > 50
    assert smoke_test(shop.package, shop.test, shop.items, settings) == found


def test_the_smoke_test_fails_a_server_of_another_package(native_shop: Shop, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import contextlib

    monkeypatch.setattr(smoke, "running_server", lambda package, limits: contextlib.nullcontext(server))
    found = smoke_test(native_shop.package, native_shop.test, native_shop.items, StageSettings(serve=LIMITS.model_dump()))
    failed = {check["name"] for check in found["checks"] if not check["ok"]}
    assert found["ok"] is False
    assert {"dataframe_records", "inputs as columns", "good requests after the broken ones"} <= failed


@pytest.mark.parametrize(
    "body",
    [
        b'{"error_code": "X", "message": "Traceback (most recent call last)"}',
        b"<html>",
        b'{"message": "m", "stack_trace": "s"}',
        b'{"error_code": "X"}',
    ],
)
def test_the_smoke_test_knows_a_refusal_that_is_not_clean(body: bytes) -> None:
    assert smoke._clean_refusal(Reply(400, b'{"error_code": "X", "message": "m"}'), 400)
    assert not smoke._clean_refusal(Reply(400, body), 400)
    assert not smoke._clean_refusal(Reply(500, b'{"error_code": "X", "message": "m"}'), 400)


def test_a_server_on_a_broken_package_says_why_it_does_not_start(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="there is no package folder"), smoke.running_server(tmp_path / "nothing", LIMITS):
        pass


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_the_server_quietly(workers: int, shop: Shop) -> None:
    settings = json.dumps({"serve": {"workers": workers}})
    command = [sys.executable, "-m", "recsys", "serve", "--model", str(shop.package), "--port", "0", "--settings", settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("Serving the gru4rec model of tiny on http://127.0.0.1:")
        example = line.split("try: curl ")[1]
        assert json.loads(example.split("-d '")[1].rstrip().rstrip("'")) == {"dataframe_records": [{"session": IDS[:2]}]}
        port = int(line.split("127.0.0.1:")[1].split()[0])
        assert Server("127.0.0.1", port).invoke({"inputs": [{"session": IDS[:2]}]}).status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_a_port_in_use_and_a_foreign_host_are_told_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BusyError, match="already in use"):
            take_port("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigurationError, match=r"serve\.host"):
        take_port("192.0.2.1", 0)
    take_port("127.0.0.1", 0).close()


def test_a_folder_that_is_no_package_is_not_served(shop: Shop, tmp_path: Path) -> None:
    assert resolve_package(str(shop.package), None, "tiny").package == shop.package
    with pytest.raises(PackageError, match="no package folder"):
        resolve_package(str(tmp_path / "nothing"), None, "tiny")
    with pytest.raises(PackageError, match=r"manifest\.json"):
        resolve_package(str(tmp_path), None, "tiny")


def test_serving_needs_nothing_that_training_needs() -> None:
    used = closure(*stage_modules("serve"))
    assert "recsys.serving.app" in used
    unwanted = ("recsys.training", "recsys.evaluation", "recsys.serving.onnx_graph", "recsys.models.gru4rec", "recsys.serving.package")
    assert not [module for module in used if module.startswith(unwanted)]


@pytest.mark.parametrize("text", ["{", "[]", '{"serve": {"port": "x"}}', '{"serve": {"prot": 1}}', '{"shop": "a b"}'])
def test_settings_that_cannot_be_used_are_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--settings"):
        read_settings(text)
