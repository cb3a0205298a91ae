"""The choice among runs, and the leaderboard's arithmetic."""

from pathlib import Path

import polars as pl
import pytest

from recsys.errors import DataError
from recsys.evaluation.ranking import ranking_metrics
from recsys.evaluation.select import select_run
from recsys.files import write_json
from recsys.settings.training import EvaluationSettings, TrainingSettings


def run_folder(root: Path, run: str, name: str, ranks: list[int], history: list[float] | None, seed: int = 1) -> Path:
    folder = root / run
    folder.mkdir()
    table = pl.DataFrame({"session": [place // 2 for place in range(len(ranks))], "position": list(range(len(ranks))), "rank": ranks})
    table.write_parquet(folder / "ranks.parquet")
    metrics = {"run": run, "name": name, "model": "gru4rec", "seed": seed, "split": "valid"} | ranking_metrics(table["rank"].to_numpy())
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "params.json", {"run": run, "name": name, "model": "gru4rec", "seed": seed, "parameters": {"epochs": 9}})
    rows = [
        {"epoch": place + 1, "loss": 1.0, "seconds": 1.0, "events": 1, "steps": 1, "mrr@20": value}
        for place, value in enumerate(history or [])
    ]
    schema = {"epoch": pl.Int64, "loss": pl.Float64, "mrr@20": pl.Float64}
    (pl.DataFrame(rows) if rows else pl.DataFrame(schema=schema)).write_parquet(folder / "history.parquet")
    return folder


def test_seeds_are_averaged_and_the_median_of_their_best_epochs_is_refitted(tmp_path):
    # steady: recall@20 of .75 and .75; lucky: 1 and .25.
    folders = [
        run_folder(tmp_path, "steady.seed1", "steady", [1, 2, 3, 99], [0.1, 0.3, 0.2]),
        run_folder(tmp_path, "steady.seed2", "steady", [1, 2, 99, 3], [0.1, 0.2, 0.3, 0.4], seed=2),
        run_folder(tmp_path, "lucky.seed1", "lucky", [1, 2, 3, 4], [0.5]),
        run_folder(tmp_path, "lucky.seed2", "lucky", [1, 99, 99, 99], [0.5], seed=2),
    ]
    choice = select_run(folders, EvaluationSettings(), TrainingSettings())
    assert choice["run"] == "steady"
    assert choice["epochs"] == [2, 4]
    assert choice["refit"]["parameters"]["epochs"] == 3
    assert [row["mean"] for row in choice["table"]] == [0.75, 0.625]
    assert choice["table"][1]["lowest"] == 0.25
    assert choice["table"][1]["winner_minus_this"]["mean"] == pytest.approx(0.125)
    assert "steady has the highest recall@20" in choice["why"]


def test_all_epochs_are_refitted_where_the_last_is_kept(tmp_path):
    folders = [run_folder(tmp_path, "one.seed1", "one", [1, 2], [0.3, 0.2, 0.1])]
    assert select_run(folders, EvaluationSettings(), TrainingSettings(keep="last"))["refit"]["parameters"]["epochs"] == 3


def test_a_model_without_epochs_is_refitted_as_it_is(tmp_path):
    choice = select_run([run_folder(tmp_path, "counts", "counts", [1, 2], None)], EvaluationSettings(), TrainingSettings())
    assert choice["refit"]["parameters"] == {"epochs": 9}


def test_runs_that_rank_other_predictions_cannot_be_compared(tmp_path):
    folders = [run_folder(tmp_path, "a.seed1", "a", [1, 2], [0.1]), run_folder(tmp_path, "a.seed2", "a", [1, 2, 3], [0.1], seed=2)]
    with pytest.raises(DataError, match="ranks other predictions"):
        select_run(folders, EvaluationSettings(), TrainingSettings())
