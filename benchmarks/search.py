"""The best items of a query: exactly by bounds from bytes, and by a float32 product of everything, with one thread.

    python benchmarks/search.py [--items 36968] [--width 224] [--queries 1600] [--write]

Vectors are normal random numbers; what both find is compared. *Scored*: items whose upper bound reaches the k-th lower bound, counted by
the same bounds in NumPy, median and most of 100 queries: those that float32 has to decide. --write saves the table beside this file.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

from rust_sessionizer.ranking import ItemIndex  # noqa: E402

K = 20
LARGEST = 127
"""Of a code."""


def codes(rows: np.ndarray) -> np.ndarray:
    """What the codes of rows [N, H] stand for: [N, H]."""
    scale = np.abs(rows).max(axis=1, keepdims=True) / LARGEST
    return np.round(rows / scale) * scale


def count_scored(table: np.ndarray, bias: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Items of each query [Q, H] that the bounds leave: int64 [Q]."""
    coded, asked = codes(table), codes(queries)
    near = asked @ coded.T + bias
    off = np.outer(np.linalg.norm(asked, axis=1), np.linalg.norm(table - coded, axis=1))
    off += np.outer(np.linalg.norm(queries - asked, axis=1), np.linalg.norm(table, axis=1))
    least = np.sort(near - off, axis=1)[:, -K]
    return np.count_nonzero(near + off >= least[:, None], axis=1)


def by_product(table: np.ndarray, bias: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The best items, [Q, K], by all scores."""
    scores = queries @ table.T + bias
    best = np.argpartition(scores, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def milliseconds(find: Callable[[np.ndarray], object], queries: np.ndarray, batch: int) -> float:
    """Median of a call, divided by its queries."""
    taken = []
    for begin in range(0, len(queries) - batch + 1, batch):
        start = time.perf_counter()
        find(queries[begin : begin + batch])
        taken.append(time.perf_counter() - start)
    return 1e3 * float(np.median(taken)) / batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=36_968)
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument("--queries", type=int, default=1_600)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    random = np.random.default_rng(1)
    table = random.standard_normal((given.items, given.width), np.float32)
    bias = random.standard_normal(given.items, np.float32)
    queries = random.standard_normal((given.queries, given.width), np.float32)
    index = ItemIndex(table, bias)
    some = queries[:100]
    if not np.array_equal(index.search(some, K)[0], by_product(table, bias, some)):
        raise SystemExit("the two find other items")
    scored = count_scored(table, bias, some)
    lines = [
        "# The best items of a query",
        "",
        f"`python benchmarks/search.py --items {given.items} --width {given.width} --queries {given.queries}`:",
        f"the best {K} of {given.items:,} items,",
        "vectors of normal random numbers, one thread, milliseconds a query (median of the calls). Both found the same items. Of a query",
        f"{np.median(scored):.0f} items have to be scored in float32 (median of 100; at most {scored.max()}).",
        "",
        "| queries a call | bounds from bytes | float32 product | times |",
        "|--:|--:|--:|--:|",
    ]
    for batch in (1, 2, 4, 8, 16):
        own = milliseconds(lambda part: index.search(part, K), queries, batch)
        product = milliseconds(lambda part: by_product(table, bias, part), queries, batch)
        lines.append(f"| {batch} | {own:.2f} | {product:.2f} | {product / own:.1f} |")
    print("\n".join(lines))
    if given.write:
        Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
