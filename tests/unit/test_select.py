"""The choice among runs, and the leaderboard's arithmetic."""

from pathlib import Path

import polars as pl
import pytest

from recsys.errors import DataError
from recsys.evaluation.ranking import ranking_metrics
from recsys.evaluation.select import select_run
from recsys.files import write_json
from recsys.settings.training import EvaluationSettings, TrainingSettings


def run_folder(
    root: Path,
    run: str,
    name: str,
    ranks: list[int],
    history: list[float] | None,
    seed: int = 1,
    model: str = "gru4rec",
    members: tuple[str, ...] = (),
) -> Path:
    folder = root / run
    folder.mkdir()
    table = pl.DataFrame({"session": [place // 2 for place in range(len(ranks))], "position": list(range(len(ranks))), "rank": ranks})
    table.write_parquet(folder / "ranks.parquet")
    metrics = {"run": run, "name": name, "model": model, "seed": seed, "split": "valid"} | ranking_metrics(table["rank"].to_numpy())
    write_json(folder / "metrics.json", metrics)
    combines = [{"name": own.partition(".")[0], "run": own, "parameters": {"epochs": 9}} for own in members]
    parameters = {"combines": combines} if members else {"epochs": 9}
    write_json(folder / "params.json", {"run": run, "name": name, "model": model, "seed": seed, "parameters": parameters})
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


MEMBERS = ("gru.seed1", "knn")
# Of 40 predictions, two a session: the first hits, so many.
HITS = {"gru.seed1": 12, "knn": 10}


def ranks_of(hits: int) -> list[int]:
    return [1] * hits + [99] * (40 - hits)


def combined_folders(root: Path, **runs: tuple[str, int]) -> list[Path]:
    """Folders of the members, and of runs that combine them, by name: family and hits."""
    own = [
        run_folder(root, "gru.seed1", "gru", ranks_of(HITS["gru.seed1"]), [0.1, 0.3, 0.2]),
        run_folder(root, "knn", "knn", ranks_of(HITS["knn"]), None, model="session_knn"),
    ]
    return own + [run_folder(root, f"{name}.seed1", name, ranks_of(hits), None, 1, model, MEMBERS) for name, (model, hits) in runs.items()]


def choose(folders: list[Path]) -> dict:
    return select_run(folders, EvaluationSettings(), TrainingSettings())


def test_a_reranker_that_is_surely_better_than_its_blend_is_kept(tmp_path):
    choice = choose(combined_folders(tmp_path, mixed=("blend", 16), trees=("reranker", 32)))
    assert choice["run"] == choice["refit"]["name"] == "trees"
    assert choice["learned"] == "trees.seed1"
    assert choice["why"].startswith("trees has the highest recall@20 on validation, 0.8000")
    assert "it is surely better than mixed: +0.4000 (+0." in choice["why"]


def test_a_reranker_that_is_not_surely_better_than_its_blend_is_not_kept(tmp_path):
    choice = choose(combined_folders(tmp_path, mixed=("blend", 16), trees=("reranker", 17)))
    assert choice["run"] == choice["refit"]["name"] == "mixed"
    assert choice["learned"] == "mixed.seed1"
    assert choice["why"].startswith("mixed has the highest recall@20 on validation of those that are kept, 0.4000")
    assert "trees is not kept, not being surely better than mixed: +0.0250 (+0.0000 to" in choice["why"]
    assert [row["name"] for row in choice["table"]][:2] == ["trees", "mixed"]  # the table hides nothing


def test_every_reranker_is_weighed_against_the_blend_of_the_same_members(tmp_path):
    folders = combined_folders(tmp_path, mixed=("blend", 16), trees=("reranker", 17))
    other = run_folder(tmp_path, "other.seed1", "other", ranks_of(16), None, 1, "blend", (*MEMBERS, "third"))
    choice = choose([*folders, other])
    assert "better than mixed" in choice["why"]
    # Without a blend of its own members there is nothing to weigh it against.
    assert choose([folder for folder in [*folders, other] if folder.name != "mixed.seed1"])["run"] == "trees"


def test_members_are_refitted_for_their_best_epochs(tmp_path):
    folders = combined_folders(tmp_path, mixed=("blend", 16))
    choice = choose(folders)
    gru, knn = choice["refit"]["parameters"]["combines"]
    assert gru == {"name": "gru", "run": "gru.seed1", "parameters": {"epochs": 2}}
    assert knn == {"name": "knn", "run": "knn", "parameters": {"epochs": 9}}  # as it is: it has no epochs
    assert "epochs" not in choice["refit"]["parameters"]
    with pytest.raises(DataError, match=r"the member gru.seed1 of the chosen run is not among the runs; pass its folder too"):
        choose(folders[1:])


def test_a_run_without_members_learned_nothing_that_a_refit_takes_over(tmp_path):
    assert choose(combined_folders(tmp_path))["learned"] is None
