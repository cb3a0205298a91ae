"""A tiny shop, taken through the whole workflow once, from a copy of the checkout."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]

TINY = {
    "shop": "tiny",
    "source": {"type": "demo", "events": 6000, "items": 120, "visitors": 500, "days": 8, "parts": 2, "seed": 3},
    "split": {"test": "2d", "valid": "2d"},
    "filter": {"min_support": 2},
    "models": {"gru4rec": {"layers": [16], "batch_size": 16, "n_sample": 32, "epochs": 3, "learning_rate": 0.1}},
    "runs": {
        "gru": {"model": "gru4rec", "seeds": [1, 2]},
        "item-to-item": {"model": "item_to_item"},
        "popularity": {"model": "popularity"},
    },
    "evaluation": {"bootstrap": 200},
}


@dataclass
class Workflow:
    """A checkout and a working directory."""

    checkout: Path
    folder: Path

    def command(self, *arguments: str) -> list[str]:
        snakemake = Path(sys.executable).with_name("snakemake")
        base = [str(snakemake), "--snakefile", str(self.checkout / "Snakefile"), "--directory", str(self.folder)]
        return [*base, "--configfile", str(self.folder / "tiny.yaml"), *arguments]

    def environment(self) -> dict[str, str]:
        cache = self.folder / ".cache"
        return os.environ | {"PYTHONPATH": str(self.checkout), "XDG_CACHE_HOME": str(cache)}

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments), cwd=self.checkout, env=self.environment(), capture_output=True, text=True, timeout=900, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def results(self, name: str) -> Path:
        return self.folder / "results" / name


def configure(folder: Path, configuration: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(configuration))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Path:
    """What the workflow needs of the checkout, to be edited at will."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("recsys", "rules", "schemas", "profiles", "envs", "report", "rust_sessionizer"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("target"))
    for name in ("Snakefile", "workflow_config.yaml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def finished(checkout, tmp_path_factory) -> Workflow:
    """The tiny shop after an undisturbed run; of several workers, the first that needs it runs it, and each has a copy of its own."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    undisturbed, whole = shared / "undisturbed", shared / "undisturbed.whole"
    with FileLock(shared / "undisturbed.lock"):
        if not whole.exists():
            configure(undisturbed, TINY)
            Workflow(checkout, undisturbed).run("--cores", "2")
            whole.touch()
    shutil.copytree(undisturbed, own / "finished")
    return Workflow(checkout, own / "finished")
