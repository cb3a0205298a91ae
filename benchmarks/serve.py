"""The server under load, over HTTP on the loopback: ours, MLflow's stock scoring server and a bare FastAPI app, in one run.

    python benchmarks/serve.py [ROW ...] [--seconds 10] [--long 300] [--runs 1] [--package NAME=FOLDER ...] [--list] [--write]

A row is a server, what it serves and a load; names may hold `*`, and all are measured without any. What was measured is kept in
--folder, so that the table can be made in slices; --write writes benchmarks/serve.md and docs/serving.svg from all that is there.

Packages are built from seeded weights: GRU4Rec with 37,000 items × 224 (`shop`) and 1,000,000 × 64 (`million`), and a blend of session-kNN
and GRU4Rec (`blend`). The best items are searched by bounds, which is exact, and the quicker the more the scores of items differ: so
the items come in groups, and the vectors spread as those of a network trained on RetailRocket do (ranking takes 0.63, 0.14 and 0.12 ms a
session in batches of 1, 8 and 16, and 0.65, 0.13 and 0.12 with that network). --package measures a package of yours: its rows are those of
`shop`, named after it.

Closed loop: wrk, one thread; every client keeps its connection and sends a new random session of 1 to 20 clicks as soon as it has its
answer. Before every row the same load runs for --warm-up seconds. Open loop (the rows `rate-*`), which wrk does not have: a request
goes out when its time has come, whether or not the ones before were answered, and its latency counts from the time it should have gone
out. Overload: wrk with many more clients than the queue holds, and beside it eight clients of this program whose latencies are reported.
"""

import argparse
import asyncio
import contextlib
import fnmatch
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

FIGURE = ROOT / "docs" / "serving.svg"
CLIENTS = (1, 8, 16, 32)
OVERLOAD_CLIENTS = 768
PROBES = 8
RATE = 100
KEPT_SESSIONS = 20_000
SEED = 8
_TWO = {"workers": 2}


@dataclass(frozen=True)
class Row:
    """A server under a load.

    Attributes
    ----------
    server
        `ours`, `mlflow` or `bare`.
    package
        Name of what it serves.
    clients
        Of wrk.
    load
        `closed`, `rate` or `overload`.
    path
        `invocations`, or `clicks` of kept sessions.
    long
        Whether it runs for as long as the long run.
    settings
        Of our server.
    """

    server: str
    package: str
    clients: int
    load: str = "closed"
    path: str = "invocations"
    long: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def all_rows(packages: list[str]) -> dict[str, Row]:
    """Every row by name."""
    rows = {f"{server}-{clients}": Row(server, "shop", clients) for server in ("ours", "bare", "mlflow") for clients in CLIENTS}
    rows |= {f"workers-{clients}": Row("ours", "shop", clients, settings=_TWO) for clients in (1, 8, 16, 24, 32)}
    rows["workers-long-20"] = Row("ours", "shop", 20, long=True, settings=_TWO)
    rows |= {f"clicks-{clients}": Row("ours", "shop", clients, path="clicks") for clients in (1, 16)}
    rows["overload"] = Row("ours", "shop", OVERLOAD_CLIENTS, load="overload")
    rows |= {f"blend-{clients}": Row("ours", "blend", clients) for clients in (1, 8, 16)}
    rows |= {f"blend-workers-{clients}": Row("ours", "blend", clients, settings=_TWO) for clients in (8, 16)}
    rows |= {"rate-million": Row("ours", "million", RATE, load="rate"), "million-8": Row("ours", "million", 8)}
    for name in packages:
        rows |= {f"{name}-{clients}": Row("ours", name, clients) for clients in CLIENTS}
    return rows


# Packages.


def seeded_network(items: int, width: int) -> Any:
    """A GRU4Rec whose weights spread as a trained one's, and whose items come in groups of like ones."""
    from recsys.models.gru4rec import GRU4Rec
    from recsys.models.gru4rec_forward import initial_arrays
    from recsys.settings.gru4rec import GRU4RecParameters

    model = GRU4Rec(GRU4RecParameters(layers=[width]))
    model.n_items_ = items
    chance = np.random.default_rng(SEED)
    # A trained network's, but for the weights of the state, with which a network that learned nothing would be chaotic.
    spread = {"weight_hidden.0": 0.8 / width**0.5, "weight_input.0": 0.13, "bias_input.0": 0.18, "bias_hidden.0": 0.18, "item_bias": 0.03}
    arrays = {}
    for name, array in initial_arrays(items, model.parameters, SEED).items():
        arrays[name] = chance.standard_normal(array.shape, np.float32) * np.float32(spread.get(name, 0.0))
    groups = chance.standard_normal((max(items // 50, 1), width), np.float32)
    table = 0.8 * groups[chance.integers(0, len(groups), items)] + 0.6 * chance.standard_normal((items, width), np.float32)
    arrays["item_table"] = (table * np.float32(1.9 / width**0.5)).astype(np.float32)
    model.set_arrays(arrays)
    return model


def generated_sessions(items: int, count: int) -> Any:
    """Sessions that walk among neighbouring items, popular ones more often."""
    from recsys.sessions.table import Sessions

    chance = np.random.default_rng(SEED)
    lengths = np.minimum(1 + chance.geometric(0.25, count), 20)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts = (items * chance.random(count) ** 2).astype(np.int64)
    steps = np.rint(chance.standard_normal(offsets[-1]) * 5).astype(np.int64)
    clicked = (np.repeat(starts, lengths) + steps) % items
    return Sessions(clicked.astype(np.int32), offsets.astype(np.int64), starts=np.arange(count, dtype=np.int64) * 60_000)


def vocabulary(items: int) -> pl.DataFrame:
    """Ids that say nothing about the order."""
    ids = np.random.default_rng(SEED).permutation(10 * items)[:items]
    return pl.DataFrame({"index": range(items), "code": range(items), "item_id": ids, "support": range(items, 0, -1)})


def seeded_blend(items: int, folder: Path) -> Any:
    """Session-kNN on generated sessions and a seeded network, and what the blend learns of them on the last sessions."""
    from recsys.models.interface import FitContext, FitData
    from recsys.models.registry import model_class
    from recsys.settings.blend import Member

    sessions, names = generated_sessions(items, 120_000), vocabulary(items)
    valid = generated_sessions(items, 500)
    members = {"network": seeded_network(items, 224), "neighbours": model_class("session_knn")().fit(FitData(sessions, names))}
    folders = {name: folder / name for name in members}
    for name, member in members.items():
        folders[name].mkdir(parents=True)
        member.save(folders[name])
    told = [
        Member(name=name, run=name, model=member.family, seed=member.seed, parameters=member.parameters.model_dump())
        for name, member in members.items()
    ]
    kind = model_class("blend")
    return kind(kind.parameters_class(combines=told), seed=SEED).fit(FitData(sessions, names, valid), FitContext(members=folders))


def build(name: str, folder: Path) -> Path:
    """The package of this name, built if it is not there."""
    from recsys.files import whole_folder
    from recsys.serving.export import export_model
    from recsys.serving.package import build_package
    from recsys.serving.settings import StageSettings

    package = folder / name
    if package.is_dir():
        return package
    print(f"building the package {name}", file=sys.stderr)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    items, width = (1_000_000, 64) if name == "million" else (37_000, 224)
    settings = StageSettings(shop=f"bench-{name}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch, whole_folder(package) as done:
        work = Path(scratch)
        model = seeded_blend(items, work / "members") if name == "blend" else seeded_network(items, width)
        (work / "model").mkdir()
        model.save(work / "model")
        vocabulary(items).write_parquet(work / "items.parquet")
        export_model(work / "model", work / "export", settings)
        build_package(work / "export", work / "items.parquet", work / "package", settings)
        shutil.copytree(work / "package", done, dirs_exist_ok=True)
    return package


# Servers.


def bare_app(package: Path) -> Any:
    """The yardstick: FastAPI, orjson and onnxruntime, and nothing else."""
    import onnxruntime
    import orjson
    from fastapi import FastAPI, Request, Response
    from fastapi.concurrency import run_in_threadpool

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    network = onnxruntime.InferenceSession(str(package / "artifacts" / "session.onnx"), options, providers=["CPUExecutionProvider"])
    ids = pl.read_parquet(package / "artifacts" / "items.parquet")["item_id"].to_numpy()
    index = {int(item): position for position, item in enumerate(ids)}
    app = FastAPI()

    def answer(session: list[int]) -> bytes:
        known = [index[item] for item in session if item in index]
        asked = {"items": np.array([known], np.int64), "lengths": np.array([len(known)], np.int64), "k": np.array([20], np.int64)}
        indices, scores = network.run(["indices", "scores"], asked)
        content = {"predictions": [{"recommendations": ids[indices[0]], "scores": scores[0]}]}
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)

    @app.post("/invocations")
    async def invocations(request: Request) -> Response:
        session = orjson.loads(await request.body())["dataframe_records"][0]["session"]
        return Response(await run_in_threadpool(answer, session), media_type="application/json")

    @app.get("/ready")
    async def ready() -> dict:
        return {}

    return app


def serve_bare(package: Path, port: int) -> None:
    """Serve the yardstick, until the process is stopped."""
    import uvicorn

    uvicorn.run(bare_app(package), port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False)


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def command(row: Row, package: Path, port: int) -> list[str]:
    """What starts the row's server."""
    match row.server:
        case "ours":
            settings = {"serve": {"port": port, **row.settings}}
            return [sys.executable, "-m", "recsys", "serve", "--model", str(package), "--settings", json.dumps(settings)]
        case "mlflow":
            mlflow = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(package), "--env-manager", "local"]
            return [*mlflow, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [sys.executable, __file__, "--bare", str(package), str(port)]


@contextlib.contextmanager
def running(row: Row, package: Path) -> Iterator[tuple[int, Any]]:
    """The row's server: its port, and its process for psutil."""
    import http.client

    import psutil

    port = free_port()
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command(row, package, port), stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            for _ in range(1_200):
                with contextlib.suppress(OSError):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    connection.request("GET", "/ping" if row.server == "mlflow" else "/ready")
                    if connection.getresponse().status == 200:
                        break
                if process.poll() is not None:
                    break
                time.sleep(0.1)
            else:
                process.kill()
            if process.poll() is not None:
                log.seek(0)
                raise SystemExit(f"the server of {row} did not start:\n{log.read().decode(errors='replace')[-2_000:]}")
            yield port, psutil.Process(process.pid)
        finally:
            tree = [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
            for each in tree:
                with contextlib.suppress(psutil.Error):
                    each.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            for each in tree:
                with contextlib.suppress(psutil.Error):
                    each.kill()
            process.wait()


def family(process: Any) -> list[Any]:
    """A process and all below it."""
    return [process, *process.children(recursive=True)]


def memory(process: Any) -> int:
    """Resident bytes, shared pages counted once (PSS)."""
    return sum(each.memory_full_info().pss for each in family(process))


def busy(process: Any) -> float:
    """Processor seconds so far."""
    return sum(sum(each.cpu_times()[:2]) for each in family(process))


# Loads.

SCRIPT = """
local ids = {}
for line in io.lines(os.getenv("BENCH_IDS")) do ids[#ids + 1] = line end
local path, kept = os.getenv("BENCH_PATH"), tonumber(os.getenv("BENCH_KEPT"))
local headers = {["Content-Type"] = "application/json", ["Host"] = "127.0.0.1"}
math.randomseed(tonumber(os.getenv("BENCH_SEED")))

function request()
  if path == "clicks" then
    local body = '{"item": ' .. ids[math.random(#ids)] .. '}'
    return wrk.format("POST", "/sessions/" .. math.random(kept) .. "/clicks", headers, body)
  end
  local session = {}
  for click = 1, math.random(1, 20) do session[click] = ids[math.random(#ids)] end
  local body = '{"dataframe_records": [{"session": [' .. table.concat(session, ",") .. ']}]}'
  return wrk.format("POST", "/invocations", headers, body)
end

function done(summary, latency, requests)
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %f, "p50": %f, "p90": %f, "p99": %f, "most": %f, "status": %d, "socket": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


def wrk(row: Row, port: int, ids: Path, seconds: float, seed: int) -> dict[str, float]:
    """What wrk measured, latencies in milliseconds.

    Raises
    ------
    SystemExit
        If wrk is not installed or fails.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("wrk makes the load, and is not installed: `apt-get install wrk`")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT)
        script.flush()
        environment = {
            **os.environ,
            "BENCH_IDS": str(ids),
            "BENCH_PATH": row.path,
            "BENCH_KEPT": str(KEPT_SESSIONS),
            "BENCH_SEED": str(seed),
        }
        told = ["wrk", "-t1", f"-c{row.clients}", f"-d{max(round(seconds), 1)}s", "--timeout", "30s", "-s", script.name]
        done = subprocess.run([*told, f"http://127.0.0.1:{port}/"], env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise SystemExit(f"wrk failed:\n{done.stdout}{done.stderr}")
    return json.loads(found[1])


class Clients:
    """Kept connections, from which requests go out at given times.

    Parameters
    ----------
    port
        The server's.
    ids
        Item ids.
    """

    def __init__(self, port: int, ids: list[str]) -> None:
        self._port, self._ids = port, ids
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._chance = random.Random(SEED)
        self.statuses: Counter[int] = Counter()
        self.retry_after = 0
        self.broken = 0
        self.accepted: list[float] = []
        """Milliseconds of the requests that were answered with 200."""

    def _request(self) -> bytes:
        clicked = ",".join(self._chance.choices(self._ids, k=self._chance.randint(1, 20)))
        body = f'{{"dataframe_records": [{{"session": [{clicked}]}}]}}'
        head = "POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
        return f"{head}{len(body)}\r\n\r\n{body}".encode()

    async def ask(self, intended: float) -> None:
        """Send a request, and count its time from when it should have been sent, on `time.perf_counter`'s clock."""
        try:
            streams = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
            streams[1].write(self._request())
            head = await streams[0].readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            await streams[0].readexactly(int(length[1]))
        except (OSError, asyncio.IncompleteReadError):
            self.broken += 1
            return
        self._free.append(streams)
        status = int(head[9:12])
        self.statuses[status] += 1
        self.retry_after += status == 503 and b"\r\nretry-after: " in head
        if status == 200:
            self.accepted.append((time.perf_counter() - intended) * 1_000)

    async def at_rate(self, rate: float, seconds: float) -> None:
        """Open loop."""
        begin = time.perf_counter()
        asked = set()
        for number in range(round(rate * seconds)):
            intended = begin + number / rate
            await asyncio.sleep(max(intended - time.perf_counter(), 0))
            asked.add(asyncio.create_task(self.ask(intended)))
        await asyncio.gather(*asked)

    async def again_and_again(self, clients: int, until: Callable[[], bool]) -> None:
        """Closed loop, with a short rest after every answer."""

        async def client() -> None:
            while not until():
                await self.ask(time.perf_counter())
                await asyncio.sleep(0.02)

        await asyncio.gather(*(client() for _ in range(clients)))

    def told(self, seconds: float) -> dict[str, float]:
        """As wrk tells it."""
        p50, p90, p99 = (float(np.percentile(self.accepted, at)) if self.accepted else float("nan") for at in (50, 90, 99))
        requests = self.statuses.total()
        refused = requests - self.statuses[200]
        return {
            "requests": requests,
            "seconds": seconds,
            "p50": p50,
            "p90": p90,
            "p99": p99,
            "most": max(self.accepted, default=float("nan")),
            "status": refused,
            "socket": self.broken,
        }


def at_rate(row: Row, port: int, ids: Path, seconds: float) -> dict[str, float]:
    """The open loop's figures."""
    clients = Clients(port, ids.read_text().split())
    asyncio.run(clients.at_rate(row.clients, seconds))
    return clients.told(seconds)


def overloaded(row: Row, port: int, ids: Path, seconds: float, seed: int) -> dict[str, float]:
    """wrk's rates, and the latencies of the eight clients beside it."""
    clients, ended = Clients(port, ids.read_text().split()), threading.Event()
    probing = threading.Thread(target=lambda: asyncio.run(clients.again_and_again(PROBES, ended.is_set)))
    probing.start()
    try:
        flood = wrk(row, port, ids, seconds, seed)
    finally:
        ended.set()
        probing.join()
    probed = clients.told(seconds)
    return flood | {
        **{name: probed[name] for name in ("p50", "p90", "p99", "most")},
        "accepted": flood["requests"] - flood["status"],
        "probes": probed["requests"],
        "probes_refused": clients.statuses[503],
        "probes_told_when": clients.retry_after,
        "socket": flood["socket"] + probed["socket"],
    }


def measure(row: Row, package: Path, seconds: float, warm_up: float, seed: int) -> dict[str, float]:
    """A run of a row."""
    items = pl.read_parquet(package / "artifacts" / "items.parquet", columns=["item_id"])["item_id"]
    with tempfile.TemporaryDirectory() as folder, running(row, package) as (port, process):
        ids = Path(folder) / "ids"
        ids.write_text("\n".join(items.cast(pl.String)))
        closed = Row(row.server, row.package, min(row.clients, 16), path=row.path)
        wrk(closed, port, ids, warm_up, seed + 1)
        before = busy(process)
        match row.load:
            case "rate":
                found = at_rate(row, port, ids, seconds)
            case "overload":
                found = overloaded(row, port, ids, seconds, seed)
            case _:
                found = wrk(row, port, ids, seconds, seed)
        found["processor"] = busy(process) - before
        found["memory"] = memory(process)
    return found


# The table.


def machine() -> str:
    """What it was measured on."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE) if Path("/proc/cpuinfo").exists() else []
    told = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout.split() if shutil.which("wrk") else ["", "?"]
    packages = ("mlflow", "uvicorn", "uvloop", "httptools", "fastapi", "onnxruntime", "orjson", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    processor = names[0] if names else platform.machine()
    return f"{os.cpu_count()} cores ({processor}), Python {platform.python_version()}, {versions}, wrk {told[1]}"


SERVERS = {"ours": "**recsys serve**", "mlflow": "mlflow models serve", "bare": "FastAPI + onnxruntime"}
PACKAGES = {"shop": "GRU4Rec, 37,000 × 224", "million": "GRU4Rec, 1,000,000 × 64", "blend": "session-kNN + GRU4Rec, 37,000"}


def load_of(row: Row) -> str:
    match row.load:
        case "rate":
            return f"{row.clients} requests/s, open loop"
        case "overload":
            return f"{row.clients} clients: far more than can be answered"
    told = f"{row.clients} client{'s' if row.clients > 1 else ''}"
    told += ", clicks of kept sessions" if row.path == "clicks" else ""
    return told + (", two workers" if row.settings.get("workers") == 2 else "")


def line(row: Row, runs: list[dict[str, float]]) -> str:
    """Of the run with the median rate."""
    runs = sorted(runs, key=lambda run: run["requests"] / run["seconds"])
    run = runs[(len(runs) - 1) // 2]
    answered = run.get("accepted", run["requests"])
    errors = f"{run['status']:,.0f} + {run['socket']:,.0f}"
    cells = [
        SERVERS[row.server],
        PACKAGES.get(row.package, row.package),
        load_of(row),
        f"{run['seconds']:.0f} s × {len(runs)}",
        f"{answered / run['seconds']:,.0f}",
        *(f"{run[name]:.2f}" for name in ("p50", "p90", "p99")),
        errors,
        f"{run['memory'] / 2**20:,.0f}",
        f"{run['processor'] / max(run['requests'], 1) * 1e3:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def table(rows: dict[str, Row], kept: dict[str, list[dict]]) -> str:
    """All rows that were measured."""
    told = [
        "# The server under load",
        "",
        "`python benchmarks/serve.py --write`, which says how packages and loads are made. Server and load share the machine.",
        "Latencies are in milliseconds, end to end over HTTP on the loopback. *Answered*: requests a second with a recommendation as",
        "the answer. *Errors*: answers that are not 2xx + connections that failed. *MB*: resident memory of all processes of the",
        "server after the load, shared pages counted once. *CPU*: milliseconds of processor time a request, of the server alone.",
        "*Time*: seconds a run × runs; the run with the median rate is shown. Our server checks, counts and logs requests, gathers",
        "waiting ones and watches its rules meanwhile; MLflow's serves the same package folder, with one worker; FastAPI + onnxruntime",
        "runs the package's ONNX graph in a thread pool, reads one form, and does nothing else.",
        "",
        f"{machine()}.",
        "",
        "| server | model | load | time | answered/s | p50 | p90 | p99 | errors | MB | CPU |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(line(rows[name], kept[name]) for name in rows if kept.get(name)),
        "",
    ]
    if kept.get("overload"):
        run = kept["overload"][-1]
        refused = run["status"] / run["seconds"]
        told += [
            f"Under overload {refused:,.0f} requests/s were refused with 503 beside those answered. The latencies are those of {PROBES}",
            f"further clients, {run['probes']:,} requests, of which {run['probes_refused']:,} were refused too,",
            f"{run['probes_told_when']:,} of them with Retry-After.",
            "",
        ]
    return "\n".join(told)


def draw(kept: dict[str, list[dict]], path: Path) -> None:
    """Requests a second and p90 of the servers by clients."""
    from recsys.figures.style import plots, save

    colours = {"workers": "#9a3412", "ours": "#ea8a5a", "bare": "#64748b", "mlflow": "#b6c2d1"}
    names = {
        "workers": "recsys serve, two workers",
        "ours": "recsys serve",
        "bare": "FastAPI + onnxruntime",
        "mlflow": "mlflow models serve",
    }
    medians = {
        (server, clients): {
            "rate": statistics.median(run["requests"] / run["seconds"] for run in kept[f"{server}-{clients}"]),
            "p90": statistics.median(run["p90"] for run in kept[f"{server}-{clients}"]),
        }
        for server in colours
        for clients in CLIENTS
        if kept.get(f"{server}-{clients}")
    }
    if not medians:
        return
    figure, axes = plots(1, 2, width=8, height=3.2)
    titles = {"rate": "Requests a second, by clients", "p90": "p90 in milliseconds, by clients"}
    for axis, (measured, title) in zip(axes, titles.items(), strict=True):
        for place, server in enumerate(colours):
            at = [position + 0.215 * (place - 1.5) for position, clients in enumerate(CLIENTS) if (server, clients) in medians]
            heights = [medians[server, clients][measured] for clients in CLIENTS if (server, clients) in medians]
            bars = axis.bar(at, heights, 0.2, color=colours[server], label=names[server])
            shown = [f"{height:,.0f}" if measured == "rate" or height >= 10 else f"{height:.1f}" for height in heights]
            axis.bar_label(bars, shown, fontsize=5.5, padding=1)
        axis.set_xticks(range(len(CLIENTS)), [str(clients) for clients in CLIENTS])
        axis.set_title(title)
        axis.grid(visible=False, axis="x")
        if measured == "p90":
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.margins(y=0.1)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    save(figure, path)


def main() -> None:
    """Measure rows, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help="names, which may hold *; all without any")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--long", type=float, default=300, help="seconds of the long run")
    parser.add_argument("--warm-up", type=float, default=3)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument(
        "--package", action="append", default=[], metavar="NAME=FOLDER", help="another package, or one instead of a built one"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "bench-serve", help="what is kept: packages, measurements")
    parser.add_argument("--anew", action="store_true", help="forget what was measured of the chosen rows")
    parser.add_argument("--list", action="store_true", help="name the rows, and measure nothing")
    parser.add_argument("--write", action="store_true", help="save the table beside this file, and the figure")
    parser.add_argument("--bare", nargs=2, metavar=("PACKAGE", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        serve_bare(Path(options.bare[0]), int(options.bare[1]))
        return
    given = dict(each.split("=", 1) for each in options.package)
    rows = all_rows([name for name in given if name not in PACKAGES])
    chosen = [name for name in rows if not options.rows or any(fnmatch.fnmatch(name, asked) for asked in options.rows)]
    if options.list:
        print("\n".join(chosen))
        return
    if not chosen and options.rows != ["none"]:
        raise SystemExit(f"there is no row like {' or '.join(options.rows)}; --list names them")
    measured = options.folder / "measured.json"
    kept: dict[str, list[dict]] = json.loads(measured.read_text()) if measured.is_file() else {}
    if options.anew:
        kept = {name: runs for name, runs in kept.items() if name not in chosen}
    for number in range(options.runs):
        for name in chosen:
            row = rows[name]
            package = Path(given[row.package]) if row.package in given else build(row.package, options.folder)
            seconds = options.long if row.long else options.seconds
            kept.setdefault(name, []).append(measure(row, package, seconds, options.warm_up, SEED + number))
            options.folder.mkdir(parents=True, exist_ok=True)
            measured.write_text(json.dumps(kept))
            print(f"{name:14} {line(row, kept[name][-1:])}", file=sys.stderr, flush=True)
    text = table(rows, kept)
    print(text)
    if options.write:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
        draw(kept, FIGURE)


if __name__ == "__main__":
    main()
