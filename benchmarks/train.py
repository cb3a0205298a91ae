"""Mini-batches and events a second of GRU4Rec's training, at the published RetailRocket parameters.

    python benchmarks/train.py [--data TRAIN.parquet] [--steps 512] [--repeats 3] [--authors CHECKOUT] [--write]

Sessions come from RECSYS_DATA_DIR/retailrocket_sequences/train.parquet (or ../shared/data); where that is absent, random sessions of
the same size stand in for it: the speed depends on the shapes and the number of distinct items only. The native and the torch trainer,
and the authors' PyTorch code where a checkout is given, are measured in turn with one thread and with two, each in a process of its own.
Medians of the repeats are printed, and where the time of a native step goes; --write puts them into benchmarks/train.md.
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
from concurrent.futures import ThreadPoolExecutor
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
SIDE_BY_SIDE = "1 + 1"
"""Two trainings at once, each with a thread of its own."""


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


def measure(kind: str, threads: int, data: Path | None, steps: int) -> dict:
    """Seconds of `steps` steps in this process, and where the native ones spend them."""
    from recsys.training.hardware import use_threads

    use_threads(threads)
    import numpy as np
    import torch

    from recsys.models.gru4rec_forward import initial_arrays
    from recsys.settings.gru4rec import GRU4RecParameters
    from recsys.training.native import NativeTrainer
    from recsys.training.schedule import Schedule
    from recsys.training.session_parallel import SessionParallelTrainer

    sessions, n_items = load(data)
    settings = GRU4RecParameters.model_validate(PARAMETERS)
    counts = np.bincount(sessions.items, minlength=n_items).clip(min=1)
    given = (initial_arrays(n_items, settings, 1), settings, Schedule.of(sessions, settings.batch_size), counts, 1)
    trainer = NativeTrainer(*given) if kind == "native" else SessionParallelTrainer(*given, torch.device("cpu"))
    profile = getattr(trainer, "profile", dict)
    trainer.run_block(0, 64)
    profile()
    begin = time.perf_counter()
    for block in range(0, steps, 128):
        trainer.run_block(64 + block, 64 + min(block + 128, steps))
    seconds = time.perf_counter() - begin
    return {"rate": steps / seconds, "profile": {name: spent / steps for name, spent in profile().items()}}


def measure_authors(folder: Path, threads: int, data: Path | None, steps: int) -> dict:
    """Mini-batches a second of the authors' PyTorch code on the CPU."""
    import torch

    torch.set_num_threads(threads)
    return {"rate": authors_rate(folder, load(data)[0], PARAMETERS, steps, "cpu"), "profile": {}}


def authors_model(folder: Path) -> type:
    """The model of the authors' checkout. It was written for NumPy 1, whose float64 scalars left float32 arrays as they were."""
    sys.path.insert(0, str(folder.resolve()))
    import gru4rec_pytorch

    model = gru4rec_pytorch.GRU4RecModel
    made = model._init_numpy_weights
    model._init_numpy_weights = lambda self, shape: made(self, shape).astype("float32")
    return gru4rec_pytorch.GRU4Rec


def authors_rate(folder: Path, sessions, parameters: dict, steps: int, device: str) -> float:
    """The speed that the authors' PyTorch code tells of one epoch over as many sessions as make about `steps` steps."""
    import polars as pl
    import torch

    model = authors_model(folder)
    count = int((sessions.offsets - range(len(sessions.offsets)) < steps * parameters["batch_size"]).sum()) - 1
    events = sessions.offsets[count]
    owner = sessions.lengths[:count]
    table = pl.DataFrame({"SessionId": pl.Series(range(count)).repeat_by(pl.Series(owner)).explode(), "ItemId": sessions.items[:events]})
    table = table.with_columns(Time=pl.int_range(pl.len()).cast(pl.Float64))
    renamed = {"dropout_embedding": "dropout_p_embed", "dropout_hidden": "dropout_p_hidden"}
    settings = {renamed.get(name, name): value for name, value in parameters.items()} | {"constrained_embedding": True, "n_epochs": 1}
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        model(**settings, device=torch.device(device)).fit(table.to_pandas(), item_key="ItemId", session_key="SessionId", time_key="Time")
    return float(re.findall(r"([\d.]+) mb/s", told.getvalue())[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=find_data())
    parser.add_argument("--steps", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' PyTorch code (needs pandas), measured in the same run")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/train.md")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "THREADS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        kind, threads = given.one[0], int(given.one[1])
        if kind == "authors":
            found = measure_authors(given.authors, threads, given.data, given.steps)
        else:
            found = measure(kind, threads, given.data, given.steps)
        print(json.dumps(found))
        return

    kinds = ["native", "torch", *(["authors"] if given.authors else [])]
    places = [(kind, threads) for threads in ("1", "2") for kind in kinds] + [("native", SIDE_BY_SIDE)]
    found = {place: [] for place in places}
    for _ in range(given.repeats):  # in turn, so that what else the machine does meets all of them
        for place in places:
            found[place].append(run_one(place, given))
    text = table(found, given)
    print(text)
    if given.write:
        (ROOT / "benchmarks" / "train.md").write_text(f"{text}\n")


def table(found: dict[tuple[str, str], list[dict]], given: argparse.Namespace) -> str:
    """The medians, and the profile of the quickest native run, as Markdown."""
    data = given.data.parent.name if given.data else "random sessions"
    command = f"python benchmarks/train.py --steps {given.steps} --repeats {given.repeats}{' --authors CHECKOUT' * bool(given.authors)}"
    lines = [
        "# GRU4Rec's training on the CPU",
        "",
        f"`{command}`, {processor()}.",
        f"Data: {data}; BPR-max, B 80, 2,048 samples, H 224, shared table. Median of the repeats, taken in turn (lowest to highest).",
        "",
        "| | threads | mini-batches/s | events/s | of the authors' code |",
        "|---|---|---|---|---|",
    ]
    middle = {place: statistics.median(result["rate"] for result in results) for place, results in found.items()}
    for (kind, threads), rate in middle.items():
        rates = sorted(result["rate"] for result in found[kind, threads])
        ratio = f"{rate / middle['authors', threads]:.1f}" if ("authors", threads) in middle else ""
        span = f"{rate:.0f} ({rates[0]:.0f} to {rates[-1]:.0f})"
        lines.append(f"| {kind} | {threads} | {span} | {rate * PARAMETERS['batch_size']:,.0f} | {ratio} |")
    lines += ["", "Where the native step's time goes, in milliseconds of the quickest run:", ""]
    best = {threads: max(found["native", threads], key=lambda result: result["rate"]) for threads in ("1", "2")}
    lines += ["| | 1 thread | 2 threads |", "|---|---|---|"]
    for phase in best["1"]["profile"]:
        lines.append(f"| {phase} | {best['1']['profile'][phase] * 1000:.2f} | {best['2']['profile'][phase] * 1000:.2f} |")
    return "\n".join(lines)


def processor() -> str:
    """The machine, in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def run_one(place: tuple[str, str], given: argparse.Namespace) -> dict:
    """One measurement in a process of its own, or of two processes that run at the same time, whose rates are added."""
    kind, threads = place
    if threads == SIDE_BY_SIDE:
        with ThreadPoolExecutor() as pool:
            both = list(pool.map(lambda _: run_one((kind, "1"), given), range(2)))
        return {"rate": sum(one["rate"] for one in both), "profile": {}}
    command = [sys.executable, __file__, "--steps", str(given.steps), "--one", kind, threads]
    command += ["--data", str(given.data)] if given.data else []
    command += ["--authors", str(given.authors)] if given.authors else []
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"GOMP_SPINCOUNT": "10000"} | os.environ | {"PYTHONPATH": paths}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
