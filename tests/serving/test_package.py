import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import polars as pl
import pytest

from recsys.errors import PackageError
from recsys.files import read_json, write_json
from recsys.serving.export import check_scorer, differs, read_export
from recsys.serving.manifest import package_digest, read_package
from recsys.serving.package import build_package
from recsys.serving.parity import PackageUnderTest, check_parity, listed_rank
from recsys.serving.recommender import Recommender, id_type_of
from recsys.sessions.table import Sessions
from tests.serving.conftest import MAX_LENGTH, N_ITEMS, Shop, integer_ids

# Opens a package where neither this project nor what trains it can be imported: what is found must be the package's own code.
ALONE = """
import importlib.util, sys
from importlib.machinery import PathFinder

class WithoutTraining(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.split(".")[0]
        found = None if top in {"torch", "onnx", "snakemake"} else super().find_spec(name, path, target)
        return None if top == "rust_sessionizer" and found and not str(found.origin).startswith(sys.argv[1]) else found

sys.meta_path = [WithoutTraining if finder is PathFinder else finder for finder in sys.meta_path]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
assert importlib.util.find_spec("recsys") is None, "the project can be imported from outside the package"

import json, logging
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
answer = model.predict(pandas.DataFrame({"session": json.loads(sys.argv[2])}), params={"k": 4})
import recsys
assert recsys.__file__.startswith(sys.argv[1]), recsys.__file__
assert "torch" not in sys.modules
print(json.dumps(answer))
"""


def fake_recommender(ids: list, id_type: str, max_session_length: int = 5) -> Recommender:
    class Echo:
        """Scores the session's own items, the last first; remembers what it was asked."""

        asked: list

        def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
            self.asked = sessions
            indices = np.array([[session[-1]] * 2 for session in sessions])
            return indices, np.array([[1.0, -np.inf]] * len(sessions), dtype=np.float32)

    items = pl.DataFrame({"item_id": ids, "support": range(len(ids), 0, -1)})
    return Recommender(Echo(), items, id_type, max_session_length)


@pytest.mark.parametrize("kind", ["shop", "native_shop", "knn_shop", "blend_shop", "reranker_shop"])
def test_a_package_answers_where_the_project_cannot_be_imported(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    shop: Shop = request.getfixturevalue(kind)
    package = tmp_path / "elsewhere"
    shutil.copytree(shop.package, package)
    ids = integer_ids()
    sessions = [[ids[3], ids[9]], [5], []]
    run = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(package), json.dumps(sessions)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "true", "HOME": str(tmp_path)},
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    answers = json.loads(run.stdout.splitlines()[-1])
    queries = Sessions.from_lists([[3, 9]])
    indices, scores = shop.model.recommend(queries, 4, exclude=queries if shop.settings.evaluation.exclude_session_items else None)
    assert answers[0]["recommendations"] == [ids[index] for index in indices[0]]
    np.testing.assert_allclose(answers[0]["scores"], scores[0], rtol=1e-4)
    popular = {"recommendations": ids[:4], "scores": [160.0, 159.0, 158.0, 157.0], "fallback": "popular"}
    assert answers[1:] == [popular, popular]


def test_a_package_of_several_models_holds_their_parts(blend_shop: Shop, reranker_shop: Shop) -> None:
    for shop, own in ((blend_shop, set()), (reranker_shop, {f"combination/trees-{stage}.txt" for stage in range(1, 5)})):
        manifest = read_package(shop.package)
        runtimes = {name: part["runtime"] for name, part in manifest["members"].items()}
        assert runtimes == {"net": "onnx", "near": "native", "follow": "native"}
        parts = {"members/net/session.onnx", "members/near/model/sessions.knn", "combination/model.safetensors"} | own
        assert {f"artifacts/model/{part}" for part in parts} <= manifest["files"].keys()
        assert {path.name for path in (shop.package / "code").iterdir()} == {"recsys", "rust_sessionizer"}
        code = {path.relative_to(shop.package / "code").as_posix() for path in (shop.package / "code").rglob("*.py")}
        trains = ("recsys/training/", "recsys/models/gru4rec.py", "recsys/models/gru4rec_network.py")
        assert not [name for name in code if name.startswith(trains)]
        assert ("lightgbm" in (shop.package / "requirements.txt").read_text()) == (shop is reranker_shop)


@pytest.mark.parametrize("name", ["members/net/session.onnx", "members/near/model/sessions.knn", "combination/model.safetensors"])
def test_a_package_of_several_models_is_altered_in_no_part(name: str, blend_shop: Shop, tmp_path: Path) -> None:
    for folder, where, read in ((blend_shop.package, "artifacts/model", read_package), (blend_shop.export, "model", read_export)):
        copied = tmp_path / where.replace("/", "-")
        shutil.copytree(folder, copied)
        assert read(copied)
        part = copied / where / name
        part.write_bytes(part.read_bytes() + b"x")
        with pytest.raises(PackageError, match=f"{Path(name).name}.* was altered"):
            read(copied)


def test_a_package_holds_no_pickle_and_no_training_code(shop: Shop) -> None:
    files = [path for path in shop.package.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".joblib", ".pt"}]
    # Pickles of every protocol since 2 open with \x80 and the protocol's number.
    assert not [path for path in files if path.read_bytes()[:2] in {b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}]
    code = {path.relative_to(shop.package / "code").as_posix() for path in files if (shop.package / "code") in path.parents}
    assert "recsys/serving/pyfunc.py" in code
    trains = ("recsys/training/", "recsys/models/gru4rec.py", "recsys/models/gru4rec_network.py", "recsys/serving/package.py")
    assert not [name for name in code if name.startswith(trains)]


def test_a_package_holds_the_extension_where_its_model_runs_on_it(shop: Shop, knn_shop: Shop, native_shop: Shop) -> None:
    both = {"recsys", "rust_sessionizer"}
    for one, expected in ((shop, both), (knn_shop, both), (native_shop, {"recsys"})):
        assert {path.name for path in (one.package / "code").iterdir()} == expected
    carried = {path.name for path in (knn_shop.package / "code" / "rust_sessionizer").iterdir()}
    assert {"__init__.py", "neighbours.py"} <= carried
    assert [name for name in carried if name.startswith("_native.")]
    assert not [path for path in (knn_shop.package / "code").rglob("*") if "training" in path.parts]


def test_a_package_names_no_path_of_the_machine_that_built_it(shop: Shop) -> None:
    for name in ("MLmodel", "manifest.json", "conda.yaml", "requirements.txt"):
        assert str(shop.folder.parent) not in (shop.package / name).read_text()


def test_the_manifest_says_what_the_package_is(shop: Shop) -> None:
    manifest = read_package(shop.package)
    expected = {
        "family": "gru4rec",
        "runtime": "onnx",
        "shop": "tiny",
        "id_type": "integer",
        "items": N_ITEMS,
        "max_session_length": MAX_LENGTH,
    }
    assert {key: manifest[key] for key in expected} == expected
    assert manifest["capabilities"]["exact_full_rank"] is True
    assert {"artifacts/session.onnx", "artifacts/items.parquet", "model.py", "MLmodel"} <= manifest["files"].keys()


@pytest.mark.parametrize("change", ["altered", "missing", "added", "no manifest", "broken manifest", "newer format"])
def test_an_altered_package_is_refused(change: str, shop: Shop, tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(shop.package, package)
    assert read_package(package)
    table = package / "artifacts" / "items.parquet"
    manifest = package / "manifest.json"
    match change:
        case "altered":
            table.write_bytes(table.read_bytes() + b"x")
        case "missing":
            table.unlink()
        case "added":
            (package / "code" / "sitecustomize.py").write_text("")
        case "no manifest":
            manifest.unlink()
        case "broken manifest":
            manifest.write_text("{")
        case "newer format":
            write_json(manifest, read_json(manifest) | {"format": 99})
    with pytest.raises(PackageError):
        read_package(package)


def test_two_builds_are_the_same_package(shop: Shop, tmp_path: Path) -> None:
    build_package(shop.export, shop.items, tmp_path / "again", shop.settings)
    assert package_digest(tmp_path / "again") == package_digest(shop.package)
    # What the workflow leaves in a folder, and a change of the configuration that is none of the package, change nothing.
    (tmp_path / "again" / ".snakemake_timestamp").touch()
    assert package_digest(tmp_path / "again") == package_digest(shop.package)
    elsewhere = shop.settings.model_copy(update={"configuration_hash": "another"})
    build_package(shop.export, shop.items, tmp_path / "again", elsewhere)
    assert package_digest(tmp_path / "again") == package_digest(shop.package)
    other = shop.settings.model_copy(update={"split_hash": "another"})
    build_package(shop.export, shop.items, tmp_path / "other", other)
    assert package_digest(tmp_path / "other") != package_digest(shop.package)


def test_an_export_of_other_settings_or_another_window_is_refused(shop: Shop, tmp_path: Path) -> None:
    exclude = shop.settings.model_copy(update={"evaluation": shop.settings.evaluation.model_copy(update={"exclude_session_items": True})})
    with pytest.raises(PackageError, match="exclude_session_items"):
        build_package(shop.export, shop.items, tmp_path / "package", exclude)
    pl.read_parquet(shop.items).head(10).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(PackageError, match="10 items"):
        build_package(shop.export, tmp_path / "items.parquet", tmp_path / "package", shop.settings)
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("family", ["gru4rec", "item_to_item", "session_knn", "blend", "reranker"])
@pytest.mark.parametrize("exclude", [False, True], ids=["keep", "exclude"])
def test_the_package_scores_what_the_model_scored(family: str, exclude: bool, new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(family=family, exclude=exclude)
    parity = check_parity(shop.model_folder, shop.package, shop.items, shop.test, shop.metrics, shop.settings)
    assert parity["equal_top_20"] == 1.0
    assert parity["test"]["predictions over serve.max_session_length"] > 0  # the test sessions are longer than what serving looks at
    assert abs(parity["test"]["difference"]) < 1e-12
    assert parity["test"]["recall@20 through the package"] > 0


@pytest.mark.parametrize("kind", ["blend_shop", "reranker_shop"])
def test_a_package_of_several_models_lists_what_the_model_lists(kind: str, request: pytest.FixtureRequest) -> None:
    shop: Shop = request.getfixturevalue(kind)
    package, ids = mlflow.pyfunc.load_model(str(shop.package)), np.array(integer_ids())
    random = np.random.default_rng(7)
    lists = [random.integers(0, N_ITEMS, length).tolist() for length in (1, 2, 5, MAX_LENGTH)]
    answers = package.predict(pd.DataFrame({"session": [ids[own].tolist() for own in lists]}), params={"k": N_ITEMS})
    for own, answer in zip(lists, answers, strict=True):
        query = Sessions.from_lists([own])
        exclude = query if shop.settings.evaluation.exclude_session_items else None
        items, scores = shop.model.recommend(query, N_ITEMS, exclude=exclude)
        listed = items[0] >= 0
        assert answer["recommendations"] == ids[items[0][listed]].tolist()
        np.testing.assert_allclose(answer["scores"], scores[0][listed], rtol=1e-4, atol=1e-5)
        assert not exclude or not set(answer["recommendations"]) & set(ids[own].tolist())


class Shifted:
    """A recommender's scorer that gives every item the place of the next one, with the scores as they are."""

    def __init__(self, scorer: object) -> None:
        self._scorer = scorer

    def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        items, scores = self._scorer.top(sessions, k)
        return np.where(items >= 0, (items + 1) % N_ITEMS, -1), scores


@pytest.mark.parametrize("kind", ["blend_shop", "reranker_shop"])
def test_right_scores_of_wrong_items_are_refused(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    shop: Shop = request.getfixturevalue(kind)
    scorer, exclude = Recommender.load(shop.package).scorer, shop.settings.evaluation.exclude_session_items
    check_scorer(scorer, shop.model, exclude, MAX_LENGTH)
    with pytest.raises(PackageError, match="with other items or scores than the model; the export is faulty"):
        check_scorer(Shifted(scorer), shop.model, exclude, MAX_LENGTH)
    right = PackageUnderTest.predict

    def shifted(self: PackageUnderTest, queries: list[np.ndarray], k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [((items + 1) % N_ITEMS, scores) for items, scores in right(self, queries, k)]

    monkeypatch.setattr(PackageUnderTest, "predict", shifted)
    with pytest.raises(PackageError, match="with other items or scores than the fitted"):
        check_parity(shop.model_folder, shop.package, shop.items, shop.test, shop.metrics, shop.settings)


def test_items_of_scores_that_rounding_parts_may_change_places() -> None:
    scores = np.array([[3, 2, 2 - 1e-6, 1, -np.inf], [3, 2, 1.5, 1, 0.5]], np.float32)
    items = np.array([[4, 1, 2, 0, -1], [4, 1, 2, 0, 3]])
    for order, told in (
        ([0, 1, 2, 3, 4], [False, False]),
        ([0, 2, 1, 3, 4], [False, True]),
        ([1, 0, 2, 3, 4], [True, True]),
        ([0, 1, 2, 4, 3], [True, True]),
    ):
        assert differs(items[:, order], scores, items, scores).tolist() == told
    other = np.array([[4, 1, 2, 0, 7], [4, 1, 2, 0, 9]])  # beside the last of a full list others may stand
    assert differs(other, scores, items, scores).tolist() == [False, False]
    assert differs(items, scores + np.float32(0.01), items, scores).tolist() == [True, True]
    assert differs(items[:, :1], scores[:, :1], items[:, :1], scores[:, :1]).tolist() == [False, False]


def test_parity_refuses_a_package_of_another_blend(blend_shop: Shop, reranker_shop: Shop) -> None:
    given = (blend_shop.items, blend_shop.test, blend_shop.metrics, reranker_shop.settings)
    with pytest.raises(PackageError, match=r"other items or scores than the fitted reranker|another number of items"):
        check_parity(reranker_shop.model_folder, blend_shop.package, *given)


def test_parity_refuses_a_package_of_another_model_and_metrics_of_another_test(shop: Shop, native_shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="scores differ"):
        check_parity(native_shop.model_folder, shop.package, shop.items, shop.test, shop.metrics, shop.settings)
    metrics = read_json(shop.metrics)
    metrics["recall"]["20"] += 0.002
    write_json(tmp_path / "metrics.json", metrics)
    with pytest.raises(PackageError, match="recall@20"):
        check_parity(shop.model_folder, shop.package, shop.items, shop.test, tmp_path / "metrics.json", shop.settings)


def test_ties_count_against_the_target_in_a_list() -> None:
    indices, scores = np.array([4, 2, 7, 1]), np.array([3.0, 2.0, 2.0, 1.0])
    assert listed_rank(indices, scores, 4, k=4) == 1
    assert listed_rank(indices, scores, 2, k=4) == 3  # as good as 7, so behind it
    assert listed_rank(indices, scores, 1, k=4) == 5  # items off the list may tie with the last
    assert listed_rank(indices, scores, 1, k=10) == 4  # a list with all items ends where the items end
    assert listed_rank(indices, scores, 9, k=4) == 5


def test_id_types() -> None:
    assert id_type_of(pl.Series(["a", "b"])) == "string"
    assert id_type_of(pl.Series([1, 2**53])) == "integer"
    assert id_type_of(pl.Series([1, 2**53 + 1])) == "hash"
    assert id_type_of(pl.Series([1, -(2**60)])) == "hash"


def test_hash_ids_are_found_as_strings_and_as_integers_and_answered_as_strings() -> None:
    large = 2**60 + 1
    recommender = fake_recommender([large, 7], "hash")
    answers = recommender.recommend([[large], [str(large)], ["no such"]], 1)
    assert [answer["recommendations"] for answer in answers] == [[str(large)], [str(large)], [str(large)]]
    assert [answer["fallback"] for answer in answers] == [None, None, "popular"]


def test_only_the_last_clicks_are_looked_at_and_unknown_items_are_skipped() -> None:
    recommender = fake_recommender(["a", "b", "c"], "string", max_session_length=2)
    recommender.recommend([["a", "b", "?", "c"]], 2)
    assert recommender.scorer.asked == [[1, 2]]
    recommender.recommend([["a", "b", "?", "c"]], 2, max_session_length=3)
    assert recommender.scorer.asked == [[0, 1, 2]]
    (answer,) = recommender.recommend([["a", "?", "?", "?"]], 2)
    assert recommender.scorer.asked == [[0]]
    assert answer["fallback"] is None


def test_answers_come_in_the_order_of_the_sessions_and_leave_out_masked_items() -> None:
    recommender = fake_recommender(["a", "b", "c"], "string")
    answers = recommender.recommend([["a", "a", "b"], [], ["c"], ["b", "a"]], 2)
    assert [answer["recommendations"] for answer in answers] == [["b"], ["a", "b"], ["c"], ["a"]]
    assert answers[1] == {"recommendations": ["a", "b"], "scores": [3.0, 2.0], "fallback": "popular"}


def test_many_sessions_at_once_answer_as_each_alone(shop: Shop) -> None:
    model = mlflow.pyfunc.load_model(str(shop.package))
    random = np.random.default_rng(3)
    sessions = [random.choice(integer_ids(), random.integers(0, 30)).tolist() for _ in range(600)]
    together = model.predict(pd.DataFrame({"session": sessions}))
    for row in range(0, 600, 37):
        alone = model.predict(pd.DataFrame({"session": [sessions[row]]}))[0]
        assert together[row]["recommendations"] == alone["recommendations"]
        np.testing.assert_allclose(together[row]["scores"], alone["scores"], rtol=1e-5)


@pytest.mark.parametrize("k", [0, -1, 101])
def test_plain_mlflow_refuses_a_k_out_of_range(k: int, shop: Shop) -> None:
    with pytest.raises(mlflow.exceptions.MlflowException, match="k must be"):
        mlflow.pyfunc.load_model(str(shop.package)).predict(pd.DataFrame({"session": [[1000]]}), params={"k": k})
