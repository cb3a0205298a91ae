"""Which parameters of session-kNN pay: a random search and single changes, fitted on train and scored on validation; test is never read.

    python benchmarks/variants_knn.py [--folder results/variants] [--trials 300] [--every 3] [--seed 1]

A quarter of the trials is drawn from the whole space, and the default is one of them; the others change a few parameters of the best so
far, of either log or of both together. What was tried is kept in --folder, a line a trial, so that an interrupted call goes on. The
objective is recall@20 + 2 MRR@20, of both logs together its sum. Prints the best parameters of each log and of both together, and what
single changes of the default do.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from benchmarks.conformance import data_folder, window  # noqa: E402
from recsys.evaluation.ranking import flat_metrics  # noqa: E402
from recsys.sessions.table import Sessions  # noqa: E402
from recsys.settings.session_knn import SessionKNNParameters  # noqa: E402
from rust_sessionizer.neighbours import Index, Parameters  # noqa: E402

LOGS = ("retailrocket_sequences", "rsc15_100k")
BOTH = "both"
DAY = 86_400_000
SINGLE: dict[str, list[Any]] = {
    "sample": [500, 1_000, 2_500, 0],
    "neighbours": [50, 100, 200, 500, 1_000, 2_000],
    "max_length": [3, 10, 40],
    "query_decay": ["none", "length", "exponential"],
    "query_scale": [0.5, 1.0, 4.0],
    "idf_similarity": [0.0, 1.0, 3.0],
    "length_norm": [0.0, 0.5, 1.0],
    "recency": [0, 7 * DAY, 30 * DAY, 365 * DAY],
    "sharpness": [0.5, 1.5, 2.0],
    "anchor": ["last", "all"],
    "anchor_decay": ["none", "harmonic", "linear"],
    "anchor_scale": [0.5, 1.0, 4.0],
    "distance_decay": ["none", "exponential", "linear"],
    "distance_scale": [0.3, 2.0, 5.0],
    "reach": [1, 3, 10],
    "before": [0.0, 0.3, 1.0],
    "same": [0.5, 1.0, 4.0],
    "repeats": ["best", "sum"],
    "own": [0.5, 1.0, 4.0],
    "idf_score": [0.0, 0.8],
    "expand": [0, 3, 20],
    "expand_weight": [0.02, 0.3],
}


class Log:
    """A log's index, and the predictions of its validation sessions."""

    def __init__(self, window: Path, threads: int) -> None:
        train, valid = (Sessions.from_parquet(window / f"{part}.parquet") for part in ("train", "valid"))
        n_items = pl.read_parquet(window / "items.parquet").height
        self.index = Index.build(train.items, train.offsets, n_items=n_items, starts=train.starts, threads=threads)
        positions = valid.targets()
        self.queries = valid.items, valid.offsets[positions.session], positions.click
        self.targets, self.threads = positions.target, threads

    def metrics(self, chosen: dict[str, Any], every: int = 1) -> dict[str, float]:
        """Validation recall@20 and MRR@20 of every so many-th prediction, and seconds of ranking these."""
        items, begins, ends = self.queries
        queries = items, begins[::every].copy(), ends[::every].copy()
        begin = time.perf_counter()
        ranked = self.index.rank(queries, self.targets[::every].copy(), Parameters(**chosen), threads=self.threads)
        found = flat_metrics(ranked.ranks)
        return {"recall": found["recall@20"], "mrr": found["mrr@20"], "seconds": time.perf_counter() - begin}


def drawn(random: np.random.Generator) -> dict[str, Any]:
    """Parameters from the whole space."""

    def between(low: float, high: float) -> float:
        return round(float(random.uniform(low, high)), 2)

    def scaled(low: float, high: float) -> float:
        return float(f"{np.exp(random.uniform(np.log(low), np.log(high))):.2g}")

    def one_of(*values: Any) -> Any:
        return values[random.integers(len(values))]

    return {
        "sample": one_of(500, 1_000, 2_500),
        "neighbours": one_of(50, 100, 200, 500, 1_000),
        "max_length": one_of(5, 10, 20, 40),
        "query_decay": one_of("none", "length", "linear", "harmonic", "exponential"),
        "query_scale": scaled(0.5, 10),
        "idf_similarity": between(0, 4),
        "length_norm": between(0, 1),
        "recency": one_of(0, round(scaled(0.5, 400) * DAY)),
        "sharpness": one_of(1.0, between(0.5, 2.5)),
        "anchor": one_of("last", "all"),
        "anchor_decay": one_of("none", "linear", "harmonic", "exponential"),
        "anchor_scale": scaled(0.3, 10),
        "distance_decay": one_of("none", "linear", "harmonic", "exponential"),
        "distance_scale": scaled(0.1, 20),
        "reach": one_of(0, 0, 3, 5, 10, 20),
        "before": between(0, 1.2),
        "same": between(0.3, 4),
        "repeats": one_of("best", "sum"),
        "own": scaled(0.3, 5),
        "idf_score": between(0, 1),
        "expand": one_of(0, 3, 5, 10, 20),
        "expand_weight": scaled(0.01, 1),
    }


def objective(found: dict[str, float]) -> float:
    return found["recall"] + 2 * found["mrr"]


def worth(trial: dict[str, Any], log: str) -> float:
    return objective(trial[log]) if log != BOTH else sum(objective(trial[one]) for one in LOGS)


def search(logs: dict[str, Log], kept: Path, trials: int, seed: int, every: int) -> list[dict[str, Any]]:
    """All trials, those of earlier calls included."""
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    defaults = SessionKNNParameters().model_dump(exclude={"sessions_per_item"})
    for number in range(len(done), trials):
        random = np.random.default_rng([seed, number])
        chosen = drawn(random)
        if not any(trial["parameters"] == defaults for trial in done):
            chosen = defaults
        elif number > trials // 4:
            best = max(done, key=lambda trial, log=(*LOGS, BOTH)[number % 3]: worth(trial, log))["parameters"]
            chosen = {name: chosen[name] if random.random() < 0.15 else value for name, value in best.items()}
        trial = {"parameters": chosen} | {name: log.metrics(chosen, every) for name, log in logs.items()}
        done.append(trial)
        with kept.open("a") as file:
            file.write(json.dumps(trial) + "\n")
    return done


def told(trial: dict[str, Any]) -> str:
    return ", ".join(f"{log} {trial[log]['recall']:.4f} / {trial[log]['mrr']:.4f} ({trial[log]['seconds']:.1f} s)" for log in LOGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "variants")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=3, help="try parameters on every so many-th prediction; the tables are of all")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    os.environ.setdefault("RECSYS_DATA_DIR", str(data_folder()))
    logs = {name: Log(window(name, given.folder).with_name("select"), given.threads) for name in LOGS}
    trials = search(logs, given.folder / f"session_knn.seed{given.seed}.jsonl", given.trials, given.seed, given.every)
    for log in (*LOGS, BOTH):
        best = max(trials, key=lambda trial, log=log: worth(trial, log))
        print(f"\n{log}: {told({name: one.metrics(best['parameters']) for name, one in logs.items()})}\n{json.dumps(best['parameters'])}")
    defaults = SessionKNNParameters().model_dump(exclude={"sessions_per_item"})
    base = {name: log.metrics(defaults) for name, log in logs.items()}
    print("\n| recall@20 / MRR@20 | " + " | ".join(LOGS) + " |\n|---|---|---|")
    print("| default | " + " | ".join(f"{base[name]['recall']:.4f} / {base[name]['mrr']:.4f}" for name in LOGS) + " |")
    for parameter, values in SINGLE.items():
        for value in values:
            if value == defaults[parameter]:
                continue
            cells = []
            for name, log in logs.items():
                found = log.metrics(defaults | {parameter: value})
                cells.append(f"{found['recall'] - base[name]['recall']:+.4f} / {found['mrr'] - base[name]['mrr']:+.4f}")
            shown = f"{value // DAY} d" if parameter == "recency" and value else value
            print(f"| {parameter} {shown} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
