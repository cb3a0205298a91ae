"""The workflow as a text: lint, dry run, pictures, environments."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from recsys.cli.application import COMMANDS
from recsys.provenance import closure, code_digest, stage_modules, third_party

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
sys.path.insert(0, str(ROOT / "tools"))

import environments  # noqa: E402
import filetable  # noqa: E402
import reference  # noqa: E402
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


def test_the_rule_graph_leaves_out_what_a_longer_way_implies():
    arrows = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d"), ("d", "c")}
    assert rulegraph.needed(arrows) == arrows - {("a", "c")}


def test_the_architecture_lists_every_file():
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert text[text.index(filetable.MARK) + len(filetable.MARK) :] == filetable.table(), "run tools/filetable.py"


def test_the_configuration_reference_is_todays():
    assert reference.PAGE.read_text() == reference.page(), "run `make docs`"


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
            assert f"- {environments.CONDA_NAMES.get(name, name)} =={pins[name]}\n" in text
        assert ("rust " in text) == ("rust_sessionizer" in third_party(*environments.code_of(stage)))


def test_every_environment_is_one_that_conda_reads_and_pins_what_it_holds():
    ranges = {f"python ={environments.PYTHON}", *environments.BUILT_WITH}
    for path in sorted((ROOT / "envs").glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        assert set(content) == {"channels", "dependencies"}, path.name
        assert content["channels"] == ["conda-forge", "nodefaults"], path.name
        specs = content["dependencies"]
        assert all(isinstance(spec, str) for spec in specs), f"{path.name} has a section of another installer"
        names = [spec.split()[0] for spec in specs]
        assert sorted(set(names)) == sorted(names), f"{path.name} names a package twice"
        for spec in specs:
            # A match specification: a name in lower case, and a version; only what a range was decided for has one.
            assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*( ==\d[0-9a-z.]*)?", spec) or spec in ranges, f"{path.name}: {spec}"
            assert "==" in spec or spec in ranges, f"{path.name}: {spec} is not pinned"
        assert specs[0] == f"python ={environments.PYTHON}"


def test_environments_have_the_projects_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={environments.PYTHON}"
    assert f"--python-version {environments.PYTHON} " in (ROOT / "Makefile").read_text()


def test_conda_forges_name_of_every_package_is_known():
    used = {name for stage in environments.stages_of_rules().values() for name in environments.distributions(stage)}
    unknown = sorted(used - environments.SAME_NAME - set(environments.CONDA_NAMES))
    assert unknown == [], "look up what conda-forge calls them, and say so in tools/environments.py"


def test_a_pin_is_the_one_of_the_environments_python(monkeypatch, tmp_path):
    lock = "numpy==2.4.6 ; python_full_version < '3.12'\nnumpy==2.5.5 ; python_full_version >= '3.12'\n"
    lock += "colorama==0.4.6 ; sys_platform == 'win32'\nPy_YAML==6.0.3\n"
    (tmp_path / "requirements.lock").write_text(lock)
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    assert environments.pins() == {"numpy": "2.4.6", "py-yaml": "6.0.3"}


def test_the_environment_of_a_stage_with_a_server_holds_its_event_loop():
    assert {"uvicorn", "uvloop", "httptools"} <= set(environments.distributions("serve"))
    assert "uvicorn" not in environments.distributions("register")


def test_every_post_deploy_script_builds_the_checkouts_extension(tmp_path):
    scripts = sorted((ROOT / "envs").glob("*.post-deploy.sh"))
    assert len(scripts) == sum("maturin" in path.read_text() for path in (ROOT / "envs").glob("*.yaml"))
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/called"\n')
    (tmp_path / "python").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RECSYS_CHECKOUT": str(ROOT)}
    subprocess.run(["bash", str(scripts[0])], env=environment, cwd=tmp_path, check=True)
    assert (tmp_path / "called").read_text().split()[-1] == str(ROOT / "rust_sessionizer")


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
