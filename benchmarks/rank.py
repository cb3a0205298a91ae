"""Full ranking: GFLOP/s of the fused ranking, of the matrix product alone, and of ranking by a matrix of scores.

    python benchmarks/rank.py [--queries 20000] [--items 36968] [--width 224] [--repeats 3] [--write]

Queries and items are random vectors; every way ranks the same. Each measurement has a process of its own, so that its peak memory is its
own; they take turns, and the fastest of the repeats counts. The product alone is NumPy's BLAS, 4,096 queries a time into the same memory
again and again, which is how it is fastest, with nothing done about the scores; ranking by a matrix of scores takes 256 queries a time.
`--write` puts the table into benchmarks/rank.md.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LENGTH = 20
WAYS = {
    "product": "matrix product alone (BLAS)",
    "ranks": "ranks, fused",
    "lists": f"ranks and lists of {LENGTH}, fused",
    "matrix-ranks": "ranks, by a matrix of scores",
    "matrix-lists": f"ranks and lists of {LENGTH}, by a matrix of scores",
}


def measure(way: str, threads: int, queries: int, items: int, width: int) -> dict[str, float]:
    """Seconds, and the memory that they took beside their input, in MiB."""
    from recsys.training.hardware import use_threads

    use_threads(threads)
    import numpy as np

    from recsys.models.scores import rank_scores
    from recsys.sessions.table import Positions, Sessions
    from rust_sessionizer import ranking

    generator = np.random.default_rng(1)
    outputs = generator.standard_normal((queries, width), dtype=np.float32)
    table = generator.standard_normal((items, width), dtype=np.float32)
    bias = generator.standard_normal(items, dtype=np.float32)
    targets = generator.integers(0, items, queries).astype(np.int32)
    positions = Positions(np.arange(queries), np.arange(queries), targets)
    outputs[:256] @ table[:1000].T  # the library's threads and buffers
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def chunks(size: int):
        for begin in range(0, queries, size):
            yield outputs[begin : begin + size] @ table.T + bias

    scores = np.ones((min(queries, 4096), items), np.float32) if way == "product" else None  # in memory before the clock starts

    def product() -> None:
        for begin in range(0, queries, 4096):
            part = outputs[begin : begin + 4096]
            np.matmul(part, table.T, out=scores[: len(part)])

    def by_matrix(length: int) -> None:
        rank_scores(chunks(256), Sessions(np.empty(0, np.int32), np.zeros(1, np.int64)), positions, length)

    run = {
        "product": product,
        "ranks": lambda: ranking.rank(outputs, table, bias, targets, threads=threads),
        "lists": lambda: ranking.rank(outputs, table, bias, targets, length=LENGTH, threads=threads),
        "matrix-ranks": lambda: by_matrix(0),
        "matrix-lists": lambda: by_matrix(LENGTH),
    }[way]
    begin = time.perf_counter()
    run()
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=36_968)
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/rank.md")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "THREADS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = [given.queries, given.items, given.width]
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]), *sizes)))
        return
    found: dict[tuple[str, int], list[dict[str, float]]] = {(way, threads): [] for threads in given.threads for way in WAYS}
    for _ in range(given.repeats):  # in turn, so that what else the machine does meets all of them
        for (way, threads), measured in found.items():
            measured.append(run_one(way, threads, sizes))
    lines = list(table(found, sizes))
    print("\n".join(lines))
    if given.write:
        opening = [
            "# Full ranking",
            "",
            f"{given.queries:,} predictions over {given.items:,} items with vectors of {given.width} (float32), on {processor()};",
            f"fastest of {given.repeats} runs each, written by `python benchmarks/rank.py --write`, which says what is measured.",
            "",
        ]
        (Path(__file__).with_suffix(".md")).write_text("\n".join([*opening, *lines, ""]), encoding="utf-8")


def table(found: dict[tuple[str, int], list[dict[str, float]]], sizes: list[int]):
    """Lines of a Markdown table."""
    operations = 2 * sizes[0] * sizes[1] * sizes[2] / 1e9
    yield "| | threads | seconds | GFLOP/s | of the product | memory beside the input |"
    yield "|---|--:|--:|--:|--:|--:|"
    for (way, threads), measured in found.items():
        seconds = min(one["seconds"] for one in measured)
        product = min(one["seconds"] for one in found["product", threads])
        memory = max(one["memory"] for one in measured)
        yield (
            f"| {WAYS[way]} | {threads} | {seconds:.2f} | {operations / seconds:.0f} | {100 * product / seconds:.0f}% | {memory:,.0f} MiB |"
        )


def processor() -> str:
    """The processor's name, with its cores."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.processor()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).is_file() else []


def run_one(way: str, threads: int, sizes: list[int]) -> dict[str, float]:
    """One measurement in a process of its own."""
    named = zip(("--queries", "--items", "--width"), map(str, sizes), strict=True)
    command = [sys.executable, __file__, "--one", way, str(threads), *(part for pair in named for part in pair)]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
