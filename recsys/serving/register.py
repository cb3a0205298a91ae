"""The last stage of the pipeline: upload the runs, register the package, decide on its promotion."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from recsys.errors import PackageError, RecsysError
from recsys.files import file_digest, read_json
from recsys.serving.manifest import package_digest, read_package
from recsys.serving.promotion import Contender, TestWindow, decide, trained_before
from recsys.serving.settings import StageSettings
from recsys.tracking import Store, code_version, fetch_model, open_store


def _ranks_of(choice: dict[str, Any], runs: list[Path]) -> list[Path]:
    """Validation ranks of the chosen run, a file a seed."""
    chosen = set(choice.get("runs", [choice["run"]]))
    return [path for run in runs if run.name in chosen and (path := run / "ranks.parquet").is_file()]


def _as_contender(store: Store, version: Any, split_hash: str | None, scratch: Path) -> Contender:
    tags = version.tags
    package = None
    if tags.get("split_hash") != split_hash:
        try:
            package = fetch_model(f"models:/{version.name}/{version.version}", store.uri)
            read_package(package)
        except RecsysError:
            package = None
    moment = tags.get("trained_before")
    return Contender(
        version=str(version.version),
        package_hash=tags.get("package_hash", ""),
        split_hash=tags.get("split_hash"),
        ranks=store.kept_files(version, "ranks", scratch),
        package=package,
        trained_before=int(moment) if moment else None,
    )


def register_package(
    package: Path,
    smoke: Path,
    choice: Path,
    metrics: Path,
    runs: list[Path],
    settings: StageSettings,
    data: list[Path] | None = None,
    window: TestWindow | None = None,
    sessions: Path | None = None,
) -> dict[str, Any]:
    """Upload all runs, register the package once, and move the alias where the comparison allows it.

    Parameters
    ----------
    package, smoke, choice, metrics
        The package, what the smoke test, the selection and the test stage wrote.
    runs
        The run folders.
    settings
        The store, the promotion policy, the evaluation metric and the hashes.
    data
        Files of the select window; their digest tells one split from another. Without them the hash in the settings does.
    window
        The test window, to score an older champion on.
    sessions
        The shop's sessions; their digest is the data's tag.

    Returns
    -------
    `name`, `version`, `alias` (None where it was not promoted), `alias_promoted`, `champion_version`, `reason`, `package_hash`.

    Raises
    ------
    PackageError
        If the package was altered, or the smoke test was not of this package.
    RegistryError
        If the store cannot be used.
    """
    package_hash = package_digest(package)
    tested = read_json(smoke)
    if not tested.get("ok") or tested.get("package_hash") != package_hash:
        raise PackageError(f"{smoke} does not tell of a passed smoke test of {package}; run `recsys smoke` on it")
    chosen, tested_metrics = read_json(choice), read_json(metrics)
    split_hash = file_digest(*sorted(data)) if data else settings.split_hash or settings.split_settings_hash
    tags = {"shop": settings.shop, **settings.hashes, **code_version()}
    if split_hash is not None:
        tags["split_hash"] = split_hash
    if sessions is not None:
        tags["data_hash"] = file_digest(sessions)
    ranks = _ranks_of(chosen, runs)
    with open_store(settings.tracking.uri, settings.shop, settings.tracking.experiment) as store, TemporaryDirectory() as scratch:
        for folder in runs:
            store.upload_run(folder, tags)
        moment = trained_before(window.test) if window is not None else None
        version_tags = {**tags, "run": str(tested_metrics.get("run", "")), "family": str(read_package(package)["family"])}
        if moment is not None:
            version_tags["trained_before"] = str(moment)
        kept = {"": [choice, metrics, smoke]} | {f"ranks/{path.parent.name}": [path] for path in ranks}
        version = store.register(package, package_hash, kept, tested_metrics, version_tags)
        new = Contender(str(version.version), package_hash, split_hash, ranks, package, moment)
        holder = store.champion()
        champion = _as_contender(store, holder, split_hash, Path(scratch)) if holder is not None else None
        decision = decide(new, champion, settings.promotion, settings.evaluation, window)
        if decision.promote and (champion is None or champion.version != new.version):
            store.promote(new.version)
        return {
            "name": store.name,
            "version": int(version.version),
            "alias": "champion" if decision.promote else None,
            "alias_promoted": decision.promote,
            "champion_version": int(new.version if decision.promote or champion is None else champion.version),
            "reason": decision.reason,
            "package_hash": package_hash,
        }
