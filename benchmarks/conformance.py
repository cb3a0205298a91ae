"""GRU4Rec beside the authors' PyTorch code: the published parameters, the same splits, full ranking, conservative ties.

    python benchmarks/conformance.py [--seeds 1 2 3] [--folder results/conformance] [--authors CHECKOUT] [--only NAME ...] [--write]

Takes RECSYS_DATA_DIR's retailrocket_sequences and rsc15_100k through the workflow as far as the final fit window, trains every case on
train + valid for ten epochs, once a seed, and ranks every test position (and, for RetailRocket, COTREC's pairs of prefix and target).
What was done is kept in --folder, a JSON file a run, so that an interrupted call goes on. The authors' figures come from their code on
these splits, one run a case; with --authors and a checkout of it they are made anew (hours). --write writes docs/conformance.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.train import PARAMETERS  # noqa: E402

METRICS = ("recall@1", "recall@5", "recall@10", "recall@20", "mrr@20")
TOLERANCE = 0.01
"""Share of the authors' figure by which the mean of our seeds may fall short."""

RETAILROCKET = PARAMETERS | {"epochs": 10}
WIDE = {
    "layers": [192],
    "loss": "cross-entropy",
    "batch_size": 240,
    "dropout_embedding": 0.5,
    "dropout_hidden": 0.05,
    "learning_rate": 0.085,
    "momentum": 0.3,
    "n_sample": 2048,
    "sample_alpha": 0.3,
    "logq": 1.0,
    "epochs": 10,
}
SMALL = {
    "layers": [100],
    "loss": "cross-entropy",
    "batch_size": 32,
    "dropout_embedding": 0.1,
    "learning_rate": 0.1,
    "n_sample": 2048,
    "sample_alpha": 0.75,
    "logq": 1.0,
    "epochs": 10,
}


@dataclass(frozen=True)
class Case:
    """A log, parameters, and what the authors' code reached with them."""

    name: str
    data: str
    words: str
    parameters: dict[str, Any]
    authors: dict[str, float]
    pairs: str | None = None
    authors_on_pairs: dict[str, float] = field(default_factory=dict)


CASES = [
    Case(
        "retailrocket-bpr",
        "retailrocket_sequences",
        "BPR-max, H 224, B 80 (RetailRocket's)",
        RETAILROCKET,
        {"recall@1": 0.1924, "recall@5": 0.4281, "recall@10": 0.5206, "recall@20": 0.6030, "mrr@20": 0.2976},
        "retailrocket_sequences/test.parquet",
        {"recall@20": 0.596, "mrr@20": 0.289},
    ),
    Case(
        "rsc15-bpr",
        "rsc15_100k",
        "BPR-max, H 224, B 80 (RetailRocket's)",
        RETAILROCKET,
        {"recall@1": 0.2426, "recall@5": 0.5186, "recall@10": 0.6118, "recall@20": 0.6868, "mrr@20": 0.3644},
    ),
    Case("rsc15-xe-192", "rsc15_100k", "cross-entropy, H 192, B 240", WIDE, {"recall@20": 0.6777, "mrr@20": 0.3470}),
    Case("rsc15-xe-100", "rsc15_100k", "cross-entropy, H 100, B 32", SMALL, {"recall@20": 0.6675, "mrr@20": 0.3438}),
]


@cache
def window(data: str, folder: Path, *options: str) -> Path:
    """The final fit window of an example, or of what Snakemake's `options` configure, made where it is not there yet; the select window
    lies beside it."""
    shop = folder / data
    shop.mkdir(parents=True, exist_ok=True)
    targets = ["results/fit/final/test.parquet", "results/fit/select/valid.parquet"]
    command = ["snakemake", *targets, "--cores", str(os.cpu_count()), "--quiet", "all", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(shop)]
    command += options or ("--configfile", str(ROOT / "examples" / f"{data}.yaml"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": path}, check=True)
    return shop / "results" / "fit" / "final"


def train(case: Case, seed: int, final: Path, folder: Path) -> None:
    """Train a case with a seed on a window, into `folder`."""
    import polars as pl

    from recsys.files import whole_folder, write_json
    from recsys.models.gru4rec import GRU4Rec
    from recsys.models.interface import FitContext, FitData
    from recsys.sessions.table import Sessions
    from recsys.settings.gru4rec import GRU4RecParameters

    context = FitContext(device="cpu", keep="last", resume_folder=folder.with_name(f"{folder.name}.resume"))
    model = GRU4Rec(GRU4RecParameters.model_validate(case.parameters), seed)
    model.fit(FitData(Sessions.from_parquet(final / "train.parquet"), pl.read_parquet(final / "items.parquet")), context)
    with whole_folder(folder) as partial:
        (partial / "model").mkdir()
        model.save(partial / "model")
        told = {"training_seconds": sum(row.seconds for row in context.history), "steps": sum(row.steps for row in context.history)}
        write_json(partial / "training.json", told | {"loss": [row.loss for row in context.history]})


def run(case: Case, seed: int, final: Path, folder: Path, threads: int) -> dict[str, Any]:
    """Train and rank a case with a seed; what was done before is read."""
    trained = folder / f"{case.name}.seed{seed}"
    done = folder / f"{case.name}.seed{seed}.json"
    if done.is_file():
        return json.loads(done.read_text())
    import polars as pl

    from recsys.evaluation.ranking import flat_metrics, rank_targets
    from recsys.files import read_json, write_json
    from recsys.models.registry import load_model
    from recsys.sessions.table import Sessions
    from recsys.training.hardware import use_threads

    use_threads(threads)
    if not trained.is_dir():
        train(case, seed, final, trained)
    model = load_model(trained / "model")
    begin = time.perf_counter()
    ranks = rank_targets(model, Sessions.from_parquet(final / "test.parquet")).ranks
    result = {"case": case.name, "seed": seed, "predictions": len(ranks), "metrics": flat_metrics(ranks)}
    result |= {"ranking_seconds": time.perf_counter() - begin} | read_json(trained / "training.json")
    if case.pairs is not None:
        result |= on_pairs(case, model, pl.read_parquet(final / "items.parquet"))
    write_json(done, result)
    return result


def on_pairs(case: Case, model: Any, items: Any) -> dict[str, Any]:
    """The metrics of a model on a file of pairs; a target that is unknown to the model counts as missed."""
    from recsys.evaluation.measure import measure_pairs
    from recsys.sessions.pairs import read_pairs
    from recsys.settings.training import EvaluationSettings

    pairs = read_pairs(data_folder() / case.pairs, items)
    _, measured = measure_pairs(model, pairs, items["support"].to_numpy(), EvaluationSettings(bootstrap=100))
    flat = {f"{kind}@{cutoff}": value for kind in ("recall", "mrr") for cutoff, value in measured[kind].items()}
    return {"pairs": len(pairs.known), "unknown_targets": int((~pairs.known).sum()), "on_pairs": flat}


def run_authors(case: Case, final: Path, folder: Path, checkout: Path) -> dict[str, Any]:
    """The authors' code, trained and ranked once on the same window."""
    done = folder / f"{case.name}.authors.json"
    if done.is_file():
        return json.loads(done.read_text())
    import polars as pl
    import torch

    from benchmarks.train import authors_model
    from recsys.files import write_json

    authors = authors_model(checkout)
    from evaluation import batch_eval  # of the authors' checkout

    def table(name: str) -> Any:
        sessions = pl.read_parquet(final / f"{name}.parquet").select(pl.int_range(pl.len()).alias("SessionId"), ItemId="items")
        return sessions.explode("ItemId").with_columns(Time=pl.int_range(pl.len()).cast(pl.Float64)).to_pandas()

    renamed = {"dropout_embedding": "dropout_p_embed", "dropout_hidden": "dropout_p_hidden", "epochs": "n_epochs"}
    settings = {renamed.get(name, name): value for name, value in case.parameters.items()} | {"constrained_embedding": True}
    model = authors(**settings, device=torch.device("cpu"))
    begin = time.perf_counter()
    model.fit(table("train"), item_key="ItemId", session_key="SessionId", time_key="Time")
    seconds = time.perf_counter() - begin
    recall, mrr = batch_eval(model, table("test"), cutoff=[1, 5, 10, 20], mode="conservative")
    metrics = {f"recall@{k}": float(value) for k, value in recall.items()} | {f"mrr@{k}": float(value) for k, value in mrr.items()}
    result = {"case": case.name, "metrics": metrics, "training_seconds": seconds}
    if case.pairs is not None:
        items = pl.read_parquet(final / "items.parquet")
        result |= on_pairs(case, as_ours(case, model, items), items)
    write_json(done, result)
    return result


def as_ours(case: Case, authors: Any, items: Any) -> Any:
    """A model of the authors' code, of one layer and a shared table, with its arrays in ours: both stack the gates alike."""
    import numpy as np

    from recsys.models.gru4rec import GRU4Rec
    from recsys.settings.gru4rec import GRU4RecParameters

    network, layer = authors.model, authors.model.G[0]
    rows = np.array(authors.data_iterator.itemidmap[np.arange(items.height)])  # theirs, by our index
    arrays = {
        "item_table": network.Wy.weight[rows],
        "item_bias": network.By.weight[rows, 0],
        "weight_input.0": layer.weight_ih,
        "weight_hidden.0": layer.weight_hh,
        "bias_input.0": layer.bias_ih,
        "bias_hidden.0": layer.bias_hh,
    }
    model = GRU4Rec(GRU4RecParameters.model_validate(case.parameters))
    model.n_items_ = items.height
    model.set_arrays({name: np.ascontiguousarray(array.detach().numpy()) for name, array in arrays.items()})
    return model


def data_folder() -> Path:
    """Where the public logs lie."""
    return Path(os.environ.get("RECSYS_DATA_DIR", ROOT.parent / "shared" / "data"))


def rows(runs: list[dict[str, Any]], key: str, authors: dict[str, float], same: bool = True) -> list[str]:
    """A row a metric: the authors' figure, our mean and range, and, of the `same` predictions, whether the mean is within tolerance."""
    lines = []
    for metric in METRICS:
        ours = [run[key][metric] for run in runs]
        mean = statistics.fmean(ours)
        theirs = authors.get(metric)
        verdict = "" if theirs is None else f"{mean / theirs - 1:+.1%}" + (" (short)" if same and mean < theirs * (1 - TOLERANCE) else "")
        shown = "" if theirs is None else f"{theirs:.{4 if same else 3}f}"
        lines.append(f"| {metric} | {shown} | {mean:.4f} | {min(ours):.4f} to {max(ours):.4f} | {verdict} |")
    return lines


def page(found: dict[str, list[dict[str, Any]]], authors: dict[str, dict[str, Any]], command: str) -> str:
    """The conformance page; `authors` are the results of `run_authors`, where there are any."""
    lines = [
        "# Conformance",
        "",
        "GRU4Rec of this project beside the authors' PyTorch code, with the same parameters on the same splits: ten epochs on train +",
        "valid, every test position ranked against all items, conservative ties. The authors' figures are from one run of their code each;",
        f"ours are the mean and the range of {max(map(len, found.values()))} seeds. The last column is our mean against theirs; *short*",
        f"marks a mean more than {TOLERANCE:.0%} below.",
        "",
        "```sh",
        command,
        "```",
    ]
    for case in CASES:
        if not (runs := found.get(case.name)):
            continue
        lines += ["", f"## {case.data}: {case.words}", ""]
        lines += [f"{runs[0]['predictions']:,} predictions.", ""]
        head = ["| | authors | mean | range | difference |", "|---|---|---|---|---|"]
        theirs = authors.get(case.name, {})
        lines += [*head, *rows(runs, "metrics", theirs.get("metrics", case.authors))]
        if "on_pairs" in runs[0]:
            lines += ["", f"The same models on COTREC's {runs[0]['pairs']:,} pairs of prefix and target (`recsys evaluate --pairs`)."]
            if "on_pairs" in theirs:
                lines += ["The authors' model is ranked by the same program, its arrays in ours.", ""]
                lines += [*head, *rows(runs, "on_pairs", theirs["on_pairs"])]
            else:
                recall = statistics.fmean(run["on_pairs"]["recall@20"] for run in runs)
                error = (recall * (1 - recall) / 3000) ** 0.5
                lines += [f"The authors' figures are from 3,000 of the pairs, whose recall@20 has a standard error of {error:.3f}.", ""]
                lines += [*head, *rows(runs, "on_pairs", case.authors_on_pairs, same=False)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "conformance")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=[case.name for case in CASES], help="these cases only")
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' PyTorch code (needs pandas)")
    parser.add_argument("--write", action="store_true", help="write docs/conformance.md")
    given = parser.parse_args()
    os.environ.setdefault("RECSYS_DATA_DIR", str(data_folder()))
    found, authors = {}, {}
    for case in CASES:
        if given.only and case.name not in given.only:
            continue
        final = window(case.data, given.folder)
        if given.authors:
            authors[case.name] = run_authors(case, final, given.folder, given.authors)
        found[case.name] = []
        for seed in given.seeds:
            result = run(case, seed, final, given.folder, given.threads)
            found[case.name].append(result)
            metrics = ", ".join(f"{metric} {result['metrics'][metric]:.4f}" for metric in METRICS)
            print(f"{case.name}, seed {seed}: {metrics} ({result['training_seconds']:.0f} s)", flush=True)
    checkout = " --authors CHECKOUT" if given.authors else ""
    text = page(found, authors, f"python benchmarks/conformance.py --seeds {' '.join(map(str, given.seeds))}{checkout} --write")
    print(text)
    if given.write:
        (ROOT / "docs" / "conformance.md").write_text(text)


if __name__ == "__main__":
    main()
