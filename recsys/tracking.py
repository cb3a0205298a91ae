"""The MLflow store: runs go up, the package is registered, the champion is found again.

Training never needs any of this: its histories are files, and one serialised stage uploads them.
"""

import math
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from recsys.errors import RecsysError, RegistryError
from recsys.files import file_digest, read_json, value_digest
from recsys.processes import exclusive
from recsys.provenance import ROOT
from recsys.storage import storage_error

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
"""The alias of the version that is served."""

_SQLITE = "sqlite:///"
_LONGEST_PARAMETER = 6_000
_PARAMETERS_AT_ONCE, _METRICS_AT_ONCE = 100, 1_000


_DAMAGED = ("file is not a database", "database disk image is malformed")
"""What SQLite says of a file that was overwritten or cut off."""

_REGISTER = "run the pipeline first (or, where it has run, `snakemake --forcerun register_champion`)"


def registered_name(shop: str) -> str:
    """The registered model's name of a shop."""
    return f"session-recommender-{shop}"


def store_uri(configured: str | None) -> str:
    """The configured tracking URI, or that of the SQLite file under `results/mlflow/`."""
    return configured if configured is not None else f"{_SQLITE}{Path.cwd() / 'results' / 'mlflow' / 'mlflow.db'}"


def _elsewhere(configured: str | None) -> str:
    """Where else the store may be: the one that is not configured belongs to the working directory."""
    missing = configured is None and not (Path.cwd() / "results" / "mlflow" / "mlflow.db").is_file()
    return ", go to the folder that holds results/" if missing else ""


def _database(uri: str) -> Path | None:
    """The file of an SQLite store; None for other stores."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def _shown(uri: str, text: str | None = None) -> str:
    """The URI, or a text in which it stands, without its password."""
    password = urlsplit(uri).password
    text = uri if text is None else text
    return text.replace(f":{password}@", ":***@") if password else text


@contextmanager
def _understood(uri: str) -> Iterator[None]:
    """Turn whatever the store's client raises into one sentence."""
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except RecsysError:
        raise
    except (MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, OSError, ValueError) as error:
        full = storage_error(error, _database(uri))
        if full is not None:
            raise full from error
        reason = _shown(uri, (str(error).strip().splitlines() or [type(error).__name__])[0])
        database = _database(uri)
        if database is not None and any(sign in reason for sign in _DAMAGED):
            raise _damaged(database, reason.removeprefix("(sqlite3.DatabaseError) ")) from error
        if reason.startswith("API request to"):
            reason = "it does not answer"
        reason = reason.split(". See ")[0][:300]
        raise RegistryError(
            f"the tracking store {_shown(uri)} cannot be used ({reason}); check tracking.uri and the store behind it"
        ) from error


def _damaged(database: Path, reason: str) -> RegistryError:
    """The sentence for an SQLite file that is none any more."""
    return RegistryError(
        f"the tracking store {database} is damaged ({reason}); put a copy of it back, or move it away and run "
        "`snakemake --forcerun register_champion`, which makes a new one"
    )


def _client(uri: str) -> "MlflowClient":
    # A store that does not answer should be told of in seconds; MLflow's own patience is minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient(uri, uri)


def _champion_in_database(database: Path, name: str) -> int | None:
    """The champion's version, read from the file itself: a question that costs milliseconds and makes no store."""
    if not database.is_file():
        return None
    connection = sqlite3.connect(f"file:{quote(str(database.resolve()))}?mode=ro", uri=True, timeout=10)
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'registered_model_aliases'").fetchone():
            return None
        query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
        row = connection.execute(query, (name, CHAMPION)).fetchone()
    except sqlite3.Error as error:
        if any(sign in str(error) for sign in _DAMAGED):
            raise _damaged(database, str(error)) from error
        raise RegistryError(f"the tracking store {database} cannot be read ({error}); restore it from a copy, or move it away") from error
    finally:
        connection.close()
    return int(row[0]) if row else None


def _shops_in_database(database: Path) -> list[str]:
    """The shops that have a champion."""
    prefix = registered_name("")
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{quote(str(database.resolve()))}?mode=ro", uri=True, timeout=10)) as open_:
        rows = open_.execute("SELECT name FROM registered_model_aliases WHERE alias = ? ORDER BY name", (CHAMPION,)).fetchall()
        return [name.removeprefix(prefix) for (name,) in rows if name.startswith(prefix)]
    return []


def _version_by_alias(client: "MlflowClient", name: str) -> "ModelVersion | None":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def champion_version(tracking_uri: str | None, shop: str) -> str | None:
    """The version that is a shop's champion; None where there is none. Never makes a store.

    Raises
    ------
    RegistryError
        If there is a store but it cannot be used.
    """
    uri, name = store_uri(tracking_uri), registered_name(shop)
    database = _database(uri)
    if database is not None:
        found = _champion_in_database(database, name)
        return None if found is None else str(found)
    with _understood(uri):
        described = _version_by_alias(_client(uri), name)
    return None if described is None else str(described.version)


def resolve_champion(tracking_uri: str | None, shop: str) -> str | None:
    """The model URI of a shop's champion; None where there is none. Never makes a store.

    Raises
    ------
    RegistryError
        As `champion_version`.
    """
    return None if champion_version(tracking_uri, shop) is None else f"models:/{registered_name(shop)}@{CHAMPION}"


def champion_uri(tracking_uri: str | None, shop: str) -> str:
    """As `resolve_champion`.

    Raises
    ------
    RegistryError
        Also if there is no champion.
    """
    found = resolve_champion(tracking_uri, shop)
    if found is None:
        uri = store_uri(tracking_uri)
        database = _database(uri)
        others = _shops_in_database(database) if database is not None and database.is_file() else []
        there = f" (it has champions of {', '.join(others)}: is the shop's name right?)" if others else ""
        raise RegistryError(
            f"{registered_name(shop)} has no champion in {_shown(uri)}{there}; {_REGISTER}{_elsewhere(tracking_uri)}, or name a package"
        )
    return found


def fetch_model(model_uri: str, tracking_uri: str | None) -> Path:
    """The local folder of a model that an MLflow URI names.

    Raises
    ------
    RegistryError
        If the store cannot be used or has no such model.
    """
    uri = store_uri(tracking_uri)
    database = _database(uri)
    if database is not None and not database.is_file():
        raise RegistryError(f"there is no tracking store {database}; {_REGISTER}{_elsewhere(tracking_uri)}, or name a package folder")
    with _understood(uri):
        _client(uri)
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            return Path(download_artifacts(artifact_uri=model_uri))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise RegistryError(
                f"there is no model {model_uri} in {_shown(uri)}; name a version that is there, or a package folder"
            ) from error


def fetch_version(tracking_uri: str | None, shop: str, version: str) -> Path:
    """The local folder of a version of a shop's model.

    Raises
    ------
    RegistryError
        As `fetch_model`.
    """
    return fetch_model(f"models:/{registered_name(shop)}/{version}", tracking_uri)


def code_version() -> dict[str, str]:
    """The checkout's commit and whether files differ from it, as tags; nothing where git cannot tell."""
    try:
        commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "-C", str(ROOT), "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": commit, "git.commit": commit, "git.dirty": str(bool(changed.strip())).lower()}


def flat_parameters(content: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values by dotted names."""
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= flat_parameters(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)[:_LONGEST_PARAMETER]
    return flat


def flat_metrics(content: dict[str, Any], prefix: str) -> dict[str, float]:
    """The numbers of a metrics file: `{"recall": {"20": x}}` is `{prefix}recall_at_20`, since MLflow's names have no @."""
    flat: dict[str, float] = {}
    for name, value in content.items():
        if isinstance(value, dict) and all(str(cutoff).isdigit() for cutoff in value):
            flat |= {f"{prefix}{name}_at_{cutoff}": float(number) for cutoff, number in value.items()}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[f"{prefix}{name}"] = float(value)
    return {name: value for name, value in flat.items() if math.isfinite(value)}


class Store:
    """An open tracking store and the experiment of one shop; made by `open_store`."""

    def __init__(self, client: "MlflowClient", uri: str, experiment: str, shop: str) -> None:
        self.client = client
        self.uri = uri
        self.experiment = experiment
        self.name = registered_name(shop)

    def _finished(self, tag: str, value: str) -> str | None:
        """The finished run with a tag; what an interrupted upload left under the tag is removed."""
        found = None
        for run in self.client.search_runs([self.experiment], filter_string=f"tags.{tag} = '{value}'"):
            if run.info.status == "FINISHED":
                found = run.info.run_id
            else:
                self.client.delete_run(run.info.run_id)
        return found

    def _log(self, run: str, parameters: dict[str, str], metrics: list[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric, Param

        listed = [Param(key, value) for key, value in parameters.items()]
        for begin in range(0, len(listed), _PARAMETERS_AT_ONCE):
            self.client.log_batch(run, params=listed[begin : begin + _PARAMETERS_AT_ONCE])
        now = int(time.time() * 1000)
        points = [Metric(name, value, now, step) for name, value, step in metrics]
        for begin in range(0, len(points), _METRICS_AT_ONCE):
            self.client.log_batch(run, metrics=points[begin : begin + _METRICS_AT_ONCE])

    def upload_run(self, folder: Path, tags: dict[str, str]) -> str:
        """Upload a run's parameters, history, metrics and files (its model stays where it is), once for the same content.

        Parameters
        ----------
        folder
            With `params.json`, `history.parquet` (a row an epoch) and `metrics.json`.
        tags
            What else the run is tagged with.

        Returns
        -------
        The run's id in the store.
        """
        import polars as pl

        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        digest = value_digest({path.name: file_digest(path) for path in files})
        with _understood(self.uri):
            known = self._finished("content_digest", digest)
            if known is not None:
                return known
            params = read_json(folder / "params.json")
            seed = {"seed": str(params["seed"])} if "seed" in params else {}
            run = self.client.create_run(self.experiment, tags={"content_digest": digest, **seed, **tags}, run_name=folder.name).info.run_id
            points = [(name, value, 0) for name, value in flat_metrics(read_json(folder / "metrics.json"), "final_").items()]
            if (folder / "history.parquet").is_file():
                for row in pl.read_parquet(folder / "history.parquet").iter_rows(named=True):
                    for name, value in row.items():
                        if name != "epoch" and isinstance(value, int | float) and math.isfinite(value):
                            points.append((name.replace("@", "_at_"), float(value), int(row["epoch"])))
            self._log(run, flat_parameters(params), points)
            for path in files:
                self.client.log_artifact(run, str(path))
            self.client.set_terminated(run, "FINISHED")
            return run

    def register(
        self, package: Path, package_hash: str, files: dict[str, list[Path]], metrics: dict[str, Any], tags: dict[str, str]
    ) -> "ModelVersion":
        """Register a package as a version, once for the same package.

        Parameters
        ----------
        package, package_hash
            The package and its `package_digest`.
        files
            What is kept beside the package in the store, by folder there (an empty name: none).
        metrics
            The champion's test metrics.
        tags
            The version's tags.
        """
        from mlflow.exceptions import MlflowException

        with _understood(self.uri):
            for version in self.client.search_model_versions(f"name = '{self.name}'"):
                if version.tags.get("package_hash") == package_hash:
                    return version
            tags = {"package_hash": package_hash, **tags}
            run = self._finished("package_hash", package_hash)
            if run is None:
                run = self.client.create_run(self.experiment, tags=tags, run_name=f"{CHAMPION}-{metrics.get('run', '')}").info.run_id
                self._log(run, {}, [(name, value, 0) for name, value in flat_metrics(metrics, "test_").items()])
                for folder, paths in files.items():
                    for path in paths:
                        self.client.log_artifact(run, str(path), folder or None)
                self.client.log_artifacts(run, str(package), "package")
                self.client.set_terminated(run, "FINISHED")
            try:
                self.client.create_registered_model(self.name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            source = f"{self.client.get_run(run).info.artifact_uri}/package"
            return self.client.create_model_version(self.name, source, run, tags=tags)

    def champion(self) -> "ModelVersion | None":
        """The version that holds the alias."""
        with _understood(self.uri):
            return _version_by_alias(self.client, self.name)

    def promote(self, version: str) -> None:
        """Give the alias to a version."""
        with _understood(self.uri):
            self.client.set_registered_model_alias(self.name, CHAMPION, version)

    def kept_files(self, version: "ModelVersion", folder: str, target: Path) -> list[Path]:
        """Copies, below `target`, of the files that `register` kept in `folder`; none where there are none."""
        with _understood(self.uri):
            if not any(entry.path == folder for entry in self.client.list_artifacts(version.run_id)):
                return []
            fetched = Path(self.client.download_artifacts(version.run_id, folder, str(target)))
            return sorted(path for path in fetched.rglob("*") if path.is_file())


@contextmanager
def open_store(tracking_uri: str | None, shop: str, experiment: str | None = None) -> Iterator[Store]:
    """The shop's experiment in a store, both made where they are not there yet; an SQLite store is brought to the current schema, alone.

    Several processes that open a fresh SQLite store at once corrupt it, so the file is locked for as long as the store is open.

    Raises
    ------
    RegistryError
        If the store cannot be used.
    BusyError
        If another process has an SQLite store open here.
    """
    uri = store_uri(tracking_uri)
    database = _database(uri)
    lock = (
        exclusive(database.with_name(f"{database.name}.lock"), f"the tracking store {database}") if database is not None else nullcontext()
    )
    with lock:
        with _understood(uri):
            artifacts = None
            if database is not None:
                import mlflow.db

                database.parent.mkdir(parents=True, exist_ok=True)
                mlflow.db.upgrade.callback(uri)
                artifacts = (database.resolve().parent / "artifacts").as_uri()
            client = _client(uri)
            name = experiment or shop
            known = client.get_experiment_by_name(name)
            if known is not None and known.lifecycle_stage == "deleted":
                raise RegistryError(
                    f"the experiment {name!r} was deleted in {_shown(uri)}; restore it, or choose another tracking.experiment"
                )
            found = known.experiment_id if known is not None else client.create_experiment(name, artifact_location=artifacts)
        yield Store(client, uri, found, shop)
