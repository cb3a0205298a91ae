"""Building the package: an MLflow model folder that answers on its own."""

import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from recsys.catalogue.lookup import values as latest_values
from recsys.errors import PackageError
from recsys.files import folder_digests, whole_folder, write_json, write_parquet
from recsys.provenance import EXTENSION, ROOT, closure, third_party
from recsys.serving.export import read_export
from recsys.serving.manifest import MANIFEST
from recsys.serving.recommender import DEFAULT_K, PACKAGE_FORMAT, id_type_of
from recsys.serving.settings import StageSettings

_REQUIREMENTS = {
    "onnx": ("mlflow", "numpy", "pandas", "polars", "onnxruntime", "safetensors"),
    "native": ("mlflow", "numpy", "pandas", "polars", "pydantic", "safetensors"),
    "combined": ("mlflow", "numpy", "pandas", "polars", "pydantic", "safetensors"),
}
"""What a package of each runtime imports."""
_OF_FAMILY = {"reranker": ("lightgbm",)}
"""What a family imports beside that."""


_ENTRY = '''"""What MLflow runs when it opens the package: the model as code, so that nothing is pickled."""

from mlflow.models import set_model

from recsys.serving.pyfunc import SessionRecommender

set_model(SessionRecommender())
'''


def _copy_code(description: dict[str, Any], folder: Path) -> list[Path]:
    """Copy the modules that the package runs on below `folder`, the built extension too where one of them imports it; returns the copied
    top packages.
    """
    from recsys.serving import combined_runtime, native_runtime, onnx_runtime, pyfunc

    runtimes = {"combined": combined_runtime, "onnx": onnx_runtime, "native": native_runtime}
    roots = [pyfunc.__name__]
    for part in (description, *description["members"].values()):
        roots.append(runtimes[part["runtime"]].__name__)
        if part["runtime"] != "onnx":
            roots.append(part["model_class"][0])
    for module in sorted(closure(*roots)):
        source = ROOT.joinpath(*module.split("."))
        path = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    if EXTENSION not in third_party(*roots):
        return [folder / "recsys"]
    # No index of packages has the extension, and a package answers wherever its requirements can be had.
    (built,) = find_spec(EXTENSION).submodule_search_locations
    shutil.copytree(built, folder / EXTENSION, ignore=shutil.ignore_patterns("__pycache__", "*.pyi", "py.typed"))
    return [folder / "recsys", folder / EXTENSION]


def _requirements(description: dict[str, Any]) -> list[str]:
    """Distributions that the package imports: those of the runtimes of all its parts, and of the family itself."""
    parts = (description, *description["members"].values())
    names = {name for part in parts for name in _REQUIREMENTS[part["runtime"]]}
    return sorted(names | {name for part in parts for name in _OF_FAMILY.get(part["family"], ())})


def _signature(id_type: str) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array

    item = DataType.long if id_type == "integer" else DataType.string
    columns = [ColSpec(Array(item), "session")]
    columns += [ColSpec(AnyType(), name, required=False) for name in ("visitor", "events", "times")]
    params = [
        ParamSpec("k", DataType.long, DEFAULT_K),
        ParamSpec("exclude", item, [], shape=(-1,)),
        ParamSpec("categories", DataType.string, [], shape=(-1,)),
        ParamSpec("diversity", DataType.double, 0.0),
    ]
    return ModelSignature(inputs=Schema(columns), params=ParamSchema(params))


def _described(vocabulary: pl.DataFrame, properties: Path | None) -> pl.DataFrame:
    """The vocabulary with what the shop says of its items last: `name` and `category`, where it has them."""
    if properties is None:
        return vocabulary
    told = pl.read_parquet(properties)
    for name in ("name", "category"):
        values = latest_values(told, name).rename({"value": name}).with_columns(pl.col(name).cast(pl.String))
        if values.height:
            vocabulary = vocabulary.join(values, on="item_id", how="left", maintain_order="left")
    return vocabulary


def build_package(export: Path, items: Path, package: Path, settings: StageSettings, properties: Path | None = None) -> dict[str, Any]:
    """Write the package of an export.

    Parameters
    ----------
    export
        What `export_model` wrote.
    items
        The window's vocabulary: `index`, `item_id`, `support`.
    package
        The folder to write.
    settings
        The shop, the serving settings and the hashes that go into the manifest.
    properties
        The catalogue's `properties.parquet`, where the shop has one: the package then knows its items' names and categories.

    Returns
    -------
    The manifest.

    Raises
    ------
    PackageError
        If the export is altered, was made for other settings, or does not belong to the vocabulary.
    """
    description = read_export(export)
    vocabulary = pl.read_parquet(items, columns=["index", "item_id", "support"]).sort("index")
    if vocabulary.height != description["items"]:
        raise PackageError(
            f"{items} holds {vocabulary.height} items, the exported model {description['items']}; export the model of this window"
        )
    if description["exclude_session_items"] != settings.evaluation.exclude_session_items:
        raise PackageError(f"{export} was written for the other setting of evaluation.exclude_session_items; run `recsys export` again")
    id_type = id_type_of(vocabulary["item_id"])

    with whole_folder(package) as folder, TemporaryDirectory(dir=folder.parent) as scratch:
        work = Path(scratch)
        write_parquet(_described(vocabulary, properties), work / "items.parquet")
        artifacts = {"items": str(work / "items.parquet")}
        match description["runtime"]:
            case "onnx":
                artifacts |= {name: str(export / name) for name in description["files"]}
            case "native":
                (work / "model").mkdir()
                for name in description["files"]:
                    shutil.copyfile(export / name, work / "model" / name)
                artifacts["model"] = str(work / "model")
            case "combined":
                artifacts["model"] = str(export / "model")
        (work / "model.py").write_text(_ENTRY, encoding="utf-8")
        _save_model(folder, work / "model.py", artifacts, _copy_code(description, work / "code"), description, id_type, vocabulary)
        manifest = {
            "format": PACKAGE_FORMAT,
            "family": description["family"],
            "runtime": description["runtime"],
            "model_class": description["model_class"],
            "members": description["members"],
            "capabilities": description["capabilities"],
            "shop": settings.shop,
            "items": vocabulary.height,
            "id_type": id_type,
            "exclude_session_items": settings.evaluation.exclude_session_items,
            "max_session_length": settings.serve.max_session_length,
            "hashes": settings.data_hashes,
            "files": folder_digests(folder),
        }
        write_json(folder / MANIFEST, manifest)
    return manifest


def _save_model(
    folder: Path,
    entry: Path,
    artifacts: dict[str, str],
    code: list[Path],
    description: dict[str, Any],
    id_type: str,
    vocabulary: pl.DataFrame,
) -> None:
    import mlflow.pyfunc
    import pandas as pd

    example = vocabulary["item_id"].head(3).to_list()
    if id_type == "hash":
        example = [str(item) for item in example]
    mlflow.pyfunc.save_model(
        path=str(folder),
        python_model=str(entry),
        code_paths=[str(path) for path in code],
        artifacts=artifacts,
        signature=_signature(id_type),
        input_example=pd.DataFrame({"session": [example]}),
        pip_requirements=[f"{name}=={version(name)}" for name in _requirements(description)],
    )
    _forget_paths(folder / "MLmodel")


def _forget_paths(described: Path) -> None:
    """Replace the paths of this machine in MLflow's description, which it does not need to open the folder, by those in the folder."""
    import yaml

    content = yaml.safe_load(described.read_text(encoding="utf-8"))
    flavor = content["flavors"]["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    described.write_text(yaml.safe_dump(content), encoding="utf-8")
