"""What happens to a server under load: workers are killed, it is told to end, its model and its rules change."""

import os
import signal
import threading
from pathlib import Path

import polars as pl
import pytest

from recsys.serving.champion import Champion
from recsys.serving.server import Start, build_app
from recsys.settings.serving import RuleSettings, ServeSettings
from tests.serving.conftest import MAX_LENGTH, Shop, integer_ids, make_shop
from tests.serving.in_process import JSON, InProcess
from tests.serving.load import Load, click, damaged, invocation, publish, served, until

IDS = integer_ids()
CLIENTS = 8
# Patient, for a machine that does other things too: that nothing is lost is asked here, and how fast it is elsewhere.
PATIENT = ServeSettings(max_session_length=MAX_LENGTH, timeout=120_000, log_sample=0)


def limits(**more: object) -> ServeSettings:
    return PATIENT.model_copy(update=more)


def test_sigterm_under_load_answers_every_request_that_was_accepted(shop: Shop) -> None:
    with served(limits(log_sample=1.0), shop.package) as server, Load(server.port, CLIENTS, invocation(IDS)) as load:
        load.more(200)
        server.end(signal.SIGTERM)
        load.finish()
        assert set(load.statuses) == {200}
        assert load.cut == 0
        answered = [line["status"] for line in server.logged() if line.get("endpoint") == "invocations"]
        assert answered == [200] * load.answered
        assert server.process.returncode in (0, -signal.SIGTERM)


def test_a_killed_worker_is_replaced_and_the_other_goes_on(shop: Shop) -> None:
    with served(limits(workers=2), shop.package) as server, Load(server.port, CLIENTS, invocation(IDS)) as load:
        load.more(100)
        killed, other = server.workers()
        os.kill(killed, signal.SIGKILL)
        load.more(100)
        now = until(lambda: [pid for pid in server.workers() if pid != killed] if len(set(server.workers()) - {killed}) == 2 else None)
        assert other in now
        load.more(100)
        load.finish()
        assert set(load.statuses) == {200}
        assert load.cut + load.unanswered <= CLIENTS
        server.end(signal.SIGTERM)
        assert server.process.returncode in (0, -signal.SIGTERM)


@pytest.fixture(scope="module")
def second_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return make_shop(tmp_path_factory.mktemp("second"), "item_to_item")


def test_a_new_champion_is_served_without_a_failed_request_and_a_broken_one_is_not(shop: Shop, second_shop: Shop, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    publish(shop.package, uri)
    with served(limits(refresh=200), tracking_uri=uri) as server:
        assert server.send("GET", "/ready").content["version"] == "1"
        with Load(server.port, CLIENTS // 2, invocation(IDS)) as asked, Load(server.port, CLIENTS // 2, click(IDS)) as clicked:
            asked.more(50)
            publish(second_shop.package, uri)
            until(lambda: server.send("GET", "/ready").content["version"] == "2")
            clicked.more(50)
            for consistent in (False, True):
                before = server.metric("recsys_model_reloads_total", outcome="refused")
                publish(damaged(shop.package, tmp_path / f"damaged-{consistent}", consistent), uri)
                until(lambda before=before: server.metric("recsys_model_reloads_total", outcome="refused") > before)
                asked.more(50)
            assert server.send("GET", "/ready").content["version"] == "2"
            publish(shop.package, uri)
            until(lambda: server.send("GET", "/ready").content["version"] == "5")
            clicked.more(50)
        for load in (asked, clicked):
            assert set(load.statuses) == {200}
            assert load.cut + load.unanswered == 0
        assert server.metric("recsys_model_reloads_total", outcome="loaded") == 2


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".parquet"])
def test_a_rules_file_may_change_break_and_come_back(suffix: str, shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / f"available{suffix}"

    def write(ids: list[int]) -> None:
        table = pl.DataFrame({"item_id": ids})
        if suffix == ".txt":
            path.write_text("\n".join(map(str, ids)))
        else:
            (table.write_csv if suffix == ".csv" else table.write_parquet)(path)

    write(IDS[:5])
    app = build_app(Start(package=shop.package, settings=limits(rules=RuleSettings(available=str(path)))))
    inside = InProcess(app)

    def recommended() -> set[int]:
        answer = inside.send("POST", "/invocations", b'{"inputs": [{"session": [%d]}]}' % IDS[0], JSON)
        return set(answer.content["predictions"][0]["recommendations"])

    assert recommended() <= set(IDS[:5])
    write(IDS[10:30])
    app._look()
    assert recommended() <= set(IDS[10:30])
    whole = path.read_bytes()
    breakages = [b"", b"\xff\xfe\x00", whole[: len(whole) // 2], whole[:-4], b"PAR1" + bytes(100) + b"PAR1", b"item_id\nx\n", b"1\n2\n3\n"]
    for broken in breakages:
        path.write_bytes(broken)
        app._look()
        assert recommended(), broken
    path.unlink()
    app._look()
    assert recommended()
    path.mkdir()
    app._look()
    assert recommended()
    assert app._metrics.stale_rules._value.get() == 1
    path.rmdir()
    write(IDS[:5])
    app._look()
    assert recommended() <= set(IDS[:5])
    assert app._metrics.stale_rules._value.get() == 0
    inside.close()


def test_the_end_does_not_wait_for_a_registry_that_hangs(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def hang(*arguments: object) -> None:
        asked.set()
        answer.wait()

    monkeypatch.setattr(Champion, "look", hang)
    app = build_app(Start(package=shop.package, follows=True, settings=limits()))
    uvicorn = pytest.importorskip("uvicorn")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert asked.wait(60)
    until(lambda: server.started)
    server.should_exit = True
    thread.join(60)
    ended = not thread.is_alive()
    answer.set()
    assert ended


def test_clicks_of_one_session_that_cannot_be_kept_in_turn_are_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    app = build_app(Start(package=shop.package, settings=limits()))
    inside = InProcess(app)
    monkeypatch.setattr(app.engine._store, "put", lambda sessions: set(sessions))
    answer = inside.send("POST", "/sessions/a/clicks", b'{"item": %d}' % IDS[0], JSON)
    assert (answer.status, answer.header(b"retry-after")) == (503, b"1")
    assert set(answer.content) == {"error_code", "message"}
    inside.close()
