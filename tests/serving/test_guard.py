import json
import os
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient

from recsys.errors import ConfigurationError
from recsys.serving.server import TOKEN_VARIABLE, Start, build_app, make_guard
from recsys.settings.serving import ServeSettings
from tests.serving.conftest import Shop, integer_ids

TOKEN = "a-token-nobody-guesses"
BODY = {"inputs": [{"session": integer_ids()[:2]}]}


def client(shop: Shop, host: str = "127.0.0.1", **settings: object) -> TestClient:
    chosen = ServeSettings(log_sample=0, **settings)
    return TestClient(build_app(Start(package=shop.package, settings=chosen)), base_url=f"http://{host}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:5000", "[::1]", "[::1]:5000"])
def test_the_loopback_answers_by_its_own_names(host: str, shop: Shop) -> None:
    assert client(shop).post("/invocations", json=BODY, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["shop.example", "127.0.0.1.shop.example", "", "localhost.", "[::2]"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/invocations"), ("GET", "/"), ("GET", "/metrics"), ("GET", "/version"), ("GET", "/docs")]
)
def test_another_name_is_refused_everywhere(host: str, method: str, path: str, shop: Shop) -> None:
    reply = client(shop).request(method, path, json=BODY if method == "POST" else None, headers={"Host": host})
    assert reply.status_code == 421
    assert set(reply.json()) == {"error_code", "message"}


def test_names_can_be_allowed(shop: Shop) -> None:
    asked = client(shop, allowed_hosts=["Shop.example"])
    assert asked.post("/invocations", json=BODY, headers={"Host": "shop.EXAMPLE:80"}).status_code == 200
    assert asked.post("/invocations", json=BODY, headers={"Host": "other.example"}).status_code == 421
    assert client(shop, allowed_hosts=["*"]).post("/invocations", json=BODY, headers={"Host": "any.example"}).status_code == 200


def test_a_token_is_asked_for_everywhere_but_where_nothing_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    asked = client(shop)
    for shown in (None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"):
        headers = {} if shown is None else {"Authorization": shown}
        for method, path in [
            ("POST", "/invocations"),
            ("POST", "/sessions/a/clicks"),
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
            ("GET", "/x"),
        ]:
            reply = asked.request(method, path, json=BODY if method == "POST" else None, headers=headers)
            assert reply.status_code == 401, (shown, path)
            assert reply.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in reply.text
    for path in ("/ping", "/health", "/ready"):
        assert asked.get(path).status_code == 200
    assert asked.post("/invocations", json=BODY, headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    ("settings", "token", "told"),
    [
        ({"host": "0.0.0.0", "allowed_hosts": ["shop.example"]}, None, "a token is required"),
        ({"host": "192.0.2.7"}, None, "a token is required"),
        ({"host": "0.0.0.0"}, TOKEN, "serve.allowed_hosts"),
        ({"host": "127.0.0.1"}, "short", "at least 16 characters"),
    ],
)
def test_a_server_that_others_could_use_does_not_start(settings: dict, token: str | None, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        make_guard(ServeSettings(**settings), token)


def test_the_command_says_so_too(shop: Shop) -> None:
    settings = json.dumps({"serve": {"host": "0.0.0.0"}})
    environment = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    command = [sys.executable, "-m", "recsys", "serve", "--model", str(shop.package), "--port", "0", "--settings", settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("recsys: serve.host: 0.0.0.0 can be reached from elsewhere, so a token is required")
    assert "Traceback" not in done.stderr
