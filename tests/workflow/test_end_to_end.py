"""A tiny shop from nothing to a registered champion, and everything that may happen on the way."""

import csv
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import psutil
import pytest

from recsys.errors import BusyError
from recsys.processes import OWNER
from recsys.workflow_lock import living_processes, remove_stale_locks

from .conftest import TINY, Workflow, configure

CONTRACT = [
    "events/demo-0000.parquet",
    "events/demo-0000.quarantine.parquet",
    "events/demo-0000.quality.json",
    "quality/checks.json",
    "quality/exclusions.parquet",
    "quality/quality.json",
    "report/quality/checks.svg",
    "report/quality/refused.svg",
    "report/quality/volume.svg",
    "report/quality/parts/demo-0000.svg",
    "report/quality/parts/demo-0001.svg",
    "report/overview/overview.json",
    "report/overview/key_figures.csv",
    "report/training/curves.svg",
    "report/resources/resources.svg",
    "sessions/sessions.parquet",
    "sessions/catalogue.parquet",
    "sessions/summary.json",
    "fit/select/items.parquet",
    "fit/select/train.parquet",
    "fit/select/valid.parquet",
    "fit/final/items.parquet",
    "fit/final/train.parquet",
    "fit/final/test.parquet",
    "runs/gru.seed1/params.json",
    "runs/gru.seed1/model/manifest.json",
    "runs/gru.seed1/history.parquet",
    "runs/gru.seed1/metrics.json",
    "leaderboard.csv",
    "champion/choice.json",
    "champion/model/manifest.json",
    "champion/metrics.json",
    "champion/package/MLmodel",
    "champion/package/manifest.json",
    "champion/parity.json",
    "champion/smoke.json",
    "champion/registered.json",
    "benchmarks/sessionize.jsonl",
    "logs/train/gru.seed1.log",
    "mlflow/mlflow.db",
]
SAME_EVERY_TIME = [
    "events/demo-0000.parquet",
    "events/demo-0001.parquet",
    "quality/checks.json",
    "quality/exclusions.parquet",
    "sessions/sessions.parquet",
    "sessions/catalogue.parquet",
    "fit/select/train.parquet",
    "fit/select/valid.parquet",
    "fit/final/train.parquet",
    "fit/final/test.parquet",
    "runs/gru.seed1/metrics.json",
    "runs/gru.seed2/metrics.json",
    "report/overview/overview.json",
    "report/overview/events.svg",
    "champion/metrics.json",
]


def test_the_run_leaves_what_the_contract_names(finished):
    missing = [name for name in CONTRACT if not finished.results(name).exists()]
    assert missing == []


def test_champion_metrics_hold_the_baselines_and_no_more(finished):
    metrics = json.loads(finished.results("champion/metrics.json").read_text())
    assert set(metrics) == {"run", "model", "predictions", "recall", "mrr", "ndcg", "baselines"}
    assert set(metrics["baselines"]) == {"item-to-item", "popularity"}
    assert set(metrics["recall"]) == {"1", "5", "10", "20"}
    test = pl.read_parquet(finished.results("fit/final/test.parquet"))
    assert metrics["predictions"] == int((test["items"].list.len() - 1).sum())


def test_the_leaderboard_has_a_row_a_run_and_split(finished):
    with finished.results("leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["split"] == "valid" for row in rows) == 4
    assert sum(row["split"] == "test" for row in rows) >= 2
    recalls = [float(row["recall@20"]) for row in rows if row["split"] == "valid"]
    assert recalls == sorted(recalls, reverse=True)


def test_the_resources_are_those_of_every_rule(finished):
    with finished.results("report/resources/resources.csv").open() as file:
        rows = {row["rule"]: row for row in csv.DictReader(file)}
    pipeline = ["ingest_part", "sessionize_events", "encode_select", "encode_final", "train_run", "evaluate_run", "select_run"]
    pipeline += ["refit_champion", "refit_baseline", "test_champion", "export_champion", "package_champion", "smoke_package"]
    assert {*pipeline, "write_leaderboard", "register_champion"} <= set(rows)
    assert not {"serve", "draw_resources"} & set(rows)
    assert (rows["train_run"]["jobs"], rows["refit_baseline"]["jobs"]) == ("4", "2")
    assert float(rows["train_run"]["seconds"]) > 0


def rules_to_run(workflow: Workflow) -> set[str]:
    done = workflow.run("-n", "--quiet", "host")
    return {line.split()[0] for line in done.stdout.splitlines() if len(line.split()) == 2 and line.split()[1].isdigit()} - {"total"}


def edited(path: Path, text: str):
    """Append to a file; the function that takes it back, modification time included."""
    before, stamp = path.read_text(), path.stat()
    path.write_text(before + text)

    def restore() -> None:
        path.write_text(before)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    return restore


def test_a_second_run_does_nothing_even_after_an_edit_of_a_page_or_a_comment(finished):
    restored = [edited(finished.checkout / "README.md", "\nMore.\n"), edited(finished.checkout / "recsys/models/gru4rec.py", "\n# more\n")]
    try:
        done = finished.run("-n")
    finally:
        for restore in restored:
            restore()
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "text", "reruns", "spares"),
    [
        (
            "recsys/models/gru4rec.py",
            "\nADDED = 1\n",
            {"train_run", "evaluate_run", "select_run", "refit_champion", "test_champion"},
            {"download_log", "ingest_part", "sessionize_events", "encode_select"},
        ),
        ("recsys/training/optimizer.py", "\nADDED = 1\n", {"train_run", "refit_champion"}, {"ingest_part", "sessionize_events"}),
        (
            "rust_sessionizer/core/src/lib.rs",
            "\n// edited\n",
            {"sessionize_events", "encode_select", "train_run"},
            {"download_log", "ingest_part"},
        ),
        ("recsys/events/ingest.py", "\nADDED = 1\n", {"ingest_part"}, {"download_log"}),
    ],
)
def test_an_edit_reruns_what_it_changes(finished, file, text, reruns, spares):
    restore = edited(finished.checkout / file, text)
    try:
        planned = rules_to_run(finished)
    finally:
        restore()
    assert reruns <= planned
    assert not spares & planned


def test_an_edit_of_a_baseline_spares_the_learned_runs(finished):
    restore = edited(finished.checkout / "recsys/models/popularity.py", "\nADDED = 1\n")
    try:
        done = finished.run("-n")
    finally:
        restore()
    # One block a job; a job's wildcards say which run it is of.
    jobs = re.split(r"(?m)^(?:local)?rule ", done.stdout + done.stderr)[1:]
    trained = {re.search(r"wildcards: .*?run=([^,\s]+)", job)[1] for job in jobs if job.startswith("train_run:")}
    assert trained == {"popularity"}


def started(workflow: Workflow) -> subprocess.Popen:
    return subprocess.Popen(
        workflow.command("--cores", "2"),
        cwd=workflow.checkout,
        env=workflow.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(condition, seconds: float = 240):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    pytest.fail("what the test waits for did not happen")


def stage(workflow: Workflow, name: str) -> int | None:
    """The process of a stage that works in the folder."""
    for pid in living_processes(workflow.folder, "recsys"):
        try:
            if name in psutil.Process(pid).cmdline():
                return pid
        except psutil.NoSuchProcess:
            continue
    return None


def test_killed_stage_and_killed_workflow_end_where_the_undisturbed_run_does(finished, tmp_path):
    workflow = Workflow(finished.checkout, tmp_path / "killed")
    configure(workflow.folder, TINY)

    # A stage dies: the same command goes on.
    running = started(workflow)
    os.kill(wait_for(lambda: stage(workflow, "sessionize")), signal.SIGKILL)
    assert running.wait(timeout=120) != 0
    assert not workflow.results("sessions/sessions.parquet").exists()

    # Snakemake dies while runs train: no stage outlives it, and the folder stays locked until it is unlocked.
    running = started(workflow)
    wait_for(lambda: stage(workflow, "train"))
    with pytest.raises(BusyError, match="still runs"):
        remove_stale_locks(workflow.folder)
    os.kill(running.pid, signal.SIGKILL)
    running.wait(timeout=10)
    wait_for(lambda: not living_processes(workflow.folder, "recsys"), seconds=10)
    assert workflow.run("--cores", "2", check=False).returncode != 0
    assert remove_stale_locks(workflow.folder)
    assert not remove_stale_locks(workflow.folder)

    workflow.run("--cores", "2", *(f"results/{name}" for name in SAME_EVERY_TIME))
    different = [name for name in SAME_EVERY_TIME if workflow.results(name).read_bytes() != finished.results(name).read_bytes()]
    assert different == []


def test_a_lock_of_another_machine_is_left_alone(tmp_path):
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("")
    (tmp_path / OWNER).write_text(json.dumps({"host": "another-machine", "pid": 1}))
    with pytest.raises(BusyError, match="another-machine"):
        remove_stale_locks(tmp_path)
    assert (locks / "0.input.lock").exists()
