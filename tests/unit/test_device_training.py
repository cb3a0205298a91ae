"""The trainer that a GPU runs, on the CPU: what is drawn, its fixed shapes, its row sums, its kernels, and ranking beside it."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from recsys.errors import TrainingError
from recsys.models.gru4rec import GRU4Rec
from recsys.models.gru4rec_ensemble import Product, together
from recsys.models.gru4rec_forward import initial_arrays
from recsys.models.gru4rec_network import Gradients, Masks, Network
from recsys.models.scores import EXCLUDED
from recsys.sessions.table import Positions, Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training import device_blocks
from recsys.training.device_random import WORD, Randomness, philox
from recsys.training.device_ranking import rank_on_device
from recsys.training.graph import WARM_UPS, captured
from recsys.training.native import NativeTrainer
from recsys.training.optimizer import Uses
from recsys.training.sampling import NegativeSampler, alias_table
from recsys.training.schedule import Schedule
from recsys.training.session_parallel import SessionParallelTrainer, memory_of_training

CPU = torch.device("cpu")
N_ITEMS = 30
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def chosen(**changes: object) -> GRU4RecParameters:
    return GRU4RecParameters(**{"layers": [10], "batch_size": 5, "n_sample": 7, "learning_rate": 0.05, **changes})


def random_sessions(count: int = 30) -> Sessions:
    rng = np.random.default_rng(0)
    return Sessions.from_lists([(N_ITEMS * rng.random(2 + rng.integers(0, 6)) ** 2).astype(int).tolist() for _ in range(count)])


def given_to_trainers(parameters: GRU4RecParameters, sessions: Sessions, dtype: type = np.float32) -> tuple:
    counts = np.bincount(sessions.items, minlength=N_ITEMS).clip(min=1)
    arrays = {name: array.astype(dtype) for name, array in initial_arrays(N_ITEMS, parameters, 1).items()}
    return arrays, parameters, Schedule.of(sessions, parameters.batch_size), counts, 11


def trainer(parameters: GRU4RecParameters, sessions: Sessions | None = None, **others: object) -> SessionParallelTrainer:
    return SessionParallelTrainer(*given_to_trainers(parameters, sessions or random_sessions()), CPU, **others)


# --- What is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "expected"),
    [(0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]), (WORD, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD])],
)
def test_philox_gives_the_published_numbers(word: int, expected: list[int]) -> None:
    # The known answers of the authors' Random123 library.
    assert [int(found) for found in philox((torch.tensor(word),) * 4, (word, word))] == expected


@given(weights=st.lists(st.floats(0.01, 100.0), min_size=1, max_size=30))
def test_alias_table_holds_the_weights(weights: list[float]) -> None:
    kept, other = alias_table(np.array(weights))
    held = (kept + 1) / 2**32
    found = held + np.bincount(other, 1 - held, minlength=len(weights))
    np.testing.assert_allclose(found / len(weights), np.array(weights) / sum(weights), atol=1e-8)


@pytest.mark.parametrize("n_sample", [8, 7, 1])
def test_samples_are_the_native_trainers(n_sample: int) -> None:
    arguments = given_to_trainers(chosen(n_sample=n_sample, sample_alpha=0.4), random_sessions())
    native, steps = NativeTrainer(*arguments), torch.tensor([0, 3, 2**31, 2**32 + 5])
    drawn = NegativeSampler(arguments[3], 0.4, CPU).draw(Randomness(arguments[4]), steps, n_sample)
    assert drawn.tolist() == [native.samples(step).tolist() for step in steps.tolist()]


def test_masks_are_the_native_trainers() -> None:
    parameters = chosen(layers=[10, 6], dropout_embedding=0.4, dropout_hidden=0.15)
    native = NativeTrainer(*given_to_trainers(parameters, random_sessions()))
    for step in (0, 7):
        embedding, hidden = native.masks(step, 5)
        for purpose, expected in enumerate([embedding, *hidden], device_blocks.EMBEDDING_DROPOUT):
            share = 0.4 if expected is embedding else 0.15
            rows = torch.arange(5).unsqueeze(0)
            found = Randomness(11).dropout(torch.tensor([step]), purpose, rows, expected.shape[1], share)
            np.testing.assert_array_equal(found[0].numpy(), expected)


# --- Fixed shapes -----------------------------------------------------------------------------------------------------

AWKWARD = {
    "cross-entropy": {"logq": 1.0, "dropout_embedding": 0.3, "momentum": 0.3},
    "bpr-max": {"loss": "bpr-max", "elu_param": 0.5, "dropout_hidden": 0.2, "layers": [8, 10], "momentum": 0.3},
    "a table for inputs": {"embedding": "separate", "embedding_width": 6, "dropout_embedding": 0.2, "momentum": 0.3},
    "no embedding": {"embedding": "none", "loss": "bpr-max", "momentum": 0.3},
    "no samples": {"n_sample": 0, "loss": "bpr-max"},
}
each_case = pytest.mark.parametrize("changes", AWKWARD.values(), ids=AWKWARD.keys())


class Watched(TorchDispatchMode):
    """Keeps what torch is asked for, with the shapes of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        given = found if isinstance(found, tuple | list) else (found,)
        self.asked.append((str(func), [tuple(tensor.shape) for tensor in given if isinstance(tensor, torch.Tensor)]))
        return found


HOST_IS_ASKED = ("_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "_to_copy", "equal.default", "is_nonzero")


@each_case
def test_every_step_asks_for_the_same_in_the_same_shapes_and_nothing_of_the_host(changes: dict) -> None:
    found = trainer(chosen(**changes))
    lanes = np.diff(Schedule.of(random_sessions(), 5).steps)
    traces = []
    for step in (0, len(lanes) - 1):
        found._blocks.seek(step, step)
        with torch.inference_mode(), Watched() as block:
            found._make()
        with torch.inference_mode(), Watched() as taken:
            found._step()
        traces.append((block.asked, taken.asked))
    assert lanes[0] == 5
    assert lanes[-1] == 1
    assert traces[0] == traces[1]
    for name, _ in traces[0][1]:
        assert not any(f"aten.{asked}" in name for asked in HOST_IS_ASKED), name
    # A block may change types, which stays on the device.
    for name, _ in traces[0][0]:
        assert name.startswith("aten._to_copy") or not any(f"aten.{asked}" in name for asked in HOST_IS_ASKED), name


@each_case
def test_the_length_of_a_block_does_not_show(changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for most in (64, 4):
        monkeypatch.setattr(device_blocks, "MOST_STEPS", most)
        found = trainer(chosen(**changes))
        steps = found.steps_per_epoch
        losses = 0.0
        for _ in range(2):
            found.begin_epoch()
            losses += found.run_block(0, 3) + found.run_block(3, steps)
        ends.append((losses, found.arrays() | found.state()))
    assert ends[0][0] == ends[1][0]
    for name, array in ends[0][1].items():
        np.testing.assert_array_equal(array, ends[1][1][name], err_msg=name)


@each_case
def test_the_spare_rows_never_move(changes: dict) -> None:
    found = trainer(chosen(**changes))
    found.run_block(0, found.steps_per_epoch)
    for stored in (found.network.stored, found._optimizer.accumulators, found._optimizer.velocities):
        for name, array in stored.items():
            assert name == "dense" or (array[N_ITEMS] == 0).all(), name


def test_an_end_of_the_schedule_teaches_nothing() -> None:
    # What a GPU runs while its graphs are recorded.
    found = trainer(chosen(**AWKWARD["bpr-max"]))
    before = {name: array.copy() for name, array in (found.arrays() | found.state()).items()}
    found._blocks.seek(found.steps_per_epoch, 0)
    with torch.inference_mode():
        found._make()
        for _ in range(WARM_UPS):
            found._step()
    assert float(found._loss) == 0.0
    for name, array in (found.arrays() | found.state()).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


# --- Gradients --------------------------------------------------------------------------------------------------------


@given(ids=st.lists(st.integers(0, 9), min_size=1, max_size=30))
@examples(deadline=None)
def test_uses_of_a_row_are_summed(ids: list[int]) -> None:
    values = torch.arange(1.0, len(ids) + 1, dtype=torch.float64).unsqueeze(1) * torch.tensor([1.0, 0.5], dtype=torch.float64)
    expected = np.zeros((10, 2))
    np.add.at(expected, ids, values.numpy())
    uses = Uses.of(torch.tensor(ids), 10)
    distinct = sorted(set(ids))
    assert uses.rows.tolist() == distinct + [10] * (len(ids) - len(distinct))
    sums = uses.sum(values).numpy()
    np.testing.assert_array_equal(sums[: len(distinct)], expected[distinct])
    assert (sums[len(distinct) :] == 0).all()


def step_of(parameters: GRU4RecParameters, lanes: int) -> tuple[Network, torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """A network in float64, and the inputs, columns and states of a step whose second lane has vanished."""
    rng = np.random.default_rng(3)
    arrays = {name: rng.normal(size=array.shape) for name, array in initial_arrays(N_ITEMS, parameters, 1).items()}
    network = Network(arrays, parameters, np.arange(1, N_ITEMS + 1), CPU)
    inputs, columns = (torch.from_numpy(rng.integers(0, 6, count)) for count in (lanes, lanes + parameters.n_sample))
    inputs[1] = columns[1] = N_ITEMS
    return network, inputs, columns, [torch.from_numpy(rng.uniform(-1, 1, (lanes, units))) for units in parameters.layers]


@each_case
def test_two_halves_of_the_lanes_add_up_to_the_whole(changes: dict) -> None:
    network, inputs, columns, states = step_of(chosen(**changes | {"n_sample": 9}), 4)
    whole = Gradients(network, len(columns), 4)
    loss, following = network.step(inputs, columns, states, Masks(), whole)
    memory, losses = torch.zeros_like(whole.memory), 0.0
    for first in (0, 2):
        own = slice(first, first + 2)
        part = Gradients(network, len(columns), 4)
        of_part, states_of_part = network.step(inputs[own], columns, [state[own] for state in states], Masks(), part, first)
        memory += part.memory
        losses += float(of_part)
        for state, expected in zip(states_of_part, following, strict=True):
            torch.testing.assert_close(state, expected[own])
    assert losses == pytest.approx(float(loss), rel=1e-12)
    torch.testing.assert_close(memory, whole.memory, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", ["cross-entropy", "bpr-max"])
@pytest.mark.parametrize(
    "embedding", [{"embedding": "shared"}, {"embedding": "separate", "embedding_width": 6}, {"embedding": "none"}], ids=str
)
def test_the_gradients_are_those_of_autograd(loss: str, embedding: dict) -> None:
    network, inputs, columns, (state,) = step_of(chosen(loss=loss, bpreg=0.5, **embedding), 5)
    gradients = Gradients(network, len(columns), 5)
    found, _ = network.step(inputs, columns, [state], Masks(), gradients)

    learned = {name: array.clone().requires_grad_() for name, array in network.named(network.stored).items()}
    there = inputs != N_ITEMS
    looked_up = learned.get("input_table", learned["item_table"])[inputs[there]]
    from_input = looked_up @ learned["weight_input.0"].T if "weight_input.0" in learned else looked_up
    r1, z1, n1 = (from_input + learned["bias_input.0"]).chunk(3, 1)
    r2, z2, n2 = (state[there] @ learned["weight_hidden.0"].T + learned["bias_hidden.0"]).chunk(3, 1)
    update, new = torch.sigmoid(z1 + z2), torch.tanh(n1 + torch.sigmoid(r1 + r2) * n2)
    output = update * state[there] + (1 - update) * new
    shown = columns[columns != N_ITEMS]
    scores = output @ learned["item_table"][shown].T + learned["item_bias"][shown]
    if loss == "cross-entropy":
        expected = -torch.log_softmax(scores, 1).diagonal().sum() / 5
    else:
        weight = torch.softmax(scores.masked_fill(torch.eye(*scores.shape, dtype=torch.bool), -torch.inf), 1)
        better = torch.sigmoid(scores.diagonal().unsqueeze(1) - scores)
        expected = (0.5 * (weight * scores**2).sum(1) - torch.log((weight * better).sum(1))).sum() / 5
    expected.backward()

    assert float(found) == pytest.approx(expected.item(), rel=1e-10)
    whole = dict(gradients.by_name) | {name: torch.zeros_like(network.stored[name]) for name in network.stored if name != "dense"}
    whole["item_table"].index_add_(0, columns, gradients.columns)
    whole["item_bias"].index_add_(0, columns, gradients.bias)
    whole[network.input_table].index_add_(0, inputs, gradients.inputs)
    for name, array in learned.items():
        torch.testing.assert_close(whole[name][: len(array)], array.grad, rtol=1e-8, atol=1e-12, msg=name)


# --- Kernels ----------------------------------------------------------------------------------------------------------

INTERPRETED = """
import sys
import numpy as np
from tests.unit.test_device_training import AWKWARD, chosen, random_sessions, trainer

found = {}
for case, changes in AWKWARD.items():
    trained = trainer(chosen(**changes), random_sessions(6), fused=True)
    found[f"{case}/loss"] = trained.run_block(0, trained.steps_per_epoch)
    found |= {f"{case}/{name}": array for name, array in (trained.arrays() | trained.state()).items()}
np.savez(sys.argv[1], **found)
"""


@needs_triton
def test_kernels_train_as_plain_torch_does(tmp_path: Path) -> None:
    # Triton's own interpreter runs them, on the CPU; it has to be chosen before Triton is imported.
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", INTERPRETED, str(tmp_path / "found.npz")]
    subprocess.run(command, env=environment, check=True, timeout=300)
    found = np.load(tmp_path / "found.npz")
    for case, changes in AWKWARD.items():
        plain = trainer(chosen(**changes), random_sessions(6))
        assert float(found[f"{case}/loss"]) == pytest.approx(plain.run_block(0, plain.steps_per_epoch), rel=1e-5)
        for name, array in (plain.arrays() | plain.state()).items():
            np.testing.assert_allclose(found[f"{case}/{name}"], array, rtol=1e-3, atol=1e-5, err_msg=f"{case}: {name}")


WHOLE = {"items", "samples", "columns", "batch_size", "entries", "first", "lanes", "spare", "units", "uses", "width"}
WIDE = {"seed": "u64", "threshold": "i64"}
FRACTIONS = {"bpreg", "elu_param", "momentum", "rate"}
POINTERS = {"absent": "*i1"} | dict.fromkeys(("order", "place", "rows", "numbers", "kept", "other"), "*i64")
KERNELS = {
    "_gates_forward": {"dropped": True, "block": 256},
    "_gates_backward": {"dropped": True, "lane_block": 128, "block": 4},
    "_cross_entropy": {"corrected": True, "block": 4096},
    "_bpr_max": {"bent": True, "block": 4096},
    "_update": {"moving": True, "block": 256},
    "_update_uses": {"moving": True, "block": 256},
    "_dropout": {"purpose": 2, "block": 256},
    "_items": {"purpose": 0, "block": 256},
}


@needs_triton
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("generation", [80, 90])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_for_gpus(name: str, generation: int) -> None:
    # No GPU is needed for that: an A100 is of generation 8.0, an H100 of 9.0.
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from recsys.training import device_kernels

    kernel, constants = getattr(device_kernels, name), KERNELS[name]
    kinds = dict.fromkeys(WHOLE, "i32") | WIDE | dict.fromkeys(FRACTIONS, "fp32") | dict.fromkeys(constants, "constexpr") | POINTERS
    if name == "_dropout":
        kinds["kept"] = "fp32"
    if name == "_items":
        kinds["found"] = "*i64"
    signature = {argument: kinds.get(argument, "*fp32") for argument in kernel.arg_names}
    compiled = triton.compile(ASTSource(kernel, signature=signature, constexprs=constants), target=GPUTarget("cuda", generation, 32))
    assert "cubin" in compiled.asm


# --- Graphs -----------------------------------------------------------------------------------------------------------


def test_a_function_is_warmed_up_recorded_once_and_then_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    # In place of a GPU, a device that notes what it is asked for.
    noted: list[str] = []

    @contextmanager
    def noting(begin: str) -> Iterator[None]:
        noted.append(begin)
        yield
        noted.append("end")

    waiting = SimpleNamespace(wait_stream=lambda other: noted.append("wait"))
    graph = SimpleNamespace(replay=lambda: noted.append("replay"))
    instead = {
        "Stream": lambda device: waiting,
        "current_stream": lambda device: waiting,
        "stream": lambda side: noting("beside"),
        "CUDAGraph": lambda: graph,
        "graph": lambda which, capture_error_mode: noting(f"record {which is graph}"),
    }
    for name, function in instead.items():
        monkeypatch.setattr(torch.cuda, name, function)
    replay = captured(lambda: noted.append("run"), torch.device("cuda"))
    replay()
    assert noted == ["wait", "beside", *["run"] * WARM_UPS, "end", "wait", "record True", "run", "end", "replay"]
    assert captured(replay, CPU) is replay


def two_epochs(found: SessionParallelTrainer) -> dict[str, np.ndarray]:
    """What two epochs leave, the second one in parts and taken up by a resume."""
    found.run_block(0, found.steps_per_epoch)
    found.begin_epoch()
    found.run_block(0, 3)
    kept = [{name: array.copy() for name, array in arrays.items()} for arrays in (found.arrays(), found.state())]
    found.run_block(3, found.steps_per_epoch)
    found.restore(*kept)
    found.run_block(3, found.steps_per_epoch)
    return {name: array.copy() for name, array in (found.arrays() | found.state()).items()}


@each_case
def test_a_resume_does_not_show(changes: dict) -> None:
    found, undisturbed = trainer(chosen(**changes)), trainer(chosen(**changes))
    for _ in range(2):
        undisturbed.begin_epoch()
        undisturbed.run_block(0, undisturbed.steps_per_epoch)
    left = two_epochs(found)
    for name, array in (undisturbed.arrays() | undisturbed.state()).items():
        np.testing.assert_array_equal(left[name], array, err_msg=name)


@needs_gpu
@each_case
@pytest.mark.parametrize("fused", [False, pytest.param(True, marks=needs_triton)], ids=["plain", "kernels"])
def test_graphs_train_as_the_cpu_does(changes: dict, fused: bool) -> None:
    arguments = given_to_trainers(chosen(**changes), random_sessions())
    found, again = (two_epochs(SessionParallelTrainer(*arguments, torch.device("cuda"), fused=fused)) for _ in range(2))
    for name, array in two_epochs(SessionParallelTrainer(*arguments, CPU)).items():
        np.testing.assert_allclose(found[name], array, rtol=2e-3, atol=2e-4, err_msg=name)
        if fused:
            np.testing.assert_array_equal(found[name], again[name], err_msg=name)


@needs_gpu
def test_ranks_of_a_gpu_are_the_cpus(ranked: tuple) -> None:
    model, network, sessions = ranked
    on_gpu = Network(model.arrays_, model.parameters, np.ones(N_ITEMS), torch.device("cuda"))
    product = Product.of([model.arrays_])
    ranked = [rank_on_device([each], product, sessions, sessions.targets(), 5) for each in (on_gpu, network)]
    for found, expected in zip(*ranked, strict=True):
        np.testing.assert_array_equal(found, expected)


# --- Memory, ranking --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"momentum": 0.3}, {"embedding": "separate", "embedding_width": 40}], ids=str)
def test_memory_of_tables_and_schedule_is_what_a_trainer_holds(changes: dict) -> None:
    parameters = chosen(layers=[64], **changes)
    rng = np.random.default_rng(0)
    sessions = Sessions.from_lists([rng.integers(0, 20_000, 4).tolist() for _ in range(3000)])
    schedule = Schedule.of(sessions, parameters.batch_size)
    counts = np.bincount(sessions.items, minlength=20_000).clip(min=1)
    held_before = held_by_tensors()
    found = SessionParallelTrainer(initial_arrays(20_000, parameters, 1), parameters, schedule, counts, 1, CPU)
    held = held_by_tensors() - held_before
    tables, _ = memory_of_training(parameters, 20_000, schedule)
    assert found.steps_per_epoch == len(schedule)
    assert tables == pytest.approx(held, rel=0.1)


def held_by_tensors() -> int:
    gc.collect()
    tensors = [held for held in gc.get_objects() if type(held) is torch.Tensor]
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


@pytest.fixture(scope="module")
def ranked() -> tuple[GRU4Rec, Network, Sessions]:
    """A model with scores that tie, its network, and sessions to rank, one of them of a single click."""
    parameters = chosen(layers=[6, 8])
    model = GRU4Rec(parameters)
    model.n_items_ = N_ITEMS
    model.arrays_ = initial_arrays(N_ITEMS, parameters, 4)
    model.arrays_["item_table"][20:] = model.arrays_["item_table"][10:20]
    sessions = random_sessions(25)
    lists = [sessions[number].tolist() for number in range(25)]
    lists.insert(7, [3])
    return model, Network(model.arrays_, parameters, np.ones(N_ITEMS), CPU), Sessions.from_lists(lists)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("small", [False, True], ids=["at once", "in parts"])
def test_ranks_on_the_device_are_the_models(ranked: tuple, exclude: bool, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, network, sessions = ranked
    if small:
        monkeypatch.setattr("recsys.training.device_ranking._CLICKS", 20)
        monkeypatch.setattr("recsys.training.device_ranking._SCORES", 4 * N_ITEMS)
    positions = sessions.targets()
    ranks, lists = rank_on_device([network], Product.of([model.arrays_]), sessions, positions, 12, exclude)
    expected, expected_lists = model.rank_positions(sessions, positions, 12, exclude)
    np.testing.assert_array_equal(ranks, expected)
    np.testing.assert_array_equal(lists, expected_lists)
    assert (ranks == EXCLUDED).any() == exclude


def test_a_first_click_is_ranked_from_the_empty_session(ranked: tuple) -> None:
    model, network, sessions = ranked
    clicks = sessions.offsets[:-1]
    positions = Positions(np.arange(len(sessions)), clicks, sessions.items[clicks])
    ranks, _ = rank_on_device([network], Product.of([model.arrays_]), sessions, positions)
    np.testing.assert_array_equal(ranks, N_ITEMS)  # the bias decides, and all are 0


def test_scores_that_are_no_numbers_are_not_ranked(ranked: tuple) -> None:
    model, _, sessions = ranked
    broken = model.arrays_ | {"item_bias": np.where(np.arange(N_ITEMS) == 4, np.nan, 0).astype(np.float32)}
    network = Network(broken, model.parameters, np.ones(N_ITEMS), CPU)
    with pytest.raises(TrainingError, match="NaN"):
        rank_on_device([network], Product.of([broken]), sessions, sessions.targets())


def test_ranks_of_an_ensemble_on_the_device_are_the_models() -> None:
    parameters = chosen(layers=[6, 8], members=3)
    model = GRU4Rec(parameters)
    model.n_items_ = N_ITEMS
    members = [initial_arrays(N_ITEMS, parameters, seed) for seed in range(3)]
    model.set_arrays(together(members))
    networks = [Network(member, parameters, np.ones(N_ITEMS), CPU) for member in members]
    sessions = random_sessions(25)
    ranks, lists = rank_on_device(networks, Product.of(members), sessions, sessions.targets(), 12)
    expected, expected_lists = model.rank_positions(sessions, sessions.targets(), 12)
    np.testing.assert_array_equal(ranks, expected)
    np.testing.assert_array_equal(lists, expected_lists)
