"""Session-kNN: how fast an index is built, how large it is, and how long a query takes, beside a plain form in NumPy and Python.

    python benchmarks/neighbours.py [CLICKS ...] [--repeats N] [--write]

`--write` saves the table beside this file. RECSYS_DATA_DIR's RetailRocket log (the sessions of retailrocket_sequences, in their order) is
asked prefixes of COTREC's test pairs, generated logs of CLICKS clicks the prefixes of further sessions of the same generator. A query's
time is that of one call from Python with one thread, on a second pass over the same queries, so that what they touch is warm; batches are
asked with two threads. The plain form answers `FIRST_DEFAULTS` only, some hundred of the queries, each once, and its answers are compared:
as many items, their scores, and the items wherever scores are apart.
"""

import argparse
import math
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recsys.sessions.table import Sessions  # noqa: E402
from recsys.settings.session_knn import SessionKNNParameters  # noqa: E402
from rust_sessionizer.neighbours import Index, Parameters  # noqa: E402

K = 20
ASKED = 5_000
ASKED_OF_PEER = 300
RTOL = 1e-5
"""Of a score in float32 beside one in double precision."""
FIRST_DEFAULTS = {
    "sample": 2_500,
    "neighbours": 500,
    "query_decay": "exponential",
    "query_scale": 2.0,
    "idf_similarity": 1.0,
    "length_norm": 0.5,
    "recency": 0,
    "anchor": "last",
    "anchor_decay": "none",
    "distance_decay": "exponential",
    "distance_scale": 2.0,
    "before": 0.5,
    "same": 1.0,
    "repeats": "best",
    "own": 1.0,
    "idf_score": 0.0,
    "sharpness": 1.0,
    "reach": 0,
    "expand": 0,
}
"""What session-kNN was first written with: a setting of this project, and no published one (docs/decisions/0015-session-knn.md)."""
SESSIONS_PER_ITEM = 5_000


@dataclass(frozen=True)
class Log:
    """Sessions to index, and sessions whose prefixes are asked."""

    name: str
    sessions: Sessions
    n_items: int
    asked: Sessions


def retailrocket(folder: Path) -> Log:
    """The sessions of COTREC's RetailRocket log; a start every minute stands for the order."""
    sessions = Sessions.from_lists(session - 1 for session in pl.read_parquet(folder / "train.parquet")["items"].to_numpy())
    n_items = int(sessions.items.max()) + 1
    asked = Sessions.from_lists(prefix[prefix <= n_items] - 1 for prefix in pl.read_parquet(folder / "test.parquet")["prefix"].to_numpy())
    starts = np.arange(len(sessions)) * 60_000
    return Log("RetailRocket", Sessions(sessions.items, sessions.offsets, starts=starts), n_items, asked)


def generated(clicks: int) -> Log:
    """Sessions of 5.4 clicks on average that begin at an item by a power law and stay near it; an item has 18 clicks on average."""
    random = np.random.default_rng(1)
    n_items = max(clicks // 18, 20)

    def make(number: int) -> Sessions:
        lengths = random.geometric(1 / 4.4, number) + 1
        offsets = np.zeros(number + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        centre = (n_items * random.random(number) ** 2.5).astype(np.int32)
        items = np.repeat(centre, lengths)
        items += (random.standard_exponential(len(items), dtype=np.float32) * 6).astype(np.int32)
        items %= n_items
        return Sessions(items, offsets, starts=np.arange(number) * 1_000)

    return Log(f"generated, {clicks / 1e6:g} M", make(round(clicks / 5.4)), n_items, make(3 * ASKED))


class Plain:
    """The same answers, in NumPy where it is easy and in Python where it is not."""

    def __init__(self, log: Log) -> None:
        sessions = log.sessions
        self.sessions, self.count, self.n_items = sessions, len(sessions), log.n_items
        owner = np.repeat(np.arange(self.count), sessions.lengths)
        pairs = np.unique(sessions.items.astype(np.int64) * self.count + owner)
        self.listed = (pairs % self.count).astype(np.int32)
        self.cuts = np.searchsorted(pairs, np.arange(log.n_items + 1) * self.count)
        self.lengths = sessions.lengths

    @property
    def nbytes(self) -> int:
        return self.listed.nbytes + self.cuts.nbytes + self.lengths.nbytes + self.sessions.items.nbytes + self.sessions.offsets.nbytes

    def recommend(self, query: np.ndarray) -> list[tuple[float, int]]:
        after: dict[int, int] = {}
        for distance, item in enumerate(query[::-1][:20].tolist()):
            after.setdefault(item, distance)
        lists, weights, nearest = [], [], []
        for item, distance in after.items():
            begin, end = self.cuts[item], self.cuts[item + 1]
            kept = self.listed[max(begin, end - SESSIONS_PER_ITEM) : end]
            lists.append(kept)
            weights.append(np.full(len(kept), math.exp(-distance / 2) * math.log1p(self.count / max(end - begin, 1))))
            nearest.append(np.full(len(kept), distance))
        if not lists:
            return []
        found, which = np.unique(np.concatenate(lists), return_inverse=True)
        similarity = np.bincount(which, np.concatenate(weights))
        last = np.full(len(found), len(query))
        np.minimum.at(last, which, np.concatenate(nearest))
        compared = slice(max(0, len(found) - FIRST_DEFAULTS["sample"]), None)
        found, last = found[compared], last[compared]
        similarity = similarity[compared] / np.sqrt(self.lengths[found])
        order = np.lexsort((-found, -similarity))[: FIRST_DEFAULTS["neighbours"]]
        by_distance = {distance: item for item, distance in after.items()}
        scores: dict[int, float] = {}
        for session, strength, distance in zip(found[order].tolist(), similarity[order].tolist(), last[order].tolist(), strict=True):
            clicks = self.sessions[session].tolist()
            places = [place for place, item in enumerate(clicks) if item == by_distance[distance]]
            best: dict[int, float] = {}
            for place, item in enumerate(clicks):
                weight = max(1.0 if place == at else math.exp(-abs(place - at) / 2) * (1 if place > at else 0.5) for at in places)
                best[item] = max(best.get(item, 0.0), weight)
            for item, weight in best.items():
                scores[item] = scores.get(item, 0.0) + strength * weight
        return sorted(((-score, item) for item, score in scores.items()))[:K]


def prefixes(asked: Sessions, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prefixes of some sessions, one a session."""
    random = np.random.default_rng(2)
    chosen = random.choice(np.flatnonzero(asked.lengths), number)
    begins = asked.offsets[chosen]
    return asked.items, begins, begins + 1 + (random.random(number) * asked.lengths[chosen]).astype(np.int64)


def latencies(index: Index, queries: tuple[np.ndarray, np.ndarray, np.ndarray], parameters: Parameters) -> np.ndarray:
    """Milliseconds of each query by itself, on the second pass."""
    items, begins, ends = queries
    taken = np.empty(len(begins))
    for _ in range(2):
        for query in range(len(begins)):
            begin = time.perf_counter_ns()
            index.recommend((items, begins[query : query + 1], ends[query : query + 1]), K, parameters)
            taken[query] = time.perf_counter_ns() - begin
    return taken / 1e6


def told(taken: np.ndarray) -> str:
    return " | ".join(f"{value:.3f}" for value in (taken.mean(), *np.quantile(taken, (0.5, 0.9, 0.99))))


def rows(log: Log, repeats: int) -> list[str]:
    sessions, clicks = log.sessions, len(log.sessions.items)
    seconds = {1: math.inf, 2: math.inf}
    for threads in [1, 2] * repeats:
        begin = time.perf_counter()
        index = Index.build(
            sessions.items,
            sessions.offsets,
            n_items=log.n_items,
            starts=sessions.starts,
            sessions_per_item=SESSIONS_PER_ITEM,
            threads=threads,
        )
        seconds[threads] = min(seconds[threads], time.perf_counter() - begin)
    rates = " / ".join(f"{clicks / taken / 1e6:.1f}" for taken in seconds.values())
    size = f"{log.name} | {len(sessions):,} | {clicks:,} | {log.n_items:,}"
    queries = prefixes(log.asked, ASKED)
    lines = []
    defaults = SessionKNNParameters().model_dump(exclude={"sessions_per_item"})
    for name, chosen in (("first defaults", FIRST_DEFAULTS), ("defaults", defaults)):
        parameters = Parameters(**chosen)
        taken = latencies(index, queries, parameters)
        batch = math.inf
        for _ in range(repeats):
            begin = time.perf_counter()
            index.recommend(queries, K, parameters, threads=2)
            batch = min(batch, time.perf_counter() - begin)
        cells = f"{rates} | {index.nbytes / clicks:.1f} | {told(taken)} | {ASKED / batch:,.0f}"
        lines.append(f"| {size} | **rust_sessionizer**, {name} | {cells} |")
        print(lines[-1], flush=True)
    if clicks <= 2_000_000:
        lines.append(f"| {size} | NumPy and Python, first defaults | {of_peer(log, index, queries)} |")
        print(lines[-1], flush=True)
    return lines


def agrees(items: np.ndarray, scores: np.ndarray, answer: list[tuple[float, int]]) -> bool:
    """Whether what is voted for in a list of K items is the plain form's answer.

    It has as many items and the same scores, and the same item wherever a score is apart from those beside it; beside the last of a full
    list others may stand that are not seen.
    """
    number = len(answer)
    if np.count_nonzero(scores > 0) != number:
        return False
    if not number:
        return True
    expected = np.array([-score for score, _ in answer])
    apart = expected[:-1] - expected[1:] > 2 * RTOL * expected[:-1]
    alone = np.concatenate([[True], apart]) & np.concatenate([apart, [number < len(items)]])
    same = items[:number] == np.array([item for _, item in answer])
    return bool(np.allclose(scores[:number], expected, rtol=RTOL) and same[alone].all())


def of_peer(log: Log, index: Index, queries: tuple[np.ndarray, np.ndarray, np.ndarray]) -> str:
    """The plain form's figures.

    Raises
    ------
    SystemExit
        If its answers are others.
    """
    begin = time.perf_counter()
    plain = Plain(log)
    rate = len(log.sessions.items) / (time.perf_counter() - begin) / 1e6
    items, begins, ends = (array[:ASKED_OF_PEER] if place else array for place, array in enumerate(queries))
    ours, scores = index.recommend((items, begins, ends), K, Parameters(**FIRST_DEFAULTS))
    taken = np.empty(len(begins))
    for query, (first, last) in enumerate(zip(begins, ends, strict=True)):
        begin = time.perf_counter_ns()
        answer = plain.recommend(items[first:last])
        taken[query] = time.perf_counter_ns() - begin
        if not agrees(ours[query], scores[query], answer):
            raise SystemExit(f"the answers to query {query} differ: {ours[query]}, {scores[query]} and {answer}")
    return f"{rate:.1f} | {plain.nbytes / len(log.sessions.items):.1f} | {told(taken / 1e6)} | {1e9 / taken.mean():,.0f} (1 thread)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clicks", nargs="*", type=lambda text: int(float(text)), default=[1_000_000, 10_000_000, 50_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="save the table beside this file")
    options = parser.parse_args()
    folder = Path(os.environ.get("RECSYS_DATA_DIR", ROOT.parent / "shared" / "data")) / "retailrocket_sequences"
    lines = []
    if folder.is_dir():
        lines += rows(retailrocket(folder), options.repeats)
    else:
        print(f"there is no {folder}; only generated logs are measured")
    for clicks in options.clicks:
        lines += rows(generated(clicks), options.repeats)
    head = "| log | sessions | clicks | items | form | build, M clicks/s, 1 / 2 threads | bytes a click"
    text = "\n".join(
        [
            "# Session-kNN",
            "",
            f"An index that keeps {SESSIONS_PER_ITEM:,} sessions an item, and the {K} best items of {ASKED:,} queries: one at a time with",
            f"one thread, called from Python (of the plain form {ASKED_OF_PEER}, answers compared), and all at once with two.",
            "Milliseconds are those of a second pass over the same queries, which finds what they touch in the caches; the plain form's",
            f"are of its only one. Build and batch: the best of {options.repeats} runs. Bytes are those of the whole index, sessions",
            "included, in memory as in its file.",
            "",
            f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, NumPy {np.__version__}.",
            "",
            f"{head} | ms, second pass: mean | p50 | p90 | p99 | queries/s, 2 threads |",
            "|---|" + "---|" * 11,
            *lines,
            "",
        ]
    )
    if options.write:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
