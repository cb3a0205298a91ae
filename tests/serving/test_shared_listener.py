import http.client
import json
import time
from collections import Counter
from pathlib import Path

from recsys.serving.shared_listener import Place, make_places
from recsys.serving.smoke import running_server
from recsys.settings.serving import ServeSettings
from tests.serving.conftest import Shop, integer_ids


def test_a_worker_with_more_connections_lets_the_others_go_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RECSYS_SERVE_PLACES", "")
    make_places(tmp_path / "places", 3)
    first, second = Place(tmp_path / "places"), Place(tmp_path / "places")
    assert not first.ahead()
    first.change(+1)
    assert first.ahead()
    assert not second.ahead()
    second.change(+1)
    assert not first.ahead()  # the third place is nobody's
    second.change(-1)
    assert first.ahead()
    second.leave()
    assert not first.ahead()  # nobody waits for a worker that is ending
    third = Place(tmp_path / "places")
    assert first.ahead()
    assert not third.ahead()


def test_a_worker_beyond_the_places_takes_what_it_can_get(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RECSYS_SERVE_PLACES", "")
    make_places(tmp_path / "places", 1)
    first, second = Place(tmp_path / "places"), Place(tmp_path / "places")
    second.change(+5)
    assert not second.ahead()
    first.change(+1)
    assert not first.ahead()


def test_kept_connections_are_shared_out_evenly(shop: Shop) -> None:
    body = json.dumps({"inputs": [{"session": integer_ids()[:2]}]})

    def ask(connection: http.client.HTTPConnection) -> str:
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        assert reply.status == 200
        reply.read()
        return reply.headers["x-request-id"].split("-")[0]  # every process has its own

    with running_server(shop.package, ServeSettings(log_sample=0), workers=2) as server:

        def connect() -> http.client.HTTPConnection:
            return http.client.HTTPConnection(server._host, server._port, timeout=60)

        seen: set[str] = set()
        for _ in range(2_000):  # until both have come up
            connection = connect()
            seen.add(ask(connection))
            connection.close()
            if len(seen) == 2:
                break
            time.sleep(0.05)
        connections = [connect() for _ in range(20)]
        answered = Counter(ask(connection) for connection in connections)
        for connection in connections:
            connection.close()
    assert len(answered) == 2, "a worker answered nothing"
    assert max(answered.values()) <= 12
