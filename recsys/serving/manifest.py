"""A package's manifest: what the package is, and whether it was altered since it was built."""

from pathlib import Path
from typing import Any

from recsys.errors import PackageError
from recsys.files import folder_digests, read_json, value_digest
from recsys.serving.recommender import PACKAGE_FORMAT

MANIFEST = "manifest.json"

_MARKS = ("registered_model_meta", ".snakemake_timestamp")
"""Files that the registry's client and the workflow lay into a folder they hand on; nothing reads them."""

_AGAIN = "build the package again (`snakemake --forcerun package_champion`)"

_CHANGES_WITH_EVERY_BUILD = ("model_uuid", "utc_time_created", "run_id", "model_id", "artifact_path")
"""Keys of MLflow's own `MLmodel` file that say when and where it was written, not what it is."""


def read_package(package: Path) -> dict[str, Any]:
    """A package's manifest, once the folder has been found to hold exactly the files it names, unaltered.

    Raises
    ------
    PackageError
        Naming the file that is missing, altered or added.
    """
    path = package / MANIFEST
    if not path.is_file():
        raise PackageError(f"{package} is no package: it has no {MANIFEST}; build one with `recsys package`")
    try:
        manifest = read_json(path)
        expected = dict(manifest["files"])
    except (ValueError, KeyError, TypeError):
        raise PackageError(f"{path} cannot be read as a manifest; {_AGAIN}") from None
    if manifest.get("format") != PACKAGE_FORMAT:
        raise PackageError(
            f"{path} has the format {manifest.get('format')!r}; this version reads {PACKAGE_FORMAT}, so build the package again"
        )
    found = folder_digests(package, leave_out=(MANIFEST, *_MARKS))
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise PackageError(f"{package / name} is missing from the package; {_AGAIN}")
        if name not in expected:
            raise PackageError(f"{package / name} does not belong to the package; remove it, or {_AGAIN}")
        if found[name] != expected[name]:
            raise PackageError(f"{package / name} was altered after the package was built; {_AGAIN}")
    return manifest


def package_digest(package: Path) -> str:
    """SHA-256 of what a package is: the same for two builds from the same inputs, whenever and wherever they were made."""
    import yaml

    manifest = read_package(package)
    described = yaml.safe_load((package / "MLmodel").read_text(encoding="utf-8"))
    for key in _CHANGES_WITH_EVERY_BUILD:
        described.pop(key, None)
    files = {name: digest for name, digest in manifest["files"].items() if name != "MLmodel"}
    rest = {name: value for name, value in manifest.items() if name != "files"}
    return value_digest({"manifest": rest, "files": files, "mlmodel": described})
