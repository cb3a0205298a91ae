"""Mini-batches and events a second of GRU4Rec's training on a GPU, and beside the authors' PyTorch code on the same card.

    python benchmarks/train_gpu.py [--steps 4096] [--repeats 3] [--authors CHECKOUT] [--write]

The published RetailRocket parameters on sessions of 36,968 items (see benchmarks/train.py), and, at a width of 256, on random sessions of
a million items. Each way of taking a step is measured in turn, in a process of its own: as graphs that are replayed or launched kernel
by kernel, with this project's Triton kernels or in plain torch, and with products in TF32. Where there is no GPU, a few steps of the same
code run on the CPU, and nothing is written.
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
WAYS = {
    "graph, kernels": {"graph": True, "fused": True},
    "graph, kernels, TF32": {"graph": True, "fused": True, "tf32": True},
    "graph, plain torch": {"graph": True, "fused": False},
    "no graph, kernels": {"graph": False, "fused": True},
    "no graph, plain torch": {"graph": False, "fused": False},
}
AUTHORS = "the authors' code"
LARGE = 1_000_000


def sessions_of(n_items: int):
    """RetailRocket's sessions or ones of its size; for a million items, random ones, each item at least once."""
    import numpy as np

    from benchmarks.train import find_data, load
    from recsys.sessions.table import Sessions

    if n_items != LARGE:
        return load(find_data())
    generator = np.random.default_rng(1)
    lengths = 2 + generator.geometric(0.29, 600_000)
    flat = (LARGE * generator.random(lengths.sum()) ** 2).astype(np.int32)
    flat[generator.permutation(len(flat))[:LARGE]] = np.arange(LARGE, dtype=np.int32)
    return Sessions(flat, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)), LARGE


def measure(way: str, n_items: int, steps: int, device: str, authors: Path | None) -> dict:
    """Mini-batches a second of one way in this process, and the most memory that it took on the GPU."""
    import torch

    from benchmarks.train import PARAMETERS, authors_rate

    sessions, n_items = sessions_of(n_items)
    parameters = PARAMETERS | ({"layers": [256]} if n_items == LARGE else {})
    if way == AUTHORS:
        rate = authors_rate(authors, sessions, parameters, steps, device)
    else:
        rate = own_rate(WAYS[way], sessions, n_items, parameters, steps, torch.device(device))
    return {"rate": rate, "bytes": torch.cuda.max_memory_allocated() if device == "cuda" else 0}


def own_rate(way: dict, sessions, n_items: int, parameters: dict, steps: int, device) -> float:
    import numpy as np
    import torch

    from recsys.models.gru4rec_forward import initial_arrays
    from recsys.settings.gru4rec import GRU4RecParameters
    from recsys.training import session_parallel
    from recsys.training.schedule import Schedule

    torch.backends.cuda.matmul.allow_tf32 = way.get("tf32", False)
    if not way["graph"]:
        session_parallel.captured = lambda function, device: function
    chosen = GRU4RecParameters.model_validate(parameters)
    schedule = Schedule.of(sessions, chosen.batch_size)
    counts = np.bincount(sessions.items, minlength=n_items).clip(min=1)
    given = (initial_arrays(n_items, chosen, 1), chosen, schedule, counts, 1)
    trainer = session_parallel.SessionParallelTrainer(*given, device, fused=way["fused"])
    warm = min(128, steps)
    trainer.run_block(0, warm)
    steps = min(steps, len(schedule) - warm)
    begin = time.perf_counter()
    for block in range(warm, warm + steps, 128):  # the host sees the loss of each block, as in training
        trainer.run_block(block, min(block + 128, warm + steps))
    return steps / (time.perf_counter() - begin)


def run_one(way: str, n_items: int, given: argparse.Namespace) -> dict:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--steps", str(given.steps), "--one", way, str(n_items)]
    command += ["--authors", str(given.authors)] if given.authors else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def table(found: dict[tuple[int, str], list[dict]], given: argparse.Namespace) -> str:
    """Medians, as Markdown."""
    import torch

    from benchmarks.train import PARAMETERS

    lines = [
        "# GRU4Rec's training on a GPU",
        "",
        f"`python benchmarks/train_gpu.py --steps {given.steps} --repeats {given.repeats}{' --authors CHECKOUT' * bool(given.authors)}`, "
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}.",
        "BPR-max, B 80, 2,048 samples, shared table; H 224, and 256 with a million items. Median of the repeats, taken in turn",
        "(lowest to highest).",
        "",
        "| items | | mini-batches/s | events/s | of the authors' code | GPU memory, GB |",
        "|---|---|---|---|---|---|",
    ]
    for (n_items, way), results in found.items():
        rates = sorted(result["rate"] for result in results)
        rate = statistics.median(rates)
        against = found.get((n_items, AUTHORS))
        ratio = f"{rate / statistics.median(result['rate'] for result in against):.1f}" if against else ""
        span = f"{rate:,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})"
        memory = max(result["bytes"] for result in results) / 1e9
        lines.append(f"| {n_items:,} | {way} | {span} | {rate * PARAMETERS['batch_size']:,.0f} | {ratio} | {memory:.1f} |")
    return "\n".join(lines)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' PyTorch code (needs pandas), measured in the same run")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/train_gpu.md")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "ITEMS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]), given.steps, "cuda", given.authors)))
        return
    import torch

    if not torch.cuda.is_available():
        from recsys.training.hardware import use_threads

        use_threads(1)
        steps = min(given.steps, 32)
        rate = measure("no graph, plain torch", 0, steps, "cpu", None)["rate"]
        print(f"torch finds no GPU here; {steps} steps of the same code ran on the CPU, {rate:.0f} mini-batches/s")
        return
    ways = [*WAYS, *([AUTHORS] if given.authors else [])]
    sizes = {0: sessions_of(0)[1], LARGE: LARGE}
    found = {(n_items, way): [] for n_items in sizes.values() for way in ways}
    for _ in range(given.repeats):  # in turn, so that what else the machine does meets all of them
        for n_items, way in found:
            found[n_items, way].append(run_one(way, n_items, given))
    text = table(found, given)
    print(text)
    if given.write:
        (ROOT / "benchmarks" / "train_gpu.md").write_text(f"{text}\n")


if __name__ == "__main__":
    main()
