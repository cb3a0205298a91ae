"""How fast the demo shop is generated and read: `python benchmarks/generate.py [EVENTS]` prints events a second."""

import sys
import tempfile
import time
from pathlib import Path

from recsys.events.ingest import ingest
from recsys.events.sources.demo import generate, write_demo
from recsys.settings.checks import Checks
from recsys.settings.source import DemoSource


def measure(events: int) -> list[tuple[str, int, float]]:
    """(step, events, seconds) of generating, writing and reading about `events` events."""
    settings = DemoSource(events=events, items=max(2_000, events // 50), visitors=max(12_000, events // 10), parts=1)
    started = time.perf_counter()
    total = sum(chunk.height for _, chunk in generate(settings))
    rows = [("generate", total, time.perf_counter() - started)]
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("csv", "parquet"):
            raw = Path(folder) / f"demo.{suffix}"
            started = time.perf_counter()
            write_demo(settings, [raw])
            rows.append((f"generate and write {suffix}", total, time.perf_counter() - started))
            outputs = [Path(folder) / f"{suffix}{ending}" for ending in (".parquet", ".quarantine.parquet", ".quality.json")]
            started = time.perf_counter()
            ingest(raw, settings, Checks(), *outputs)
            rows.append((f"ingest {suffix}", total, time.perf_counter() - started))
    return rows


if __name__ == "__main__":
    for step, total, seconds in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000):
        print(f"{step:28} {total:>12,} events {seconds:8.2f} s {total / seconds:>12,.0f} events/s")
