"""What a server asks of a network, with one thread: its states, the best items of a query, both together, and a model over models.

    python benchmarks/search.py [--items 36968] [--width 224] [--queries 1600] [--large] [--export FOLDER ...] [--write]

*The best items of a query* are found exactly by bounds from bytes, and by a float32 product of everything; vectors are normal random
numbers, and what both find is compared. *Scored*: items whose upper bound reaches the k-th lower bound, counted by the same bounds in
NumPy, median and most of 100 queries: those that float32 has to decide. *A network* has one layer and random weights; sessions have 1 to 20
random clicks. --large adds 1,000,000 items of 64 entries. --export adds a model over models, as `recsys export` wrote it. --write saves the
tables beside this file.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

from recsys.serving.combined_runtime import load_scorer  # noqa: E402
from recsys.serving.network_scorer import NetworkScorer, write_network  # noqa: E402
from recsys.serving.onnx_runtime import NETWORK  # noqa: E402
from recsys.serving.recommender import Scorer  # noqa: E402
from rust_sessionizer.ranking import ItemIndex  # noqa: E402

K = 20
LONGEST = 20
CALLS = 200
BATCHES = (1, 4, 8, 16, 32)
LARGE = (1_000_000, 64)
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


def search_table(items: int, width: int, count: int) -> list[str]:
    """Lines about the best items of a query."""
    random = np.random.default_rng(1)
    table = random.standard_normal((items, width), np.float32)
    bias = random.standard_normal(items, np.float32)
    queries = random.standard_normal((count, width), np.float32)
    index = ItemIndex(table, bias)
    some = queries[:100]
    if not np.array_equal(index.search(some, K)[0], by_product(table, bias, some)):
        raise SystemExit("the two find other items")
    scored = count_scored(table, bias, some)
    lines = [
        f"## The best {K} of {items:,} items of {width} entries",
        "",
        "Vectors of normal random numbers; milliseconds a query (median of the calls). Both found the same items. Of a query",
        f"{np.median(scored):.0f} items have to be scored in float32 (median of 100; at most {scored.max()}).",
        "",
        "| queries a call | bounds from bytes | float32 product | times |",
        "|--:|--:|--:|--:|",
    ]
    for batch in (1, 2, 4, 8, 16, 32):
        own = milliseconds(lambda part: index.search(part, K), queries, batch)
        product = milliseconds(lambda part: by_product(table, bias, part), queries, batch)
        lines.append(f"| {batch} | {own:.3f} | {product:.2f} | {product / own:.1f} |")
    return lines


def random_network(items: int, width: int) -> dict[str, np.ndarray]:
    """Arrays about as large as a trained network's."""
    random = np.random.default_rng(2)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32) * np.float32(0.15)

    return {
        "item_table": normal(items, width),
        "item_bias": normal(items),
        "weight_input.0": normal(3 * width, width),
        "weight_hidden.0": normal(3 * width, width),
        "bias_input.0": normal(3 * width),
        "bias_hidden.0": normal(3 * width),
    }


def random_sessions(items: int, batch: int) -> list[list[list[int]]]:
    """Sessions of 1 to 20 clicks for all calls."""
    random = np.random.default_rng(3)
    return [[random.integers(0, items, random.integers(1, LONGEST + 1)).tolist() for _ in range(batch)] for _ in range(CALLS)]


def per_session(ask: Callable[[int], object], batch: int) -> float:
    """Median milliseconds of the calls, divided by their sessions."""
    taken = []
    for call in range(CALLS):
        start = time.perf_counter()
        ask(call)
        taken.append(time.perf_counter() - start)
    return 1e3 * float(np.median(taken)) / batch


def network_table(items: int, width: int) -> list[str]:
    """Lines about a network's sessions."""
    lines = [
        f"## A network of {items:,} items × {width}",
        "",
        f"Sessions of 1 to {LONGEST} random clicks, {K} items each; milliseconds a session (median of {CALLS} calls), Python included.",
        "",
        "| sessions a call | states | one click more | best items of states | whole sessions to items |",
        "|--:|--:|--:|--:|--:|",
    ]
    with TemporaryDirectory() as folder:
        write_network(random_network(items, width), Path(folder) / NETWORK)
        scorer = NetworkScorer(Path(folder) / NETWORK, exclude_session_items=False)
    for batch in BATCHES:
        sessions = random_sessions(items, batch)
        states = [scorer.follow(some) for some in sessions]
        clicked = [[session[0] for session in some] for some in sessions]
        parts = (
            lambda call, sessions=sessions: scorer.follow(sessions[call]),
            lambda call, states=states, clicked=clicked: scorer.step(states[call], clicked[call]),
            lambda call, states=states, sessions=sessions: scorer.best(states[call], sessions[call], K),
            lambda call, sessions=sessions: scorer.top(sessions[call], K),
        )
        lines.append(f"| {batch} | " + " | ".join(f"{per_session(part, batch):.3f}" for part in parts) + " |")
    return lines


def combined_table(folder: Path) -> list[str]:
    """Lines about a model over models."""
    described = json.loads((folder / "runtime.json").read_text(encoding="utf-8"))
    scorer: Scorer = load_scorer(folder, described)
    members = ", ".join(member["family"] for member in described["members"].values())
    lines = [
        f"## A {described['family']} over {described['items']:,} items",
        "",
        f"Of {members}. Sessions of 1 to {LONGEST} random clicks, {K} items each; milliseconds a session (median of {CALLS} calls).",
        "",
        "| sessions a call | whole sessions to items |",
        "|--:|--:|",
    ]
    for batch in BATCHES:
        sessions = random_sessions(described["items"], batch)
        lines.append(f"| {batch} | {per_session(lambda call, sessions=sessions: scorer.top(sessions[call], K), batch):.3f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=36_968)
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument("--queries", type=int, default=1_600)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--export", type=Path, nargs="*", default=[])
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    parts = [search_table(given.items, given.width, given.queries), network_table(given.items, given.width)]
    if given.large:
        parts += [network_table(*LARGE)]
    parts += [combined_table(folder) for folder in given.export]
    lines = ["# What a server asks of a network", "", "`python benchmarks/search.py`, one thread."]
    for part in parts:
        lines += ["", *part]
        print("\n".join([*part, ""]), flush=True)
    if given.write:
        Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
