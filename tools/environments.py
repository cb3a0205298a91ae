"""Writes envs/: a conda environment a rule, from what the rule's code imports and the versions of requirements.lock.

Run it with `make envs` after a change of imports, pins or the extension; a test fails while envs/ is behind.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recsys.models.registry import FAMILIES  # noqa: E402
from recsys.provenance import EXTENSION, closure, extension_digest, stage_modules, third_party  # noqa: E402

PYTHON = re.search(r"3\.\d+", tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"])[0]
"""The Python of the lock and of every environment: the oldest that the project supports."""
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "prometheus-client": "prometheus_client",
    "redis": "redis-py",
}
"""Distributions that conda-forge has under another name; its `matplotlib` would bring a whole graphical toolkit, its `redis` the server."""
SAME_NAME = frozenset(
    (
        "alembic",
        "dataframely",
        "fastapi",
        "httptools",
        "kaggle",
        "lightgbm",
        "mlflow",
        "numpy",
        "onnx",
        "onnxruntime",
        "optuna",
        "orjson",
        "pandas",
        "polars",
        "psutil",
        "pyarrow",
        "pydantic",
        "pygments",
        "pyyaml",
        "rich",
        "safetensors",
        "scikit-learn",
        "scipy",
        "six",
        "sqlalchemy",
        "starlette",
        "threadpoolctl",
        "typer",
        "uvicorn",
        "uvloop",
    )
)
"""Distributions that conda-forge has under their own name; a test asks for a decision about any other."""
NOT_IMPORTED = {
    "uvicorn": ["uvloop", "httptools"],
    "mlflow": ["pandas", "pyarrow"],
    "kaggle": ["six"],
    "optuna": ["scikit-learn"],
}
"""What a package needs without an import of ours: the server's event loop and parser, the tables that models are handed, and what Kaggle's
client and Optuna's fANOVA import undeclared."""
BROUGHT_ALONG = frozenset({"triton"})
"""What another package brings along where it can be used, and the code does without elsewhere: Triton comes with torch's CUDA builds."""
SERVED_CODE = (
    "recsys.serving.pyfunc",
    "recsys.serving.onnx_runtime",
    "recsys.serving.native_runtime",
    "recsys.serving.combined_runtime",
)
"""What a package brings along and MLflow imports from there."""
SERVING_STAGES = {"package", "smoke", "register", "serve", "examples"}
RUST_VERSION = re.search(r'rust-version = "([0-9.]+)"', (ROOT / "rust_sessionizer" / "Cargo.toml").read_text(encoding="utf-8"))[1]
BUILT_WITH = (f"rust >={RUST_VERSION}", "c-compiler", "pip")
"""What builds the extension beside maturin. Their versions are free: Cargo.lock pins what goes into it, and none of them stays in it."""
POST_DEPLOY = """\
#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: {digest}
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${{RECSYS_CHECKOUT:-$PWD}}/rust_sessionizer"
"""


def rule_blocks() -> Iterator[tuple[str, str | None, str]]:
    """Name, rule it inherits from, and text of every rule under rules/."""
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for block in re.split(r"(?m)^ *(?=(?:use rule \w+ as \w+ with|rule \w+):$)", path.read_text(encoding="utf-8"))[1:]:
            inherited = re.match(r"use rule (\w+) as (\w+) with", block)
            yield (inherited[2], inherited[1], block) if inherited else (re.match(r"rule (\w+):", block)[1], None, block)


def stages_of_rules() -> dict[str, str]:
    """The stage that each rule calls."""
    stages: dict[str, str] = {}
    for name, parent, block in rule_blocks():
        stages[name] = stages[parent] if parent else re.search(r'"recsys (\w+) ', block)[1]
    return stages


def pins() -> dict[str, str]:
    """Version by distribution, as the lock has them for Linux and the environments' Python."""
    place = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "sys_platform": "linux", "platform_system": "Linux"}
    found: dict[str, str] = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)(?: *; *(.+))?", line)
        if match and (match[3] is None or Marker(match[3]).evaluate(place)):
            found[match[1].lower().replace("_", "-")] = match[2]
    return found


def code_of(stage: str) -> tuple[str, ...]:
    """Where a stage's code begins, with every family where it loads models by name."""
    by_name = "recsys.models.registry" in closure(f"recsys.cli.{stage}")
    return (*stage_modules(stage, tuple(FAMILIES) if by_name else ()), *(SERVED_CODE if stage in SERVING_STAGES else ()))


@cache
def owners_of_modules() -> dict[str, list[str]]:
    """Distributions by the module they install; all of them are read for it, which takes a while."""
    return dict(packages_distributions())


def distributions(stage: str) -> list[str]:
    """The third-party distributions that a stage's code imports, whatever family it meets."""
    by_module = owners_of_modules()
    names: set[str] = set()
    for module in third_party(*code_of(stage)) - set(sys.stdlib_module_names) - {EXTENSION} - BROUGHT_ALONG:
        owners = sorted({owner.lower().replace("_", "-") for owner in by_module.get(module, [module])})
        names.add(module if module in owners else owners[0])
    for name, more in NOT_IMPORTED.items():
        if name in names:
            names.update(more)
    return sorted(names)


def files() -> dict[str, str]:
    """Content of every file of envs/ by its name."""
    locked = pins()
    written: dict[str, str] = {}
    for rule, stage in sorted(stages_of_rules().items()):
        lines = [f"# What `recsys {stage}` imports, pinned as in requirements.lock; written by tools/environments.py."]
        lines += ["channels:", "  - conda-forge", "  - nodefaults", "dependencies:", f"  - python ={PYTHON}"]
        lines += sorted(f"  - {CONDA_NAMES.get(name, name)} =={locked[name]}" for name in distributions(stage))
        if EXTENSION in third_party(*code_of(stage)):
            lines += ["  # Builds the extension, in the post-deploy script:", f"  - maturin =={locked['maturin']}"]
            lines += [f"  - {package}" for package in BUILT_WITH]
            written[f"{rule}.post-deploy.sh"] = POST_DEPLOY.format(digest=extension_digest())
        written[f"{rule}.yaml"] = "\n".join(lines) + "\n"
    return written


if __name__ == "__main__":
    folder = ROOT / "envs"
    folder.mkdir(exist_ok=True)
    content = files()
    for path in folder.iterdir():
        if path.name not in content:
            path.unlink()
    for name, text in content.items():
        (folder / name).write_text(text, encoding="utf-8")
