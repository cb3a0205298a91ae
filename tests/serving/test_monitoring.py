"""The server's numbers, and the dashboard and alerts over them: everything they name exists, and every alert can be provoked."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from recsys.serving.champion import Champion
from recsys.serving.metrics import Metrics
from recsys.serving.smoke import Server, running_server
from recsys.settings.serving import ServeSettings
from tests.serving.conftest import MAX_LENGTH, Shop, integer_ids

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "monitoring"
IDS = integer_ids()
TOKEN = "a token of the tests alone"
BOARD = json.loads((MONITORING / "grafana.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
RULES = {rule["alert"]: rule for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"] for rule in group["rules"]}
QUERIES = {f"{panel['title']}, {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}
EXPRESSIONS = {**{name: rule["expr"] for name, rule in RULES.items()}, **QUERIES}
PROMETHEUS_OWN = {"up": {"job", "instance"}}
TARGET = {"job", "instance"}
"""Labels that Prometheus gives every sample of a server."""

needs = lambda program: pytest.mark.skipif(  # noqa: E731
    shutil.which(program) is None, reason=f"{program} is not installed (Debian: apt-get install prometheus)"
)


def samples(page: bytes) -> list[tuple[str, dict[str, str], float]]:
    """Name, labels and value of everything on a page."""
    families = text_string_to_metric_families(page.decode())
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def total(page: bytes, name: str, **labels: str) -> float:
    """The sum of what the page says of a metric with these labels."""
    return sum(value for its, has, value in samples(page) if its == name and labels.items() <= has.items())


def numbers(server: Server) -> bytes:
    reply = server.send("GET", "/metrics")
    assert reply.status == 200
    return reply.body


def eventually(found: Callable[[], Any], tries: int = 600) -> Any:
    """What is found, as soon as it is true; the last one otherwise."""
    result = None
    for _ in range(tries):  # a machine that stands still for a while takes none of them away
        with contextlib.suppress(OSError):
            if result := found():
                break
        time.sleep(0.2)
    return result


def click(server: Server, key: str, item: int) -> int:
    body = json.dumps({"item": item}).encode()
    return server.send("POST", f"/sessions/{key}/clicks", body, {"Content-Type": "application/json"}).status


def ask_a_little(server: Server) -> None:
    for _ in range(5):
        assert server.invoke({"dataframe_records": [{"session": IDS[:3]}, {"session": IDS[5:6]}]}).status == 200
    for item in IDS[:3]:
        assert click(server, "someone", item) == 200


@pytest.fixture(scope="module")
def told(server: Server) -> bytes:
    """What a server's page says once it has been asked."""
    ask_a_little(server)
    return numbers(server)


def named(expression: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The metrics of a PromQL expression, each with label, operator and value of its matchers."""
    metrics = re.findall(r"\b(recsys_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", expression)
    return [(name, re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers)) for name, matchers in metrics]


def unknown_names(expression: str, legend: str, page: bytes) -> list[str]:
    """What an expression and its legend name and the page does not have."""
    labels: dict[str, set[str]] = {name: set(own) for name, own in PROMETHEUS_OWN.items()}
    values: dict[tuple[str, str], set[str]] = {}
    for name, own, _ in samples(page):
        labels.setdefault(name, set(TARGET)).update(own)
        for label, value in own.items():
            values.setdefault((name, label), set()).add(value)
    found = named(expression)
    unknown = [name for name, _ in found if name not in labels]
    for name, matchers in found:
        for label, operator, value in matchers:
            if label not in labels.get(name, ()):
                unknown.append(f"{name}.{label}")
            elif label not in TARGET:
                pattern = value if "~" in operator else re.escape(value)
                if not any(re.fullmatch(pattern, one) for one in values[name, label]):
                    unknown.append(f"{name}.{label}{operator}{value}")
    if unknown:
        return unknown
    known = set.intersection(*(labels[name] for name, _ in found))
    grouped = {label.strip() for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for label in group.split(",")}
    kept = grouped if " by (" in expression else known
    return [label for label in grouped if label not in known] + [
        label for label in re.findall(r"\{\{(\w+)\}\}", legend) if label not in kept
    ]


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_everything_that_dashboard_and_alerts_name_is_on_a_servers_page(name: str, told: bytes) -> None:
    legends = {f"{panel['title']}, {target['refId']}": target["legendFormat"] for panel in PANELS for target in panel["targets"]}
    assert named(EXPRESSIONS[name])
    assert unknown_names(EXPRESSIONS[name], legends.get(name, ""), told) == []


def test_a_name_that_does_not_exist_is_found(told: bytes) -> None:
    assert unknown_names("rate(recsys_request_total[5m])", "", told) == ["recsys_request_total"]
    assert unknown_names('recsys_requests_total{path="x"}', "", told) == ["recsys_requests_total.path"]
    assert unknown_names('recsys_requests_total{status="600"}', "", told) == ["recsys_requests_total.status=600"]
    assert unknown_names("sum by (shop) (recsys_requests_total)", "", told) == ["shop"]
    assert unknown_names("sum by (status) (recsys_requests_total)", "{{endpoint}}", told) == ["endpoint"]


def test_every_number_is_on_the_dashboard_and_explained(told: bytes) -> None:
    families = {family.name + "_total" * (family.type == "counter") for family in text_string_to_metric_families(told.decode())}
    used, explained = " ".join(QUERIES.values()), (MONITORING / "README.md").read_text()
    assert [name for name in sorted(families) if not re.search(rf"\b{name}(_bucket|_count)?\b", used)] == []
    assert families == set(
        re.findall(r"`(recsys_\w+)`", explained[explained.index("## The numbers") : explained.index("## What an alert")])
    )


def test_a_page_tells_no_item_and_no_visitor_and_no_time_of_birth(told: bytes) -> None:
    allowed = {"endpoint", "status", "reason", "fallback", "outcome", "family", "version", "package", "le"}
    assert {label for _, own, _ in samples(told) for label in own} <= allowed
    assert not [name for name, _, _ in samples(told) if name.endswith("_created")]
    assert len(samples(told)) < 250


def test_the_dashboard_can_be_read(told: bytes) -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert BOARD["id"] is None
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert {source["datasource"]["uid"] for source in (panel, *panel["targets"])} == {"${datasource}"}
    assert [variable["name"] for variable in BOARD["templating"]["list"]] == ["datasource", "job", "instance"]
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize("name", RULES)
def test_every_alert_says_what_it_means_and_what_to_do(name: str) -> None:
    rule = RULES[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"(?m)^#+ (\w+)$", (ROOT / path).read_text())
    assert anchor == name.lower()
    assert name in headings
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
    tests = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]
    expected = [bool(one["exp_alerts"]) for test in tests for one in test["alert_rule_test"] if one["alertname"] == name]
    assert True in expected
    assert expected.count(False) >= 2


@needs("promtool")
@pytest.mark.parametrize("arguments", ["check rules alerts.yaml", "check config prometheus.yaml", "test rules alerts.test.yaml"])
def test_promtool_agrees(arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments.split()], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def with_what_is_commented(text: str) -> str:
    keys = "alerting:|alertmanagers:|- static_configs:|- targets:|authorization:|type:|credentials_file:|- recommender-2"
    return re.sub(rf"(?m)^( *)# ( *)(?={keys})", r"\1\2", text)


@needs("promtool")
def test_what_is_commented_in_the_configuration_can_be_used(tmp_path: Path) -> None:
    shutil.copy(MONITORING / "alerts.yaml", tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    text = with_what_is_commented((MONITORING / "prometheus.yaml").read_text()).replace("/etc/prometheus/recsys-token", "token")
    (tmp_path / "prometheus.yaml").write_text(text)
    content = yaml.safe_load(text)
    assert content["alerting"]["alertmanagers"]
    assert content["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:5000", "recommender-2.example:5000"]
    done = subprocess.run(["promtool", "check", "config", "prometheus.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
def test_promtool_finds_nothing_to_say_about_the_names(told: bytes) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=told, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


EXPECTED = {
    ("recsys_requests_total", "invocations", "200"): 9,
    ("recsys_requests_total", "invocations", "400"): 2,
    ("recsys_requests_total", "clicks", "200"): 3,
    ("recsys_request_seconds_count", "invocations", None): 11,
    ("recsys_session_clicks_count", None, None): 13,
    ("recsys_session_clicks_sum", None, None): 27,
    ("recsys_session_items_total", None, None): 25,
    ("recsys_unknown_items_total", None, None): 9,
    ("recsys_cold_sessions_total", None, None): 2,
    ("recsys_fallbacks_total", None, None): 2,
    ("recsys_session_steps_total", None, None): 3,
}


def counted(page: bytes) -> dict[tuple, float]:
    chosen = lambda endpoint, status: {  # noqa: E731
        label: value for label, value in (("endpoint", endpoint), ("status", status)) if value is not None
    }
    return {key: total(page, key[0], **chosen(*key[1:])) for key in EXPECTED}


def workers_of(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_asked_is_counted_whichever_worker_answered(workers: int, shop: Shop) -> None:
    with running_server(shop.package, ServeSettings(max_session_length=MAX_LENGTH), workers) as server:
        assert eventually(lambda: total(numbers(server), "recsys_worker_starts_total") == workers)
        contents = [{"inputs": [{"session": [IDS[0], IDS[1], 3]}]}] * 6 + [{"inputs": [{"session": [3]}]}] * 2
        contents += [{"inputs": [{"session": IDS[:1]}, {"session": IDS[1:2]}]}, {"inputs": 7}, {}]
        with ThreadPoolExecutor(4) as pool:
            assert sorted(reply.status for reply in pool.map(server.invoke, contents)) == [200] * 9 + [400] * 2
        assert [click(server, "someone", item) for item in (IDS[0], IDS[1], 3)] == [200] * 3
        assert eventually(lambda: counted(numbers(server)) == EXPECTED), counted(numbers(server))
        page = numbers(server)
        assert total(page, "recsys_queue_limit_sessions") == 256 * workers
        assert total(page, "recsys_queue_sessions") == 0
        assert total(page, "recsys_requests_in_flight") == 0
        assert total(page, "recsys_model_info") == 1
        assert total(page, "recsys_model_items") == total(page, "recsys_available_items") == len(IDS)
        assert total(page, "recsys_cpu_seconds_total") > 0
        assert total(page, "recsys_resident_memory_bytes") > 1e7 * workers
        if workers > 1:
            os.kill(workers_of(server.process)[0], signal.SIGKILL)
            assert eventually(lambda: total(numbers(server), "recsys_worker_starts_total") == workers + 1)
            assert counted(numbers(server)) == EXPECTED
            assert eventually(lambda: total(numbers(server), "recsys_queue_limit_sessions") == 256 * workers)


def test_refusals_by_load_are_counted(shop: Shop) -> None:
    rows = [{"session": [IDS[(at + step) % len(IDS)] for step in range(10)]} for at in range(500)]
    with (
        running_server(shop.package, ServeSettings(queue=1, inference_threads=1, timeout=600_000)) as server,
        ThreadPoolExecutor(16) as pool,
    ):
        statuses: list[int] = []
        while 503 not in statuses:
            statuses += [reply.status for reply in pool.map(server.invoke, [{"inputs": rows, "params": {"k": 50}}] * 32)]
        page = numbers(server)
    assert set(statuses) == {200, 503}
    assert total(page, "recsys_overload_refusals_total", reason="queue") == statuses.count(503)
    assert total(page, "recsys_requests_total", endpoint="invocations", status="503") == statuses.count(503)


def test_a_refused_champion_is_told_until_one_is_loaded(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from recsys import tracking
    from recsys.errors import RegistryError

    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics, settings = Metrics(), ServeSettings()
    folders = {"2": tmp_path, "3": shop.package}
    version = "2"

    def newest(uri: str, name: str) -> str:
        if version == "none":
            raise RegistryError("it is away")
        return version

    monkeypatch.setattr(tracking, "champion_version", newest)
    monkeypatch.setattr(tracking, "fetch_version", lambda uri, name, wanted: folders[wanted])
    champion = Champion("somewhere", "tiny", "1")
    assert champion.look(settings, metrics) is None
    assert total(metrics.page(), "recsys_champion_refused") == 1
    assert total(metrics.page(), "recsys_model_reloads_total", outcome="refused") == 1
    version = "none"
    assert champion.look(settings, metrics) is None
    assert total(metrics.page(), "recsys_registry_failing") == 1
    version = "3"
    assert champion.look(settings, metrics) is not None
    assert total(metrics.page(), "recsys_champion_refused") == 0
    assert total(metrics.page(), "recsys_registry_failing") == 0
    assert total(metrics.page(), "recsys_model_reloads_total", outcome="loaded") == 1


def worsen(metrics: Metrics) -> None:
    """Everything that can go wrong with a server goes on going wrong."""
    for status in (200, 400, 500, 503):
        for _ in range(5):
            metrics.request("invocations", status, 0.3)
            metrics.request("clicks", status, 0.3)
    metrics.refused("queue")
    metrics.waiting.set(250)
    metrics.bound.set(256)
    metrics.store_failures.inc()
    metrics.asked([[1], [2]] * 5, [[], []] * 5, 20)
    metrics.fell_back("popular", 10)
    metrics.stale_rules.set(1)
    metrics.reloaded("refused")
    metrics.registry_failing.set(1)
    metrics.starts.inc()
    metrics.serves("gru4rec", "1", "another", built=0.0, loaded=0.0, items=1_000)
    metrics.available.set(5)


@contextlib.contextmanager
def pages(page: Callable[[], bytes]) -> Iterator[str]:
    """The address of a server that gives this page to who shows the token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown = self.headers["Authorization"] == f"Bearer {TOKEN}"
            content = page() if shown else b""
            self.send_response(200 if shown else 401)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


class Prometheus:
    """A running Prometheus, asked through its HTTP interface."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self._port}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=60) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it has only begun
                raise
            return json.load(error)

    def result(self, expression: str) -> list[dict[str, Any]]:
        told = self.get("/api/v1/query", query=expression)
        assert told["status"] == "success", (expression, told)
        return told["data"]["result"]

    def firing(self) -> set[tuple[str, str | None]]:
        """Alert and server of what is firing."""
        return {(one["metric"]["alertname"], one["metric"].get("instance")) for one in self.result('ALERTS{alertstate="firing"}')}


@contextlib.contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[Prometheus]:
    """A Prometheus with the project's rules, none of which waits, that asks these servers often."""
    configuration = yaml.safe_load(with_what_is_commented((MONITORING / "prometheus.yaml").read_text()))
    del configuration["alerting"]
    (folder / "token").write_text(TOKEN)
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    configuration["global"] = {"scrape_interval": "2s", "evaluation_interval": "1s", "scrape_timeout": "2s"}
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    configuration["scrape_configs"][0]["authorization"]["credentials_file"] = str(folder / "token")
    (folder / "alerts.yaml").write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        running = Prometheus(port)
        assert eventually(lambda: running.get("/api/v1/targets")["status"] == "success"), (folder / "log").read_text()
        yield running
    finally:
        process.terminate()
        process.wait(60)


@needs("prometheus")
def test_a_real_prometheus_answers_every_query_and_sees_every_alert(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics = Metrics()

    def worse() -> bytes:
        worsen(metrics)
        return metrics.page()

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.ExitStack())
        good = server.enter_context(running_server(shop.package, ServeSettings(max_session_length=MAX_LENGTH)))
        bad, other = stack.enter_context(pages(worse)), stack.enter_context(pages(lambda: b""))
        asked = stack.enter_context(prometheus(tmp_path, [good.address, bad, other]))
        assert eventually(lambda: len(asked.result("up == 1")) == 3)

        elsewhere = {"RecsysDown", "RecsysAbsent", "RecsysNoModel", "RecsysModelsDiffer"}
        expected = {(name, bad) for name in RULES if name not in elsewhere}
        expected |= {("RecsysNoModel", other), ("RecsysModelsDiffer", None)}

        def as_expected() -> bool:
            ask_a_little(good)
            return expected <= asked.firing()

        assert eventually(as_expected), expected - asked.firing()
        # How fast this machine is just now is no matter of the rules.
        healthy = lambda: {name for name, instance in asked.firing() if instance == good.address} <= {"RecsysSlow"}  # noqa: E731
        assert eventually(healthy), asked.firing()

        for name, expression in QUERIES.items():
            filled = expression.replace("$__rate_interval", "5m").replace("$job", "recsys").replace("$instance", re.escape(good.address))
            found = eventually(partial(asked.result, filled.replace("\\", "\\\\")))
            assert found, name
            assert any(float(one["value"][1]) >= 0 for one in found), name
        for rule in asked.get("/api/v1/rules")["data"]["groups"]:
            assert {one["health"] for one in rule["rules"]} == {"ok"}

        server.close()
        assert eventually(lambda: ("RecsysDown", good.address) in asked.firing())
    (tmp_path / "none").mkdir()
    with prometheus(tmp_path / "none", []) as asked:
        assert eventually(lambda: ("RecsysAbsent", None) in asked.firing())
