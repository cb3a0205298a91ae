"""Several processes that train one model, over gloo, against one process alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file

from recsys.errors import ConfigurationError
from recsys.models.gru4rec_forward import initial_arrays
from recsys.models.ranks import ALONE, Ranks
from recsys.sessions.table import Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training.distributed import joined
from recsys.training.schedule import Schedule
from recsys.training.session_parallel import SessionParallelTrainer

ROOT = Path(__file__).parents[2]
N_ITEMS = 40
# Seven lanes do not divide by two, so that the second process has one to spare.
PARAMETERS = {
    "layers": [6, 12],
    "loss": "bpr-max",
    "batch_size": 7,
    "n_sample": 9,
    "elu_param": 0.5,
    "momentum": 0.3,
    "dropout_embedding": 0.3,
    "dropout_hidden": 0.2,
    "epochs": 3,
}


def together(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Two processes on this machine, started by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training and validation sessions, and their vocabulary."""
    folder = tmp_path_factory.mktemp("window")
    rng = np.random.default_rng(0)
    lists = [(N_ITEMS * rng.random(2 + rng.integers(0, 6)) ** 2).astype(int).tolist() for _ in range(60)]
    sessions = pl.DataFrame({"items": lists, "start": range(60)}, schema={"items": pl.List(pl.Int32), "start": pl.Int64})
    sessions = sessions.with_columns(pl.col("start").cast(pl.Datetime("ms", "UTC")))
    sessions[:50].write_parquet(folder / "train.parquet")
    sessions[50:].write_parquet(folder / "valid.parquet")
    index = np.arange(N_ITEMS, dtype=np.int32)
    pl.DataFrame({"index": index, "code": index, "item_id": index, "support": index}).write_parquet(folder / "items.parquet")
    return folder


def training(name: str, device: str = "cpu") -> list[str]:
    """The arguments of `recsys train`, whose outputs lie in a folder of that name."""
    outputs = ["--params", f"{name}/params.json", "--model", f"{name}/model", "--history", f"{name}/history.parquet", "--work", "work"]
    run = {"run": "gru", "name": "gru", "model": "gru4rec", "seed": 3, "parameters": PARAMETERS}
    settings = ["--settings", json.dumps({"run": run}), "--device", device]
    return ["train", "train.parquet", "--items", "items.parquet", "--valid", "valid.parquet", *outputs, *settings]


two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs here")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=two_gpus)])
def test_two_processes_train_what_one_does(device: str, folder: Path) -> None:
    done = together("-m", "recsys", *training("two", device), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 3 validated") == 1  # the leader alone
    alone = subprocess.run(
        [sys.executable, "-m", "recsys", *training("one")], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False
    )
    assert alone.returncode == 0
    assert (folder / "two/params.json").read_text() == (folder / "one/params.json").read_text()
    found, expected = (load_file(folder / name / "model/model.safetensors") for name in ("two", "one"))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        # Adagrad's first steps are the gradient over itself, which enlarges the rounding of gradients near zero.
        np.testing.assert_allclose(found[name], array, rtol=2e-3, atol=2e-4, err_msg=name)
    histories = [pl.read_parquet(folder / name / "history.parquet").drop("seconds") for name in ("two", "one")]
    for column in histories[1].columns:
        np.testing.assert_allclose(histories[0][column].to_numpy(), histories[1][column].to_numpy(), rtol=1e-4, err_msg=column)
    assert not list((folder / "work").glob("*/resume.safetensors"))


INTERRUPTED = """
import sys
from pathlib import Path

import numpy as np
import polars as pl

from recsys.models.gru4rec import GRU4Rec
from recsys.models.interface import FitContext, FitData
from recsys.sessions.table import Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training import loop
from recsys.training.distributed import joined

loop.BLOCK = 10
data = FitData(Sessions.from_parquet(Path("train.parquet")), pl.read_parquet("items.parquet"))


class Interruption(Exception):
    pass


def interrupt(epoch, epochs, share, loss):
    if epoch == 2:
        raise Interruption


def fitted(ranks, **others):
    folder = Path("resumed") if ranks.leads and others else None
    context = FitContext(device="cpu", step="torch", ranks=ranks, resume_folder=folder, checkpoint_every=0, **others)
    model = GRU4Rec(GRU4RecParameters.model_validate_json(sys.argv[1]), seed=3).fit(data, context)
    return model.arrays() | {"losses": np.array([row.loss for row in context.history])}


with joined("cpu") as (ranks, _):
    undisturbed = fitted(ranks)
    try:
        fitted(ranks, progress=interrupt)
    except Interruption:
        pass
    resumed = fitted(ranks, progress=lambda *told: None)
    for name, array in undisturbed.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)
    assert Path("resumed/resume.safetensors").is_file()
    print(f"process {ranks.rank} went on", flush=True)
    ranks.agree(f"run {ranks.rank}", "run")
"""


def test_interrupted_processes_go_on_bit_for_bit_and_an_error_of_one_ends_all(folder: Path) -> None:
    (folder / "interrupted.py").write_text(INTERRUPTED)
    done = together("interrupted.py", json.dumps(PARAMETERS), cwd=folder)
    assert "process 0 went on" in done.stdout, done.stderr
    assert "process 1 went on" in done.stdout, done.stderr
    assert done.returncode != 0
    assert "process 1 of 2 was given another run than process 0" in done.stderr


def test_each_process_takes_its_lanes_from_a_resume_point_of_any_number() -> None:
    chosen = GRU4RecParameters.model_validate(PARAMETERS)
    rng = np.random.default_rng(0)
    sessions = Sessions.from_lists([rng.integers(0, N_ITEMS, 4).tolist() for _ in range(20)])
    arrays = initial_arrays(N_ITEMS, chosen, 1)
    given = arrays, chosen, Schedule.of(sessions, chosen.batch_size), np.ones(N_ITEMS, np.int64), 1, torch.device("cpu")
    alone = SessionParallelTrainer(*given)
    alone.run_block(0, 2)
    kept = alone.arrays(), alone.state()
    lanes = []
    for rank in range(2):
        one_of_two = SessionParallelTrainer(*given, Ranks(rank, 2))
        one_of_two.restore(*kept)
        lanes.append(one_of_two._states)
        for name, array in alone.arrays().items():
            np.testing.assert_array_equal(one_of_two.arrays()[name], array, err_msg=name)
    for layer in range(2):
        np.testing.assert_array_equal(torch.cat([states[layer] for states in lanes])[:7], kept[1][f"lanes.{layer}"])
        assert (lanes[1][layer][3] == 0).all()


def test_a_process_without_torchrun_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cuda:1") as (ranks, device):
        assert ranks is ALONE
        assert device == "cuda:1"
    ranks.agree("anything", "run")
    assert ranks.leads


def test_a_process_without_a_gpu_of_its_own_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigurationError, match="process 2 .* there are 2; lower torchrun's --nproc-per-node to 2"), joined("cuda"):
        pass


def test_processes_that_were_given_different_runs_are_told_so() -> None:
    class Follower(Ranks):
        def told(self, value: str) -> str:
            return "the leader's"

    Follower(1, 2).agree("the leader's", "run")
    with pytest.raises(ConfigurationError, match="process 1 of 2 was given another run"):
        Follower(1, 2).agree("my own", "run")
