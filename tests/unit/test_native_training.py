"""The native trainer against the torch step, fed with the same samples and dropout masks."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from recsys.models.gru4rec_network import Network, initial_parameters
from recsys.sessions.table import Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training.native import NativeTrainer
from recsys.training.optimizer import Adagrad
from recsys.training.schedule import Schedule
from rust_sessionizer import ColumnError, SettingError, training

CPU = torch.device("cpu")
N_ITEMS = 40


def random_sessions(count: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    # Few items and many popular ones, so that items repeat within a step in every role.
    return [(N_ITEMS * rng.random(2 + rng.integers(0, 6)) ** 2).astype(int).tolist() for _ in range(count)]


def settings(**changes: object) -> GRU4RecParameters:
    return GRU4RecParameters(**{"layers": [20], "batch_size": 6, "n_sample": 10, "learning_rate": 0.05, **changes})


class Case:
    """A native trainer, and the torch step in float64 from the same weights."""

    def __init__(self, chosen: GRU4RecParameters, sessions: list[list[int]], threads: int = 1) -> None:
        table = Sessions.from_lists(sessions)
        counts = torch.from_numpy(np.bincount(table.items, minlength=N_ITEMS).clip(min=1))
        initial = initial_parameters(N_ITEMS, chosen.layers, seed=1)
        self.chosen = chosen
        self.schedule = Schedule.of(table, chosen.batch_size, CPU)
        torch.set_num_threads(threads)
        self.native = NativeTrainer(Network({name: array.clone() for name, array in initial.items()}, chosen), self.schedule, counts, 3)
        torch.set_num_threads(1)
        doubled = {name: array.double() for name, array in initial.items()}
        self.network = Network(doubled, chosen, counts.double().log())
        self.optimizer = Adagrad(doubled, chosen.learning_rate, chosen.momentum)
        self.number = 0

    def slow_epoch(self) -> float:
        """An epoch of the torch step with what the native trainer draws; the sum of the losses."""
        total = 0.0
        states = [torch.zeros(int(self.schedule.steps[1]), units, dtype=torch.float64) for units in self.chosen.layers]
        for step in range(len(self.schedule)):
            entries = slice(int(self.schedule.steps[step]), int(self.schedule.steps[step + 1]))
            survivors = self.schedule.survivors(step)
            if survivors is not None:
                states = [state[torch.from_numpy(survivors)] for state in states]
            keep = self.schedule.keep[entries].unsqueeze(1)
            masks = self.native.masks(self.number, entries.stop - entries.start)
            inputs, targets = self.schedule.inputs[entries], self.schedule.targets[entries]
            samples = self.native.samples(self.number)
            loss, states, gradients = self.network.step(inputs, targets, samples, [state * keep for state in states], masks)
            for name, gradient in gradients.dense.items():
                self.optimizer.update(name, gradient)
            self.optimizer.update_rows("item_table", gradients.table_rows, gradients.table)
            self.optimizer.update_rows("item_bias", gradients.bias_rows, gradients.bias)
            total += float(loss)
            self.number += 1
        return total

    def assert_agrees(self) -> None:
        for native, slow in (
            (self.native._optimizer.accumulators, self.optimizer.accumulators),
            (self.native.parameters(), self.network.parameters),
        ):
            for name, expected in slow.items():
                # Adagrad's first steps are the gradient over itself, which enlarges the rounding of gradients near zero.
                np.testing.assert_allclose(native[name].numpy(), expected.numpy(), rtol=2e-3, atol=2e-4, err_msg=name)
        for name, expected in self.optimizer.velocities.items():
            np.testing.assert_allclose(
                self.native._optimizer.velocities[name].numpy(), expected.numpy(), rtol=2e-3, atol=2e-4, err_msg=name
            )


CASES = {
    "cross-entropy": {},
    "cross-entropy, logq": {"logq": 1.0, "sample_alpha": 0.3, "momentum": 0.3},
    "bpr-max": {"loss": "bpr-max", "bpreg": 0.9},
    "bpr-max, elu, momentum": {"loss": "bpr-max", "bpreg": 1.95, "elu_param": 0.5, "momentum": 0.4},
    "dropout": {"loss": "bpr-max", "bpreg": 0.9, "elu_param": 1.0, "dropout_embedding": 0.5, "dropout_hidden": 0.2, "momentum": 0.2},
    "dropout of the embedding": {"dropout_embedding": 0.4},
    "dropout of the states": {"dropout_hidden": 0.4, "logq": 0.5},
    "two layers": {
        "layers": [12, 35],
        "loss": "bpr-max",
        "elu_param": 0.5,
        "dropout_embedding": 0.3,
        "dropout_hidden": 0.3,
        "momentum": 0.3,
    },
    "three layers": {"layers": [16, 32, 3], "logq": 1.0},
    "no samples": {"n_sample": 0, "loss": "bpr-max", "elu_param": 0.5, "momentum": 0.3},
    "no samples, cross-entropy": {"n_sample": 0},
    "a single lane": {"batch_size": 1, "loss": "bpr-max", "momentum": 0.3},
    "more lanes than sessions": {"batch_size": 50, "logq": 1.0},
    "many lanes and samples": {"batch_size": 37, "n_sample": 300, "loss": "bpr-max", "bpreg": 1.0, "elu_param": 0.5, "momentum": 0.4},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_epochs_end_as_the_torch_step_ends_them(changes: dict) -> None:
    case = Case(settings(**changes), random_sessions(45))
    for _ in range(2):
        case.native.begin_epoch()
        loss = case.native.run_block(0, len(case.schedule))
        assert loss == pytest.approx(case.slow_epoch(), rel=2e-4)
    case.assert_agrees()
