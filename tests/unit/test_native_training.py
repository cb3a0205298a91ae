"""The native trainer against the torch trainer, which draws the same samples and dropout masks."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from recsys.models.gru4rec_forward import initial_arrays
from recsys.sessions.table import Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training.loop import Trainer
from recsys.training.native import NativeTrainer
from recsys.training.schedule import Schedule
from recsys.training.session_parallel import SessionParallelTrainer
from rust_sessionizer import ColumnError, SettingError, training

N_ITEMS = 40


def random_sessions(count: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    # Few items and many popular ones, so that items repeat within a step in every role.
    return [(N_ITEMS * rng.random(2 + rng.integers(0, 6)) ** 2).astype(int).tolist() for _ in range(count)]


def settings(**changes: object) -> GRU4RecParameters:
    return GRU4RecParameters(**{"layers": [20], "batch_size": 6, "n_sample": 10, "learning_rate": 0.05, **changes})


class Case:
    """A native trainer, and the torch trainer in float64 from the same weights."""

    def __init__(self, chosen: GRU4RecParameters, sessions: list[list[int]], threads: int = 1) -> None:
        table = Sessions.from_lists(sessions)
        counts = np.bincount(table.items, minlength=N_ITEMS).clip(min=1)
        initial = initial_arrays(N_ITEMS, chosen, seed=1)
        self.schedule = Schedule.of(table, chosen.batch_size)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("recsys.threads._threads", threads)
            self.native = NativeTrainer(initial, chosen, self.schedule, counts, 3)
        doubled = {name: array.astype(np.float64) for name, array in initial.items()}
        self.slow = SessionParallelTrainer(doubled, chosen, self.schedule, counts, 3, torch.device("cpu"))

    def assert_agrees(self) -> None:
        found, expected = (trainer.arrays() | trainer.state() for trainer in (self.native, self.slow))
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            if not name.startswith("lanes."):  # at the epoch's end their rows stand elsewhere
                # Adagrad's first steps are the gradient over itself, which enlarges the rounding of gradients near zero.
                np.testing.assert_allclose(found[name], array, rtol=2e-3, atol=2e-4, err_msg=name)


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
    "a table for inputs": {"embedding": "separate", "embedding_width": 9, "dropout_embedding": 0.3, "momentum": 0.3, "logq": 1.0},
    "a wide table for inputs, two layers": {"embedding": "separate", "embedding_width": 48, "layers": [12, 20], "loss": "bpr-max"},
    "no embedding": {"embedding": "none", "loss": "bpr-max", "elu_param": 0.5, "momentum": 0.3},
    "no embedding, two layers": {"embedding": "none", "layers": [12, 35], "dropout_hidden": 0.3},
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


def whole_epoch(trainer: Trainer) -> float:
    """The sum of the losses."""
    trainer.begin_epoch()
    return trainer.run_block(0, trainer.steps_per_epoch)


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_epochs_end_as_the_torch_step_ends_them(changes: dict) -> None:
    case = Case(settings(**changes), random_sessions(45))
    for _ in range(2):
        loss, expected = (whole_epoch(trainer) for trainer in (case.native, case.slow))
        assert loss == pytest.approx(expected, rel=2e-4)
    case.assert_agrees()


def arrays_of(trainer: NativeTrainer) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in (trainer.arrays() | trainer.state()).items()}


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_show_in_the_result(threads: int) -> None:
    chosen = settings(**CASES["many lanes and samples"] | {"layers": [20, 33], "dropout_embedding": 0.3, "dropout_hidden": 0.1})
    ends = []
    for count in (1, threads):
        case = Case(chosen, random_sessions(60), count)
        losses = [case.native.run_block(0, 3), case.native.run_block(3, len(case.schedule))]
        ends.append((losses, arrays_of(case.native)))
    assert ends[0][0] == ends[1][0]
    for name, array in ends[0][1].items():
        np.testing.assert_array_equal(array, ends[1][1][name], err_msg=name)


def test_blocks_and_a_resume_do_not_show_in_the_result() -> None:
    chosen = settings(**CASES["two layers"])
    sessions = random_sessions(45)
    whole, cut = Case(chosen, sessions), Case(chosen, sessions)
    steps = len(whole.schedule)
    for _ in range(2):
        whole.native.begin_epoch()
        loss = whole.native.run_block(0, steps)
    # The second epoch is broken off within the tail, where lanes have vanished, and taken up by another trainer.
    cut.native.begin_epoch()
    cut.native.run_block(0, steps)
    cut.native.begin_epoch()
    parts = [cut.native.run_block(begin, end) for begin, end in ((0, 1), (1, 4), (4, steps - 3))]
    resumed = Case(chosen, sessions)
    clones = ({name: array.copy() for name, array in arrays.items()} for arrays in (cut.native.arrays(), cut.native.state()))
    resumed.native.restore(*clones)
    parts.append(resumed.native.run_block(steps - 3, steps))
    assert sum(parts) == pytest.approx(loss, rel=1e-12)
    expected = arrays_of(whole.native)
    for name, array in arrays_of(resumed.native).items():
        if name.startswith("lanes."):  # rows of lanes that have vanished are left over
            array, expected[name] = array[: whole.schedule.steps[-1] - whole.schedule.steps[-2]], expected[name][: len(array)]
            expected[name] = expected[name][: len(array)]
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_samples_follow_count_to_the_power_of_alpha() -> None:
    case = Case(settings(n_sample=2000, sample_alpha=0.5), random_sessions(45))
    counts = np.bincount(np.concatenate(random_sessions(45)), minlength=N_ITEMS).clip(min=1)
    observed = np.bincount(np.concatenate([case.native.samples(step) for step in range(20)]), minlength=N_ITEMS)
    expected = 40_000 * counts**0.5 / (counts**0.5).sum()
    # Chi-square with 39 degrees of freedom: 90 is passed by chance less than once in 100,000 times.
    assert ((observed - expected) ** 2 / expected).sum() < 90


def test_masks_drop_their_share_and_differ_from_step_to_step() -> None:
    case = Case(settings(layers=[50, 30], dropout_embedding=0.7, dropout_hidden=0.2), random_sessions(45))
    (embedding, hidden), (other_embedding, other_hidden) = case.native.masks(0, 200), case.native.masks(1, 200)
    assert [mask.shape for mask in (embedding, *hidden)] == [(200, 30), (200, 50), (200, 30)]
    for mask, p in ((embedding, 0.7), (hidden[0], 0.2), (hidden[1], 0.2)):
        assert abs((mask == 0).mean() - p) < 0.03
        np.testing.assert_allclose(mask[mask != 0], 1 / (1 - p), rtol=1e-6)
    assert (embedding != other_embedding).any()
    assert (hidden[1] != other_hidden[1]).any()
    assert (hidden[1] != embedding).any()


# --- Embeddings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("embedding", "width"), [("separate", 7), ("separate", 32), ("none", None)])
@pytest.mark.parametrize("loss", ["bpr-max", "cross-entropy"])
def test_a_step_with_another_embedding_has_the_gradients_of_autograd(embedding: str, width: int | None, loss: str) -> None:
    rng = np.random.default_rng(0)
    units, lanes = 10, 5
    inputs, targets = rng.integers(0, N_ITEMS, (2, lanes), np.int32)
    trainer = training.Trainer(
        inputs,
        targets,
        np.ones(lanes, np.float32),
        np.arange(lanes, dtype=np.int32),
        np.array([0, lanes]),
        np.ones(N_ITEMS, np.int64),
        **{"layers": [units], "loss": loss, "batch_size": lanes, "learning_rate": 0.1, "momentum": 0.0, "bpreg": 0.5},
        **{"n_sample": 6, "sample_alpha": 0.0, "seed": 1, "threads": 1, "embedding": embedding, "embedding_width": width},
    )
    parameters = {name: rng.normal(size=shape).astype(np.float32) for name, shape in trainer.shapes}
    accumulators = {name: np.zeros_like(array) for name, array in parameters.items()}
    state = rng.uniform(-1, 1, (lanes, units)).astype(np.float32)

    learned = {name: torch.tensor(array, dtype=torch.float64, requires_grad=True) for name, array in parameters.items()}
    looked_up = learned["input_table"][inputs]
    from_input = looked_up if embedding == "none" else looked_up @ learned["weight_input.0"].T
    r1, z1, n1 = (from_input + learned["bias_input.0"]).chunk(3, 1)
    r2, z2, n2 = (torch.tensor(state).double() @ learned["weight_hidden.0"].T + learned["bias_hidden.0"]).chunk(3, 1)
    update = torch.sigmoid(z1 + z2)
    new = torch.tanh(n1 + torch.sigmoid(r1 + r2) * n2)
    output = update * torch.tensor(state) + (1 - update) * new
    columns = np.concatenate([targets, trainer.samples(0)])
    scores = output @ learned["item_table"][columns].T + learned["item_bias"][columns]
    if loss == "cross-entropy":
        expected_loss = -torch.log_softmax(scores, 1).diagonal().sum() / lanes
    else:
        own = torch.eye(lanes, len(columns), dtype=torch.bool)
        weight = torch.softmax(scores.masked_fill(own, -torch.inf), 1)
        better = torch.sigmoid(scores.diagonal().unsqueeze(1) - scores)
        expected_loss = (0.5 * (weight * scores**2).sum(1) - torch.log((weight * better).sum(1))).sum() / lanes
    expected_loss.backward()

    assert trainer.run(parameters, accumulators, {}, [state], 0, 1, 0) == pytest.approx(expected_loss.item(), rel=1e-5)
    np.testing.assert_allclose(state, output.detach(), rtol=1e-4, atol=1e-6)
    for name, array in learned.items():
        # From zero, the accumulator is the gradient squared.
        np.testing.assert_allclose(np.sqrt(accumulators[name]), array.grad.abs(), rtol=1e-4, atol=1e-6, err_msg=name)


# --- Refusals ---------------------------------------------------------------------------------------------------------


def small_trainer(**changes: object) -> training.Trainer:
    given = {
        "inputs": np.array([0, 1, 2], np.int32),
        "targets": np.array([1, 2, 0], np.int32),
        "keep": np.zeros(3, np.float32),
        "lanes": np.array([0, 1, 1], np.int32),
        "steps": np.array([0, 2, 3]),
        "counts": np.ones(3, np.int64),
    }
    chosen = {"layers": [4], "loss": "bpr-max", "batch_size": 2, "learning_rate": 0.1, "momentum": 0.0, "n_sample": 2, "sample_alpha": 0.5}
    return training.Trainer(**given | chosen | {"seed": 1, "threads": 1} | changes)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"loss": "top1"}, SettingError, "'top1'"),
        ({"momentum": 1.0}, SettingError, "momentum is 1"),
        ({"layers": []}, SettingError, "layers"),
        ({"threads": 0}, SettingError, "threads"),
        ({"embedding": "separate"}, SettingError, "embedding_width"),
        ({"counts": np.array([1, 0, 1])}, SettingError, "counts"),
        ({"inputs": np.array([0, 3, 2], np.int32)}, ColumnError, "'inputs' holds the item 3"),
        ({"targets": np.array([0, -1, 2], np.int32)}, ColumnError, "'targets' holds the item -1"),
        ({"targets": np.array([0, 1], np.int32)}, ColumnError, "'targets' has 2 entries"),
        ({"inputs": np.array([0.0, 1.0, 2.0])}, ColumnError, "'inputs' must be"),
        ({"steps": np.array([0, 2])}, ColumnError, "steps do not go"),
        ({"steps": np.array([0, 2, 2, 3])}, ColumnError, "holds no entry"),
        ({"lanes": np.array([1, 0, 1], np.int32)}, ColumnError, "do not ascend"),
        ({"lanes": np.array([0, 1, 2], np.int32)}, ColumnError, "a lane appears"),
        ({"batch_size": 1}, ColumnError, "more lanes"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        small_trainer(**changes)


def test_arrays_that_cannot_be_changed_in_place_are_refused() -> None:
    trainer = small_trainer()
    good = {name: np.zeros(shape, np.float32) for name, shape in trainer.shapes}
    others = {name: np.zeros(shape, np.float32) for name, shape in trainer.shapes}
    states = [np.zeros((2, 4), np.float32)]
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    for bad, words in (
        (np.zeros(3), "float32"),
        (np.zeros(4, np.float32), "shape"),
        (np.zeros(6, np.float32)[::2], "contiguous"),
        (frozen, "read-only"),
        (others["item_bias"], "share memory"),
    ):
        with pytest.raises(ColumnError, match=words):
            trainer.run(good | {"item_bias": bad}, others, {}, states, 0, 2, 0)
    with pytest.raises(ColumnError, match="states"):
        trainer.run(good, others, {}, [], 0, 2, 0)
    with pytest.raises(SettingError, match="steps"):
        trainer.run(good, others, {}, states, 0, 3, 0)
