"""The search as a part of the workflow: what it runs and reads, how it goes on, and what takes up what it found."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from recsys.processes import OWNER
from recsys.workflow_lock import living_processes, remove_stale_locks

from .conftest import ROOT, TINY, Workflow, configure
from .test_end_to_end import stage, wait_for
from .test_report import content, faults, in_a_browser

SPACE = {"learning_rate": {"low": 0.02, "high": 0.3, "log": True}, "layers": {"choices": [[8], [16], [8, 8]]}}
SEARCH = TINY | {"tune": {"trials": 4, "random_trials": 2, "warmup_trials": 2, "space": SPACE}}
TUNED = SEARCH["runs"] | {"tuned": {"model": "gru4rec", "tuned": "results/tune/best.yaml", "parameters": {"epochs": 1}}}
FIGURES = ["history", "importances", "parallel_coordinates"]


def copy_of(finished: Workflow, folder: Path, configuration: dict) -> Workflow:
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns(OWNER.name, "tune", "tuning"))
    workflow = Workflow(finished.checkout, folder)
    configure(folder, configuration)
    return workflow


def planned(workflow: Workflow, *arguments: str) -> dict[str, int]:
    """Jobs by rule that would run."""
    return jobs(workflow.run("-n", *arguments, "--quiet", "host").stdout)


def jobs(printed: str) -> dict[str, int]:
    """Jobs by rule in what a dry run printed."""
    table = printed.rpartition("Job stats:")[2].partition("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"(?m)^(\w+) +(\d+)$", table) if name != "total"}


def trial_files(workflow: Workflow) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(workflow.results("tune/trials").glob("*.json"))}


@pytest.fixture(scope="module")
def searched(finished, tmp_path_factory) -> Workflow:
    """The tiny shop after an undisturbed search, one trial at a time, with nothing of the test split within reach."""
    workflow = copy_of(finished, tmp_path_factory.mktemp("searched") / "shop", SEARCH)
    hidden = {name: workflow.folder / f"hidden-{name.replace('/', '-')}" for name in ("fit/final", "champion")}
    for name, place in hidden.items():
        workflow.results(name).rename(place)
    workflow.run("--cores", "1", "tune")
    for name, place in hidden.items():
        assert not workflow.results(name).exists()
        place.rename(workflow.results(name))
    return workflow


def test_a_search_runs_its_trials_on_the_select_window_and_nothing_else(finished, tmp_path):
    workflow = Workflow(finished.checkout, tmp_path / "fresh")
    configure(workflow.folder, SEARCH | {"runs": TUNED})
    done = workflow.run("-n", "tune")
    counted = jobs(done.stdout)
    assert (counted["run_trial"], counted["tune"]) == (4, 1)
    assert set(counted) == {"download_log", "ingest_part", "check_log", "sessionize_events", "encode_select", "run_trial", "tune"}
    read = {path for line in re.findall(r"(?m)^    input: (.*)$", done.stdout + done.stderr) for path in line.split(", ")}
    assert "results/fit/select/valid.parquet" in read
    assert [path for path in read if "final" in path or "test" in path] == []


def test_the_pipeline_does_not_search(finished):
    assert not {"run_trial", "tune"} & set(planned(finished, "--forceall"))


def test_a_search_leaves_its_trials_the_best_one_and_figures(searched):
    outcomes = [json.loads(content) for content in trial_files(searched).values()]
    assert [outcome["trial"] for outcome in outcomes] == [0, 1, 2, 3]
    assert len({outcome["study"] for outcome in outcomes}) == 1
    with searched.results("tune/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["trial"]), row["state"]) for row in rows] == [(outcome["trial"], outcome["state"]) for outcome in outcomes]
    best = yaml.safe_load(searched.results("tune/best.yaml").read_text())
    complete = [outcome for outcome in outcomes if outcome["state"] == "complete"]
    assert best["value"] == max(outcome["value"] for outcome in complete)
    assert best["parameters"] == outcomes[best["trial"]]["parameters"]
    assert all(searched.results(f"report/tuning/{name}.svg").stat().st_size > 1000 for name in FIGURES)
    assert searched.results("logs/tune/0.log").stat().st_size
    assert "a run takes its parameters with `tuned: results/tune/best.yaml`" in searched.results("logs/tune.log").read_text()


def test_a_search_that_is_over_is_not_run_again_and_more_trials_are_added(searched):
    assert planned(searched, "tune") == {}
    configure(searched.folder, SEARCH | {"tune": SEARCH["tune"] | {"trials": 6}})
    try:
        assert planned(searched, "tune") == {"run_trial": 2, "tune": 1}
        configure(searched.folder, SEARCH | {"tune": SEARCH["tune"] | {"seed": 2}})
        assert planned(searched, "tune") == {"run_trial": 4, "tune": 1}
    finally:
        configure(searched.folder, SEARCH)


def test_a_killed_search_ends_where_the_undisturbed_one_does(finished, searched, tmp_path):
    workflow = copy_of(finished, tmp_path / "killed", SEARCH)
    running = subprocess.Popen(
        workflow.command("--cores", "1", "tune"),
        cwd=workflow.checkout,
        env=workflow.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: workflow.results("logs/tune/1.log").exists() and stage(workflow, "trial"))
    os.kill(running.pid, signal.SIGKILL)
    running.wait(timeout=10)
    wait_for(lambda: not living_processes(workflow.folder, "recsys"), seconds=10)
    assert remove_stale_locks(workflow.folder)
    kept = workflow.results("tune/trials/0.json").stat().st_mtime_ns
    workflow.run("--cores", "1", "tune")
    assert workflow.results("tune/trials/0.json").stat().st_mtime_ns == kept
    assert trial_files(workflow) == trial_files(searched)
    assert workflow.results("tune/best.yaml").read_bytes() == searched.results("tune/best.yaml").read_bytes()


def test_a_run_takes_up_what_was_found_without_another_search(searched):
    configure(searched.folder, SEARCH | {"runs": TUNED})
    try:
        done = searched.run("-n", "--printshellcmds")
        told = [json.loads(text) for text in re.findall(r"--settings '(\{\"exclude_session_items.*\})'", done.stdout + done.stderr)]
        (given,) = [one["run"]["parameters"] for one in told if one["run"]["name"] == "tuned"]
        found = yaml.safe_load(searched.results("tune/best.yaml").read_text())["parameters"]
        assert given == found | {"epochs": 1}
        counted = jobs(done.stdout)
        assert counted["train_run"] == 1
        assert not {"run_trial", "tune"} & set(counted)
    finally:
        configure(searched.folder, SEARCH)


def test_a_run_that_waits_for_a_search_stops_with_what_to_do(finished, tmp_path):
    workflow = Workflow(finished.checkout, tmp_path / "waiting")
    configure(workflow.folder, SEARCH | {"runs": TUNED})
    done = workflow.run("-n", check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 2
    assert "recsys: runs.tuned.tuned: there is no file results/tune/best.yaml" in told
    assert "run `snakemake tune` first" in told
    assert "Traceback" not in told


@pytest.fixture(scope="module")
def report(searched) -> Path:
    path = searched.folder / "report.html"
    searched.run("--cores", "1", "tune", "all", "--report", str(path))
    return path


def test_the_figures_are_in_the_report_of_a_searched_shop(report):
    results = content(report, "results")
    assert {"results/tune/best.yaml", "results/tune/trials.csv", *(f"results/report/tuning/{name}.svg" for name in FIGURES)} <= set(results)
    assert {"Tuning", "Results"} <= set(content(report, "categories"))


@in_a_browser
def test_the_report_of_a_searched_shop_has_no_fault_in_a_browser(report):
    assert faults(report) == []


@pytest.mark.parametrize("there", [True, False])
def test_make_report_asks_for_the_figures_where_there_are_any(tmp_path, there):
    results = tmp_path / "results"
    for file in ["champion/registered.json", *(["tune/best.yaml"] if there else [])]:
        (results / file).parent.mkdir(parents=True)
        (results / file).touch()
    done = subprocess.run(["make", "-n", "report", f"DIRECTORY={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if "--report " in line]
    assert ("snakemake tune all --quiet" in line) == there
