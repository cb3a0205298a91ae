"""The leaderboard: a row a run and split."""

from pathlib import Path
from typing import Any

import polars as pl

from recsys.evaluation.ranking import CUTOFFS
from recsys.files import read_json

_KINDS = ("recall", "mrr", "ndcg")


def _row(metrics: dict[str, Any], split: str, seed: int | None, extra: dict[str, Any], history: Path | None, metric: str) -> dict[str, Any]:
    row = {"run": metrics["run"], "model": metrics["model"], "seed": seed, "split": split, "predictions": metrics["predictions"]}
    row |= {f"{kind}@{cutoff}": metrics[kind][str(cutoff)] for kind in _KINDS for cutoff in CUTOFFS}
    row |= {"coverage": extra["coverage"], "novelty": extra["novelty"]}
    row |= {f"{metric} {bound}": extra["intervals"][metric][bound] for bound in ("low", "high")}
    trained = pl.read_parquet(history, columns=["seconds", "events"]) if history is not None else pl.DataFrame()
    seconds = float(trained["seconds"].sum()) if trained.height else None
    return row | {"seconds": seconds, "events/s": float(trained["events"].sum()) / seconds if seconds else None}


def leaderboard(
    folders: list[Path], champion: Path, comparison: Path, history: Path, families: dict[str, str], metric: str
) -> pl.DataFrame:
    """Validation rows of all runs, best first, then test rows of the champion and its baselines.

    Parameters
    ----------
    folders
        Run folders with `metrics.json` and `history.parquet`.
    champion, comparison, history
        The champion's `metrics.json`, `comparison.json` and `history.parquet`.
    families
        Model family of each baseline by its name.
    metric
        The metric whose interval is shown and by which rows are ordered.
    """
    runs = [(folder, read_json(folder / "metrics.json")) for folder in folders]
    rows = [_row(metrics, "valid", metrics["seed"], metrics, folder / "history.parquet", metric) for folder, metrics in runs]
    test, compared = read_json(champion), read_json(comparison)["models"]
    last = [_row(test, "test", None, compared[test["run"]], history, metric)]
    for name, ranked in test["baselines"].items():
        if name != test["run"]:
            described = {"run": name, "model": families[name], "predictions": test["predictions"]} | ranked
            last.append(_row(described, "test", None, compared[name], None, metric))
    schema = {"seed": pl.Int64, "seconds": pl.Float64, "events/s": pl.Float64}
    return pl.concat(
        [pl.DataFrame(part, schema_overrides=schema).sort(metric, descending=True, maintain_order=True) for part in (rows, last)]
    )
