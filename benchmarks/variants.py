"""What lifts GRU4Rec beyond the published parameters: variants trained on train and scored on validation; test is never read.

    python benchmarks/variants.py [--folder results/variants] [--data rsc15_100k retailrocket_sequences] [--only NAME ...] [--seeds 1 2]

Every variant trains ten epochs of the published BPR-max parameters but for what its name says. What was done is kept in --folder,
a JSON file a run, so that an interrupted call goes on. Prints a table: recall@20 and MRR@20 of the last epoch, the mean of the seeds,
and the differences from the published parameters; then the seeds of one variant as the members of one ensemble.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

from benchmarks.conformance import RETAILROCKET, SMALL, WIDE, data_folder, window  # noqa: E402
from recsys.evaluation.ranking import flat_metrics, rank_targets  # noqa: E402
from recsys.files import write_json  # noqa: E402
from recsys.models.gru4rec import GRU4Rec  # noqa: E402
from recsys.models.gru4rec_ensemble import together  # noqa: E402
from recsys.models.gru4rec_forward import Arrays, initial_arrays  # noqa: E402
from recsys.sessions.table import Sessions  # noqa: E402
from recsys.settings.gru4rec import GRU4RecParameters  # noqa: E402
from recsys.training.hardware import use_threads  # noqa: E402
from recsys.training.native import NativeTrainer  # noqa: E402
from recsys.training.schedule import Schedule  # noqa: E402

EPOCHS = 10
BASE = {name: value for name, value in RETAILROCKET.items() if name != "epochs"}
VARIANTS: dict[str, dict[str, Any]] = {
    "published": {},
    "twenty epochs": {"epochs": 2 * EPOCHS},
    "learning_rate .03": {"learning_rate": 0.03},
    "learning_rate .08": {"learning_rate": 0.08},
    "momentum 0": {"momentum": 0.0},
    "momentum .2": {"momentum": 0.2},
    "momentum .6": {"momentum": 0.6},
    "n_sample 512": {"n_sample": 512},
    "n_sample 6144": {"n_sample": 6144},
    "sample_alpha .2": {"sample_alpha": 0.2},
    "sample_alpha .7": {"sample_alpha": 0.7},
    "bpreg 1": {"bpreg": 1.0},
    "bpreg 3": {"bpreg": 3.0},
    "elu_param 0": {"elu_param": 0.0},
    "elu_param 1": {"elu_param": 1.0},
    "dropout_embedding .3": {"dropout_embedding": 0.3},
    "dropout_embedding .65": {"dropout_embedding": 0.65},
    "dropout_hidden .2": {"dropout_hidden": 0.2},
    "batch_size 32": {"batch_size": 32},
    "batch_size 160": {"batch_size": 160},
    "layers 128": {"layers": [128]},
    "layers 400": {"layers": [400]},
    "layers 224, 224": {"layers": [224, 224]},
    "separate embedding": {"embedding": "separate", "embedding_width": 224},
    "no embedding": {"embedding": "none", "dropout_embedding": 0.0},
    "cross-entropy, H 192": {name: value for name, value in WIDE.items() if name != "epochs"},
    "cross-entropy, H 100": {name: value for name, value in SMALL.items() if name != "epochs"},
}

AVERAGES: dict[str, Callable[[int], float]] = {
    "mean from the sixth epoch on": lambda epoch: 1 / max(epoch - EPOCHS // 2, 1),
    "moving average, .5": lambda epoch: 0.5 / (1 - 0.5**epoch),
    "moving average, .7": lambda epoch: 0.3 / (1 - 0.7**epoch),
    "moving average, .85": lambda epoch: 0.15 / (1 - 0.85**epoch),
}
"""Averages of the weights after each epoch: the share of epoch e, from 1, in the average so far."""
AVERAGED = ("published", "twenty epochs", "cross-entropy, H 192", "cross-entropy, H 100", "layers 400")
ENSEMBLES = ("published", "layers 400", "cross-entropy, H 192")
"""Variants whose seeds are also scored together."""


def epochs(parameters: dict[str, Any], seed: int, train: Sessions, n_items: int, count: int, decay: float | None) -> Iterator[Arrays]:
    """The learned arrays after each epoch; with `decay`, the learning rate falls in a line to that share of itself."""
    chosen = GRU4RecParameters.model_validate(parameters)
    schedule = Schedule.of(train, chosen.batch_size)
    counts = np.bincount(train.items, minlength=n_items).clip(min=1)
    trainer = NativeTrainer(initial_arrays(n_items, chosen, seed), chosen, schedule, counts, seed)
    for epoch in range(count):
        if decay is not None and epoch:
            rate = chosen.learning_rate * (1 - (1 - decay) * epoch / (count - 1))
            arrays, state = trainer.arrays(), trainer.state()
            trainer = NativeTrainer(arrays, chosen.model_copy(update={"learning_rate": rate}), schedule, counts, seed)
            trainer.restore(arrays, state)
        trainer.begin_epoch()
        for begin in range(0, len(schedule), 128):
            trainer.run_block(begin, min(begin + 128, len(schedule)))
        yield trainer.arrays()


def metrics_of(arrays: Arrays, parameters: dict[str, Any], valid: Sessions, n_items: int) -> dict[str, float]:
    """Validation metrics of learned arrays."""
    model = GRU4Rec(GRU4RecParameters.model_validate(parameters))
    model.n_items_, model.arrays_ = n_items, arrays
    found = flat_metrics(rank_targets(model, valid).ranks)
    return {name: found[name] for name in ("recall@20", "mrr@20")}


def run(name: str, data: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train a variant with a seed; what was done before is read."""
    done = folder / data / f"{name.replace(' ', '_')}.seed{seed}.json"
    if done.is_file():
        return json.loads(done.read_text())
    final = window(data, folder / "windows")
    select = final.parent / "select"
    train, valid = Sessions.from_parquet(select / "train.parquet"), Sessions.from_parquet(select / "valid.parquet")
    n_items = pl.scan_parquet(select / "items.parquet").select(pl.len()).collect().item()
    decayed = name.startswith("learning rate falls")
    parameters = BASE | VARIANTS.get(name, {})
    count = parameters.get("epochs", EPOCHS)
    begin = time.perf_counter()
    averages: dict[str, Arrays] = {}
    result: dict[str, Any] = {"variant": name, "data": data, "seed": seed}
    for number, arrays in enumerate(epochs(parameters, seed, train, n_items, count, 0.1 if decayed else None), start=1):
        for label, share in AVERAGES.items() if name in AVERAGED else ():
            weight = share(number)
            before = averages.get(label, arrays)
            averages[label] = {key: before[key] + np.float32(weight) * (array - before[key]) for key, array in arrays.items()}
    result["seconds"] = time.perf_counter() - begin
    result["metrics"] = metrics_of(arrays, parameters, valid, n_items)
    result["averaged"] = {label: metrics_of(average, parameters, valid, n_items) for label, average in averages.items()}
    done.parent.mkdir(parents=True, exist_ok=True)
    if name in ENSEMBLES:
        kept = {"": arrays} | {f"{label}/": average for label, average in averages.items()}
        flat = {prefix + key: np.ascontiguousarray(array) for prefix, own in kept.items() for key, array in own.items()}
        save_file(flat, done.with_suffix(".safetensors"))
    write_json(done, result)
    return result


def ensemble(name: str, data: str, seeds: list[int], folder: Path, average: str | None = None) -> dict[str, float]:
    """Validation metrics of the seeds of a variant together, their weights averaged or not."""
    stem = f"{name} {average}" if average else name
    done = folder / data / f"{stem.replace(' ', '_')}.together{'-'.join(map(str, seeds))}.json"
    if done.is_file():
        return json.loads(done.read_text())
    select = window(data, folder / "windows").parent / "select"
    members = []
    for seed in seeds:
        arrays = load_file(folder / data / f"{name.replace(' ', '_')}.seed{seed}.safetensors")
        prefix = f"{average}/" if average else ""
        names = [key for key in arrays if key.startswith(prefix) and "/" not in key.removeprefix(prefix)]
        members.append({key.removeprefix(prefix): arrays[key] for key in names})
    parameters = BASE | VARIANTS[name] | {"members": len(members)}
    n_items = len(members[0]["item_bias"])
    found = metrics_of(together(members), parameters, Sessions.from_parquet(select / "valid.parquet"), n_items)
    write_json(done, found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "variants")
    parser.add_argument("--data", nargs="+", default=["rsc15_100k", "retailrocket_sequences"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    names = [*VARIANTS, "learning rate falls to a tenth"]
    parser.add_argument("--only", nargs="+", choices=names, help="these variants only")
    given = parser.parse_args()
    os.environ.setdefault("RECSYS_DATA_DIR", str(data_folder()))
    use_threads(given.threads)
    for data in given.data:
        base: dict[str, float] = {}
        print(f"\n{data}, validation, mean of the seeds {given.seeds}\n")
        print("| variant | recall@20 | | MRR@20 | | seconds |\n|---|---|---|---|---|---|")
        for name in given.only or names:
            runs = [run(name, data, seed, given.folder) for seed in given.seeds]
            for label in (None, *runs[0]["averaged"]):
                measured = [one["metrics"] if label is None else one["averaged"][label] for one in runs]
                mean = {metric: statistics.fmean(one[metric] for one in measured) for metric in measured[0]}
                base = base or mean
                cells = [f"{mean[metric]:.4f} | {mean[metric] - base[metric]:+.4f}" for metric in ("recall@20", "mrr@20")]
                seconds = statistics.fmean(one["seconds"] for one in runs)
                print(f"| {name if label is None else f'{name}, {label}'} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)
        for name in ENSEMBLES:
            if len(given.seeds) > 1 and name in (given.only or names):
                for average in (None, *(AVERAGES if name in AVERAGED else ())):
                    found = ensemble(name, data, given.seeds, given.folder, average)
                    cells = [f"{found[metric]:.4f} | {found[metric] - base[metric]:+.4f}" for metric in ("recall@20", "mrr@20")]
                    label = f"{name}{f', {average}' if average else ''}, {len(given.seeds)} seeds together"
                    print(f"| {label} | {' | '.join(cells)} | |", flush=True)


if __name__ == "__main__":
    main()
