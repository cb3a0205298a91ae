"""Break the server for some minutes: broken requests, long mixed load, killed workers, new and broken champions, files that change.

    python tools/soak.py [--minutes 5] [--requests 20000] [--seed N] [--package FOLDER] [STAGE ...]

Every stage runs a real server of its own, of a tiny package unless one is named (whose ids are whole numbers). Prints a table of what was
asked and answered; 1 where something happened that must not: an answer of the server's fault but for 503 with Retry-After, a trace or an
echo in an answer, a request that was accepted and not answered, memory or latency that grows, an end that takes more than ten seconds.
"""

import argparse
import contextlib
import logging
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from recsys.settings.serving import RuleSettings, ServeSettings  # noqa: E402
from tests.serving.conftest import integer_ids, make_shop  # noqa: E402
from tests.serving.load import Load, ServedProcess, click, damaged, invocation, post, publish, served, until  # noqa: E402
from tests.serving.test_broken_requests import GOOD, TRACES, broken, clicks, header_values, invocations  # noqa: E402

SETTINGS = ServeSettings(log_sample=0.0)
AT_ONCE = 1_000
"""Broken requests that are made together."""
LONGEST_END = 10.0
GROWTH = 1.10
MEGABYTES = 24
"""Memory may grow by so much, and this factor, once the server is warm."""
SLOWER = 3.0


@dataclass
class Found:
    """What a stage saw.

    Attributes
    ----------
    statuses
        Answers.
    violations
        What must not be, in words.
    notes
        What else is worth a look.
    """

    statuses: Counter = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def must(self, holds: bool, otherwise: str) -> None:
        """Note a violation where something does not hold."""
        if not holds:
            self.violations.append(otherwise)

    def memory(self, before: int, after: int) -> None:
        """Compare resident bytes."""
        told = f"{before / 2**20:.0f} → {after / 2**20:.0f} MB"
        self.notes.append(told)
        self.must(after <= before * GROWTH + MEGABYTES * 2**20, f"memory grew: {told}")

    def load(self, name: str, load: Load, lost: int = 0) -> None:
        """Take a load's counts; `lost`: how many connections may have ended before an answer."""
        self.statuses.update(load.statuses)
        faults = sum(count for status, count in load.statuses.items() if status >= 500) - load.retry_after
        self.must(faults == 0, f"{name}: {faults} answers of the server's fault")
        self.must(load.cut == 0, f"{name}: {load.cut} answers were cut off")
        self.must(load.unanswered <= lost, f"{name}: {load.unanswered} requests without an answer")
        self.must(bool(load.statuses), f"{name}: nothing was answered")

    def end(self, server: ServedProcess) -> None:
        """Tell a server to end."""
        seconds = server.end(signal.SIGTERM)
        self.notes.append(f"ended in {seconds:.1f} s")
        self.must(seconds <= LONGEST_END, f"the end took {seconds:.1f} s")
        self.must(server.process.returncode in (0, -signal.SIGTERM), f"the server ended with {server.process.returncode}")


@dataclass
class Setting:
    """What all stages share."""

    package: Path
    other: Path
    ids: list
    folder: Path
    minutes: float
    requests: int
    seed: int


class Client:
    """One connection after another, each as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stream: socket.socket | None = None

    def send(self, request: bytes, whole: bool = True) -> bytes:
        """The bytes of the answers; empty where the server ended the connection without one. Not `whole`: nothing more will come."""
        for _ in range(2):
            fresh = self._stream is None
            if self._stream is None:
                self._stream = socket.create_connection(("127.0.0.1", self._port), timeout=60)
            heard = self._talk(request, whole)
            if heard or fresh:
                return heard
        return b""

    def _talk(self, request: bytes, whole: bool) -> bytes:
        stream, heard, keep = self._stream, b"", False
        try:
            stream.sendall(request)
            if not whole:
                stream.shutdown(socket.SHUT_WR)
            while not (whole and _complete(heard)):
                piece = stream.recv(65_536)
                if not piece:
                    break
                heard += piece
            else:
                keep = b"\r\nconnection: close" not in heard
        except OSError:
            pass
        if not keep:
            stream.close()
            self._stream = None
        return heard


def _complete(heard: bytes) -> bool:
    head, _, body = heard.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return length is not None and len(body) >= int(length[1])


@st.composite
def broken_bytes(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A request with something wrong in it, and whether its head and its body belong together."""
    match draw(st.sampled_from(["invocation"] * 5 + ["click"] * 3 + ["headers", "csv", "noise", "noise"])):
        case "invocation":
            return post("/invocations", draw(broken(invocations()))), True
        case "click":
            return post(f"/sessions/{draw(st.integers(0, 500))}/clicks", draw(broken(clicks))), True
        case "headers":
            told = draw(header_values).translate(None, b"\r\n\0")
            return post("/invocations", {"inputs": []}).replace(b"application/json", told, 1), False
        case "csv":
            body = b"session\n" + draw(st.binary(max_size=60))
            return post("/invocations", body).replace(b"application/json", b"text/csv", 1), True
    at, dropped = draw(st.integers(0, len(GOOD))), draw(st.integers(0, 40))
    return GOOD[:at] + draw(st.binary(min_size=1, max_size=100)) + GOOD[at + dropped :], False


def make_broken(count: int, number: int) -> list[tuple[bytes, bool]]:
    """So many broken requests, by chance."""
    made: list[tuple[bytes, bool]] = []

    @seed(number)
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(broken_bytes())
    def collect(request: tuple[bytes, bool]) -> None:
        made.append(request)

    collect()
    return made


def judge(found: Found, request: bytes, heard: bytes) -> None:
    """Count the answers to a broken request, and look at them."""
    for status in re.findall(rb"HTTP/1\.1 (\d+) ", heard):
        found.statuses[int(status)] += 1
        found.must(int(status) < 500 or b"\r\nretry-after: " in heard, f"{int(status)} to {request[:300]!r}")
    if not heard:
        found.statuses["no answer"] += 1
    # An answer that is no refusal may hold the items of the shop, but neither may hold these.
    leaked = [trace for trace in TRACES if trace in heard]
    found.must(not leaked, f"{leaked} in the answer to {request[:300]!r}")


def broken_requests(setting: Setting) -> Found:
    """Every kind of broken request, one after another."""
    found = Found()
    with served(SETTINGS, setting.package) as server:
        client, before = Client(server.port), 0
        for number in range(-(-setting.requests // AT_ONCE)):
            for request, whole in make_broken(AT_ONCE, setting.seed + number):
                judge(found, request, client.send(request, whole))
            if number == min(2, setting.requests // AT_ONCE - 1):
                before = server.memory()
        found.must(b" 200 OK" in client.send(GOOD), "good requests are answered no more")
        found.memory(before, server.memory())
        found.end(server)
        found.must("Traceback" not in server.log.read_text(errors="replace"), "a trace in the log")
    return found


def described_requests(setting: Setting) -> Found:
    """What schemathesis makes of the OpenAPI document, against the running server."""
    found = Found()
    with served(SETTINGS, setting.package) as server:
        url = f"http://127.0.0.1:{server.port}/openapi.json"
        # Whole numbers written as 7.0, and lists of different lengths, are refused though a schema must allow them.
        told = ["--exclude-checks", "positive_data_acceptance", "--max-examples", str(max(setting.requests // 200, 10))]
        command = [str(Path(sys.executable).parent / "schemathesis"), "run", url, *told, "--seed", str(setting.seed), "--no-color"]
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        for endpoint in ("invocations", "clicks", "pages"):
            for status in (200, 400, 401, 404, 405, 408, 413, 415, 421, 500, 503):
                count = int(server.metric("recsys_requests_total", endpoint=endpoint, status=str(status)))
                if count:
                    found.statuses[status] += count
        found.must(done.returncode == 0, f"schemathesis found: {done.stdout[-3_000:]}{done.stderr[-500:]}")
        found.must(not found.statuses[500], f"{found.statuses[500]} answers of the server's fault")
        found.end(server)
    return found


def mixed_load(setting: Setting) -> Found:
    """Good, broken and kept sessions' requests for some minutes."""
    found = Found()
    pool = [request for request, whole in make_broken(2_000, setting.seed) if whole]
    seconds = setting.minutes * 60
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(served(SETTINGS, setting.package))
        loads = {
            "good": Load(server.port, 4, invocation(setting.ids)),
            "clicks": Load(server.port, 2, click(setting.ids)),
            "broken": Load(server.port, 2, lambda chance: chance.choice(pool), pause=0.002),
        }
        for load in loads.values():
            stack.enter_context(load)
        time.sleep(max(seconds * 0.2, 5))
        before = server.memory()
        time.sleep(seconds * 0.8)
        after = server.memory()
        for load in loads.values():
            load.finish()
        for name, load in loads.items():
            found.load(name, load)
        found.must(set(loads["good"].statuses) <= {200, 503}, f"good requests were answered with {dict(loads['good'].statuses)}")
        found.must(set(loads["clicks"].statuses) <= {200, 503}, f"clicks were answered with {dict(loads['clicks'].statuses)}")
        found.memory(before, after)
        lasted = loads["good"].seconds
        thirds = [[took for at, took in lasted if seconds * part / 3 <= at < seconds * (part + 1) / 3] for part in range(3)]
        p99 = [float(np.percentile(third, 99)) * 1e3 if third else float("nan") for third in thirds]
        found.notes.append(f"p99 of good requests by third: {', '.join(f'{each:.1f}' for each in p99)} ms")
        found.must(p99[2] <= SLOWER * p99[0] + 5, f"the p99 grew from {p99[0]:.1f} to {p99[2]:.1f} ms")
        found.end(server)
    return found


def sigterm_under_load(setting: Setting) -> Found:
    """Every request that the server took is answered before it ends."""
    found = Found()
    for workers in (1, 2):
        every = SETTINGS.model_copy(update={"log_sample": 1.0, "workers": workers})
        with served(every, setting.package) as server, Load(server.port, 16, invocation(setting.ids)) as load:
            time.sleep(2)
            found.end(server)
            load.finish()
            found.load(f"{workers} workers", load, lost=16)
            logged = [line["status"] for line in server.logged() if line.get("endpoint") == "invocations"]
            found.must(len(logged) == load.answered, f"{workers} workers: {len(logged)} requests were taken, {load.answered} answered")
    return found


def killed_workers(setting: Setting) -> Found:
    """Of two workers one is killed, several times."""
    found, kills, clients = Found(), 4, 16
    with (
        served(SETTINGS.model_copy(update={"workers": 2}), setting.package) as server,
        Load(server.port, clients, invocation(setting.ids)) as load,
    ):
        for _ in range(kills):
            load.more(500)
            killed = random.Random(setting.seed).choice(server.workers())
            os.kill(killed, signal.SIGKILL)
            begin = time.monotonic()
            until(lambda killed=killed: len(set(server.workers()) - {killed}) == 2)
            found.notes.append(f"replaced after {time.monotonic() - begin:.1f} s")
            load.more(500)
        load.finish()
        found.must(set(load.statuses) == {200}, f"answers: {dict(load.statuses)}")
        found.must(load.cut + load.unanswered <= kills * clients, f"{load.cut + load.unanswered} requests were lost")
        found.notes.append(f"{load.cut + load.unanswered} requests lost with {kills} killed workers")
        found.statuses.update(load.statuses)
        found.end(server)
    return found


def new_champions(setting: Setting) -> Found:
    """Champions come under load, good ones and broken ones; so do changes of the rules' file."""
    found = Found()
    uri = f"sqlite:///{setting.folder / 'mlflow.db'}"
    rules = setting.folder / "available.csv"

    def write(ids: list) -> None:
        pl.DataFrame({"item_id": ids}).write_csv(rules)

    write(setting.ids)
    watching = SETTINGS.model_copy(update={"refresh": 200, "rules": RuleSettings(available=str(rules))})
    publish(setting.package, uri)
    with (
        served(watching, tracking_uri=uri) as server,
        Load(server.port, 4, invocation(setting.ids)) as asked,
        Load(server.port, 4, click(setting.ids)) as clicked,
    ):

        def outcome(name: str) -> float:
            return server.metric("recsys_model_reloads_total", outcome=name)

        for number, package in enumerate([setting.other, setting.package] * 3):
            loaded, refused = outcome("loaded"), outcome("refused")
            publish(package, uri)
            until(lambda loaded=loaded: outcome("loaded") > loaded)
            publish(damaged(package, setting.folder / f"damaged-{number}", consistent=bool(number % 2)), uri)
            until(lambda refused=refused: outcome("refused") > refused)
            rules.write_bytes([b"", b"\xff\xfe\0", b"item_id\nno-item\n"][number % 3])
            until(lambda: server.metric("recsys_rule_files_failing") == 1)
            write(setting.ids[: len(setting.ids) // 2])
            until(lambda: server.metric("recsys_rule_files_failing") == 0)
            write(setting.ids)
            asked.more(200)
        asked.finish()
        clicked.finish()
        for name, load in (("invocations", asked), ("clicks", clicked)):
            found.load(name, load)
            found.must(set(load.statuses) == {200}, f"{name}: answers {dict(load.statuses)}")
        found.notes.append(f"{outcome('loaded'):.0f} champions served, {outcome('refused'):.0f} refused")
        found.end(server)
    return found


STAGES: dict[str, Callable[[Setting], Found]] = {
    "broken": broken_requests,
    "described": described_requests,
    "mixed": mixed_load,
    "sigterm": sigterm_under_load,
    "killed": killed_workers,
    "champions": new_champions,
}


@contextlib.contextmanager
def shared(options: argparse.Namespace) -> Iterator[Setting]:
    """The packages, in a folder that ends with the stages."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        package = options.package or make_shop(folder / "shop").package
        other = make_shop(folder / "other", "item_to_item").package
        ids = integer_ids()
        if options.package:
            ids = pl.read_parquet(package / "artifacts" / "items.parquet")["item_id"].to_list()
        yield Setting(package, other, ids, folder, options.minutes, options.requests, options.seed)


def main() -> int:
    """Run the stages; 1 where there was a violation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; all without any")
    parser.add_argument("--minutes", type=float, default=5, help="of the mixed load")
    parser.add_argument("--requests", type=int, default=20_000, help="broken ones")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--package", type=Path, help="the package that is served")
    options = parser.parse_args()
    unknown = set(options.stages) - set(STAGES)
    if unknown:
        parser.error(f"there is no stage {unknown.pop()}; there are {', '.join(STAGES)}")
    logging.disable(logging.WARNING)
    print(f"seed {options.seed}", flush=True)
    results: dict[str, Found] = {}
    with shared(options) as setting:
        for name in options.stages or STAGES:
            begin = time.monotonic()
            results[name] = found = STAGES[name](setting)
            told = ", ".join(f"{status}: {count:,}" for status, count in sorted(found.statuses.items(), key=str))
            verdict = f"{len(found.violations)} VIOLATIONS" if found.violations else "ok"
            print(f"{name:10} {time.monotonic() - begin:6.0f} s  {found.statuses.total():>9,} answers  {verdict:14} {told}", flush=True)
            for note in found.notes:
                print(f"{'':12}{note}", flush=True)
            for violation in found.violations[:10]:
                print(f"{'':12}VIOLATION {violation}", flush=True)
    return int(any(found.violations for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
