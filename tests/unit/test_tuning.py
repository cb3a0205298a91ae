"""The search: what is declared, what is drawn, what trials learn from each other, what survives a killed one, and what comes out."""

import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from recsys.config import load_configuration
from recsys.errors import ConfigurationError, TrainingError
from recsys.figures import tuning as figures
from recsys.figures.style import save, without_unit
from recsys.files import write_parquet
from recsys.settings.training import TrainingSettings
from recsys.settings.tuning import Dimension, TuneSettings
from recsys.training import loop
from recsys.tuning import trial as trials
from recsys.tuning.declared import PUBLISHED
from recsys.tuning.found import read_found, write_found
from recsys.tuning.importance import LEAST, importances
from recsys.tuning.outcome import Outcome, best, table
from recsys.tuning.space import as_parameter, draw
from recsys.tuning.study import JournalLock, Study

ROOT = Path(__file__).resolve().parents[2]
RUNS = {"popularity": {"model": "popularity"}}


def search(**tune) -> TuneSettings:
    return load_configuration({"runs": RUNS, "tune": tune}).search


# What is declared


def test_the_default_is_the_published_space_of_the_loss():
    of_entropy, of_bpr = search(), search(parameters={"loss": "bpr-max"})
    assert list(of_entropy.space) == [
        "layers",
        "batch_size",
        "learning_rate",
        "dropout_embedding",
        "dropout_hidden",
        "momentum",
        "sample_alpha",
    ]
    assert list(of_bpr.space) == [*of_entropy.space, "bpreg", "elu_param"]
    assert of_bpr.parameters["loss"] == "bpr-max"
    assert not set(of_bpr.parameters) & set(of_bpr.space)


def test_what_is_fixed_is_not_searched():
    found = search(parameters={"layers": [32], "momentum": 0.5})
    assert set(PUBLISHED["cross-entropy"]) - set(found.space) == {"layers", "momentum"}
    assert found.parameters["layers"] == [32]


def test_fixed_parameters_start_from_the_familys():
    raw = {"runs": RUNS, "models": {"gru4rec": {"epochs": 7, "n_sample": 64}}, "tune": {"parameters": {"n_sample": 32}}}
    found = load_configuration(raw).search
    assert (found.parameters["epochs"], found.parameters["n_sample"]) == (7, 32)


def test_numbers_are_those_that_the_parameter_takes():
    space = search(space={"layers": {"low": 8.0, "high": 16}, "momentum": {"low": 0, "high": 0.5}}).space
    assert (space["layers"].low, space["momentum"].low) == (8, 0.0)
    assert (type(space["layers"].low), type(space["momentum"].low)) == (int, float)


@pytest.mark.parametrize(
    ("tune", "told"),
    [
        ({"model": "gru"}, "tune.model: there is no model family 'gru'"),
        ({"model": "item_to_item"}, "tune.space: none is published for item_to_item; declare which of its parameters to search: direction"),
        ({"space": {"bpreg": {"low": 1, "high": 2, "step": 0}}}, "tune.space.bpreg: step is 0; write a number above 0"),
        ({"space": {"learnin_rate": {"low": 0.1, "high": 1}}}, "tune.space.learnin_rate: there is no .* did you mean 'learning_rate'?"),
        ({"space": {"learning_rate": {"low": 0, "high": 1}}}, "tune.space.learning_rate: 0 cannot be used; write a number above 0"),
        ({"space": {"batch_size": {"low": 8.5, "high": 16}}}, "tune.space.batch_size: 8.5 cannot be used; write a whole number"),
        ({"space": {"batch_size": {"low": 8, "high": 16, "step": 0.5}}}, "tune.space.batch_size: 0.5 cannot be used; write a whole number"),
        ({"space": {"loss": {"choices": ["bpr-max", "top1"]}}}, "tune.space.loss: 'top1' cannot be used"),
        ({"space": {"loss": {"choices": ["bpr-max", "bpr-max"]}}}, "tune.space.loss: choices is .* two different values"),
        ({"space": {"momentum": {"low": 0.0}}}, "tune.space.momentum: this is neither a range nor a list"),
        ({"space": {"momentum": {"low": 0.0, "high": 0.5, "choices": [1, 2]}}}, "tune.space.momentum: choices stands beside a range"),
        ({"space": {"momentum": {"low": 0.5, "high": 0.5}}}, "tune.space.momentum: low is 0.5 and high is 0.5; write a high above low"),
        ({"space": {"momentum": {"low": 0.0, "high": 0.9, "step": 0.2}}}, "tune.space.momentum: steps of 0.2 from 0.0 .* write high: 0.8"),
        ({"space": {"bpreg": {"low": 0, "high": 1, "log": True}}}, "tune.space.bpreg: a logarithmic range cannot start at 0"),
        ({"space": {"bpreg": {"low": 1, "high": 2, "log": True, "step": 1}}}, "tune.space.bpreg: a logarithmic range has no steps"),
        ({"parameters": {"momentum": 2}}, "tune.parameters.momentum: 2 cannot be used; write a number below 1"),
        ({"parameters": {"bpreg": 1}, "space": {"bpreg": {"low": 1, "high": 2}}}, "tune.parameters.bpreg: it is searched too"),
    ],
)
def test_what_cannot_be_searched_is_told(tune, told):
    with pytest.raises(ConfigurationError, match=told):
        search(**tune)


# What is drawn


SPACE = {
    "layers": Dimension(low=8, high=32, step=8),
    "learning_rate": Dimension(low=0.01, high=0.25, step=0.005),
    "bpreg": Dimension(low=0.1, high=10.0, log=True),
    "loss": Dimension(choices=["cross-entropy", "bpr-max"]),
}
TUNE = TuneSettings(space=SPACE, random_trials=3)


def run_one(store, number: int, value: float | None, tune: TuneSettings = TUNE) -> dict:
    """A trial that is worth a given value; None is one that cannot go on."""
    study = Study(store, "search", tune, number)
    trial = study.begin()
    drawn = draw(trial, tune.space)
    study.end(trial, value)
    return drawn


def test_a_trial_draws_within_the_space_and_on_its_steps(tmp_path):
    for number in range(12):
        drawn = run_one(tmp_path / "store", number, number / 10)
        assert list(drawn) == list(SPACE)
        assert drawn["layers"] in (8, 16, 24, 32)
        assert 0.01 <= drawn["learning_rate"] <= 0.25
        assert round(drawn["learning_rate"], 3) == drawn["learning_rate"]
        assert round(drawn["learning_rate"] * 1000) % 5 == 0
        assert 0.1 <= drawn["bpreg"] <= 10


def test_a_single_number_becomes_the_list_that_the_parameter_takes():
    kind = load_configuration({"runs": RUNS}).models.gru4rec.__class__
    assert as_parameter(96, kind, "layers") == [96]
    assert as_parameter([96, 96], kind, "layers") == [96, 96]
    assert as_parameter(96, kind, "batch_size") == 96


def test_choices_may_be_of_any_type(tmp_path):
    choices = [[8], [8, 8], None, True, 0.5]
    tune = TuneSettings(space={"x": Dimension(choices=choices)})
    drawn = [run_one(tmp_path / "store", number, 0.1, tune)["x"] for number in range(20)]
    assert all(value in choices for value in drawn)
    assert [8, 8] in drawn


def test_one_at_a_time_the_same_seed_gives_the_same_search(tmp_path):
    def drawn(name: str, seed: int) -> list[dict]:
        tune = TUNE.model_copy(update={"seed": seed})
        return [run_one(tmp_path / name, number, number % 3 / 10, tune) for number in range(6)]

    first = drawn("a", 1)
    assert first == drawn("b", 1)
    assert first != drawn("c", 2)
    assert len({json.dumps(one) for one in first}) == 6


def test_later_trials_learn_from_earlier_ones(tmp_path):
    tune = TuneSettings(space={"momentum": Dimension(low=0.0, high=0.9)}, random_trials=10)
    values = []
    for number in range(30):
        study = Study(tmp_path / "store", "search", tune, number)
        trial = study.begin()
        values.append(draw(trial, tune.space)["momentum"])
        study.end(trial, -abs(values[-1] - 0.6))
    assert np.mean(np.abs(np.array(values[20:]) - 0.6)) < np.mean(np.abs(np.array(values[:10]) - 0.6)) / 2


# What trials share


def test_a_trial_has_the_number_of_its_job_whichever_comes_first(tmp_path):
    store = tmp_path / "store"
    in_order = [run_one(tmp_path / "other", number, 0.1) for number in range(3)]
    assert [run_one(store, number, 0.1) for number in (2, 0, 1)] == [in_order[2], in_order[0], in_order[1]]


def test_a_trial_that_was_killed_draws_the_same_again(tmp_path):
    study = Study(tmp_path / "store", "search", TUNE, 4)
    killed = study.begin()
    before = draw(killed, SPACE)
    killed.report(0.25, 1)
    run_one(tmp_path / "store", 0, 0.9)
    again = Study(tmp_path / "store", "search", TUNE, 4)
    trial = again.begin()
    assert draw(trial, SPACE) == before
    assert again.record().intermediate_values == {1: 0.25}
    again.end(trial, 0.3)
    assert Study(tmp_path / "store", "search", TUNE, 4).begin() is None


IN_A_PROCESS = """
import json, pathlib, sys
from test_tuning import run_one
store, numbers = pathlib.Path(sys.argv[1]), map(int, sys.argv[2:])
print(json.dumps([(number, run_one(store, number, number / 10)) for number in numbers]))
"""


def _run_in_process(store: Path, numbers: range) -> list[tuple[int, dict]]:
    paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    command = [sys.executable, "-c", IN_A_PROCESS, str(store), *map(str, numbers)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def test_trials_that_run_at_once_share_one_store(tmp_path):
    store = tmp_path / "store"
    with ThreadPoolExecutor(3) as pool:
        drawn = dict(chain.from_iterable(pool.map(lambda first: _run_in_process(store, range(first, 9, 3)), range(3))))
    assert sorted(drawn) == list(range(9))
    ended = [Study(store, "search", TUNE, number).record() for number in range(9)]
    assert [trial.value for trial in ended] == [number / 10 for number in range(9)]
    assert [trial.params["layers"] for trial in ended] == [drawn[number]["layers"] for number in range(9)]


def test_a_line_cut_short_does_not_spoil_the_store(tmp_path):
    store = tmp_path / "store"
    run_one(store, 0, 0.5)
    with store.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    run_one(store, 1, 0.6)
    assert [Study(store, "search", TUNE, number).record().value for number in range(2)] == [0.5, 0.6]


def test_the_lock_of_a_dead_process_holds_nobody_up(tmp_path):
    store = tmp_path / "store"
    store.touch()
    process = multiprocessing.get_context("fork").Process(target=lambda: JournalLock(store).acquire())
    process.start()
    process.join()
    assert JournalLock(store).acquire()


# A whole trial


SESSIONS = [[0, 1, 2, 3], [1, 2, 3], [2, 3, 0], [3, 0, 1, 2], [0, 1], [2, 3, 0, 1]] * 40


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    """A select window of a shop with four items in a ring."""
    folder = tmp_path_factory.mktemp("window")
    starts = pl.Series(range(len(SESSIONS))).cast(pl.Datetime("ms", "UTC"))
    sessions = pl.DataFrame({"start": starts, "items": pl.Series(SESSIONS, dtype=pl.List(pl.Int32))})
    write_parquet(sessions, folder / "train.parquet")
    write_parquet(sessions[:12], folder / "valid.parquet")
    support = np.bincount(np.concatenate(SESSIONS))
    write_parquet(pl.DataFrame({"index": range(4), "code": range(4), "item_id": range(4), "support": support}), folder / "items.parquet")
    return {name: folder / f"{name}.parquet" for name in ("items", "train", "valid")}


def tiny(**changed) -> TuneSettings:
    fixed = {"n_sample": 8, "batch_size": 4, "epochs": 3, "layers": [8]} | changed.pop("parameters", {})
    return search(parameters=fixed, **({"space": {"learning_rate": {"low": 0.05, "high": 0.2}}} | changed))


def run_trial(tmp_path, window, number: int, tune: TuneSettings, **training) -> Outcome:
    settings = TrainingSettings(**training)
    return trials.run_trial(number, tune, settings, window, tmp_path / "tune" / "store", tmp_path / "work", "code", "cpu")


def test_a_complete_trial_tells_what_it_is_worth(tmp_path, window):
    outcome = run_trial(tmp_path, window, 0, tiny())
    assert (outcome.state, outcome.trial, outcome.metric) == ("complete", 0, "mrr@20")
    assert outcome.value == max(outcome.validation) == outcome.validation[outcome.epoch - 1]
    assert outcome.value > 0.5
    assert outcome.parameters["learning_rate"] == outcome.drawn["learning_rate"]
    assert (outcome.parameters["layers"], outcome.parameters["epochs"]) == ([8], 3)
    assert set(outcome.data) == {"items", "train", "valid"}
    assert not list((tmp_path / "work").rglob("*.safetensors"))
    outcome.write(tmp_path / "outcome.json")
    assert Outcome.read(tmp_path / "outcome.json") == outcome


def test_the_last_epoch_counts_where_runs_keep_the_last(tmp_path, window):
    outcome = run_trial(tmp_path, window, 0, tiny(), keep="last")
    assert (outcome.epoch, outcome.value) == (3, outcome.validation[-1])


def test_a_trial_that_has_ended_is_not_run_again(tmp_path, window, monkeypatch):
    first = run_trial(tmp_path, window, 0, tiny())
    monkeypatch.setattr(trials, "prepare", None)
    assert run_trial(tmp_path, window, 0, tiny()) == first


def test_other_data_another_space_or_other_code_is_another_study(tmp_path, window):
    def name(tune=None, paths=None, code="code", **training) -> str:
        data = {"train": paths or "digest"}
        return trials._study_name(tune or tiny(), TrainingSettings(**training), data, code, False)

    changed = [
        name(tiny(space={"learning_rate": {"low": 0.05, "high": 0.3}})),
        name(tiny(seed=2)),
        name(paths="other"),
        name(code="other"),
        name(patience=2),
    ]
    assert len({name(), *changed}) == 6
    assert name(tiny(trials=40)) == name(checkpoint_every="5m") == name()


def killed_in_the_second_epoch(monkeypatch) -> None:
    """Have the fit die at the worst time: when its second epoch was reported and not yet kept."""
    original = loop.best_epoch

    def dying(history, metric):
        if len(history) == 2:
            raise KeyboardInterrupt
        return original(history, metric)

    monkeypatch.setattr(loop, "best_epoch", dying)


def test_a_killed_trial_goes_on_and_ends_as_if_nothing_had_been(tmp_path, window, monkeypatch):
    undisturbed = run_trial(tmp_path / "a", window, 0, tiny())
    with monkeypatch.context() as patched:
        killed_in_the_second_epoch(patched)
        with pytest.raises(KeyboardInterrupt):
            run_trial(tmp_path / "b", window, 0, tiny())
    assert list((tmp_path / "b" / "work").rglob("resume.safetensors"))
    assert run_trial(tmp_path / "b", window, 0, tiny()) == undisturbed


def test_a_trial_worse_than_the_median_is_pruned(tmp_path, window):
    tune = tiny(warmup_trials=2, warmup_epochs=0)
    for number in range(2):
        assert run_trial(tmp_path, window, number, tune).state == "complete"
    study = Study(tmp_path / "tune" / "store", run_trial(tmp_path, window, 0, tune).study, tune, 2)
    slow = study.begin()
    draw(slow, {"learning_rate": tune.space["learning_rate"]})
    # It is found in the middle of its work, with a first epoch that was worse than the others'.
    slow.report(0.0, 1)
    outcome = run_trial(tmp_path, window, 2, tune)
    assert (outcome.state, outcome.validation, outcome.value) == ("pruned", [0.0], 0.0)
    assert run_trial(tmp_path, window, 2, tune) == outcome


def test_a_trial_that_was_trained_to_the_end_is_complete_however_bad(tmp_path, window):
    tune = tiny(warmup_trials=1, warmup_epochs=0)
    study = Study(tmp_path / "tune" / "store", run_trial(tmp_path, window, 0, tune).study, tune, 1)
    killed = study.begin()
    for epoch in (1, 2, 3):
        killed.report(0.0, epoch)
    assert run_trial(tmp_path, window, 1, tune).state == "complete"


def test_no_trial_is_pruned_where_none_shall_be(tmp_path, window):
    tune = tiny(pruner="none")
    study = Study(tmp_path / "tune" / "store", run_trial(tmp_path, window, 0, tune).study, tune, 1)
    study.begin().report(0.0, 1)
    assert run_trial(tmp_path, window, 1, tune).state == "complete"


def test_a_trial_that_diverges_is_a_result(tmp_path, window):
    tune = tiny(space={"learning_rate": {"low": 1e30, "high": 1e38}}, parameters={"momentum": 0.9})
    outcome = run_trial(tmp_path, window, 0, tune)
    assert (outcome.state, outcome.value, outcome.epoch) == ("diverged", None, None)
    assert "the loss is" in outcome.reason
    with pytest.raises(TrainingError, match=r"none of the 1 trials came to its end.*learning_rate"):
        best([outcome])


def test_another_error_fails_and_the_trial_is_run_again(tmp_path, window, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(trials, "prepare", lambda *arguments: (_ for _ in ()).throw(OSError("disk")))
        with pytest.raises(OSError, match="disk"):
            run_trial(tmp_path, window, 0, tiny())
    assert run_trial(tmp_path, window, 0, tiny()).state == "complete"


def test_a_family_that_only_counts_can_be_searched(tmp_path, window):
    tune = search(model="item_to_item", space={"last_items": {"low": 1, "high": 3}, "direction": {"choices": ["forward", "both"]}})
    outcome = run_trial(tmp_path, window, 0, tune)
    assert (outcome.state, outcome.epoch, outcome.validation) == ("complete", None, [])
    assert 0 < outcome.value <= 1


# What comes out


def outcome(number: int, value: float | None, state: str = "complete", **drawn) -> Outcome:
    drawn = drawn or {
        "layers": 8 * (1 + number % 4),
        "learning_rate": round(0.01 + 0.005 * number, 3),
        "bpreg": 0.1 * 1.3**number,
        "loss": "bpr-max",
    }
    parameters = drawn | {"layers": [drawn.get("layers", 8)]}
    validation = [] if value is None else [value / 2, value]
    return Outcome("search", number, state, "mrr@20", value, 2, validation, drawn, "gru4rec", 1, parameters, {"train": "digest"})


def test_the_best_is_the_highest_complete_trial_and_of_equals_the_first():
    outcomes = [outcome(0, 0.2), outcome(1, 0.3), outcome(2, 0.3), outcome(3, 0.9, "pruned"), outcome(4, None, "diverged")]
    assert best(outcomes).trial == 1


def test_the_table_has_a_row_a_trial():
    rows = table([outcome(0, 0.2), outcome(1, None, "diverged"), outcome(2, 0.1, "pruned", layers=[8, 8])])
    assert rows["trial"].to_list() == [0, 1, 2]
    assert rows["mrr@20"].to_list() == [0.2, None, 0.1]
    assert rows["state"].to_list() == ["complete", "diverged", "pruned"]
    assert rows["layers"].to_list()[2] == "[8, 8]"


def test_the_parameter_that_decides_is_found():
    generator = np.random.default_rng(1)
    drawn = [
        {"layers": int(layers), "learning_rate": float(rate), "bpreg": 1.0, "loss": str(loss)}
        for layers, rate, loss in zip(
            generator.choice([8, 16, 24, 32], 40),
            generator.integers(2, 51, 40) * 0.005,
            generator.choice(["cross-entropy", "bpr-max"], 40),
            strict=True,
        )
    ]
    outcomes = [replace(outcome(number, -abs(one["learning_rate"] - 0.05)), drawn=one) for number, one in enumerate(drawn)]
    shares = importances(outcomes, SPACE)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "learning_rate"


def test_nothing_is_said_of_too_few_or_equal_trials():
    assert importances([outcome(number, number / 10) for number in range(LEAST - 1)], SPACE) == {}
    assert importances([outcome(number, 0.5) for number in range(LEAST + 1)], SPACE) == {}


def test_pruned_and_diverged_trials_tell_too():
    low = [outcome(number, 0.3 + 0.001 * number, learning_rate=0.05, momentum=0.1 * (number % 3)) for number in range(4)]
    high = [outcome(4 + number, 0.1, "pruned", learning_rate=0.15, momentum=0.1 * (number % 3)) for number in range(4)]
    lost = [outcome(8 + number, None, "diverged", learning_rate=0.2, momentum=0.1 * (number % 3)) for number in range(4)]
    shares = importances([*low, *high, *lost], {"learning_rate": SPACE["learning_rate"], "momentum": Dimension(low=0.0, high=0.9)})
    assert shares["learning_rate"] > 0.8


# What a run takes


def test_a_run_takes_what_was_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = outcome(7, 0.25)
    write_found(found, 20, tmp_path / "best.yaml")
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["parameters"] == found.parameters
    told = read_found(tmp_path / "best.yaml")
    assert (told.trial, told.trials, told.value, told.metric, told.data) == (7, 20, 0.25, "mrr@20", {"train": "digest"})
    raw = {
        "models": {"gru4rec": {"layers": [100], "epochs": 5}},
        "runs": RUNS | {"tuned": {"model": "gru4rec", "tuned": "best.yaml", "parameters": {"bpreg": 3.0}}},
    }
    given = load_configuration(raw).grid["tuned.seed1"].settings["parameters"]
    assert (given["layers"], given["learning_rate"], given["bpreg"], given["epochs"]) == ([32], 0.045, 3.0, 5)


def test_a_search_that_has_found_nothing_yet_is_told_when_its_parameters_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configuration = load_configuration({"runs": RUNS | {"tuned": {"model": "gru4rec", "tuned": "results/tune/best.yaml"}}})
    assert configuration.grid["popularity"].settings
    with pytest.raises(ConfigurationError, match=r"runs.tuned.tuned: there is no file results/tune/best.yaml.*run `snakemake tune` first"):
        _ = configuration.grid["tuned.seed1"].settings


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("model: item_to_item\nparameters: {}\n", "runs.tuned.tuned: best.yaml holds parameters of item_to_item"),
        ("model: gru4rec\n", "best.yaml: parameters: this key is missing"),
        ("model: gru4rec\nparameters: {layer: [3]}\n", "runs.tuned.parameters.layer: there is no such key; did you mean 'layers'?"),
        ("model: [\n", "best.yaml, line 2"),
    ],
)
def test_a_file_that_no_search_wrote_is_told(tmp_path, monkeypatch, content, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match=told):
        load_configuration({"runs": RUNS | {"tuned": {"model": "gru4rec", "tuned": "best.yaml"}}})


# What is drawn of it on paper


MIXED = [outcome(number, 0.2 + 0.01 * (number * 7 % 10)) for number in range(12)]
MIXED += [outcome(12, 0.21, "pruned"), outcome(13, None, "diverged")]


@pytest.mark.parametrize(
    "outcomes",
    [MIXED, MIXED[:1], [MIXED[-1]], [MIXED[-2], MIXED[-1]], [outcome(number, 0.5) for number in range(5)]],
    ids=["all kinds", "one", "none complete", "pruned and diverged", "equal values"],
)
def test_the_figures_stand_whatever_came_out(outcomes, tmp_path):
    drawn = [
        figures.history(outcomes),
        figures.importances(importances(outcomes, SPACE)),
        figures.parallel_coordinates(outcomes, SPACE),
    ]
    for number, figure in enumerate(drawn):
        assert without_unit(figure) == []
        save(figure, tmp_path / f"{number}.svg")
        assert (tmp_path / f"{number}.svg").stat().st_size > 1000


def test_hopeless_trials_do_not_press_the_others_into_a_line():
    good = [outcome(number, 0.3 + 0.01 * number) for number in range(5)]
    assert figures._floor(good) == 0.3
    assert figures._floor([*good, outcome(5, 0.0, "pruned"), outcome(6, 0.01), outcome(7, None, "diverged")]) == pytest.approx(
        0.315 - 0.075
    )
    assert figures._floor([outcome(0, 0.2, "pruned"), outcome(1, 0.1, "pruned")]) == 0.1
    assert figures._floor([outcome(0, None, "diverged")]) == 0


def test_a_logarithmic_range_has_a_logarithmic_axis():
    place, ticks = figures._scale(SPACE["bpreg"])
    assert [place(value) for value in (0.1, 1, 10)] == pytest.approx([0, 0.5, 1])
    assert {0.1, 1, 10} <= {round(tick, 6) for tick in ticks}
    place, _ = figures._scale(SPACE["loss"])
    assert [place("cross-entropy"), place("bpr-max")] == [0, 1]
