import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ConfigurationError
from recsys.serving.server import Start, build_app
from recsys.serving.session_store import FILE, FileStore, KeptSession, RedisStore, open_store
from recsys.serving.smoke import running_server
from recsys.settings.serving import ServeSettings, SessionStoreSettings
from tests.serving.conftest import MAX_LENGTH, Shop, integer_ids

IDS = integer_ids()


def client(shop: Shop, **more: object) -> TestClient:
    chosen = ServeSettings(max_session_length=MAX_LENGTH, log_sample=0, **more)
    return TestClient(build_app(Start(package=shop.package, settings=chosen)), base_url="http://127.0.0.1")


def whole(asked: TestClient, session: list, **params: object) -> dict:
    reply = asked.post("/invocations", json={"inputs": [{"session": session}], "params": params})
    assert reply.status_code == 200, reply.text
    return reply.json()["predictions"][0]


def click(asked: TestClient, key: str, item: object, session: list | None = None, **params: object) -> dict:
    body = {"item": item, "params": params} | ({} if session is None else {"session": session})
    reply = asked.post(f"/sessions/{key}/clicks", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def same(step: dict, expected: dict) -> None:
    assert step["recommendations"] == expected["recommendations"]
    np.testing.assert_allclose(step["scores"], expected["scores"], rtol=1e-4, atol=1e-5)
    assert step["fallback"] == expected["fallback"]


def outcomes(asked: TestClient) -> dict[str, float]:
    lines = asked.get("/metrics").text.splitlines()
    told = (line for line in lines if line.startswith("recsys_session_steps_total"))
    return {line.split('"')[1]: float(line.split()[-1]) for line in told}


@pytest.fixture(scope="module", params=["gru4rec", "blend", "item_to_item"])
def family(request: pytest.FixtureRequest, new_shop: Callable[..., Shop]) -> Shop:
    return new_shop(family=request.param, exclude=request.param == "item_to_item")


@pytest.fixture(scope="module")
def asked(family: Shop) -> TestClient:
    return client(family)


@settings(max_examples=15, deadline=None)
@given(session=st.lists(st.sampled_from([*IDS, 3]), min_size=1, max_size=MAX_LENGTH + 6))
def test_a_click_at_a_time_gives_what_the_whole_session_gives(asked: TestClient, session: list) -> None:
    key = os.urandom(8).hex()
    for position, item in enumerate(session):
        step = click(asked, key, item)
        assert step["clicks"] == position + 1
        same(step, whole(asked, session[: position + 1]))


def test_a_click_is_the_work_of_one_click(shop: Shop) -> None:
    asked = client(shop)
    for item in IDS[:MAX_LENGTH]:
        click(asked, "one", item)
    assert outcomes(asked) == {"new": 1, "stepped": MAX_LENGTH - 1, "rebuilt": 0}
    # Beyond what the model looks at, the oldest clicks leave the session.
    same(click(asked, "one", IDS[30]), whole(asked, [*IDS[1:MAX_LENGTH], IDS[30]]))
    assert outcomes(asked)["rebuilt"] == 1


def test_rules_and_k_hold_for_clicks(shop: Shop) -> None:
    asked = client(shop)
    step = click(asked, "ruled", IDS[4], k=5, exclude=IDS[:30])
    same(step, whole(asked, [IDS[4]], k=5, exclude=IDS[:30]))
    assert not set(step["recommendations"]) & set(IDS[:30])


def test_a_session_that_is_gone_is_rebuilt_from_the_clicks_that_are_sent(shop: Shop) -> None:
    asked = client(shop)
    same(click(asked, "late", IDS[7], session=IDS[:5]), whole(asked, [*IDS[:5], IDS[7]]))
    assert click(asked, "late", IDS[8], session=[IDS[50]])["clicks"] == 7  # what is kept counts, not what is sent
    assert asked.delete("/sessions/late").json() == {"forgotten": True}
    assert asked.delete("/sessions/late").status_code == 404
    assert click(asked, "late", IDS[7])["clicks"] == 1


def test_sessions_of_another_model_are_rebuilt(shop: Shop) -> None:
    asked = client(shop)
    click(asked, "old", IDS[3])
    engine = asked.app.engine
    engine.serve(replace(engine.served, digest="another"))
    same(click(asked, "old", IDS[5]), whole(asked, [IDS[3], IDS[5]]))
    assert outcomes(asked) == {"new": 1, "stepped": 0, "rebuilt": 1}


def test_a_store_that_fails_loses_no_request(shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    asked = client(shop)

    def fail(*arguments: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(FileStore, "get", fail)
    monkeypatch.setattr(FileStore, "put", fail)
    same(click(asked, "any", IDS[3], session=IDS[:2]), whole(asked, [*IDS[:2], IDS[3]]))
    assert "no room" in caplog.text


def test_no_click_is_lost_when_many_come_at_once(shop: Shop) -> None:
    with running_server(shop.package, ServeSettings(log_sample=0), workers=2) as server:
        counted: list[int] = []

        def send(own: list[int]) -> None:
            for item in own:
                reply = server.send("POST", "/sessions/shared/clicks", b'{"item": %d}' % item, {"Content-Type": "application/json"})
                assert reply.status == 200, reply.body
                counted.append(reply.content["clicks"])

        threads = [threading.Thread(target=send, args=(IDS[begin : begin + 10],)) for begin in range(0, 60, 10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(counted) == list(range(1, 61))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server on this machine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen([program, "--port", str(port), "--save", "", "--dir", str(folder)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    if request.param == "file":
        return FileStore(tmp_path / FILE, keep=60, most=1_000)
    return RedisStore(request.getfixturevalue("redis_url"), keep=60)


def test_a_store_gives_back_what_was_put_and_refuses_a_revision_that_is_late(store) -> None:
    key = os.urandom(4).hex()
    first = KeptSession(1, 1, [5, "x"], "model", b"\x00\x01")
    assert store.get([key, "nobody"]) == [None, None]
    assert store.put({key: first}) == set()
    assert store.get(["nobody", key]) == [None, first]
    assert store.put({key: first, key + "other": first}) == {key}
    second = replace(first, revision=2, state=b"")
    assert store.put({key: second}) == set()
    assert store.get([key]) == [second]
    assert store.put({key: second}) == {key}
    assert store.forget(key)
    assert not store.forget(key)
    assert store.put({key: first}) == set()
    store.close()


def test_sessions_without_a_click_for_long_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path / FILE, keep=60, most=1_000)
    now = [1_000.0]
    monkeypatch.setattr("recsys.serving.session_store.time.time", lambda: now[0])
    first = KeptSession(1, 1, [5])
    store.put({"a": first})
    now[0] += 59
    assert store.get(["a"]) == [first]
    now[0] += 2
    assert store.get(["a"]) == [None]
    assert store.put({"a": first}) == set()  # begins anew in its place
    assert store.get(["a"]) == [first]


def test_the_store_is_bounded_and_the_oldest_sessions_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path / FILE, keep=1e9, most=100)
    now = [0.0]
    monkeypatch.setattr("recsys.serving.session_store.time.time", lambda: now[0])
    for number in range(500):
        now[0] = number
        store.put({str(number): KeptSession(1, 1, [number])})
    kept = [number for number in range(500) if store.get([str(number)])[0] is not None]
    assert len(kept) <= 200
    assert kept == list(range(500 - len(kept), 500))


def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"serve\.sessions\.folder"):
        open_store(SessionStoreSettings(folder=str(tmp_path / "file")), tmp_path)
    with pytest.raises(ConfigurationError, match=r"serve\.sessions\.redis"):
        open_store(SessionStoreSettings(redis="redis://127.0.0.1:1/0"), tmp_path)


def test_sessions_in_redis_are_served_alike(shop: Shop, redis_url: str) -> None:
    asked = client(shop, sessions={"redis": redis_url})
    key = os.urandom(4).hex()
    for position in range(4):
        same(click(asked, key, IDS[position]), whole(asked, IDS[: position + 1]))
    assert outcomes(asked) == {"new": 1, "stepped": 3, "rebuilt": 0}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/sessions/a/clicks", b"{}", 400),
        ("POST", "/sessions/a/clicks", b'{"item": "x"}', 400),
        ("POST", "/sessions/a/clicks", b'{"item": null}', 400),
        ("POST", "/sessions/a/clicks", b'{"item": 1, "session": 3}', 400),
        ("POST", "/sessions/a/clicks", b'{"item": 1, "more": 3}', 400),
        ("POST", "/sessions/a/clicks", b"[1]", 400),
        ("POST", "/sessions/a/clicks", b"{", 400),
        ("POST", f"/sessions/{'a' * 201}/clicks", b'{"item": 1}', 400),
        ("POST", "/sessions//clicks", b'{"item": 1}', 404),
        ("POST", "/sessions/a/else", b'{"item": 1}', 404),
        ("GET", "/sessions/a/clicks", b"", 405),
        ("POST", "/sessions/a", b'{"item": 1}', 405),
        ("DELETE", "/sessions/a/clicks", b"", 405),
    ],
)
def test_a_broken_click_is_refused_in_one_sentence(method: str, path: str, body: bytes, status: int, asked: TestClient) -> None:
    reply = asked.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == status
    assert set(reply.json()) == {"error_code", "message"}
