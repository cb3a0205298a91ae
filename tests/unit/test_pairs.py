"""Pairs of a prefix and the item that follows: read, mapped to a vocabulary, and measured."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.cli.application import application
from recsys.errors import ConfigurationError, DataError
from recsys.evaluation.measure import measure, measure_pairs
from recsys.models.interface import Capabilities, FitData, Model, Queries
from recsys.models.popularity import Popularity
from recsys.models.scores import EXCLUDED
from recsys.sessions.pairs import PairColumns, read_pairs
from recsys.sessions.table import Sessions
from recsys.settings.base import Section
from recsys.settings.training import EvaluationSettings

ITEMS = pl.DataFrame(
    {"index": [0, 1, 2], "code": [2, 0, 1], "item_id": [30, 10, 20], "support": [5, 3, 1]}, schema_overrides={"index": pl.Int32}
)
SETTINGS = EvaluationSettings(bootstrap=100)


class AfterLast(Model):
    """The items after the last one, in a circle; 0 first where nothing was clicked."""

    family: ClassVar[str] = "after_last"
    capabilities: ClassVar[Capabilities] = Capabilities(runtime="native")
    parameters_class: ClassVar[type[Section]] = Section
    n_items_ = 3

    def fit(self, data: Any, context: Any = None) -> "AfterLast":
        return self

    def score_all(self, queries: Queries) -> np.ndarray:
        last = np.array([queries[query][-1] if len(queries[query]) else 2 for query in range(len(queries))])
        return -((np.arange(3)[None, :] - last[:, None] - 1) % 3).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        pass


@pytest.fixture
def written(tmp_path: Path):
    def write(**columns: Any) -> Path:
        pl.DataFrame(columns).write_parquet(tmp_path / "pairs.parquet")
        return tmp_path / "pairs.parquet"

    return write


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_ids_become_indices_and_unknown_clicks_are_skipped(written) -> None:
    pairs = read_pairs(written(prefix=[[30, 99, 10], [20], [98, 97]], target=[20, 30, 10]), ITEMS)
    assert [pairs.sessions[pair].tolist() for pair in range(3)] == [[0, 1, 2], [2, 0], [1]]
    assert pairs.positions.session.tolist() == [0, 1, 2]
    assert pairs.positions.click.tolist() == [2, 4, 5]
    assert pairs.positions.target.tolist() == [2, 0, 1]
    assert pairs.known.tolist() == [True, True, True]
    assert pairs.unknown_clicks == 3
    assert pairs.owners.tolist() == [0, 1, 2]


def test_unknown_target_is_remembered(written) -> None:
    pairs = read_pairs(written(prefix=[[30], [10]], target=[99, 20]), ITEMS)
    assert pairs.known.tolist() == [False, True]


def test_empty_prefix_is_a_session_that_has_not_begun(written) -> None:
    pairs = read_pairs(written(prefix=[[], [10]], target=[20, 30]), ITEMS)
    assert [pairs.sessions[pair].tolist() for pair in range(2)] == [[2], [1, 0]]


def test_columns_have_other_names_where_that_is_said(written) -> None:
    path = written(seen=[[10], [20], [30]], next=[20, 30, 10], visit=["b", "a", "b"])
    pairs = read_pairs(path, ITEMS, PairColumns("seen", "next", "visit"))
    assert pairs.positions.target.tolist() == [2, 0, 1]
    assert pairs.owners[0] == pairs.owners[2] != pairs.owners[1]


@pytest.mark.parametrize("of_log", [pl.String, pl.Int64, pl.UInt16])
@pytest.mark.parametrize("of_pairs", [pl.String, pl.Int64, pl.Int32])
def test_numbers_and_texts_of_the_same_id_are_the_same_item(written, of_log: Any, of_pairs: Any) -> None:
    prefix, target = pl.Series([[30], [70_000]], dtype=pl.List(pl.Int64)).cast(pl.List(of_pairs)), pl.Series([20, 10]).cast(of_pairs)
    pairs = read_pairs(written(prefix=prefix, target=target), ITEMS.with_columns(pl.col("item_id").cast(of_log)))
    assert [pairs.sessions[pair].tolist() for pair in range(2)] == [[0, 2], [1]]


def test_text_that_is_no_number_is_an_unknown_item(written) -> None:
    pairs = read_pairs(written(prefix=[["30", "shoe"]], target=["hat"]), ITEMS)
    assert (pairs.sessions[0].tolist(), pairs.known.tolist(), pairs.unknown_clicks) == ([0, 0], [False], 1)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"items": [[10]], "target": [20]}, r"no column 'prefix', only 'items', 'target'; say with --prefix-column which it is"),
        ({"prefix": [[10]], "label": [20]}, r"no column 'target', only 'prefix', 'label'; say with --target-column"),
        ({"prefix": [10], "target": [20]}, r"'prefix' of .* holds Int64; write lists of item ids"),
        ({"prefix": [[1.5]], "target": [20]}, r"'prefix' of .* holds List\(Float64\)"),
        ({"prefix": [[10]], "target": [[20]]}, r"'target' of .* holds List\(Int64\); write item ids"),
        ({"prefix": [[10]], "target": [2.5]}, r"'target' of .* holds Float64"),
        ({"prefix": [[10], None], "target": [20, 20]}, r"'prefix' of .* lacks a value in row 1"),
        ({"prefix": [[10], [10, None]], "target": [20, 20]}, r"'prefix' of .* lacks a value in row 1"),
        ({"prefix": [[10], [10]], "target": [None, 20]}, r"'target' of .* lacks a value in row 0"),
        ({"prefix": pl.Series([], dtype=pl.List(pl.Int64)), "target": pl.Series([], dtype=pl.Int64)}, "has no rows"),
    ],
)
def test_file_that_cannot_be_used_is_refused(written, columns: dict, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_pairs(written(**columns), ITEMS)


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.parquet").write_text("prefix,target\n")
    with pytest.raises(DataError, match="is no Parquet file"):
        read_pairs(tmp_path / "pairs.parquet", ITEMS)


# --- Measuring --------------------------------------------------------------------------------------------------------


def test_pairs_of_sessions_have_the_figures_of_the_sessions(written) -> None:
    ids = ITEMS["item_id"].to_numpy()
    sessions = Sessions.from_lists([[0, 1, 0], [2, 0], [1, 1, 2, 0]])
    prefixes = [(session, place) for session in range(3) for place in range(1, len(sessions[session]))]
    path = written(
        prefix=[ids[sessions[session][:place]].tolist() for session, place in prefixes],
        target=[int(ids[sessions[session][place]]) for session, place in prefixes],
        visit=[session for session, _ in prefixes],
    )
    pairs = read_pairs(path, ITEMS, PairColumns(session="visit"))
    for exclude in (False, True):
        settings = EvaluationSettings(bootstrap=100, exclude_session_items=exclude)
        ranking, figures = measure_pairs(AfterLast(), pairs, ITEMS["support"].to_numpy(), settings)
        expected, of_sessions = measure(AfterLast(), sessions, ITEMS["support"].to_numpy(), settings)
        assert ranking.ranks.tolist() == expected.ranks.tolist()
        np.testing.assert_array_equal(ranking.lists, expected.lists)
        assert {name: figures[name] for name in of_sessions} == of_sessions
        assert figures["unknown_targets"] == figures["unknown_clicks"] == figures["empty_prefixes"] == 0


def test_what_the_model_does_not_know_is_missed_and_counted(written) -> None:
    pairs = read_pairs(written(prefix=[[30], [99], [10, 98], [20]], target=[10, 30, 97, 30]), ITEMS)
    ranking, figures = measure_pairs(AfterLast(), pairs, ITEMS["support"].to_numpy(), SETTINGS)
    # The second is scored as an empty session, for which item 30 is first; the third's target is unknown.
    assert ranking.ranks.tolist() == [1, 1, EXCLUDED, 1]
    assert figures["predictions"] == 4
    assert figures["recall"]["20"] == figures["mrr"]["20"] == 0.75
    assert (figures["unknown_targets"], figures["unknown_clicks"], figures["empty_prefixes"]) == (1, 2, 1)


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def fitted(tmp_path: Path) -> list[str]:
    """Arguments of `recsys evaluate` for a fitted model."""
    (tmp_path / "model").mkdir()
    Popularity().fit(FitData(Sessions.from_lists([[0, 0, 1], [1, 0, 2]]), ITEMS)).save(tmp_path / "model")
    (tmp_path / "params.json").write_text(json.dumps({"run": "p", "name": "p", "model": "popularity", "seed": 0}))
    ITEMS.write_parquet(tmp_path / "items.parquet")
    files = {"params": "params.json", "items": "items.parquet", "metrics": "metrics.json", "ranks": "ranks.parquet"}
    return ["evaluate", str(tmp_path / "model"), *(part for name, file in files.items() for part in (f"--{name}", str(tmp_path / file)))]


def test_command_measures_pairs(fitted: list[str], written, tmp_path: Path) -> None:
    path = written(prefix=[[30], [20], [10]], target=[30, 10, 99])
    done = CliRunner().invoke(application("evaluate"), [*fitted, "--pairs", str(path)])
    assert done.exit_code == 0, done.output
    assert "over 3 predictions" in done.output
    assert "1 of the targets are unknown to the model and count as missed" in done.output
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["split"], metrics["model"], metrics["predictions"], metrics["unknown_targets"]) == ("pairs", "popularity", 3, 1)
    ranks = pl.read_parquet(tmp_path / "ranks.parquet")
    assert ranks["rank"].to_list() == [1, 2, EXCLUDED]
    assert ranks["session"].to_list() == [0, 1, 2]


@pytest.mark.parametrize("given", [[], ["--pairs", "a", "--held-out", "b"]])
def test_command_wants_to_be_told_once_what_to_predict(fitted: list[str], given: list[str]) -> None:
    done = CliRunner().invoke(application("evaluate"), [*fitted, *given])
    assert isinstance(done.exception, ConfigurationError)
    assert "either --held-out or --pairs" in str(done.exception)
