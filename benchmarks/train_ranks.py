"""What several processes bring to GRU4Rec's training: one process with more threads or several that share the lanes.

    python benchmarks/train_ranks.py [--ranks 2] [--steps 256] [--repeats 3] [--batch-sizes 80 480] [--write]

The published RetailRocket parameters, and larger batches. Processes are started by torchrun, a thread each on a CPU, a GPU each where
torch finds that many; the native trainer and the torch step by itself stand beside them. All are measured in turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def measure(kind: str, threads: int, batch_size: int, steps: int) -> float | None:
    """Mini-batches a second in this process and those beside it; None but for the first one."""
    import numpy as np
    import torch

    from benchmarks.train import PARAMETERS, find_data, load
    from recsys.models.gru4rec_forward import initial_arrays
    from recsys.settings.gru4rec import GRU4RecParameters
    from recsys.training.distributed import joined
    from recsys.training.hardware import pick_device, use_threads
    from recsys.training.native import NativeTrainer
    from recsys.training.schedule import Schedule
    from recsys.training.session_parallel import SessionParallelTrainer

    use_threads(threads)
    sessions, n_items = load(find_data())
    chosen = GRU4RecParameters.model_validate(PARAMETERS | {"batch_size": batch_size})
    counts = np.bincount(sessions.items, minlength=n_items).clip(min=1)
    given = (initial_arrays(n_items, chosen, 1), chosen, Schedule.of(sessions, batch_size), counts, 1)
    with joined("cpu" if kind == "native" else pick_device("auto")) as (ranks, device):
        trainer = NativeTrainer(*given) if kind == "native" else SessionParallelTrainer(*given, torch.device(device), ranks)
        trainer.run_block(0, 32)
        begin = time.perf_counter()
        trainer.run_block(32, 32 + steps)
        return steps / (time.perf_counter() - begin) if ranks.leads else None


def run_one(kind: str, count: int, batch_size: int, steps: int) -> float:
    """One measurement in processes of its own."""
    begin = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    threads = "1" if kind == "processes" else str(count)
    command = [*(begin if kind == "processes" else begin[:1]), __file__, "--steps", str(steps), "--one", kind, threads, str(batch_size)]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"GOMP_SPINCOUNT": "10000", "OMP_NUM_THREADS": threads} | os.environ | {"PYTHONPATH": paths}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main() -> None:
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[80, 480])
    parser.add_argument("--write", action="store_true", help="also write benchmarks/train_ranks.md")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "THREADS", "BATCH"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        rate = measure(given.one[0], int(given.one[1]), int(given.one[2]), given.steps)
        if rate is not None:
            print(json.dumps(rate))
        return
    from benchmarks.train import processor

    # Each way: its name, what is run, and how many threads or processes.
    ways = {
        "native, 1 thread": ("native", 1),
        f"native, {given.ranks} threads": ("native", given.ranks),
        "torch, 1 thread": ("torch", 1),
        f"torch, {given.ranks} threads": ("torch", given.ranks),
        f"torch, {given.ranks} processes": ("processes", given.ranks),
    }
    found = {(size, name): [] for size in given.batch_sizes for name in ways}
    for _ in range(given.repeats):  # in turn, so that what else the machine does meets all of them
        for size, name in found:
            found[size, name].append(run_one(*ways[name], size, given.steps))
    lines = [
        "# Several processes that train one GRU4Rec",
        "",
        f"`python benchmarks/train_ranks.py --ranks {given.ranks} --steps {given.steps} --repeats {given.repeats}`, {processor()}.",
        "BPR-max, 2,048 samples, H 224, shared table. Median of the repeats, taken in turn (lowest to highest).",
        "",
        "| B | | mini-batches/s | events/s |",
        "|---|---|---|---|",
    ]
    for (size, name), rates in found.items():
        rate = statistics.median(rates)
        lines.append(f"| {size} | {name} | {rate:.1f} ({min(rates):.1f} to {max(rates):.1f}) | {rate * size:,.0f} |")
    text = "\n".join(lines)
    print(text)
    if given.write:
        (ROOT / "benchmarks" / "train_ranks.md").write_text(f"{text}\n")


if __name__ == "__main__":
    main()
