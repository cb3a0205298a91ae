"""Mini-batches and events a second of GRU4Rec's training, at the published RetailRocket parameters.

    python benchmarks/train.py [--data TRAIN.parquet] [--steps 512] [--repeats 3] [--authors CHECKOUT]

Sessions come from RECSYS_DATA_DIR/retailrocket_sequences/train.parquet (or ../shared/data); where that is absent, random sessions of
the same size stand in for it: the speed depends on the shapes and the number of distinct items only. The native and the torch trainer,
and the authors' PyTorch code where a checkout is given, are measured in turn with one thread and with two, each in a process of its own;
a GPU is measured too where torch finds one. Medians of the repeats are printed, and where the time of a native step goes.
"""

import argparse
import contextlib
import io
import json
import os
import re
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


def measure(kind: str, threads: int, device: str, data: Path | None, steps: int) -> dict:
    """Seconds of `steps` steps in this process, and where the native ones spend them."""
    from recsys.training.hardware import use_threads

    use_threads(threads)
    import numpy as np
    import torch

    from recsys.models.gru4rec_network import Network, initial_parameters
    from recsys.settings.gru4rec import GRU4RecParameters
    from recsys.training.native import NativeTrainer
    from recsys.training.schedule import Schedule
    from recsys.training.session_parallel import SessionParallelTrainer

    sessions, n_items = load(data)
    settings = GRU4RecParameters.model_validate(PARAMETERS)
    place = torch.device(device)
    counts = torch.from_numpy(np.bincount(sessions.items, minlength=n_items).clip(min=1)).to(place)
    parameters = {name: array.to(place) for name, array in initial_parameters(n_items, settings.layers, 1).items()}
    trainer_class = NativeTrainer if kind == "native" else SessionParallelTrainer
    trainer = trainer_class(Network(parameters, settings), Schedule.of(sessions, settings.batch_size, place), counts, 1)
    profile = getattr(trainer, "profile", dict)
    with torch.inference_mode():
        trainer.run_block(0, 64)
        profile()
        begin = time.perf_counter()
        for block in range(0, steps, 128):
            trainer.run_block(64 + block, 64 + min(block + 128, steps))
        seconds = time.perf_counter() - begin
    return {"rate": steps / seconds, "profile": {name: spent / steps for name, spent in profile().items()}}


def measure_authors(folder: Path, threads: int, device: str, data: Path | None, steps: int) -> dict:
    """The speed that the authors' PyTorch code tells of one epoch over as many sessions as make about `steps` steps."""
    import polars as pl
    import torch

    torch.set_num_threads(threads)
    sys.path.insert(0, str(folder.resolve()))
    from gru4rec_pytorch import GRU4Rec  # of the authors' checkout

    sessions, _ = load(data)
    count = int((sessions.offsets - range(len(sessions.offsets)) < steps * PARAMETERS["batch_size"]).sum()) - 1
    events = sessions.offsets[count]
    owner = sessions.lengths[:count]
    table = pl.DataFrame({"SessionId": pl.Series(range(count)).repeat_by(pl.Series(owner)).explode(), "ItemId": sessions.items[:events]})
    table = table.with_columns(Time=pl.int_range(pl.len(), dtype=pl.Float64))
    renamed = {"dropout_embedding": "dropout_p_embed", "dropout_hidden": "dropout_p_hidden"}
    settings = {renamed.get(name, name): value for name, value in PARAMETERS.items()} | {"constrained_embedding": True, "n_epochs": 1}
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        GRU4Rec(**settings, device=torch.device(device)).fit(table.to_pandas(), item_key="ItemId", session_key="SessionId", time_key="Time")
    return {"rate": float(re.findall(r"([\d.]+) mb/s", told.getvalue())[-1]), "profile": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=find_data())
    parser.add_argument("--steps", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' PyTorch code (needs pandas), measured in the same run")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "THREADS", "DEVICE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        kind, threads, device = given.one[0], int(given.one[1]), given.one[2]
        if kind == "authors":
            found = measure_authors(given.authors, threads, device, given.data, given.steps)
        else:
            found = measure(kind, threads, device, given.data, given.steps)
        print(json.dumps(found))
        return
    import torch

    kinds = ["native", "torch", *(["authors"] if given.authors else [])]
    places = [(kind, threads, "cpu") for threads in ("1", "2") for kind in kinds]
    if torch.cuda.is_available():
        places += [(kind, "1", "cuda") for kind in kinds[1:]]
    print(f"GRU4Rec training, {given.data.name if given.data else 'random sessions'}: B 80, 2,048 samples, H 224, BPR-max")
    header = f"{'':24s}{'mini-batches/s':>16s}{'events/s':>12s}"
    print(f"{header}   (median of {given.repeats} x {given.steps} steps, in turn; lowest to highest)")
    found = {place: [] for place in places}
    for _ in range(given.repeats):  # in turn, so that what else the machine does meets all of them
        for place in places:
            found[place].append(run_one(place, given))
    for place, results in found.items():
        kind, threads, device = place
        rates = sorted(result["rate"] for result in results)
        middle = statistics.median(rates)
        name = f"{kind}, {torch.cuda.get_device_name() if device == 'cuda' else threads + ' thread' + 's' * (threads != '1')}"
        print(f"{name:24s}{middle:16.1f}{middle * PARAMETERS['batch_size']:12,.0f}   ({rates[0]:.1f} to {rates[-1]:.1f})")
    for threads in ("1", "2"):
        best = max(found["native", threads, "cpu"], key=lambda result: result["rate"])
        phases = ", ".join(f"{name} {spent * 1000:.2f}" for name, spent in best["profile"].items())
        print(f"ms of a native step, {threads} thread{'s' * (threads != '1')}: {phases}")


def run_one(place: tuple[str, str, str], given: argparse.Namespace) -> dict:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--steps", str(given.steps), "--one", *place]
    command += ["--data", str(given.data)] if given.data else []
    command += ["--authors", str(given.authors)] if given.authors else []
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"GOMP_SPINCOUNT": "10000"} | os.environ | {"PYTHONPATH": paths}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
