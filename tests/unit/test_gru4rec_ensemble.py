"""GRU4Rec's ensembles: members that differ by their seed, scored together."""

from pathlib import Path

import numpy as np
import pytest

from recsys.models.gru4rec import GRU4Rec
from recsys.models.gru4rec_ensemble import Product, apart, seed_of, together
from recsys.models.interface import Epoch, FitContext, FitData, Model
from recsys.models.registry import load_model
from recsys.sessions.table import Sessions
from recsys.training.ensemble import EnsembleTrainer
from recsys.training.hardware import use_threads
from recsys.training.loop import Trainer, run_epochs
from tests.unit.test_gru4rec import N_ITEMS, SESSIONS, assert_same_arrays, fit, fit_data, small

QUERIES = Sessions.from_lists([[1, 2, 3], [4], [], [6, 0, 2, 2, 5]])


@pytest.fixture
def threads(request: pytest.FixtureRequest):
    use_threads(request.param)
    yield request.param
    use_threads(1)


def alone(number: int, **changes: object) -> GRU4Rec:
    return fit(seed=seed_of(3, number), **changes)


@pytest.mark.parametrize("step", ["native", "torch"])
@pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)
def test_members_are_the_networks_of_their_seeds(threads: int, step: str) -> None:
    found = apart(fit(seed=3, context=FitContext(device="cpu", step=step), members=3, momentum=0.2).arrays())
    for number, arrays in enumerate(found):
        own = fit(seed=seed_of(3, number), context=FitContext(device="cpu", step=step), momentum=0.2)
        assert_same_arrays(arrays, own.arrays())
    assert not np.array_equal(found[0]["item_table"], found[1]["item_table"])


def test_an_items_score_is_the_sum_of_the_members_standardised_scores() -> None:
    scores = fit(seed=3, members=3).score_all(QUERIES)
    expected = np.zeros_like(scores)
    for number in range(3):
        own = alone(number).score_all(QUERIES)
        expected += (own - own.mean(1, keepdims=True)) / own.std(1, keepdims=True)
    np.testing.assert_allclose(scores - scores.mean(1, keepdims=True), expected, rtol=1e-4, atol=1e-5)


def test_no_member_outweighs_another() -> None:
    members = [alone(number).arrays() for number in range(2)]
    loud = members[1] | {name: 50 * members[1][name] for name in ("item_table", "item_bias")}
    states = [np.random.default_rng(number).normal(size=(4, 3)).astype(np.float32) for number in range(2)]

    def scores(networks: list[dict[str, np.ndarray]]) -> np.ndarray:
        product = Product.of(networks)
        return product.queries(states) @ product.table.T

    np.testing.assert_allclose(scores(members), scores([members[0], loud]), rtol=1e-4, atol=1e-5)


def test_scores_that_are_all_alike_leave_the_other_member_its_say() -> None:
    member = alone(0).arrays()
    flat = {name: np.zeros_like(array) for name, array in member.items()}
    states = [np.ones((1, 3), np.float32)] * 2
    product, single = Product.of([member, flat]), Product.of([member, member])
    order = np.argsort(product.queries(states) @ product.table.T)
    np.testing.assert_array_equal(order, np.argsort(single.queries(states) @ single.table.T))


@pytest.mark.parametrize("exclude", [False, True])
def test_ranks_and_lists_are_those_of_the_scores(exclude: bool) -> None:
    model = fit(seed=3, members=2)
    sessions = Sessions.from_lists(SESSIONS)
    positions = sessions.targets()
    ranks, lists = model.rank_positions(sessions, positions, 4, exclude)
    expected, expected_lists = Model.rank_positions(model, sessions, positions, 4, exclude)
    np.testing.assert_array_equal(ranks, expected)
    np.testing.assert_array_equal(lists, expected_lists)


def test_a_saved_ensemble_answers_as_before(tmp_path: Path) -> None:
    model = fit(seed=3, members=2, layers=[4, 3])
    model.save(tmp_path)
    again = load_model(tmp_path)
    assert_same_arrays(again.arrays(), model.arrays())
    np.testing.assert_array_equal(again.score_all(QUERIES), model.score_all(QUERIES))


def test_what_is_validated_is_the_ensemble() -> None:
    seen = []

    def validate(model: Model) -> dict[str, float]:
        seen.append(model.score_all(QUERIES))
        return {"mrr@20": float(len(seen))}

    context = FitContext(device="cpu", validate=validate)
    model = fit(seed=3, members=2, epochs=3, context=context)
    np.testing.assert_array_equal(seen[-1], model.score_all(QUERIES))
    np.testing.assert_array_equal(seen[0], fit(seed=3, members=2, epochs=1).score_all(QUERIES))
    assert [row.epoch for row in context.history] == [1, 2, 3]


def test_the_average_is_each_members_own() -> None:
    for number, arrays in enumerate(apart(fit(seed=3, members=2, average=0.5).arrays())):
        assert_same_arrays(arrays, alone(number, average=0.5).arrays())


def test_loss_is_the_members_mean_and_events_are_the_logs() -> None:
    def history(**changes: object) -> list[Epoch]:
        context = FitContext(device="cpu")
        fit(context=context, **changes)
        return context.history

    alone = [history(seed=seed_of(3, number)) for number in range(2)]
    for row, *own in zip(history(seed=3, members=2), *alone, strict=True):
        assert row.loss == pytest.approx(np.mean([each.loss for each in own]))
        assert (row.events, row.steps) == (own[0].events, own[0].steps)


class Killed(Exception):
    pass


def test_an_interrupted_ensemble_ends_with_the_same_arrays(tmp_path: Path) -> None:
    whole = fit(seed=3, members=2, epochs=3, momentum=0.2)

    def die(epoch: int, epochs: int, done: float, loss: float) -> None:
        if epoch == 2:
            raise Killed

    context = FitContext(device="cpu", resume_folder=tmp_path, progress=die)
    with pytest.raises(Killed):
        fit(seed=3, members=2, epochs=3, momentum=0.2, context=context)
    resumed = fit(seed=3, members=2, epochs=3, momentum=0.2, context=FitContext(device="cpu", resume_folder=tmp_path))
    assert_same_arrays(resumed.arrays(), whole.arrays())


class CountingTrainer:
    """A trainer that trains nothing."""

    steps_per_epoch, events_per_epoch = 2, 6

    def __init__(self, number: int, threads: int) -> None:
        self.threads, self._number, self.blocks = threads, np.array([float(number)]), 0

    def begin_epoch(self) -> None:
        self.blocks = 0

    def run_block(self, begin: int, end: int) -> float:
        self.blocks += 1
        return float(self._number[0])

    def arrays(self) -> dict[str, np.ndarray]:
        return {"number": self._number}

    def state(self) -> dict[str, np.ndarray]:
        return {"blocks": np.array([self.blocks])}

    def restore(self, arrays: dict[str, np.ndarray], state: dict[str, np.ndarray]) -> None:
        self._number, self.blocks = arrays["number"], int(state["blocks"][0])


@pytest.mark.parametrize(("members", "threads", "given"), [(3, 2, [1, 1, 2]), (2, 4, [2, 2]), (3, 1, [1, 1, 1]), (2, 5, [2, 2])])
def test_threads_are_shared_by_those_that_train_at_the_same_time(members: int, threads: int, given: list[int]) -> None:
    made: dict[int, CountingTrainer] = {}

    def make(number: int, own: int) -> Trainer:
        return made.setdefault(number, CountingTrainer(number, own))

    arrays = run_epochs(EnsembleTrainer(make, members, threads), 2, FitContext(device="cpu"), None)
    assert [made[number].threads for number in range(members)] == given
    assert [member["number"][0] for member in apart(arrays)] == list(range(members))
    assert {trainer.blocks for trainer in made.values()} == {1}


def test_one_network_keeps_its_names() -> None:
    arrays = {"item_table": np.zeros((N_ITEMS, 3), np.float32)}
    assert together([arrays]) == arrays
    assert apart(arrays) == [arrays]


def test_a_dozen_members_stay_in_order() -> None:
    arrays = together([{"item_bias": np.full(1, number)} for number in range(12)])
    assert [member["item_bias"][0] for member in apart(arrays)] == list(range(12))


def test_seeds_of_members_are_never_those_of_another_run() -> None:
    seeds = {seed_of(seed, member) for seed in range(50) for member in range(8)}
    assert len(seeds) == 400
    assert [seed_of(seed, 0) for seed in range(50)] == list(range(50))


def test_data_without_sessions_is_told_as_for_one_network() -> None:
    from recsys.errors import DataError

    empty = FitData(Sessions.from_lists([]), fit_data().items)
    with pytest.raises(DataError, match="no training session"):
        GRU4Rec(small(members=2)).fit(empty, FitContext(device="cpu"))
