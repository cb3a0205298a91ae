"""What the server counts and measures, for Prometheus; right with several workers.

No label holds an item, a session or a visitor.
"""

import os
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where the processes of one server put their numbers together; prometheus_client reads it when it is first imported."""

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
INFERENCE_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
CLICKS = (1, 2, 3, 5, 10, 20, 50, 100, 200)
SIZES = (1, 2, 4, 8, 16, 32, 64)


def share_between_processes() -> tempfile.TemporaryDirectory:
    """Have this process and those it starts put their numbers together; before `Metrics` is made. The folder ends with the server."""
    folder = tempfile.TemporaryDirectory(prefix="recsys-metrics-")
    os.environ[FOLDER_VARIABLE] = folder.name
    return folder


class Metrics:
    """The server's numbers.

    One object a process: with several processes prometheus_client keeps the numbers in files of the shared folder.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

        disable_created_metrics()  # a series more for each, which only OpenMetrics has a use for
        self.shared = FOLDER_VARIABLE in os.environ
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Any:
            return Counter(name, text, labels, registry=self.registry)

        def gauge(name: str, text: str, labels: Sequence[str] = (), mode: str = "livesum") -> Any:
            return Gauge(name, text, labels, registry=self.registry, multiprocess_mode=mode)

        def histogram(name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Any:
            return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

        self._requests = counter("recsys_requests", "Requests answered, by endpoint and status.", ("endpoint", "status"))
        self._seconds = histogram("recsys_request_seconds", "From a request's first byte read to its answer.", SECONDS, ("endpoint",))
        self.in_flight = gauge("recsys_requests_in_flight", "Requests for recommendations being read or answered.")
        self.waiting = gauge("recsys_queue_sessions", "Sessions waiting for an answer or being answered.")
        self.bound = gauge("recsys_queue_limit_sessions", "Sessions beyond which requests are refused, of all workers together.")
        self._refused = counter("recsys_overload_refusals", "Requests refused with 503, by reason.", ("reason",))
        self.inference = histogram(
            "recsys_inference_seconds", "Ranking one batch of requests, without reading and writing them.", INFERENCE_SECONDS
        )
        self.batch = histogram("recsys_batch_requests", "Requests answered together.", SIZES)
        self.clicks = histogram("recsys_session_clicks", "Clicks of a session that was asked about.", CLICKS)
        self.items = counter("recsys_session_items", "Items of the sessions that were asked about.")
        self.unknown = counter("recsys_unknown_items", "Items among them that the model does not know.")
        self.cold = counter("recsys_cold_sessions", "Sessions without a known item.")
        self._fallbacks = counter("recsys_fallbacks", "Answers that are not the model's, by what they are.", ("fallback",))
        self._steps = counter("recsys_session_steps", "Clicks of kept sessions, by how the answer was found.", ("outcome",))
        self.store_failures = counter("recsys_session_store_failures", "Times that the store of sessions could not be read or written.")
        self._info = gauge("recsys_model_info", "1 for the model that is served.", ("family", "version", "package"), mode="livemax")
        self.built = gauge("recsys_model_built_timestamp_seconds", "When the served model's package was built.", mode="livemin")
        self.loaded = gauge("recsys_model_loaded_timestamp_seconds", "When the served model was loaded.", mode="livemin")
        self._reloads = counter("recsys_model_reloads", "New champions that were found, by what became of them.", ("outcome",))
        self._refused_champion = gauge("recsys_champion_refused", "1 while the newest champion was found but not loaded.", mode="livemax")
        self.registry_failing = gauge("recsys_registry_failing", "1 while the registry cannot be asked for a new champion.", mode="livemax")
        self.catalogue = gauge("recsys_model_items", "Items that the served model knows.", mode="livemax")
        self.available = gauge("recsys_available_items", "Items of the model that are on sale.", mode="livemax")
        self.stale_rules = gauge("recsys_rule_files_failing", "Files of the rules that could not be read again.", mode="livemax")
        self.starts = counter("recsys_worker_starts", "Server processes that were started, those in place of others too.")
        self._memory = gauge("recsys_resident_memory_bytes", "Memory of the server processes; what they share counts for each.")
        self._processor = counter("recsys_cpu_seconds", "Processor time of the server processes.")
        self._processor_counted = 0.0
        self._measuring = threading.Lock()
        self._model: tuple[str, ...] | None = None
        # What is known from the start stands there from the start, so that a rate of it is 0 and not absent.
        for endpoint in ("invocations", "clicks"):
            self._seconds.labels(endpoint)
            for status in ("200", "400", "500", "503"):
                self._requests.labels(endpoint, status)
        for reason in ("queue", "timeout", "store"):
            self._refused.labels(reason)
        for outcome in ("new", "stepped", "rebuilt"):
            self._steps.labels(outcome)
        for outcome in ("loaded", "refused"):
            self._reloads.labels(outcome)
        self._fallbacks.labels("popular")
        self._known: dict[tuple, Any] = {}

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        key = (endpoint, status)
        if key not in self._known:
            self._known[key] = (self._requests.labels(endpoint, str(status)), self._seconds.labels(endpoint))
        counted, measured = self._known[key]
        counted.inc()
        measured.observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request refused because of too much load."""
        self._refused.labels(reason).inc()

    def asked(self, sessions: Sequence[Sequence], known: Sequence[Sequence], longest: int) -> None:
        """Count the sessions of a batch, as they were sent and what the model knows of each."""
        sent = found = cold = 0
        for session, its_known in zip(sessions, known, strict=True):
            clicks = min(len(session), longest)
            self.clicks.observe(clicks)
            sent += clicks
            found += len(its_known)
            cold += not its_known
        self.items.inc(sent)
        self.unknown.inc(max(sent - found, 0))
        if cold:
            self.cold.inc(cold)

    def fell_back(self, fallback: str, count: int) -> None:
        """Count answers that are not the model's."""
        self._fallbacks.labels(fallback).inc(count)

    def stepped(self, outcome: str) -> None:
        """Count a click of a kept session: `new`, `stepped` from its state, or `rebuilt` from its clicks."""
        self._steps.labels(outcome).inc()

    def reloaded(self, outcome: str) -> None:
        """Count a new champion: `loaded` or `refused`."""
        self._reloads.labels(outcome).inc()
        self._refused_champion.set(outcome == "refused")

    def serves(self, family: str, version: str, package: str, built: float, loaded: float, items: int) -> None:
        """Tell which model is served from now on; times in seconds since 1970-01-01 UTC."""
        if self._model is not None:
            self._info.labels(*self._model).set(0)
        self._model = (family, version, package)
        self._info.labels(*self._model).set(1)
        self.built.set(built)
        self.loaded.set(loaded)
        self.catalogue.set(items)

    def measure_process(self) -> None:
        """Bring this process's memory and processor time up to date; the memory only where the system has `/proc`."""
        with self._measuring:
            used = time.process_time()
            self._processor.inc(used - self._processor_counted)
            self._processor_counted = used
        with suppress(OSError):
            self._memory.set(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    def page(self) -> bytes:
        """All numbers in Prometheus' text format, those of all workers together."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        if not self.shared:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)


def forget_process(process: int) -> None:
    """Take the gauges of a process that ended out of the shared numbers."""
    from prometheus_client import multiprocess

    folder = os.environ.get(FOLDER_VARIABLE)
    if folder and Path(folder).is_dir():
        multiprocess.mark_process_dead(process, folder)
