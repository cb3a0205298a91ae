"""Mistakes as they are met through Snakemake: the sentence stands alone or last, nothing is lost, and a mended run goes on."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recsys.serving.server import READY
from recsys.workflow_lock import living_processes
from tests.mistakes import contents, documented, says
from tests.serving.conftest import make_shop

ROOT = Path(__file__).resolve().parents[2]
SECTION = "Whole workflows"
RUNS = "runs:\n  popularity: {model: popularity}\n"
LOG = "source: {type: files, paths: '*.csv', columns: {visitor: user, item: item, timestamp: time}}\n"
SOUND = "user,time,item\n" + "".join(f"{k % 5},{(1_714_564_800 + k) * 1000},{k % 7}\n" for k in range(50))


def command(folder: Path, *arguments: str) -> list[str]:
    """Called from another folder than the shop's, so that nothing told hangs on the working directory."""
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    return [snakemake, "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--cores", "2", *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / ".cache")}
    return subprocess.run(command(folder, *arguments), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]


def test_every_documented_mistake_is_provoked():
    assert set(documented(SECTION)) == {
        "A file of `--configfile` that is not there",
        "A file of `--configfile` that is no YAML",
        "A target after `--configfile`",
        "A mistake in the configuration",
        "A mistake in two files at once",
        "A killed stage",
        "Ctrl-C",
        "Ctrl-C while the server runs",
        "A read-only results folder",
    }


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("A file of `--configfile` that is not there", None),
        ("A file of `--configfile` that is no YAML", "runs: {popularity: {model: popularity}\nsplit: 1\n"),
        ("A mistake in the configuration", RUNS + "splitt: {test: 7d}\n"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_told_at_the_end(title, text, tmp_path):
    name = "my-shop.yaml" if text is not None else "my-shpo.yaml"
    if text is not None:
        (tmp_path / name).write_text(text)
    done = run(tmp_path, "-n", "--configfile", name if text is None else str(tmp_path / name))
    assert done.returncode != 0
    # What Snakemake says before it has a log goes to its output.
    last = (done.stderr if title == "A mistake in the configuration" else done.stdout).strip().splitlines()[-1]
    assert says(last, documented(SECTION)[title]), done.stdout + done.stderr
    if title == "A mistake in the configuration":
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "common.smk" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_target_goes_before_configfile(tmp_path):
    configuration = tmp_path / "my-shop.yaml"
    configuration.write_text(RUNS + LOG)
    done = run(tmp_path, "-n", "--configfile", str(configuration), "serve")
    assert done.returncode != 0
    assert says(done.stdout.strip().splitlines()[-1], documented(SECTION)["A target after `--configfile`"]), done.stdout + done.stderr


def test_failures_side_by_side_are_told_last_and_a_mended_run_goes_on(tmp_path):
    (tmp_path / "my-shop.yaml").write_text(RUNS + LOG)
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(SOUND.replace("item", "product"))
    logs = {name: content for name, content in contents(tmp_path).items() if name.endswith(".csv")}
    done = run(tmp_path, "--configfile", str(tmp_path / "my-shop.yaml"), "--until", "ingest_part")
    assert done.returncode == 1
    *_, heading, first, second = done.stderr.strip().splitlines()
    assert heading == "What stopped the workflow:"
    text = documented(SECTION)["A mistake in two files at once"]
    assert says(first, text), done.stderr
    assert says(second, text.replace("a.csv", "b.csv").replace("of a)", "of b)")), done.stderr
    assert {name: content for name, content in contents(tmp_path).items() if name.endswith(".csv")} == logs
    assert not list((tmp_path / "results" / "events").glob("*"))

    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(SOUND)
    mended = run(tmp_path, "--configfile", str(tmp_path / "my-shop.yaml"), "--until", "ingest_part")
    assert mended.returncode == 0, mended.stderr
    assert "What stopped the workflow" not in mended.stderr
    assert (tmp_path / "results" / "events" / "a.parquet").is_file()


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Snakemake in a process group of its own, as a terminal starts it: Ctrl-C reaches it and its stages, and nobody else."""
    running = subprocess.Popen(
        command(folder, *arguments),
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / ".cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What a shell starts in the background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()


def stage_of(running: subprocess.Popen[str], folder: Path) -> int:
    """The process id of the first stage, once there is one."""
    deadline = time.monotonic() + 120
    while not (stages := living_processes(folder, "recsys")):
        assert time.monotonic() < deadline
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.05)
    return stages[0]


def download_of(folder: Path, events: int) -> tuple[str, ...]:
    """The call that generates the made-up log of a folder."""
    (folder / "my-shop.yaml").write_text(RUNS + f"source: {{type: demo, events: {events}, parts: 1}}\n")
    return "--configfile", str(folder / "my-shop.yaml"), "--until", "download_log"


def test_a_killed_stage_is_told_and_leaves_nothing_half(tmp_path):
    with started(tmp_path, *download_of(tmp_path, 20_000_000)) as running:
        os.kill(stage_of(running, tmp_path), signal.SIGKILL)
        _, printed = running.communicate(timeout=60)
    assert running.returncode == 1
    assert says(printed.strip().splitlines()[-1], documented(SECTION)["A killed stage"]), printed
    assert not list((tmp_path / "results" / "raw").glob("*.csv"))


def test_an_interrupted_workflow_says_so_and_goes_on(tmp_path):
    with started(tmp_path, *download_of(tmp_path, 20_000_000)) as running:
        stage_of(running, tmp_path)
        os.killpg(running.pid, signal.SIGINT)
        _, printed = running.communicate(timeout=60)
    assert running.returncode == 1
    assert says(printed.strip().splitlines()[-1], documented(SECTION)["Ctrl-C"]), printed
    assert "What stopped the workflow" not in printed
    assert not list((tmp_path / "results" / "raw").glob("*.csv"))

    again = run(tmp_path, *download_of(tmp_path, 2_000))
    assert again.returncode == 0, again.stderr
    assert "was interrupted" not in again.stderr


def test_a_stopped_server_is_no_failure(tmp_path):
    package = make_shop(tmp_path / "shop", "item_to_item").package
    (tmp_path / "a.csv").write_text(SOUND)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "my-shop.yaml").write_text(RUNS + LOG + f"serve: {{model: {package}, port: {port}}}\n")
    with started(tmp_path, "serve", "--configfile", str(tmp_path / "my-shop.yaml")) as running:
        for line in running.stdout:
            if line.startswith(READY):
                break
        else:
            pytest.fail(running.stderr.read())
        os.killpg(running.pid, signal.SIGINT)
        _, printed = running.communicate(timeout=60)
    assert says(printed.strip().splitlines()[-1], documented(SECTION)["Ctrl-C while the server runs"]), printed
    assert "What stopped the workflow" not in printed


def test_a_read_only_results_folder_is_told_before_anything_runs(tmp_path):
    (tmp_path / "my-shop.yaml").write_text(RUNS + LOG)
    (tmp_path / "a.csv").write_text(SOUND)
    results = tmp_path / "results"
    results.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(results)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        done = run(tmp_path, "--configfile", str(tmp_path / "my-shop.yaml"))
    finally:
        subprocess.run(["umount", str(results)], capture_output=True, check=True)
    assert done.returncode == 8
    assert says(last_line(done), documented(SECTION)["A read-only results folder"]), done.stderr
    assert "Error in rule" not in done.stderr
