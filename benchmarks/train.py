"""Mini-batches and events a second of GRU4Rec's training, at the published RetailRocket parameters.

    python benchmarks/train.py [--data TRAIN.parquet] [--steps 512] [--repeats 3]

Sessions come from RECSYS_DATA_DIR/retailrocket_sequences/train.parquet (or ../shared/data); where that is absent, random sessions of
the same size stand in for it: the speed depends on the shapes and the number of distinct items only. Each thread count is measured in a
process of its own; a GPU is measured too where torch finds one. Medians of the repeats are printed.
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
PARAMETERS = {
    "layers": [224],
    "loss": "bpr-max",
    "batch_size": 80,
    "dropout_embedding": 0.5,
    "dropout_hidden": 0.05,
    "learning_rate": 0.05,
    "momentum": 0.4,
    "n_sample": 2048,
    "sample_alpha": 0.4,
    "bpreg": 1.95,
    "elu_param": 0.5,
}


def find_data() -> Path | None:
    folder = Path(os.environ.get("RECSYS_DATA_DIR", ROOT.parent / "shared" / "data"))
    path = folder / "retailrocket_sequences" / "train.parquet"
    return path if path.is_file() else None


def load(path: Path | None):
    import numpy as np
    import polars as pl

    from recsys.sessions.table import Sessions

    if path is None:
        generator = np.random.default_rng(1)
        lengths = 2 + generator.geometric(0.29, 40_000)
        flat = (36_968 * generator.random(lengths.sum()) ** 2).astype(np.int32)
        return Sessions(flat, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)), 36_968
    lists = pl.read_parquet(path)["items"]
    flat, codes = np.unique(lists.explode(empty_as_null=False).to_numpy(), return_inverse=True)
    offsets = np.concatenate([[0], np.cumsum(lists.list.len().to_numpy())]).astype(np.int64)
    return Sessions(codes.astype(np.int32), offsets), len(flat)


def measure(threads: int, device: str, data: Path | None, steps: int, repeats: int) -> dict:
    """Seconds of `steps` steps, `repeats` times, in this process."""
    from recsys.training.hardware import use_threads

    use_threads(threads)
    import numpy as np
    import torch

    from recsys.models.gru4rec import Network, SessionParallelTrainer, initial_parameters
    from recsys.settings.gru4rec import GRU4RecParameters
    from recsys.training.schedule import Schedule

    sessions, n_items = load(data)
    settings = GRU4RecParameters.model_validate(PARAMETERS)
    place = torch.device(device)
    counts = torch.from_numpy(np.bincount(sessions.items, minlength=n_items).clip(min=1)).to(place)
    parameters = {name: array.to(place) for name, array in initial_parameters(n_items, settings.layers, 1).items()}
    trainer = SessionParallelTrainer(Network(parameters, settings), Schedule.of(sessions, settings.batch_size, place), counts, 1)
    seconds = []
    with torch.inference_mode():
        trainer.run_block(0, 64)
        for _ in range(repeats):
            begin = time.perf_counter()
            for block in range(0, steps, 128):
                trainer.run_block(64 + block, 64 + min(block + 128, steps))
            seconds.append(time.perf_counter() - begin)
    return {"seconds": seconds, "steps": steps, "events": steps * settings.batch_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=find_data())
    parser.add_argument("--steps", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("THREADS", "DEVICE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(int(given.one[0]), given.one[1], given.data, given.steps, given.repeats)))
        return
    import torch

    places = [("1 thread", "1", "cpu"), ("2 threads", "2", "cpu")]
    if torch.cuda.is_available():
        places.append((torch.cuda.get_device_name(), "1", "cuda"))
    print(f"GRU4Rec training, {given.data.name if given.data else 'random sessions'}: B 80, 2,048 samples, H 224, BPR-max")
    print(f"{'':24s}{'mini-batches/s':>16s}{'events/s':>12s}   ({given.repeats} repeats of {given.steps} steps, median; lowest to highest)")
    for name, threads, device in places:
        command = [sys.executable, __file__, "--steps", str(given.steps), "--repeats", str(given.repeats), "--one", threads, device]
        command += ["--data", str(given.data)] if given.data else []
        environment = {"GOMP_SPINCOUNT": "10000"} | os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        rates = sorted(found["steps"] / seconds for seconds in found["seconds"])
        middle = statistics.median(rates)
        events = middle * found["events"] / found["steps"]
        print(f"{name:24s}{middle:16.1f}{events:12,.0f}   ({rates[0]:.1f} to {rates[-1]:.1f})")


if __name__ == "__main__":
    main()
