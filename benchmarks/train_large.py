"""Memory and time of GRU4Rec's training on the CPU for large shops and long logs.

    python benchmarks/train_large.py [--items 100000 1000000] [--clicks 1000000 10000000 100000000] [--width 256] [--write]

Random sessions of five clicks on average, the published RetailRocket parameters at the given width. Each case runs in a process of its
own: it makes the schedule, trains 256 steps, and reads its peak memory from the operating system. What an epoch takes is computed from
the steps' rate. Memory beyond the machine's is computed by the formula that training itself asks before it begins.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STEPS = 256


def measure(n_items: int, clicks: int, width: int, threads: int) -> dict:
    """One case in this process."""
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from benchmarks.conformance import RETAILROCKET
    from recsys.models.gru4rec import memory_of_fit
    from recsys.models.gru4rec_forward import initial_arrays
    from recsys.sessions.table import Sessions
    from recsys.settings.gru4rec import GRU4RecParameters
    from recsys.training.hardware import use_threads
    from recsys.training.native import NativeTrainer
    from recsys.training.schedule import Schedule

    use_threads(threads)
    chosen = GRU4RecParameters.model_validate(RETAILROCKET | {"layers": [width]})
    generator = np.random.default_rng(1)
    lengths = np.full(clicks // 5, 5)
    lengths[::2] -= 2
    lengths[1::2] += 2
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.empty(offsets[-1], np.int32)
    for begin in range(0, len(items), 10_000_000):
        part = items[begin : begin + 10_000_000]
        part[:] = n_items * generator.random(len(part), np.float32) ** 2
    np.minimum(items, n_items - 1, out=items)
    sessions = Sessions(items, offsets)
    computed = sum(memory_of_fit(chosen, n_items, len(sessions), len(items)))
    before = peak()
    begin = time.perf_counter()
    schedule = Schedule.of(sessions, chosen.batch_size)
    planned = time.perf_counter() - begin
    counts = np.bincount(items, minlength=n_items).clip(min=1)
    steps = len(schedule)
    trainer = NativeTrainer(initial_arrays(n_items, chosen, 1), chosen, schedule, counts, 1)
    del schedule
    trainer.run_block(0, 64)
    begin = time.perf_counter()
    trainer.run_block(64, 64 + STEPS)
    rate = STEPS / (time.perf_counter() - begin)
    return {"sessions": before, "peak": peak(), "computed": computed, "planned": planned, "rate": rate, "epoch": steps / rate}


def peak() -> int:
    """Most bytes this process has held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--clicks", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="also write benchmarks/train_large.md")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one, given.width, given.threads)))
        return
    lines = [
        "# GRU4Rec's training, large",
        "",
        f"`python benchmarks/train_large.py`: random sessions, H {given.width}, B 80, 2,048 samples, BPR-max, {given.threads} threads.",
        "Peak memory by the operating system, sessions and NumPy included; *asked for* is what training asks the machine for before it",
        "begins, beside the sessions.",
        "",
        "| items | clicks | sessions alone | peak | asked for | schedule | mini-batches/s | an epoch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for n_items in given.items:
        for clicks in given.clicks:
            command = [
                sys.executable,
                __file__,
                "--width",
                str(given.width),
                "--threads",
                str(given.threads),
                "--one",
                str(n_items),
                str(clicks),
            ]
            found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            memory = " | ".join(f"{found[name] / 2**30:.2f} GiB" for name in ("sessions", "peak", "computed"))
            hours = f"{found['epoch'] / 3600:.1f} h" if found["epoch"] > 5400 else f"{found['epoch'] / 60:.1f} min"
            lines.append(f"| {n_items:,} | {clicks:,} | {memory} | {found['planned']:.1f} s | {found['rate']:.0f} | {hours} |")
            print(lines[-1], flush=True)
    if given.write:
        (ROOT / "benchmarks" / "train_large.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
