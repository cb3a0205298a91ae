"""Session-kNN as a model: fitted, saved, ranked, and wired into runs."""

from pathlib import Path

import numpy as np
import pytest

from recsys.config import load_configuration
from recsys.errors import DataError, PackageError, RecsysError
from recsys.evaluation.ranking import refuse_collapsed
from recsys.files import folder_digests, read_json, write_json
from recsys.models.interface import FitData, Model
from recsys.models.registry import load_model
from recsys.models.scores import rank_scores
from recsys.models.session_knn import SessionKNN
from recsys.sessions.table import Sessions
from recsys.settings.session_knn import SessionKNNParameters
from tests.neighbours_reference import DEFAULTS, scores
from tests.unit.test_baselines import fit_data

HOUR = 3_600_000


def random_sessions(number: int, n_items: int, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [(n_items * random.random(length) ** 2).astype(int).tolist() for length in random.integers(2, 9, number)]


@pytest.fixture(scope="module")
def data() -> FitData:
    return fit_data(random_sessions(200, 30, seed=1), n_items=30, starts=np.arange(200) * HOUR)


@pytest.fixture(scope="module")
def model(data: FitData) -> SessionKNN:
    return SessionKNN(SessionKNNParameters(recency="30h", idf_score=0.5, neighbours=40)).fit(data)


def test_scores_are_those_of_the_slow_form(model: SessionKNN, data: FitData) -> None:
    sessions = [data.train[session].tolist() for session in range(len(data.train))]
    given = model.parameters.model_dump()
    queries = [[0], [3, 1, 3], [], random_sessions(1, 30, seed=5)[0]]
    most = given.pop("sessions_per_item")
    expected = [scores(sessions, data.train.starts.tolist(), 30, most, query, **given) for query in queries]
    np.testing.assert_allclose(model.score_all(Sessions.from_lists(queries)), np.array(expected, np.float32), rtol=1e-6)


def test_every_parameter_reaches_the_extension() -> None:
    assert set(SessionKNNParameters.model_fields) == {*DEFAULTS, "sessions_per_item"}


@pytest.mark.parametrize("exclude", [False, True])
def test_it_ranks_as_it_scores(model: SessionKNN, exclude: bool) -> None:
    sessions = Sessions.from_lists([*random_sessions(40, 30, seed=2), [4], []])
    positions = sessions.targets()
    ranks, lists = model.rank_positions(sessions, positions, 20, exclude)
    by_scores, lists_by_scores = rank_scores(Model.score_positions(model, sessions, positions, 7), sessions, positions, 20, exclude)
    np.testing.assert_array_equal(ranks, by_scores)
    np.testing.assert_array_equal(lists, lists_by_scores)
    refuse_collapsed(model, sessions, positions)


def test_it_recommends_as_it_scores(model: SessionKNN) -> None:
    queries = Sessions.from_lists([[1, 2], [29], [], [5, 5, 7]])
    for candidates in (None, np.array([3, 1, 28])):
        ours = model.recommend(queries, 10, candidates, exclude=queries)
        theirs = Model.recommend(model, queries, 10, candidates, exclude=queries)
        for found, expected in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(found, expected)
    with pytest.raises(RecsysError, match="k is 31, but must lie between 1 and the 30 items"):
        model.recommend(queries, 31)


def test_it_is_read_back_as_it_was(model: SessionKNN, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "sessions.knn"]
    read = load_model(tmp_path)
    assert (type(read), read.parameters, read.n_items_) == (SessionKNN, model.parameters, 30)
    queries = Sessions.from_lists([[0], [1, 0], []])
    np.testing.assert_array_equal(read.score_all(queries), model.score_all(queries))


def test_damaged_index_is_refused(model: SessionKNN, tmp_path: Path) -> None:
    model.save(tmp_path)
    (tmp_path / "sessions.knn").write_bytes((tmp_path / "sessions.knn").read_bytes()[:-40])
    with pytest.raises(PackageError, match="was altered after it was written"):
        load_model(tmp_path)
    manifest = read_json(tmp_path / "manifest.json")
    write_json(tmp_path / "manifest.json", manifest | {"files": folder_digests(tmp_path, leave_out=("manifest.json",))})
    with pytest.raises(PackageError, match="bytes where its header announces .*; train the model again"):
        load_model(tmp_path)


def test_recency_needs_starts() -> None:
    with pytest.raises(DataError, match="recency needs to know when sessions start"):
        SessionKNN(SessionKNNParameters(recency="7d")).fit(fit_data([[0, 1]], 2))


def test_a_configuration_names_it() -> None:
    runs = {"knn": {"model": "session_knn", "parameters": {"neighbours": 100}}, "popularity": {"model": "popularity"}}
    configuration = load_configuration({"models": {"session_knn": {"recency": "7d"}}, "runs": runs})
    assert set(configuration.grid) == {"knn", "popularity"}
    chosen = configuration.grid["knn"].parameters
    assert (chosen.neighbours, chosen.recency) == (100, 7 * 24 * HOUR)
