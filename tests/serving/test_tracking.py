import json
import sqlite3
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.errors import BusyError, PackageError, RegistryError
from recsys.files import file_digest, read_json, write_json
from recsys.processes import exclusive
from recsys.serving.manifest import package_digest
from recsys.serving.register import register_package
from recsys.serving.server import resolve_package
from recsys.serving.settings import StageSettings
from recsys.tracking import CHAMPION, champion_uri, flat_metrics, open_store, resolve_champion, store_uri
from tests.serving.conftest import Shop


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def settings(uri: str, shop: str = "tiny", **more) -> StageSettings:
    return StageSettings(
        shop=shop, tracking={"uri": uri}, evaluation={"bootstrap": 100}, split_hash="split", configuration_hash="c0", **more
    )


def make_run(folder: Path, name: str, rank: int) -> Path:
    run = folder / "runs" / name
    run.mkdir(parents=True)
    write_json(run / "params.json", {"run": name, "name": name.split(".")[0], "model": "gru4rec", "seed": 3, "parameters": {"layers": [8]}})
    write_json(run / "metrics.json", {"run": name, "recall": {"20": 0.25}, "coverage": 0.5, "intervals": {"recall@20": {"mean": 0.25}}})
    history = {
        "epoch": [1, 2],
        "loss": [0.9, float("nan")],
        "seconds": [1.0, 1.0],
        "events": [5, 5],
        "steps": [2, 2],
        "recall@20": [0.1, 0.25],
    }
    pl.DataFrame(history).write_parquet(run / "history.parquet")
    pl.DataFrame({"session": np.arange(40) // 2, "position": np.arange(40), "rank": np.full(40, rank)}).write_parquet(run / "ranks.parquet")
    (run / "model").mkdir()
    (run / "model" / "model.safetensors").write_bytes(b"large")
    return run


def make_case(shop: Shop, folder: Path, rank: int) -> dict:
    runs = [make_run(folder, "net.seed1", rank), make_run(folder, "net.seed2", rank + 1), make_run(folder, "other", 99)]
    write_json(folder / "choice.json", {"run": "net", "runs": ["net.seed1", "net.seed2"]})
    write_json(folder / "smoke.json", {"ok": True, "package_hash": package_digest(shop.package), "checks": []})
    return {
        "package": shop.package,
        "smoke": folder / "smoke.json",
        "choice": folder / "choice.json",
        "metrics": shop.metrics,
        "runs": runs,
    }


@pytest.fixture(scope="module")
def registered(shop: Shop, native_shop: Shop, uri: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What registering two packages says: the good one twice, then the one that ranks worse, then that one once more."""
    good = make_case(shop, tmp_path_factory.mktemp("good"), rank=2)
    bad = make_case(native_shop, tmp_path_factory.mktemp("bad"), rank=60)
    return [register_package(**case, settings=settings(uri)) for case in (good, good, bad, bad)]


def test_the_first_package_becomes_the_champion(registered: list[dict], shop: Shop) -> None:
    assert registered[0] == {
        "name": "session-recommender-tiny",
        "version": 1,
        "alias": "champion",
        "alias_promoted": True,
        "champion_version": 1,
        "reason": "there was no champion",
        "package_hash": package_digest(shop.package),
    }


def test_a_version_is_tagged_with_the_digest_of_its_data(shop: Shop, tmp_path: Path) -> None:
    sessions = tmp_path / "sessions.parquet"
    sessions.write_bytes(b"sessions")
    case = make_case(shop, tmp_path, rank=2)
    register_package(**case, settings=settings(f"sqlite:///{tmp_path / 'mlflow.db'}"), sessions=sessions)
    with open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", "tiny") as store:
        tags = store.champion().tags
    assert tags["data_hash"] == file_digest(sessions)
    assert tags["split_hash"] == "split"


def test_registering_a_package_twice_gives_one_version(registered: list[dict], uri: str) -> None:
    assert [found["version"] for found in registered] == [1, 1, 2, 2]
    with open_store(uri, "tiny") as store:
        assert len(store.client.search_model_versions("name = 'session-recommender-tiny'")) == 2


def test_a_worse_version_is_registered_but_not_promoted(registered: list[dict], uri: str) -> None:
    for found in registered[2:]:
        assert found["alias_promoted"] is False
        assert found["champion_version"] == 1
        assert "recall@20 on validation: -1.0000" in found["reason"]
    assert resolve_champion(uri, "tiny") == f"models:/session-recommender-tiny@{CHAMPION}"


def test_runs_are_uploaded_once_with_their_history(registered: list[dict], uri: str) -> None:
    with open_store(uri, "tiny") as store:
        runs = store.client.search_runs([store.experiment])
        uploaded = [run for run in runs if "content_digest" in run.data.tags]
        # The two cases differ in the ranks of the chosen runs only.
        assert sorted(run.info.run_name for run in uploaded) == ["net.seed1"] * 2 + ["net.seed2"] * 2 + ["other"]
        run = uploaded[0]
        assert run.data.params["parameters.layers"] == "[8]"
        assert run.data.metrics["final_recall_at_20"] == 0.25
        history = store.client.get_metric_history(run.info.run_id, "recall_at_20")
        assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.25)]
        assert [point.step for point in store.client.get_metric_history(run.info.run_id, "loss")] == [1]  # NaN is no metric
        assert {"seed": "3", "split_hash": "split", "configuration_hash": "c0", "shop": "tiny"}.items() <= run.data.tags.items()
        assert {entry.path for entry in store.client.list_artifacts(run.info.run_id)} == {
            "params.json",
            "metrics.json",
            "history.parquet",
            "ranks.parquet",
        }


def test_the_version_keeps_every_seeds_ranks_and_what_it_was_made_from(registered: list[dict], uri: str, tmp_path: Path) -> None:
    with open_store(uri, "tiny") as store:
        champion = store.champion()
        assert champion.tags["split_hash"] == "split"
        assert champion.tags["family"] == "gru4rec"
        kept = store.kept_files(champion, "ranks", tmp_path)
        assert [pl.read_parquet(path)["rank"][0] for path in kept] == [2, 3]
        assert store.kept_files(champion, "nothing", tmp_path) == []


def test_the_champion_is_served_from_the_registry(registered: list[dict], shop: Shop, uri: str) -> None:
    package = resolve_package(None, uri, "tiny").package
    assert package_digest(package) == package_digest(shop.package)
    assert package_digest(resolve_package("models:/session-recommender-tiny/2", uri, "tiny").package) == registered[2]["package_hash"]
    with pytest.raises(RegistryError):
        resolve_package("models:/session-recommender-tiny/9", uri, "tiny")


def test_an_interrupted_upload_is_done_again(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, "interrupted", 1)
    with open_store(uri, "interrupted-shop") as store:
        with monkeypatch.context() as broken:
            broken.setattr(type(store.client), "log_artifact", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                store.upload_run(run, {})
        first = store.upload_run(run, {})
        assert store.upload_run(run, {}) == first
        assert [found.info.run_id for found in store.client.search_runs([store.experiment])] == [first]


def test_a_package_without_its_smoke_test_is_not_registered(shop: Shop, uri: str, tmp_path: Path) -> None:
    case = make_case(shop, tmp_path, 1)
    for change in ({"ok": False}, {"package_hash": "another"}):
        write_json(tmp_path / "smoke.json", read_json(case["smoke"]) | change)
        with pytest.raises(PackageError, match="smoke"):
            register_package(**case, settings=settings(uri, shop="unsmoked"))
    assert resolve_champion(uri, "unsmoked") is None


def test_asking_for_a_champion_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_champion(None, "tiny") is None
    with pytest.raises(RegistryError, match="no champion"):
        champion_uri(None, "tiny")
    with pytest.raises(RegistryError, match="no tracking store"):
        resolve_package("models:/session-recommender-tiny/1", None, "tiny")
    assert list(tmp_path.iterdir()) == []
    assert store_uri(None) == f"sqlite:///{tmp_path}/results/mlflow/mlflow.db"


def test_an_empty_database_has_no_champion(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "mlflow.db").close()
    assert resolve_champion(f"sqlite:///{tmp_path / 'mlflow.db'}", "tiny") is None


def test_a_broken_store_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(RegistryError, match="is damaged"):
        resolve_champion(uri, "tiny")
    with pytest.raises(RegistryError, match="is damaged"), open_store(uri, "tiny"):
        pass


def test_a_store_that_does_not_answer_is_told_in_a_sentence_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError) as told:
        resolve_champion("http://someone:hidden@127.0.0.1:9", "tiny")
    assert "hidden" not in str(told.value)


def test_a_store_that_another_process_writes_to_is_left_alone(uri: str) -> None:
    lock = Path(uri.removeprefix("sqlite:///") + ".lock")
    with exclusive(lock, "the store"), pytest.raises(BusyError), open_store(uri, "tiny"):
        pass


def test_metrics_names_fit_mlflow() -> None:
    content = json.loads('{"run": "x", "recall": {"1": 0.5, "20": 1}, "predictions": 7, "ok": true, "baselines": {"pop": {"recall": {}}}}')
    assert flat_metrics(content, "test_") == {"test_recall_at_1": 0.5, "test_recall_at_20": 1.0, "test_predictions": 7.0}
