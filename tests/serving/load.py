"""A server as a process, and clients that keep asking it while something happens to it."""

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from recsys.files import folder_digests, read_json, write_json
from recsys.processes import END_WITH_PARENT
from recsys.serving.manifest import MANIFEST
from recsys.serving.server import READY
from recsys.serving.smoke import Server
from recsys.settings.serving import ServeSettings
from recsys.tracking import open_store

PATIENCE = 240.0
"""Seconds until something that must happen is given up; a shared machine may take its time."""


class ServedProcess(Server):
    """`recsys serve`, running."""

    def __init__(self, process: subprocess.Popen, port: int, log: Path) -> None:
        super().__init__("127.0.0.1", port)
        self.process, self.port, self.log = process, port, log

    def workers(self) -> list[int]:
        """The processes that answer, where there are several."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # one that has just ended
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found

    def memory(self) -> int:
        """Resident bytes of the server and its workers, shared pages counted once (PSS)."""
        one = psutil.Process(self.process.pid)
        return sum(process.memory_full_info().pss for process in [one, *one.children(recursive=True)])

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's values that have these labels."""
        page = self.send("GET", "/metrics").body.decode()
        found = 0.0
        for line in page.splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(f'{label}="{value}"' in (match[1] or "") for label, value in labels.items()):
                found += float(match[2])
        return found

    def logged(self) -> list[dict[str, Any]]:
        """The JSON lines written so far."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def end(self, number: int = signal.SIGTERM) -> float:
        """Send a signal; the seconds until the process ended."""
        begin = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        return time.monotonic() - begin


@contextlib.contextmanager
def served(
    settings: ServeSettings, package: Path | None = None, tracking_uri: str | None = None, shop: str = "tiny"
) -> Iterator[ServedProcess]:
    """A server of a package or, without one, of a registry's champion; killed at the end if it still runs."""
    told = {"shop": shop, "tracking": {"uri": tracking_uri}, "serve": settings.model_dump(mode="json")}
    command = [sys.executable, "-m", "recsys", "serve", "--settings", json.dumps(told), "--port", "0"]
    command += ["--model", str(package)] if package is not None else []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as errors:
            environment = {**os.environ, END_WITH_PARENT: str(os.getpid()), "MLFLOW_DISABLE_TELEMETRY": "true"}
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, env=environment)
        try:
            line = process.stdout.readline().decode()
            found = re.search(r"http://127\.0\.0\.1:([0-9]+)", line) if line.startswith(READY) else None
            assert found, log.read_text(encoding="utf-8", errors="replace")[-2_000:]
            running = ServedProcess(process, int(found[1]), log)
            until(lambda: settings.workers == 1 or len(running.workers()) == settings.workers)
            until(lambda: _answers(running))
            yield running
        finally:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
                    child.kill()
            process.kill()
            process.wait()
            process.stdout.close()


def _answers(server: Server) -> bool:
    try:
        return server.send("GET", "/ready").status == 200
    except OSError:
        return False


def until(happened: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Wait for something; what it gave."""
    begin = time.monotonic()
    while not (given := happened()):
        assert time.monotonic() - begin < patience, "it did not happen"
        time.sleep(0.05)
    return given


Made = Callable[[random.Random], bytes]


class Load:
    """Clients in a thread of their own, each with a connection that it keeps and one request at a time.

    Parameters
    ----------
    port
        The server's.
    clients
        How many.
    made
        Makes the bytes of a request.
    pause
        Seconds between an answer and the next request.
    """

    def __init__(self, port: int, clients: int, made: Made, pause: float = 0.0) -> None:
        self._port, self._clients, self._made, self._pause = port, clients, made, pause
        self._end = False
        self.statuses: Counter[int] = Counter()
        """Answers, whole."""
        self.retry_after = 0
        """Answers that said when to come again."""
        self.unanswered = 0
        """Connections that ended before the first byte of an answer."""
        self.cut = 0
        """Connections that ended within an answer."""
        self.seconds: list[tuple[float, float]] = []
        """Of every answer: when it was asked for, since the beginning, and how long it took."""
        self.failures: list[BaseException] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> "Load":
        self._begin = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.finish()

    def finish(self) -> None:
        """No more requests; those that are sent are waited for."""
        self._end = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "a request was never answered"

    @property
    def answered(self) -> int:
        return self.statuses.total()

    def more(self, count: int) -> None:
        """Wait until so many further requests were answered."""
        goal = self.answered + count
        until(lambda: self.answered >= goal)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self._clients)))

    async def _client(self, number: int) -> None:
        chance = random.Random(number)
        streams = None
        while not self._end:
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:  # nobody listens any more
                await asyncio.sleep(0.02)
                continue
            keep = False
            with contextlib.suppress(OSError):
                keep = await self._ask(*streams, self._made(chance))
            if not keep:
                streams[1].close()
                streams = None
            await asyncio.sleep(self._pause)
        if streams is not None:
            streams[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
        """Whether the connection can be used again."""
        begin = time.monotonic()
        head = b""
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
        except (asyncio.IncompleteReadError, OSError) as error:
            begun = bool(head) or bool(getattr(error, "partial", b""))
            self.cut += begun
            self.unanswered += not begun
            return False
        self.statuses[int(head[9:12])] += 1
        self.retry_after += b"\r\nretry-after: " in head
        self.seconds.append((begin - self._begin, time.monotonic() - begin))
        return b"connection: close" not in head


def post(path: str, content: Any) -> bytes:
    """The bytes of a request with JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def invocation(ids: list, longest: int = 20) -> Made:
    """Requests for one session of 1 to `longest` clicks."""
    return lambda chance: post("/invocations", {"dataframe_records": [{"session": chance.choices(ids, k=chance.randint(1, longest))}]})


def click(ids: list, sessions: int = 500) -> Made:
    """Clicks of so many sessions."""
    return lambda chance: post(f"/sessions/{chance.randrange(sessions)}/clicks", {"item": chance.choice(ids)})


def publish(package: Path, tracking_uri: str, shop: str = "tiny") -> str:
    """Register a package as it is, and make it the champion; its version."""
    with open_store(tracking_uri, shop) as store:
        version = store.register(package, str(time.monotonic_ns()), {}, {}, {})
        store.promote(version.version)
        return version.version


def damaged(package: Path, folder: Path, consistent: bool) -> Path:
    """A copy of a package, one of whose files is damaged; `consistent`: and whose manifest says that it should be so."""
    shutil.copytree(package, folder)
    victim = next(path for path in sorted(folder.rglob("*")) if path.suffix in (".safetensors", ".parquet"))
    victim.write_bytes(victim.read_bytes()[:100])
    if consistent:
        manifest = read_json(folder / MANIFEST)
        manifest["files"] = folder_digests(folder, leave_out=(MANIFEST,))
        write_json(folder / MANIFEST, manifest)
    return folder
