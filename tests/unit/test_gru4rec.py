"""GRU4Rec and its training, against the slow reference and against what must hold of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import DataError, PackageError, TrainingError
from recsys.models import gru4rec
from recsys.models.gru4rec import GRU4Rec
from recsys.models.gru4rec_forward import initial_arrays
from recsys.models.gru4rec_network import Gradients, Lanes, Masks, Network, bpr_max, cross_entropy
from recsys.models.interface import FitContext, FitData, Model
from recsys.models.registry import load_model
from recsys.sessions.table import Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training import device_blocks, loop
from recsys.training.device_random import Randomness
from recsys.training.native import NativeTrainer
from recsys.training.optimizer import Adagrad
from recsys.training.sampling import NegativeSampler
from recsys.training.schedule import Schedule
from recsys.training.session_parallel import SessionParallelTrainer
from tests.unit import gru4rec_reference as reference

CPU = torch.device("cpu")

# Seven items. Sessions end at different steps, two of them at the same one, and leave a tail of shrinking batches.
SESSIONS = [[1, 2, 3, 1], [4, 4], [0, 2, 5, 6, 3], [2, 1], [6, 0, 2], [3, 2, 2, 5, 1, 0, 4]]
N_ITEMS = 7
COUNTS = np.bincount(np.concatenate(SESSIONS), minlength=N_ITEMS)

# Both losses in their published shapes, and with each term on and off.
LOSSES = {
    "cross-entropy": {"loss": "cross-entropy", "logq": 0.0},
    "cross-entropy, logq": {"loss": "cross-entropy", "logq": 1.0, "sample_alpha": 0.3},
    "bpr-max": {"loss": "bpr-max", "bpreg": 0.9, "elu_param": 0.0},
    "bpr-max, elu": {"loss": "bpr-max", "bpreg": 1.95, "elu_param": 0.5},
    "bpr-max, elu 1, no regulariser": {"loss": "bpr-max", "bpreg": 0.0, "elu_param": 1.0},
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
STEPS = ("torch", "native")
each_step = pytest.mark.parametrize("step", STEPS)

# The reference's names and the implementation's.
NAMES = {"input_weights": "weight_input", "hidden_weights": "weight_hidden", "input_bias": "bias_input", "hidden_bias": "bias_hidden"}


def as_implemented(named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The reference's arrays by the names of the implementation."""
    split = {name: name.partition(".") for name in named}
    return {NAMES.get(kind, kind) + dot + layer: named[name] for name, (kind, dot, layer) in split.items()}


def to_weights(parameters: dict[str, torch.Tensor] | dict[str, np.ndarray], n_layers: int) -> reference.Weights:
    """The reference's weights, as float64 copies of the implementation's arrays."""
    arrays = {name: np.asarray(array).astype(np.float64) for name, array in parameters.items()}
    layers = [reference.Layer(*(arrays[f"{kind}.{layer}"] for kind in NAMES.values())) for layer in range(n_layers)]
    return reference.Weights(arrays["item_table"], arrays["item_bias"], layers)


def to_network(weights: reference.Weights, parameters: GRU4RecParameters, counts: np.ndarray = COUNTS) -> Network:
    """The implementation in float64, so that only its formulas can differ from the reference's."""
    return Network(as_implemented(weights.named()), parameters, counts.clip(min=1), CPU)


def loss_settings(parameters: GRU4RecParameters, counts: np.ndarray = COUNTS) -> reference.LossSettings:
    chosen = parameters.model_dump(include={"loss", "batch_size", "sample_alpha", "logq", "bpreg", "elu_param"})
    return reference.LossSettings(item_counts=counts.clip(min=1), **chosen)


def small(**changes: object) -> GRU4RecParameters:
    """Parameters of a model that trains in no time."""
    return GRU4RecParameters(**{"layers": [3], "batch_size": 3, "n_sample": 4, "epochs": 2, "learning_rate": 0.1, **changes})


def fit_data(sessions: Iterable[Sequence[int]] = SESSIONS, n_items: int = N_ITEMS) -> FitData:
    table = Sessions.from_lists(sessions)
    index = np.arange(n_items)
    support = np.bincount(table.items, minlength=n_items)
    items = pl.DataFrame({"index": index, "code": index, "item_id": [f"item-{i}" for i in index], "support": support})
    return FitData(table, items)


def fit(seed: int = 0, context: FitContext | None = None, data: FitData | None = None, **changes: object) -> GRU4Rec:
    return GRU4Rec(small(**changes), seed=seed).fit(data or fit_data(), context or FitContext(device="cpu"))


def assert_same_arrays(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    """Bit for bit."""
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)


class FixedSamples:
    """In place of the sampler: draws that follow from the step alone, or always the same."""

    def __init__(self) -> None:
        self.always: list[int] | None = None
        self.asked_for: list[tuple[list[int], float]] = []

    def of_step(self, step: int, samples: int) -> np.ndarray:
        return np.random.default_rng([5, step]).integers(0, N_ITEMS, samples) if self.always is None else np.array(self.always)

    def draw(self, randomness: Randomness, steps: torch.Tensor, samples: int) -> torch.Tensor:
        return torch.from_numpy(np.stack([self.of_step(step, samples) for step in steps.tolist()]))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Arrays this small gain nothing from a second thread, and on a busy machine they wait for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> FixedSamples:
    """The samples of every step trained in the test."""
    fixed = FixedSamples()

    def sampler(counts: np.ndarray, alpha: float, device: torch.device) -> FixedSamples:
        fixed.asked_for.append((counts.tolist(), alpha))
        return fixed

    monkeypatch.setattr(device_blocks, "NegativeSampler", sampler)
    return fixed


# --- One step ---------------------------------------------------------------------------------------------------------


class StepCase:
    """One step with all that is awkward in it: inputs, targets and samples that repeat and collide, states that are not zero, and lanes
    that have vanished between those that run."""

    RUNNING = {1: [2], 3: [0, 1, 3], 4: [0, 1, 2, 3]}

    def __init__(self, parameters: GRU4RecParameters, lanes: int) -> None:
        rng = np.random.default_rng(lanes)
        self.parameters = parameters
        self.running = self.RUNNING[lanes]
        self.weights = reference.random_weights(rng, N_ITEMS, parameters.layers)
        self.inputs = np.array([1, 2, 1, 6])[:lanes]
        self.targets = np.array([2, 2, 5, 1])[:lanes]
        self.samples = np.array([0, 1, 5, 5, 2])[: parameters.n_sample]
        self.state = [rng.uniform(-0.9, 0.9, (lanes, units)) for units in parameters.layers]
        self.masks: reference.Masks | None = None
        if parameters.dropout_embedding:
            widths = [parameters.layers[-1], *parameters.layers]
            rates = [parameters.dropout_embedding] + [parameters.dropout_hidden] * len(parameters.layers)
            embedding, *hidden = (self._mask(rng, p, lanes, width) for p, width in zip(rates, widths, strict=True))
            self.masks = reference.Masks(embedding, hidden)

    @staticmethod
    def _mask(rng: np.random.Generator, p: float, lanes: int, width: int) -> np.ndarray:
        mask = (rng.random((lanes, width)) >= p) / (1 - p)
        mask[0, 0] = 0.0  # so that something is dropped for sure
        return mask

    def spread(self, array: np.ndarray, of_vanished: float) -> torch.Tensor:
        """An array with a row a running lane, as one with a row for each of four."""
        whole = np.full((4, *array.shape[1:]), of_vanished, array.dtype)
        whole[self.running] = array
        return torch.tensor(whole)

    def take(self) -> tuple[float, list[np.ndarray], dict[str, np.ndarray]]:
        """The implementation's loss, states of the running lanes and gradients."""
        network = to_network(self.weights, self.parameters)
        columns = torch.cat([self.spread(self.targets, N_ITEMS), torch.tensor(self.samples)])
        gradients = Gradients(network, len(columns), 4)
        inputs, states = self.spread(self.inputs, N_ITEMS), [self.spread(state, 0.5) for state in self.state]
        masks = Masks()
        if self.masks is not None:
            masks = Masks(self.spread(self.masks.embedding, 2.0), [self.spread(mask, 2.0) for mask in self.masks.hidden])
        loss, following = network.step(inputs, columns, states, masks, gradients)
        whole = {name: array.numpy() for name, array in gradients.by_name.items()}
        whole |= {"item_table": np.zeros((N_ITEMS + 1, gradients.columns.shape[1])), "item_bias": np.zeros(N_ITEMS + 1)}
        np.add.at(whole["item_table"], columns, gradients.columns)
        np.add.at(whole["item_table"], inputs, gradients.inputs)
        np.add.at(whole["item_bias"], columns, gradients.bias)
        for name in ("item_table", "item_bias"):
            assert (whole[name][N_ITEMS] == 0).all()
            whole[name] = whole[name][:N_ITEMS]
        return float(loss), [state.numpy()[self.running] for state in following], whole


def assert_step_agrees(case: StepCase) -> None:
    loss, following, found = case.take()
    arguments = (case.weights, loss_settings(case.parameters), case.inputs, case.targets, case.samples, case.state, case.masks)
    expected_loss, expected_following = reference.step_loss(*arguments)

    assert loss == pytest.approx(expected_loss, rel=1e-12)
    for state, expected_state in zip(following, expected_following, strict=True):
        np.testing.assert_allclose(state, expected_state, rtol=1e-12, atol=1e-15)
    expected = as_implemented(reference.step_gradients(*arguments))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        # The absolute part is what finite differences cannot resolve of entries that are nearly zero.
        np.testing.assert_allclose(found[name], gradient, rtol=1e-5, atol=1e-9, err_msg=name)


@each_loss
@pytest.mark.parametrize("layers", [[3], [4, 2, 3]], ids=str)
@pytest.mark.parametrize("lanes", [1, 3, 4])
def test_step_has_the_reference_loss_states_and_gradients(loss: dict, layers: list[int], lanes: int) -> None:
    # Four lanes are configured: with fewer the batch has shrunk, which moves the logq split but not the divisor.
    assert_step_agrees(StepCase(small(layers=layers, batch_size=4, n_sample=5, **loss), lanes))


@each_loss
def test_step_without_samples_learns_from_the_other_lanes_targets(loss: dict) -> None:
    assert_step_agrees(StepCase(small(batch_size=4, n_sample=0, **loss), lanes=3))


@each_loss
@pytest.mark.parametrize("layers", [[3], [4, 3]], ids=str)
def test_dropout_reaches_the_states_and_the_gradients(loss: dict, layers: list[int]) -> None:
    dropped = small(layers=layers, batch_size=4, n_sample=5, dropout_embedding=0.5, dropout_hidden=0.25, **loss)
    assert_step_agrees(StepCase(dropped, lanes=3))


def test_hidden_dropout_hands_the_dropped_out_state_on() -> None:
    case = StepCase(small(layers=[4, 3], dropout_embedding=0.5, dropout_hidden=0.5, n_sample=5), lanes=3)
    _, following, _ = case.take()
    for state, mask in zip(following, case.masks.hidden, strict=True):
        np.testing.assert_array_equal(state == 0, mask == 0)


def all_there(columns: int, batch_size: int) -> Lanes:
    """Of a step in which no lane has vanished."""
    return Lanes(0, torch.zeros(columns, dtype=torch.bool), batch_size)


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_losses_of_equal_scores_are_known_by_hand(lanes: int) -> None:
    columns = lanes + 5
    loss, _ = cross_entropy(torch.zeros(lanes, columns, dtype=torch.float64), None, all_there(columns, 4))
    assert float(loss) == pytest.approx(lanes * np.log(columns) / 4)
    # All negatives weigh the same and each comparison is a coin toss; the squared scores are 3 * 3.
    loss, _ = bpr_max(torch.full((lanes, columns), 3.0, dtype=torch.float64), 2.0, 0.0, all_there(columns, 4))
    assert float(loss) == pytest.approx(lanes * (np.log(2) + 2 * 9) / 4)


def test_popularity_correction_splits_where_the_lanes_end() -> None:
    # Scores equal to the correction cancel it, which leaves the softmax uniform.
    parameters = small(loss="cross-entropy", logq=1.0, sample_alpha=0.5, batch_size=4, n_sample=3)
    network = to_network(reference.random_weights(np.random.default_rng(0), N_ITEMS, [3]), parameters)
    columns = torch.tensor([1, 4, 2, 2, 0])
    logs = np.log(COUNTS)
    correction = torch.tensor([[logs[1], logs[4], logs[2] / 2, logs[2] / 2, logs[0] / 2]])
    loss, _ = network.loss(correction.repeat(2, 1), columns)
    assert float(loss) == pytest.approx(2 * np.log(5) / 4)


def test_losses_stay_finite_where_the_target_is_hopeless() -> None:
    # float32, as in training: the target's share underflows to 0, and its logarithm must not.
    scores = torch.tensor([[-500.0, 500.0, 0.0]])
    for loss, gradient in (cross_entropy(scores.clone(), None, all_there(3, 1)), bpr_max(scores.clone(), 1.0, 0.5, all_there(3, 1))):
        assert np.isfinite(float(loss))
        assert torch.isfinite(gradient).all()


def test_a_lane_with_nothing_to_compare_with_teaches_nothing() -> None:
    # The tail's last lane, where no samples are drawn.
    alone, vanished = all_there(1, 3), Lanes(0, torch.tensor([False, True]), 3)
    for lanes, scores in ((alone, torch.tensor([[0.7]])), (vanished, torch.tensor([[0.7, 0.1], [0.2, 0.4]]))):
        found = cross_entropy(scores.clone(), None, lanes), bpr_max(scores.clone(), 1.0, 0.5, lanes)
        for loss, gradient in found:
            assert float(loss) == pytest.approx(0.0)
            np.testing.assert_allclose(gradient.numpy(), 0.0, atol=1e-7)


# --- Optimizer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.4])
def test_dense_updates_agree_with_the_reference_over_several_steps(momentum: float) -> None:
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(4, 3))
    parameters = {"w": torch.tensor(expected)}
    fast, slow = Adagrad(parameters, 0.1, momentum), reference.Adagrad(0.1, momentum)
    for _ in range(4):
        gradient = rng.normal(size=(4, 3))
        fast.update("w", torch.tensor(gradient))
        slow.step("w", expected, gradient)
    np.testing.assert_allclose(parameters["w"].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.4])
@pytest.mark.parametrize("shape", [(6, 3), (6,)], ids=["table", "bias"])
def test_row_updates_agree_with_the_reference_and_leave_the_other_rows_alone(momentum: float, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    expected = rng.normal(size=shape)
    parameters = {"w": torch.tensor(expected)}
    fast, slow = Adagrad(parameters, 0.1, momentum), reference.Adagrad(0.1, momentum)
    for rows in ([0, 2], [2, 3], [0, 1, 2], [1], [0, 3]):
        before = parameters["w"].clone()
        gradient = np.zeros(shape)
        gradient[rows] = rng.normal(size=(len(rows), *shape[1:]))
        fast.update_rows("w", torch.tensor(rows), torch.tensor(gradient[rows]))
        slow.step("w", expected, gradient, np.array(rows))
        np.testing.assert_allclose(parameters["w"].numpy(), expected, rtol=1e-12)
        others = [row for row in range(6) if row not in rows]
        np.testing.assert_array_equal(parameters["w"][others].numpy(), before[others].numpy())


def test_first_step_has_the_size_of_the_learning_rate() -> None:
    # An accumulator from 0 divides the gradient by itself; any other start would make the first steps smaller.
    parameters = {"w": torch.zeros(3, dtype=torch.float64)}
    Adagrad(parameters, 0.1, 0.0).update("w", torch.tensor([5.0, -200.0, 1e-3], dtype=torch.float64))
    np.testing.assert_allclose(parameters["w"].numpy(), [-0.1, 0.1, -0.1 * 1e-3 / np.sqrt(2e-6)], rtol=1e-6)


def test_momentum_moves_a_touched_row_on_though_its_gradient_is_zero() -> None:
    parameters = {"w": torch.zeros(2, 1, dtype=torch.float64)}
    optimizer = Adagrad(parameters, 0.1, 0.5)
    optimizer.update_rows("w", torch.tensor([0]), torch.tensor([[1.0]], dtype=torch.float64))
    optimizer.update_rows("w", torch.tensor([0]), torch.tensor([[0.0]], dtype=torch.float64))
    np.testing.assert_allclose(parameters["w"].numpy(), [[-0.15], [0.0]], rtol=1e-5)


# --- Schedule ---------------------------------------------------------------------------------------------------------


def assert_schedule_agrees(sessions: list[list[int]], lanes: int) -> None:
    found = Schedule.of(Sessions.from_lists(sessions), lanes)
    expected = reference.schedule(sessions, lanes)
    assert len(found) == len(expected)
    for step, slow in enumerate(expected):
        part = slice(found.steps[step], found.steps[step + 1])
        assert found.lanes[part].tolist() == slow.lanes
        assert found.inputs[part].tolist() == slow.inputs
        assert found.targets[part].tolist() == slow.targets
        assert (found.keep[part] == 0).tolist() == slow.fresh


def test_schedule_known_by_hand() -> None:
    # Lane 0: a b c, then g h; lane 1: d e, then i j k. The third session's second step is the last with two lanes.
    found = Schedule.of(Sessions.from_lists([[1, 2, 3], [4, 5], [6, 7, 8], [9, 0, 1, 2]]), 2)
    assert found.steps.tolist() == [0, 2, 4, 6, 7, 8]
    assert found.inputs.tolist() == [1, 4, 2, 6, 9, 7, 0, 1]
    assert found.targets.tolist() == [2, 5, 3, 7, 0, 8, 1, 2]
    assert found.lanes.tolist() == [0, 1, 0, 1, 0, 1, 0, 0]
    assert found.keep.tolist() == [0, 0, 1, 0, 0, 1, 1, 1]


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(2, 7), min_size=1, max_size=25), lanes=st.integers(1, 9))
def test_schedule_agrees_with_the_slow_loop(lengths: list[int], lanes: int) -> None:
    clicks = iter(range(sum(lengths)))  # every click its own item, so that nothing can be mistaken for something else
    assert_schedule_agrees([[next(clicks) for _ in range(length)] for length in lengths], lanes)


# --- Epochs -----------------------------------------------------------------------------------------------------------


def trainer_of(
    parameters: GRU4RecParameters, weights: reference.Weights, sessions: list[list[int]], seed: int = 0
) -> SessionParallelTrainer:
    counts = np.bincount(np.concatenate(sessions), minlength=N_ITEMS)
    schedule = Schedule.of(Sessions.from_lists(sessions), parameters.batch_size)
    arrays = as_implemented(weights.named())  # float64: only the formulas can differ from the reference's
    return SessionParallelTrainer(arrays, parameters, schedule, counts.clip(min=1), seed, CPU)


def record_masks(trainer: SessionParallelTrainer, monkeypatch: pytest.MonkeyPatch) -> list[Masks]:
    """The masks of every step that `trainer` takes from here on, of the lanes that still run."""
    taken: list[Masks] = []
    step = trainer.network.step

    def recording(inputs: torch.Tensor, columns: torch.Tensor, states: list, masks: Masks, *others: object) -> object:
        running = inputs != N_ITEMS
        taken.append(Masks(None if masks.embedding is None else masks.embedding[running], [hidden[running] for hidden in masks.hidden]))
        return step(inputs, columns, states, masks, *others)

    monkeypatch.setattr(trainer.network, "step", recording)
    return taken


def assert_epoch_agrees(
    parameters: GRU4RecParameters, samples: FixedSamples, monkeypatch: pytest.MonkeyPatch, sessions: list[list[int]] = SESSIONS
) -> None:
    counts = np.bincount(np.concatenate(sessions), minlength=N_ITEMS)
    weights = reference.random_weights(np.random.default_rng(3), N_ITEMS, parameters.layers)
    trainer = trainer_of(parameters, weights, sessions)
    taken = record_masks(trainer, monkeypatch)
    loss = trainer.run_block(0, trainer.steps_per_epoch)

    masks = None
    if parameters.dropout_embedding or parameters.dropout_hidden:
        masks = [
            reference.Masks(
                None if mask.embedding is None else mask.embedding.numpy(),
                [hidden.numpy() for hidden in mask.hidden] if mask.hidden else None,
            )
            for mask in taken
        ]
    optimizer = reference.Adagrad(parameters.learning_rate, parameters.momentum)
    drawn = [samples.of_step(step, parameters.n_sample) for step in range(trainer.steps_per_epoch)]
    losses = reference.train_epoch(weights, optimizer, loss_settings(parameters, counts), sessions, drawn, masks)
    assert loss == pytest.approx(sum(losses), rel=1e-5)
    for name, expected in as_implemented(weights.named()).items():
        np.testing.assert_allclose(trainer.arrays()[name], expected, rtol=1e-5, atol=1e-7, err_msg=name)


@each_loss
def test_epoch_ends_with_the_reference_weights(loss: dict, samples: FixedSamples, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_epoch_agrees(small(momentum=0.3, **loss), samples, monkeypatch)


def test_epoch_with_several_layers_ends_with_the_reference_weights(samples: FixedSamples, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_epoch_agrees(small(layers=[2, 3], momentum=0.3, **LOSSES["bpr-max, elu"]), samples, monkeypatch)


@pytest.mark.parametrize(("embedding", "hidden"), [(0.5, 0.25), (0.4, 0.0), (0.0, 0.4)])
def test_epoch_with_dropout_ends_with_the_reference_weights(
    embedding: float, hidden: float, samples: FixedSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = small(layers=[2, 3], dropout_embedding=embedding, dropout_hidden=hidden, **LOSSES["cross-entropy, logq"])
    assert_epoch_agrees(dropped, samples, monkeypatch)


def test_epoch_of_fewer_sessions_than_lanes_still_divides_by_the_lanes(samples: FixedSamples, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_epoch_agrees(small(batch_size=10, **LOSSES["cross-entropy, logq"]), samples, monkeypatch, [[1, 2, 3], [4, 5]])


def test_item_used_as_input_target_and_sample_moves_once(samples: FixedSamples, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every step uses items 1 and 2 in all three places; summed first, they take one Adagrad step each.
    samples.always = [1, 1, 2, 2]
    sessions = [[1, 1, 2], [1, 2, 1]]
    assert_epoch_agrees(small(batch_size=2, momentum=0.5), samples, monkeypatch, sessions)


def test_items_outside_the_step_stay_put() -> None:
    weights = reference.random_weights(np.random.default_rng(0), N_ITEMS, [3])
    trainer = trainer_of(small(batch_size=2, n_sample=0, momentum=0.5), weights, [[1, 2, 3], [4, 2, 6]])
    trainer.run_block(0, 1)
    after_one = {name: array.copy() for name, array in trainer.arrays().items()}
    still = [0, 3, 5, 6]
    np.testing.assert_array_equal(after_one["item_table"][still], weights.item_table[still])
    # An input has no score, so that its bias is not part of the step though its vector is.
    np.testing.assert_array_equal(after_one["item_bias"][[*still, 1, 4]], weights.item_bias[[*still, 1, 4]])
    trainer.run_block(1, 2)
    after_two = trainer.arrays()
    # Items 1 and 4 have a velocity from the step before, but wait with it for their next turn.
    np.testing.assert_array_equal(after_two["item_table"][[1, 4]], after_one["item_table"][[1, 4]])
    assert (after_two["item_table"][[2, 3, 6]] != after_one["item_table"][[2, 3, 6]]).all()


def test_state_is_zero_where_a_session_begins_and_handed_on_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = small(layers=[4, 3], dropout_hidden=0.3, epochs=1)
    weights = reference.random_weights(np.random.default_rng(0), N_ITEMS, [4, 3])
    trainer = trainer_of(parameters, weights, SESSIONS)
    before, after = [], []
    step = trainer.network.step

    def recording(inputs: torch.Tensor, columns: torch.Tensor, states: list[torch.Tensor], *others: object) -> object:
        result = step(inputs, columns, states, *others)
        running = inputs != N_ITEMS
        before.append([state[running] for state in states])
        after.append([state[running] for state in result[1]])
        return result

    monkeypatch.setattr(trainer.network, "step", recording)
    for _ in range(2):  # the second epoch must know nothing of the first
        before.clear()
        after.clear()
        trainer.begin_epoch()
        trainer.run_block(0, trainer.steps_per_epoch)
        plan = reference.schedule(SESSIONS, 3)
        for number, slow in enumerate(plan):
            for row, (lane, fresh) in enumerate(zip(slow.lanes, slow.fresh, strict=True)):
                for layer in range(2):
                    if fresh:
                        assert (before[number][layer][row] == 0).all()
                    else:
                        row_before = plan[number - 1].lanes.index(lane)
                        assert torch.equal(before[number][layer][row], after[number - 1][layer][row_before])


def test_blocks_do_not_show_in_the_weights(samples: FixedSamples) -> None:
    weights = reference.random_weights(np.random.default_rng(0), N_ITEMS, [3])
    whole, cut = (trainer_of(small(n_sample=0, momentum=0.2), weights, SESSIONS) for _ in range(2))
    steps = whole.steps_per_epoch
    loss = whole.run_block(0, steps)
    assert cut.run_block(0, 1) + cut.run_block(1, 4) + cut.run_block(4, steps) == pytest.approx(loss, rel=1e-5)
    assert_same_arrays(whole.arrays(), cut.arrays())


def test_dropout_rates_are_those_of_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    # Many wide steps, so that the shares of zeros are close to the rates; a swap, or keep for drop, is far off.
    parameters = small(layers=[40, 30], dropout_embedding=0.7, dropout_hidden=0.2, n_sample=0)
    trainer = trainer_of(parameters, reference.random_weights(np.random.default_rng(0), N_ITEMS, [40, 30]), SESSIONS)
    taken = record_masks(trainer, monkeypatch)
    for _ in range(5):
        trainer.begin_epoch()
        trainer.run_block(0, trainer.steps_per_epoch)
    for masks, p in [([m.embedding for m in taken], 0.7), ([h for m in taken for h in m.hidden], 0.2)]:
        entries = torch.cat([mask.flatten() for mask in masks])
        assert abs(float((entries == 0).double().mean()) - p) < 0.03
        np.testing.assert_allclose(entries[entries != 0].numpy(), 1 / (1 - p), rtol=1e-6)
    assert not torch.equal(taken[0].embedding, taken[1].embedding)


# --- Samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_samples_follow_count_to_the_power_of_alpha(alpha: float) -> None:
    counts = np.array([1, 100, 4, 25, 64])
    drawn = NegativeSampler(counts, alpha, CPU).draw(Randomness(7), torch.arange(200), 200)
    assert drawn.shape == (200, 200)
    assert drawn.dtype == torch.int64
    observed = np.bincount(drawn.flatten().numpy(), minlength=5)
    share = counts**alpha
    expected = 200 * 200 * share / share.sum()
    # Chi-square with 4 degrees of freedom: 30 is passed by chance once in 200,000 times.
    assert ((observed - expected) ** 2 / expected).sum() < 30


def test_samples_differ_from_step_to_step_and_follow_the_seed() -> None:
    sampler, steps = NegativeSampler(np.array([3, 1, 2, 5]), 0.5, CPU), torch.arange(3)
    drawn = sampler.draw(Randomness(1), steps, 40)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[1:], sampler.draw(Randomness(1), steps[1:], 40))
    assert not torch.equal(drawn, sampler.draw(Randomness(2), steps, 40))


def test_the_seed_decides_what_training_draws() -> None:
    ends = []
    for seed in (1, 1, 2):
        trainer = trainer_of(small(), reference.random_weights(np.random.default_rng(0), N_ITEMS, [3]), SESSIONS, seed)
        trainer.run_block(0, trainer.steps_per_epoch)
        ends.append(trainer.arrays()["item_table"].copy())
    np.testing.assert_array_equal(ends[0], ends[1])
    assert (ends[0] != ends[2]).any()


# --- Start and seeds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("embedding", "width"), [("shared", None), ("separate", 35), ("none", None)])
def test_weights_start_uniform_within_the_bounds_of_each_gate(embedding: str, width: int | None) -> None:
    arrays = initial_arrays(60, small(layers=[20, 10], embedding=embedding, embedding_width=width), seed=0)
    shapes = {"weight_hidden.0": (20, 20), "weight_input.1": (10, 20), "weight_hidden.1": (10, 10)}
    if embedding != "none":
        shapes["weight_input.0"] = (20, width or 10)
    blocks = {name: np.split(arrays[name], 3) for name in shapes} | {"item_table": [arrays["item_table"]]}
    shapes["item_table"] = (60, 10)
    if embedding != "shared":
        blocks["input_table"] = np.split(arrays["input_table"], 3, axis=1) if embedding == "none" else [arrays["input_table"]]
        shapes["input_table"] = (60, 20) if embedding == "none" else (60, 35)
    biases = [array for name, array in arrays.items() if "bias" in name]
    assert len(biases) == 5
    assert len(arrays) == len(biases) + len(blocks)
    assert all((bias == 0).all() for bias in biases)
    for name, gates in blocks.items():
        bound = np.sqrt(6 / sum(shapes[name]))
        for gate in gates:
            assert gate.dtype == np.float32
            assert gate.shape == shapes[name]
            # A bound over all three gates at once would be smaller than 0.9 of the gate's own.
            assert 0.9 * bound < np.abs(gate).max() <= bound * (1 + 1e-6)
            assert abs(gate.mean()) < 0.2 * bound


def test_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    chosen = {"dropout_embedding": 0.3, "dropout_hidden": 0.2, "momentum": 0.1}
    first = fit(seed=1, **chosen).arrays()
    assert_same_arrays(first, fit(seed=1, **chosen).arrays())
    other = fit(seed=2, **chosen).arrays()
    assert all((first[name] != other[name]).any() for name in first)


@pytest.mark.parametrize("loss", [LOSSES["cross-entropy, logq"], LOSSES["bpr-max, elu"]], ids=["cross-entropy", "bpr-max"])
def test_fit_ends_with_the_reference_weights_after_two_epochs(loss: dict, samples: FixedSamples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BLOCK", 3)  # an epoch is more than one block
    context = FitContext(device="cpu", step="torch")
    model = fit(seed=4, momentum=0.2, context=context, **loss)
    assert samples.asked_for == [(COUNTS.tolist(), model.parameters.sample_alpha)]
    weights = to_weights(initial_arrays(N_ITEMS, model.parameters, seed=4), 1)
    optimizer = reference.Adagrad(0.1, 0.2)
    steps = len(reference.schedule(SESSIONS, 3))
    for epoch in range(2):
        drawn = [samples.of_step(epoch * steps + step, 4) for step in range(steps)]
        losses = reference.train_epoch(weights, optimizer, loss_settings(model.parameters), SESSIONS, drawn)
        assert context.history[epoch].loss == pytest.approx(np.mean(losses), rel=1e-4)
    for name, expected in as_implemented(weights.named()).items():
        # float32 against float64; Adagrad's first steps enlarge the rounding of gradients near zero.
        np.testing.assert_allclose(model.arrays()[name], expected, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("loss", [LOSSES["cross-entropy, logq"], LOSSES["bpr-max, elu"]], ids=["cross-entropy", "bpr-max"])
def test_native_fit_ends_with_the_reference_weights_after_two_epochs(loss: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BLOCK", 3)  # an epoch is more than one block
    trainers = []

    def recorded(*arguments: object, **named: object) -> NativeTrainer:
        trainers.append(NativeTrainer(*arguments, **named))
        return trainers[-1]

    monkeypatch.setattr(gru4rec, "NativeTrainer", recorded)
    context = FitContext(device="cpu")
    model = fit(seed=4, momentum=0.2, context=context, **loss)
    weights = to_weights(initial_arrays(N_ITEMS, model.parameters, seed=4), 1)
    optimizer = reference.Adagrad(0.1, 0.2)
    steps = len(reference.schedule(SESSIONS, 3))
    for epoch in range(2):
        drawn = [trainers[0].samples(epoch * steps + step) for step in range(steps)]
        losses = reference.train_epoch(weights, optimizer, loss_settings(model.parameters), SESSIONS, drawn)
        assert context.history[epoch].loss == pytest.approx(np.mean(losses), rel=1e-4)
    for name, expected in as_implemented(weights.named()).items():
        # float32 against float64; Adagrad's first steps enlarge the rounding of gradients near zero.
        np.testing.assert_allclose(model.arrays()[name], expected, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("average", [0.5, 0.9])
def test_averaged_weights_are_the_moving_average_of_the_epochs(average: float) -> None:
    after = [fit(seed=2, epochs=epoch).arrays() for epoch in (1, 2, 3)]
    found = fit(seed=2, epochs=3, average=average).arrays()
    shares = np.array([average**2, average, 1.0])
    for name, array in found.items():
        expected = np.average([arrays[name] for arrays in after], axis=0, weights=shares)
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-7, err_msg=name)


def test_the_average_is_what_is_validated() -> None:
    seen: list[np.ndarray] = []
    context = FitContext(device="cpu", validate=scripted([0.1, 0.2, 0.3], seen))
    model = fit(seed=2, epochs=3, average=0.5, context=context)
    np.testing.assert_array_equal(model.arrays()["item_table"], seen[2])
    np.testing.assert_allclose(seen[1], fit(seed=2, epochs=2, average=0.5).arrays()["item_table"], rtol=1e-6)


def test_history_tells_the_epochs() -> None:
    context = FitContext(device="cpu")
    fit(context=context, epochs=3)
    transitions = sum(len(session) - 1 for session in SESSIONS)
    assert [(row.epoch, row.events, row.steps) for row in context.history] == [
        (epoch, transitions, len(reference.schedule(SESSIONS, 3))) for epoch in (1, 2, 3)
    ]
    assert context.history[2].loss < context.history[0].loss


def test_fit_learns_what_always_follows() -> None:
    # 0 -> 1 -> 2 -> 3, and 4 -> 5 -> 6: after training the follower is ranked first.
    data = fit_data([[0, 1, 2, 3], [4, 5, 6]] * 10)
    model = fit(data=data, layers=[16], epochs=10, batch_size=4, n_sample=8)
    items, _ = model.recommend(Sessions.from_lists([[0], [0, 1], [0, 1, 2], [4], [4, 5]]), 1)
    assert items[:, 0].tolist() == [1, 2, 3, 5, 6]


@each_loss
def test_fit_without_samples_trains_through_the_tail(loss: dict) -> None:
    # The last lane of the tail has no other target to compare with.
    model = fit(n_sample=0, epochs=1, **loss)
    assert all(np.isfinite(array).all() for array in model.arrays().values())


def test_fit_refuses_no_sessions() -> None:
    with pytest.raises(DataError):
        fit(data=fit_data([]))


@each_loss
@each_step
def test_loss_that_is_not_finite_stops_the_fit(step: str, loss: dict) -> None:
    with pytest.raises(TrainingError, match="learning_rate"):
        fit(learning_rate=1e38, context=FitContext(device="cpu", step=step), **loss)


# --- Scores -----------------------------------------------------------------------------------------------------------

QUERIES = [[3], [1, 2, 3, 4, 5, 6], [], [0, 0], [2, 6, 1], [5]]


@pytest.fixture(scope="module")
def model() -> GRU4Rec:
    """Two layers, trained with dropout, which must not show when it scores."""
    return fit(layers=[4, 3], dropout_embedding=0.3, dropout_hidden=0.3, epochs=3)


def slow_scores(model: GRU4Rec, queries: list[list[int]]) -> np.ndarray:
    weights = to_weights(model.arrays(), len(model.parameters.layers))
    return np.stack([reference.session_scores(weights, query) for query in queries])


def test_score_all_agrees_with_the_slow_evaluation(model: GRU4Rec) -> None:
    scores = model.score_all(Sessions.from_lists(QUERIES))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, slow_scores(model, QUERIES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [LOSSES["cross-entropy, logq"], LOSSES["bpr-max, elu"]], ids=["logq", "elu"])
def test_scores_know_neither_logq_nor_elu(loss: dict) -> None:
    trained = fit(**loss)
    np.testing.assert_allclose(trained.score_all(Sessions.from_lists(QUERIES)), slow_scores(trained, QUERIES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("embedding", [{"embedding": "separate", "embedding_width": 5}, {"embedding": "none"}], ids=["separate", "none"])
def test_scores_with_another_embedding_are_those_of_its_product(embedding: dict) -> None:
    trained = fit(layers=[4, 3], momentum=0.2, **embedding)
    found = trained.score_all(Sessions.from_lists(QUERIES))
    arrays = trained.arrays()
    table = arrays["input_table"]
    weight = arrays.get("weight_input.0", np.eye(12))  # without an embedding, a row holds the product itself
    layers = [
        reference.Layer(weight, arrays["weight_hidden.0"], arrays["bias_input.0"], arrays["bias_hidden.0"]),
        reference.Layer(*(arrays[f"{kind}.1"] for kind in NAMES.values())),
    ]
    for query, scores in zip(QUERIES, found, strict=True):
        state = [np.zeros(4), np.zeros(3)]
        for item in query:
            entered = table[item].astype(np.float64)
            for number, layer in enumerate(layers):
                entered = state[number] = reference.gru_cell(layer, entered, state[number])
        np.testing.assert_allclose(scores, arrays["item_table"] @ state[-1] + arrays["item_bias"], rtol=1e-5, atol=1e-6)


def test_score_all_of_no_query_is_empty(model: GRU4Rec) -> None:
    assert model.score_all(Sessions.from_lists([])).shape == (0, N_ITEMS)


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("held", [1, 5, 1000])
def test_score_positions_are_the_scores_of_the_prefixes(model: GRU4Rec, chunk: int, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gru4rec, "_ENCODE_CLICKS", held)  # clicks whose states are held at a time
    sessions = Sessions.from_lists([[1, 2, 3], [4], [], [5, 6, 0, 1, 2, 3], [2, 2], [], [3]])
    positions = sessions.targets()
    parts = list(model.score_positions(sessions, positions, chunk))
    assert all(len(part) <= chunk for part in parts)
    prefixes = [[1], [1, 2], [5], [5, 6], [5, 6, 0], [5, 6, 0, 1], [5, 6, 0, 1, 2], [2]]
    found = np.concatenate(parts)
    np.testing.assert_allclose(found, slow_scores(model, prefixes), rtol=1e-5, atol=1e-6)
    by_interface = np.concatenate(list(Model.score_positions(model, sessions, positions, chunk)))
    np.testing.assert_allclose(found, by_interface, rtol=1e-5, atol=1e-6)


def test_recommend_gives_the_best_first(model: GRU4Rec) -> None:
    items, scores = model.recommend(Sessions.from_lists(QUERIES), 3)
    expected = slow_scores(model, QUERIES)
    assert items.tolist() == np.argsort(-expected, axis=1, kind="stable")[:, :3].tolist()
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :3], rtol=1e-5, atol=1e-6)


def test_recommend_chooses_from_candidates_and_leaves_excluded_items_out(model: GRU4Rec) -> None:
    queries = Sessions.from_lists([[1], [2, 3]])
    expected = slow_scores(model, [[1], [2, 3]])
    candidates, excluded = np.array([6, 0, 2, 4]), [[0, 5], []]
    items, scores = model.recommend(queries, 4, candidates, Sessions.from_lists(excluded))
    for query in range(2):
        allowed = [item for item in candidates if item not in excluded[query]]
        order = sorted(allowed, key=lambda item: -expected[query, item])
        assert items[query].tolist() == order + [-1] * (4 - len(order))
        np.testing.assert_allclose(scores[query, : len(order)], expected[query, order], rtol=1e-5, atol=1e-6)
        assert (scores[query, len(order) :] == -np.inf).all()


# --- Folders ----------------------------------------------------------------------------------------------------------


def test_saved_model_is_read_back_as_it_was(model: GRU4Rec, tmp_path: Path) -> None:
    model.save(tmp_path)
    read = load_model(tmp_path)
    assert isinstance(read, GRU4Rec)
    assert (read.parameters, read.seed, read.n_items_) == (model.parameters, model.seed, model.n_items_)
    assert_same_arrays(read.arrays(), model.arrays())
    queries = Sessions.from_lists(QUERIES)
    np.testing.assert_array_equal(read.score_all(queries), model.score_all(queries))


def test_altered_model_file_is_refused(model: GRU4Rec, tmp_path: Path) -> None:
    model.save(tmp_path)
    file = tmp_path / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(PackageError, match="altered"):
        GRU4Rec.load(tmp_path)


# --- Interruption, early stopping -------------------------------------------------------------------------------------


class Interruption(Exception):
    """What a test breaks a fit off with."""


# Two lanes; 28 steps an epoch are three blocks of ten, the last one short.
LONG = [np.random.default_rng(session).integers(0, N_ITEMS, 2 + session % 5).tolist() for session in range(19)]
LONG_FIT = {
    "batch_size": 2,
    "epochs": 3,
    "momentum": 0.3,
    "dropout_embedding": 0.3,
    "dropout_hidden": 0.2,
    "layers": [3, 4],
    "average": 0.6,
}


@pytest.fixture(scope="module")
def short_blocks() -> Iterator[None]:
    """Resume points lie between blocks, which are made short so that small data has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "BLOCK", 10)
        yield


def long_fit(context: FitContext) -> dict[str, np.ndarray]:
    return fit(seed=3, context=context, data=fit_data(LONG), **LONG_FIT).arrays()


def break_off_at(call: int) -> Callable[[int, int, float, float], None]:
    """A progress callback that breaks the fit off at its `call`-th call."""
    calls = iter(range(1, 1000))

    def progress(epoch: int, epochs: int, share: float, loss: float) -> None:
        if next(calls) == call:
            raise Interruption

    return progress


@pytest.fixture(scope="module", params=STEPS)
def undisturbed(request: pytest.FixtureRequest, short_blocks: None) -> tuple[dict[str, np.ndarray], list[float], str]:
    """Weights and losses of the long fit that nothing interrupts, and what computes its steps."""
    context = FitContext(device="cpu", step=request.param)
    arrays = long_fit(context)
    assert context.history[0].steps == 28
    return arrays, [row.loss for row in context.history], request.param


@pytest.mark.parametrize("checkpoint_every", [0.0, 1e9], ids=["every-block", "every-epoch"])
@pytest.mark.parametrize("call", [1, 2, 5, 6, 9])
def test_interrupted_fit_goes_on_to_the_same_weights(call: int, checkpoint_every: float, undisturbed: tuple, tmp_path: Path) -> None:
    with pytest.raises(Interruption):
        long_fit(
            FitContext(
                device="cpu", step=undisturbed[2], resume_folder=tmp_path, checkpoint_every=checkpoint_every, progress=break_off_at(call)
            )
        )
    shares: list[tuple[int, float]] = []
    context = FitContext(device="cpu", step=undisturbed[2], resume_folder=tmp_path, checkpoint_every=checkpoint_every)
    context.progress = lambda epoch, epochs, share, loss: shares.append((epoch, share))
    arrays = long_fit(context)
    assert_same_arrays(arrays, undisturbed[0])
    assert [row.loss for row in context.history] == undisturbed[1]
    # Three blocks an epoch: what lies before the resume point is not done again.
    kept = (call if call % 3 else call - 1) if checkpoint_every == 0 else 3 * ((call - 1) // 3)
    assert len(shares) == 9 - kept


def test_finished_fit_is_not_done_again(undisturbed: tuple, tmp_path: Path) -> None:
    long_fit(FitContext(device="cpu", step=undisturbed[2], resume_folder=tmp_path))
    context = FitContext(device="cpu", step=undisturbed[2], resume_folder=tmp_path, progress=break_off_at(1))
    assert_same_arrays(long_fit(context), undisturbed[0])
    assert len(context.history) == 3


def test_unreadable_resume_point_costs_time_only(undisturbed: tuple, tmp_path: Path) -> None:
    with pytest.raises(Interruption):
        long_fit(FitContext(device="cpu", step=undisturbed[2], resume_folder=tmp_path, checkpoint_every=0.0, progress=break_off_at(4)))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    assert_same_arrays(long_fit(FitContext(device="cpu", step=undisturbed[2], resume_folder=tmp_path)), undisturbed[0])


def scripted(values: list[float], seen: list[np.ndarray]) -> Callable[[Model], dict[str, float]]:
    """A validation whose metric is the next of `values`; keeps the item table it was asked about."""

    def validate(model: Model) -> dict[str, float]:
        seen.append(model.arrays()["item_table"].copy())
        return {"mrr@20": values[len(seen) - 1]}

    return validate


def test_fit_stops_without_a_better_epoch_and_keeps_the_best_weights() -> None:
    seen: list[np.ndarray] = []
    context = FitContext(device="cpu", validate=scripted([0.1, 0.3, 0.2, 0.3, 0.9], seen), patience=2)
    model = fit(context=context, epochs=5)
    # The second epoch is the best; an equal one later is no better.
    assert [row.metrics["mrr@20"] for row in context.history] == [0.1, 0.3, 0.2, 0.3]
    np.testing.assert_array_equal(model.arrays()["item_table"], seen[1])
    assert (seen[1] != seen[3]).any()


def test_fit_told_to_keep_the_last_epoch_trains_them_all() -> None:
    seen: list[np.ndarray] = []
    context = FitContext(device="cpu", validate=scripted([0.9, 0.3, 0.2, 0.1], seen), patience=1, keep="last")
    model = fit(context=context, epochs=4)
    assert len(context.history) == 4
    np.testing.assert_array_equal(model.arrays()["item_table"], seen[3])


def test_interrupted_fit_remembers_its_best_epoch(tmp_path: Path) -> None:
    seen: list[np.ndarray] = []
    first = FitContext(device="cpu", validate=scripted([0.5, 0.2], seen), resume_folder=tmp_path, progress=break_off_at(3))
    with pytest.raises(Interruption):
        fit(context=first, epochs=3)
    again = FitContext(device="cpu", validate=scripted([0.5, 0.2, 0.4], seen), resume_folder=tmp_path)
    model = fit(context=again, epochs=3)
    assert [row.metrics["mrr@20"] for row in again.history] == [0.5, 0.2, 0.4]
    np.testing.assert_array_equal(model.arrays()["item_table"], seen[0])
