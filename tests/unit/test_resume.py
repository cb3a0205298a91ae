"""A fit that is killed again and again, at moments nobody chose, ends with the weights of one that was left alone."""

import multiprocessing
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

# Fits are forked off a process that has imported what takes seconds; it has no thread yet.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch", "recsys.models.gru4rec"])
FIT = """
import numpy as np
import polars as pl
from safetensors.numpy import save_file

from recsys.models.gru4rec import GRU4Rec
from recsys.models.interface import FitContext, FitData
from recsys.sessions.table import Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training.hardware import use_threads

use_threads(1)
random = np.random.default_rng(0)
train = Sessions.from_lists([random.integers(0, 300, 2 + session % 6) for session in range(4000)])
items = pl.DataFrame({"index": range(300)})
chosen = GRU4RecParameters(
    layers=[24, 32], batch_size=8, n_sample=64, epochs=epochs, momentum=0.3, average=0.5,
    dropout_embedding=0.2, dropout_hidden=0.1, loss="bpr-max",
)
context = FitContext(device="cpu", step=step, resume_folder=folder / "resume", checkpoint_every=0.0)
context.validate = lambda model: {"mrr@20": float(np.abs(model.arrays()["item_bias"]).sum()) % 0.01}
model = GRU4Rec(chosen, seed=5).fit(FitData(train, items, train), context)
save_file(model.arrays(), folder / "weights.safetensors")
"""


def started(folder: Path, step: str, epochs: int) -> BaseProcess:
    process = PROCESSES.Process(target=exec, args=(FIT, {"folder": folder, "step": step, "epochs": epochs}))
    process.start()
    return process


@pytest.mark.parametrize(("step", "epochs"), [("native", 6), ("torch", 2)])
def test_killed_fits_end_with_the_same_weights(step: str, epochs: int, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    undisturbed = started(whole, step, epochs)
    random = np.random.default_rng(3)
    kept = killed / "resume" / "resume.safetensors"
    kills = 0
    for _ in range(4):
        process = started(killed, step, epochs)
        stamp = kept.stat().st_mtime_ns if kept.exists() else 0
        # Some way beyond the first resume point that this attempt leaves.
        while process.is_alive() and (not kept.exists() or kept.stat().st_mtime_ns == stamp):
            time.sleep(0.005)
        time.sleep(float(random.uniform(0, 0.15)))
        kills += process.is_alive()
        process.kill()
        process.join()
    last = started(killed, step, epochs)
    for process in (last, undisturbed):
        process.join()
        assert process.exitcode == 0
    assert kills >= 2
    expected, found = load_file(whole / "weights.safetensors"), load_file(killed / "weights.safetensors")
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
