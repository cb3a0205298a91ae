"""Models over models: what they learn from, what they answer, and that nothing of the future reaches them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.errors import DataError
from recsys.models.blend import Blend
from recsys.models.combined import Combined
from recsys.models.interface import FitContext, FitData
from recsys.models.registry import load_model, model_class
from recsys.models.reranker import Reranker
from recsys.models.scores import EXCLUDED
from recsys.sessions.table import Sessions
from recsys.settings.blend import Member
from recsys.threads import allow

ITEMS = 12
HOUR = 3_600_000
MEMBERS = [
    Member(name="follow", run="follow", model="item_to_item", seed=0, parameters={"last_items": 2}),
    Member(name="popular", run="popular", model="popularity", seed=0, parameters={}),
]
KINDS = [Blend, Reranker]


def walks(number: int, seed: int, step: int = 1) -> list[list[int]]:
    """Sessions that walk round the items, mostly by `step`."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        item, session = int(random.integers(ITEMS)), []
        for _ in range(int(random.integers(2, 7))):
            session.append(item)
            item = int((item + step) % ITEMS) if random.random() < 0.8 else int(random.integers(ITEMS))
        found.append(session)
    return found


def table(sessions: list[list[int]], begin: int) -> Sessions:
    own = Sessions.from_lists(sessions)
    return Sessions(own.items, own.offsets, starts=begin + HOUR * np.arange(len(sessions), dtype=np.int64))


def fit_data(valid: list[list[int]] | None, train_seed: int = 1) -> FitData:
    train = table(walks(150, train_seed), 0)
    index = np.arange(ITEMS)
    items = pl.DataFrame({"index": index, "item_id": index, "support": np.bincount(train.items, minlength=ITEMS)})
    return FitData(train, items, None if valid is None else table(valid, 1_000 * HOUR))


def make(kind: type[Combined], seed: int = 1, **parameters: object) -> Combined:
    own = {"combines": MEMBERS, "candidates": 8} | ({"rounds": 5, "least_in_leaf": 3, "depth": 8} if kind is Reranker else {})
    return kind(kind.parameters_class(**own | parameters), seed=seed)


VALID = walks(80, seed=2)


@pytest.fixture(scope="module", params=KINDS)
def fitted(request: pytest.FixtureRequest) -> Combined:
    return make(request.param).fit(fit_data(VALID))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_later_changes_how_a_session_is_ordered(kind: type[Combined]) -> None:
    model, held_out = make(kind).fit(fit_data(VALID)), table(VALID, 1_000 * HOUR)
    positions = held_out.targets()
    starts = held_out.starts[positions.session]
    items, scores = model.top_positions(held_out, positions, 8)
    assert len(model.since_) == 5
    for stage, since in enumerate(model.since_[1:-1], start=1):
        # Whatever starts from then on is another world: other sessions, walking the other way.
        begin = int(np.searchsorted(held_out.starts, since))
        changed = VALID[:begin] + walks(len(VALID) - begin, seed=7, step=-1)
        other = relearned(model, changed)
        before = starts < since
        got_items, got_scores = other.top_positions(held_out, positions, 8)
        np.testing.assert_array_equal(got_items[before], items[before])
        np.testing.assert_array_equal(got_scores[before], scores[before])
        if stage < 3:
            assert not np.array_equal(got_scores[~before], scores[~before])  # the change is one that is learned


def relearned(model: Combined, valid: list[list[int]]) -> Combined:
    """The model, with the same stages learned from other validation sessions."""
    again = make(type(model))
    again.n_items_, again.members_ = model.n_items_, model.members_
    again.describe(fit_data(None))
    again.learn_stages(table(valid, 1_000 * HOUR), model.since_)
    return again


@pytest.mark.parametrize("kind", KINDS)
def test_stages_are_those_of_the_sessions_before_them(kind: type[Combined]) -> None:
    model = make(kind).fit(fit_data(VALID))
    again = relearned(model, VALID)
    queries = Sessions.from_lists([[0], [3, 4], [5, 6, 7]])
    for start in (0, *model.since_[1:].tolist()):
        told = Sessions(queries.items, queries.offsets, starts=np.full(3, start, np.int64))
        for found, expected in zip(again.recommend(told, 5), model.recommend(told, 5), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_session_without_a_start_is_ordered_by_all_of_validation(fitted: Combined) -> None:
    queries = Sessions.from_lists([[0], [3, 4]])
    late = Sessions(queries.items, queries.offsets, starts=np.full(2, fitted.since_[-1], np.int64))
    early = Sessions(queries.items, queries.offsets, starts=np.zeros(2, np.int64))
    np.testing.assert_array_equal(fitted.recommend(queries, 5)[1], fitted.recommend(late, 5)[1])
    assert not np.array_equal(fitted.recommend(queries, 5)[1], fitted.recommend(early, 5)[1])


def test_every_way_of_asking_gives_the_same_answer(fitted: Combined) -> None:
    held_out = table(walks(20, seed=5), 5_000 * HOUR)
    positions = held_out.targets()
    items, scores = fitted.top_positions(held_out, positions, 6)
    ranks, lists = fitted.rank_positions(held_out, positions, 6)
    np.testing.assert_array_equal(lists, items)
    for row in range(len(positions)):
        query = held_out.items[held_out.offsets[positions.session[row]] : positions.click[row]]
        one = Sessions.from_lists([query])
        own_items, own_scores = fitted.recommend(one, 6)
        np.testing.assert_array_equal(own_items[0], items[row])
        np.testing.assert_allclose(own_scores[0], scores[row], rtol=1e-6)
        every = fitted.score_all(one)[0]
        target = every[positions.target[row]]
        assert ranks[row] == (EXCLUDED if np.isneginf(target) else np.count_nonzero(every >= target))


def test_clicked_items_are_left_out_when_asked(fitted: Combined) -> None:
    held_out = table([[0, 1, 2, 0]], 5_000 * HOUR)
    positions = held_out.targets()
    ranks, lists = fitted.rank_positions(held_out, positions, 5, exclude_clicked=True)
    assert ranks[2] == EXCLUDED
    assert not set(lists[2].tolist()) & {0, 1, 2}
    query = Sessions.from_lists([[0, 1, 2]])
    assert not set(fitted.recommend(query, 5, exclude=query)[0][0].tolist()) & {0, 1, 2}


def test_nothing_to_answer_and_nothing_left_are_answered(fitted: Combined) -> None:
    assert fitted.recommend(Sessions.from_lists([]), 3)[0].shape == (0, 3)
    every = Sessions.from_lists([list(range(ITEMS))])
    items, scores = fitted.recommend(every, 3, exclude=every)
    assert (items == -1).all()
    assert np.isneginf(scores).all()
    assert fitted.recommend(Sessions.from_lists([[]]), 3)[0].shape == (1, 3)


def test_model_is_read_back_as_it_was(fitted: Combined, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    read = load_model(tmp_path)
    assert list(read.members_) == ["follow", "popular"]
    held_out = table(VALID, 1_000 * HOUR)
    for found, expected in zip(
        read.rank_positions(held_out, held_out.targets(), 4), fitted.rank_positions(held_out, held_out.targets(), 4), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_refit_takes_over_what_validation_taught(kind: type[Combined], tmp_path: Path) -> None:
    first = make(kind).fit(fit_data(VALID))
    (tmp_path / "first").mkdir()
    first.save(tmp_path / "first")
    again = make(kind).fit(fit_data(None), FitContext(learned=tmp_path / "first"))
    queries = Sessions.from_lists([[0], [3, 4]])
    for found, expected in zip(again.recommend(queries, 5), first.recommend(queries, 5), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(again.since_) == 1
    with pytest.raises(DataError, match="neither validation sessions nor the model that learned on them"):
        make(kind).fit(fit_data(None))


def test_fitted_members_are_taken_as_they_are(tmp_path: Path) -> None:
    data, folders = fit_data(VALID), {}
    for member in MEMBERS:
        own = model_class(member.model)
        folders[member.name] = tmp_path / member.name
        folders[member.name].mkdir()
        own(own.parameters_class(**member.parameters)).fit(fit_data(None, train_seed=9)).save(folders[member.name])
    model = make(Blend).fit(data, FitContext(members=folders))
    query = Sessions.from_lists([[3]])
    expected = load_model(folders["follow"]).score_all(query)
    np.testing.assert_array_equal(model.members_["follow"].score_all(query), expected)
    with pytest.raises(DataError, match="not the member follow"):
        make(Blend).fit(data, FitContext(members=folders | {"follow": folders["popular"]}))


def test_a_member_of_other_parameters_is_refused(tmp_path: Path) -> None:
    data = fit_data(VALID)
    member = next(member for member in MEMBERS if member.name == "follow")
    own = model_class(member.model)
    other = own.parameters_class(**member.parameters | {"direction": "both"})
    assert other != own.parameters_class(**member.parameters)
    own(other).fit(data).save(tmp_path)
    with pytest.raises(DataError, match="other parameters than the member follow"):
        make(Blend).fit(data, FitContext(members={"follow": tmp_path}))


def test_validation_must_say_when_sessions_start_and_hold_predictions() -> None:
    data = fit_data(VALID)
    without = FitData(data.train, data.items, Sessions(data.valid.items, data.valid.offsets))
    with pytest.raises(DataError, match="column `start`"):
        make(Blend).fit(without)
    with pytest.raises(DataError, match="no validation session with two clicks"):
        make(Blend).fit(FitData(data.train, data.items, table([[1]], 0)))


@pytest.mark.parametrize("method", ["reciprocal_rank", "scores", "stacking"])
def test_the_better_member_weighs_more(method: str) -> None:
    model = make(Blend, method=method, by_length=False).fit(fit_data(VALID))
    held_out = table(walks(40, seed=3), 5_000 * HOUR)
    hits = {name: (member.rank_positions(held_out, held_out.targets())[0] <= 3).mean() for name, member in model.members_.items()}
    blended = (model.rank_positions(held_out, held_out.targets())[0] <= 3).mean()
    assert hits["follow"] > hits["popular"] + 0.2
    assert blended > hits["follow"] - 0.05


def test_before_anything_is_learned_ranks_are_fused_as_they_are() -> None:
    model = make(Blend, method="reciprocal_rank", rank_constant=5.0).fit(fit_data(VALID))
    query = Sessions.from_lists([[3, 4]])
    early = Sessions(query.items, query.offsets, starts=np.zeros(1, np.int64))
    items, scores = model.recommend(early, ITEMS)
    places = {
        name: {int(item): rank for rank, item in enumerate(member.recommend(query, 8)[0][0], start=1)}
        for name, member in model.members_.items()
    }
    for item, score in zip(items[0], scores[0], strict=True):
        if item >= 0:
            assert score == pytest.approx(sum(5 / (5 + own[item]) for own in places.values() if item in own), rel=1e-5)


def test_trees_are_the_same_for_a_seed_and_any_threads() -> None:
    queries = Sessions.from_lists([[0], [3, 4], [5, 6, 7]])
    answers = []
    for threads in (1, 2):
        allow(threads)
        answers.append(make(Reranker, seed=4).fit(fit_data(VALID)).recommend(queries, 8)[1])
    allow(1)
    np.testing.assert_array_equal(answers[0], answers[1])


def test_a_reranker_lists_the_blends_best_only() -> None:
    model = make(Reranker, depth=3).fit(fit_data(VALID))
    items, _ = model.recommend(Sessions.from_lists([[0, 1]]), 6)
    assert (items[0] >= 0).sum() == 3
    best = super(Reranker, model).combine(len(model.since_) - 1, *_asked(model))
    order = np.argsort(-best, kind="stable")[:3]
    assert set(items[0, :3].tolist()) == set(_asked(model)[1].items[order].tolist())


def _asked(model: Combined) -> tuple:
    from recsys.models.candidates import Candidates

    query = Sessions.from_lists([[0, 1]])
    lists = [member.recommend(query, 8) for member in model.members_.values()]
    return query, Candidates.union(lists, ITEMS)
