"""The workflow as a text: lint, dry run, pictures, environments."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.cli.application import COMMANDS
from recsys.provenance import closure, code_digest, stage_modules, third_party

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
sys.path.insert(0, str(ROOT / "tools"))

import environments  # noqa: E402
import filetable  # noqa: E402
import rulegraph  # noqa: E402


def snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SNAKEMAKE, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_lint_is_clean():
    done = snakemake("--lint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Congratulations" in done.stdout + done.stderr


def test_snakefmt_is_clean():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("snakefmt")), "--check", "Snakefile", "rules"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_dag_can_be_drawn():
    done = snakemake("--dag")
    assert done.returncode == 0, done.stderr
    assert "train_run" in done.stdout


def test_readme_shows_todays_rule_graph():
    assert rulegraph.section((ROOT / "README.md").read_text()) == rulegraph.drawn(), "run tools/rulegraph.py"


def test_the_architecture_lists_every_file():
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert text[text.index(filetable.MARK) + len(filetable.MARK) :] == filetable.table(), "run tools/filetable.py"


def test_every_rule_has_log_benchmark_and_environment():
    blocks = list(environments.rule_blocks())
    assert {"download_log", "encode_final", "train_run", "serve"} <= {name for name, _, _ in blocks}
    for name, _, block in blocks:
        for keyword in ("log:", "benchmark:", "conda:", "params:"):
            assert re.search(rf"(?m)^\s+{keyword}", block), f"{name} has no {keyword}"
        assert f'"../envs/{name}.yaml"' in block, f"{name} has no environment of its own"


def test_every_stage_file_says_what_it_needs_and_gives():
    for path in sorted((ROOT / "rules").glob("*.smk")):
        assert re.match(r'""".*?Needs .*?gives .*?"""', path.read_text(), re.DOTALL | re.IGNORECASE), path.name


def test_every_rule_calls_one_stage():
    stages = environments.stages_of_rules()
    assert set(stages.values()) <= set(COMMANDS)
    for path in (ROOT / "rules").glob("*.smk"):
        assert "script:" not in path.read_text()


def test_environments_are_in_step_with_imports_lock_and_extension():
    content = environments.files()
    written = {path.name: path.read_text() for path in (ROOT / "envs").iterdir()}
    assert written == content, "run `make envs`"


def test_environments_cover_every_import():
    pins = environments.pins()
    for rule, stage in environments.stages_of_rules().items():
        text = (ROOT / "envs" / f"{rule}.yaml").read_text()
        for name in environments.distributions(stage):
            assert f"- {environments.CONDA_NAMES.get(name, name)} ={pins[name]}\n" in text
        assert ("rust " in text) == ("rust_sessionizer" in third_party(*environments.code_of(stage)))


@pytest.mark.parametrize(
    ("stage", "module", "inside"),
    [
        ("train", "recsys.training.optimizer", True),
        ("train", "recsys.models.popularity", False),
        ("sessionize", "recsys.models.interface", False),
        ("sessionize", "recsys.sessions.split", True),
        ("sessionize", "recsys.config", False),
        ("ingest", "recsys.sessions.build", False),
    ],
)
def test_a_stages_closure_is_what_it_uses(stage, module, inside):
    families = ("gru4rec",) if stage == "train" else ()
    assert (module in closure(*stage_modules(stage, families))) == inside


def test_a_run_depends_on_its_own_family_only():
    assert code_digest("train", ("gru4rec",)) != code_digest("train", ("popularity",))
    assert "recsys.models.gru4rec" not in closure(*stage_modules("train", ("popularity",)))


def test_a_broken_configuration_is_told_in_one_sentence(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("runs:\n  popularity: {model: popularity}\nsplitt: {test: 7d}\n")
    done = snakemake("-n", "--configfile", str(broken))
    assert done.returncode != 0
    assert "splitt: there is no such key; did you mean 'split'?" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
