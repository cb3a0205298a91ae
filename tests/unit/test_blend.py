"""The blend: what its members say, weighed by what was learned on validation, and by nothing that came later."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from recsys.errors import ConfigurationError, DataError, PackageError, RecsysError
from recsys.evaluation.ranking import refuse_collapsed
from recsys.models.blend import Blend, said
from recsys.models.candidates import Candidates
from recsys.models.combined import Combined
from recsys.models.interface import FitContext, FitData, Model
from recsys.models.registry import load_model, model_class
from recsys.models.scores import EXCLUDED, prefixes
from recsys.sessions.table import Positions, Sessions
from recsys.settings.blend import Member
from tests.unit.test_baselines import fit_data

N_ITEMS, HOUR = 12, 3_600_000
METHODS = ("stacking", "scores", "reciprocal_rank")
each_method = pytest.mark.parametrize("method", METHODS)


def random_sessions(number: int, seed: int) -> list[list[int]]:
    """Walks that mostly go on to one of the next items, from a popular item."""
    random = np.random.default_rng(seed)
    sessions = []
    for length in random.integers(2, 8, number):
        steps = random.choice([0, 1, 1, 2, 5], length - 1)
        sessions.append(((int(N_ITEMS * random.random() ** 2) + np.concatenate([[0], np.cumsum(steps)])) % N_ITEMS).tolist())
    return sessions


def started(sessions: list[list[int]], starts: object) -> Sessions:
    return replace(Sessions.from_lists(sessions), starts=np.asarray(starts, np.int64))


VALID = started(random_sessions(48, seed=2), 1000 * HOUR + HOUR * np.repeat(np.arange(24), 2))  # two sessions start at a time
POSITIONS = VALID.targets()


def data_with(valid: Sessions | None = VALID) -> FitData:
    return replace(fit_data(random_sessions(80, seed=1), N_ITEMS, starts=range(0, 80 * HOUR, HOUR)), valid=valid)


def member(family: str, **parameters: object) -> Member:
    own = model_class(family).parameters_class.model_validate(parameters)
    return Member(name=family, run=family, model=family, seed=0, parameters=own.model_dump(mode="json"))


MEMBERS = [member("session_knn"), member("item_to_item"), member("popularity")]


def combined(family: str = "blend", members: list[Member] = MEMBERS, seed: int = 0, **parameters: object) -> Combined:
    kind = model_class(family)
    small = {"candidates": 5, "penalty": 0.5} | ({"rounds": 4, "leaves": 4, "least_in_leaf": 2} if family == "reranker" else {})
    return kind(kind.parameters_class(**small | parameters, combines=members), seed=seed)


def fitted(family: str = "blend", valid: Sessions = VALID, **parameters: object) -> Combined:
    return combined(family, **parameters).fit(data_with(valid))


@pytest.fixture(scope="module")
def blend() -> Blend:
    return fitted()


# --- What the members say --------------------------------------------------------------------------------------------


def two_lists() -> Candidates:
    """Items 0, 1 and 2; the first member lists 2 and 0, the second all three."""
    first = np.array([[2, 0]], np.int32), np.array([[4, 1]], np.float32)
    second = np.array([[0, 1, 2]], np.int32), np.array([[-1, -2, -5]], np.float32)
    return Candidates.union([first, second], 3)


def test_reciprocal_ranks_are_of_the_constant_and_0_where_not_listed() -> None:
    found = said(two_lists(), "reciprocal_rank", rank_constant=3)
    np.testing.assert_allclose(found, [[3 / 5, 3 / 4], [0, 3 / 5], [3 / 4, 3 / 6]], rtol=1e-6)


def test_scores_are_below_the_best_and_shares_of_the_range() -> None:
    found = said(two_lists(), "scores", rank_constant=3)
    least = np.log(0.01)
    expected = [[-3, least, 0, 0], [-3, least, -1, np.log(3 / 4)], [0, 0, -4, least]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_stacking_has_both_of_each_member() -> None:
    stacked, ranks, scores = (said(two_lists(), method, 3) for method in METHODS[:1] + METHODS[2:] + METHODS[1:2])
    np.testing.assert_array_equal(stacked[:, [0, 3]], ranks)
    np.testing.assert_array_equal(stacked[:, [1, 2, 4, 5]], scores)


@each_method
def test_queries_without_a_candidate_say_nothing(method: str) -> None:
    none, some = (two_lists().of(np.array([chosen])) for chosen in (False, True))
    nothing = Candidates.union([(np.full((1, 2), -1, np.int32), np.full((1, 2), -np.inf, np.float32))] * 2, 3)
    width = said(some, method, 3).shape[1]
    for empty in (none, nothing):
        assert said(empty, method, 3).shape == (0, width)
    between = Candidates.concatenate([nothing, some, nothing])
    np.testing.assert_array_equal(said(between, method, 3), said(some, method, 3))


# --- What is learned -------------------------------------------------------------------------------------------------


@each_method
def test_before_anything_is_learned_members_weigh_alike(method: str) -> None:
    model = fitted(method=method)
    early = replace(VALID, starts=np.zeros(len(VALID), np.int64))
    queries = prefixes(early, POSITIONS, slice(0, 9))
    lists = [one.recommend(queries, 5) for one in model.members_.values()]
    union = Candidates.union(lists, N_ITEMS)
    features = said(union, "reciprocal_rank" if method == "stacking" else method, 5.0)
    of_each = features if method != "scores" else features[:, 1::2]
    expected = np.full((9, N_ITEMS), -np.inf)
    expected[union.queries, union.items] = of_each.sum(1)
    np.testing.assert_allclose(model.score_all(queries), expected, rtol=1e-6)


@each_method
def test_a_member_that_knows_outweighs_one_that_does_not(method: str) -> None:
    # After each item comes the next one; item-to-item knows, and popularity lists the same items whatever the session.
    walks = [[start % 6, (start + 1) % 6] for start in range(60)]
    data = replace(fit_data(walks, 6), valid=started(walks, range(60)))
    model = combined(members=[member("popularity"), member("item_to_item")], candidates=3, method=method).fit(data)
    width = model.weights_[-1].shape[1] // 2
    popular, knows = model.weights_[-1][0, :width], model.weights_[-1][0, width:]
    assert knows.max() > popular.max()
    assert model.recommend(Sessions.from_lists([[0], [3], [5]]), 1)[0].tolist() == [[1], [4], [0]]


def test_weights_may_depend_on_the_sessions_length() -> None:
    # Sessions of one click go on to the next item, longer ones go on to item 5, the most popular.
    rows = [[start % 5, (start + 1) % 5] for start in range(40)] + [[start % 5, start % 5, 5, 5, 5] for start in range(40)]
    data = replace(fit_data(rows, 6), valid=started([row[:3] for row in rows], range(80)))
    members = [member("popularity"), member("item_to_item", reach=1)]
    by_length, alike = (combined(members=members, by_length=chosen, method="reciprocal_rank").fit(data) for chosen in (True, False))
    assert (alike.weights_[-1] == alike.weights_[-1][0]).all()
    one, two, three, *others = by_length.weights_[-1]
    assert one[1] - one[0] > two[1] - two[0]
    assert all((unseen == three).all() for unseen in others)  # no session was so long: what all lengths share
    # An empty session weighs as one of a single click.
    assert np.isfinite(by_length.recommend(Sessions.from_lists([[]]), 1)[1]).all()


def test_stages_begin_at_an_eighth_a_quarter_and_half_of_the_predictions(blend: Blend) -> None:
    starts = VALID.starts[POSITIONS.session]
    bounds = [starts[int(share * len(starts))] for share in (1 / 8, 1 / 4, 1 / 2)]
    assert blend.since_.tolist() == [np.iinfo(np.int64).min, *bounds, starts[-1] + 1]
    assert len(blend.weights_) == 5


@each_method
def test_a_stage_is_what_the_sessions_before_it_teach(method: str) -> None:
    assert_stages_are_of_the_past("blend", method=method)


def assert_stages_are_of_the_past(family: str, **parameters: object) -> None:
    """Drop every session that starts when a stage begins or later, and learn from the others: what is served is what that stage was."""
    whole = fitted(family, **parameters)
    queries = prefixes(VALID, POSITIONS, slice(None))
    for since in whole.since_[1:]:
        earlier = VALID.of(VALID.starts < since)
        assert len(earlier) < len(VALID) or since == whole.since_[-1]
        alone = fitted(family, earlier, **parameters)
        served = alone.score_all(replace(queries, starts=None))
        np.testing.assert_array_equal(served, alone.score_all(replace(queries, starts=np.full(len(queries), alone.since_[-1]))))
        np.testing.assert_array_equal(whole.score_all(replace(queries, starts=np.full(len(queries), since))), served)
    differ = [not np.array_equal(*pair) for pair in pairwise(stage_scores(whole, queries))]
    assert all(differ), "stages that say the same would pass whatever they learned from"


def stage_scores(model: Combined, queries: Sessions) -> list[np.ndarray]:
    return [model.score_all(replace(queries, starts=np.full(len(queries), since))) for since in model.since_]


def assert_the_future_teaches_nothing(family: str, times: np.ndarray | None = None, **parameters: object) -> None:
    """Other items in every session from a time on: sessions before the last stage that had begun by then are scored as before, bit by bit.

    Times are those when a stage begins, and others, where they are not given.
    """
    whole = fitted(family, **parameters)
    before = whole.top_positions(VALID, POSITIONS, 8)
    for time in times if times is not None else (*whole.since_[1:-1], VALID.starts[11], VALID.starts[40]):
        later = np.repeat(VALID.starts >= time, VALID.lengths)
        assert later.any()
        changed = replace(VALID, items=np.where(later, (5 * VALID.items + 7) % N_ITEMS, VALID.items).astype(np.int32))
        other = fitted(family, changed, **parameters)
        np.testing.assert_array_equal(other.since_, whole.since_)
        # What was learned from sessions before `time` alone orders those that start before the first stage that begins after it.
        following = whole.since_[np.searchsorted(whole.since_, time, side="right")]
        kept = VALID.starts[POSITIONS.session] < following
        after = other.top_positions(VALID, POSITIONS, 8)
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(new[kept], old[kept])
        # And what the future says is heard where it is the past.
        assert not np.array_equal(other.score_all(replace(VALID, starts=None)), whole.score_all(replace(VALID, starts=None)))


@each_method
def test_the_future_teaches_nothing(method: str) -> None:
    assert_the_future_teaches_nothing("blend", method=method)


def test_what_is_served_is_the_last_stage(blend: Blend) -> None:
    queries = prefixes(VALID, POSITIONS, slice(0, 20))
    served = blend.score_all(replace(queries, starts=None))
    np.testing.assert_array_equal(served, blend.score_all(replace(queries, starts=np.full(20, VALID.starts[-1] + 1))))
    assert not np.array_equal(served, blend.score_all(queries))


def test_a_session_is_ordered_by_the_stage_of_its_start_whatever_stands_beside_it(blend: Blend) -> None:
    queries = prefixes(VALID, POSITIONS, slice(None))
    together = blend.score_all(queries)
    for row in range(0, len(queries), 17):
        alone = np.arange(len(queries)) == row
        np.testing.assert_array_equal(blend.score_all(queries.of(alone))[0], together[row])


def test_the_order_of_the_validation_sessions_does_not_matter(blend: Blend) -> None:
    order = np.random.default_rng(0).permutation(len(VALID))
    shuffled = fitted(valid=started([VALID[row].tolist() for row in order], VALID.starts[order]))
    np.testing.assert_array_equal(shuffled.since_, blend.since_)
    for ours, theirs in zip(shuffled.weights_, blend.weights_, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-2, atol=1e-3)


def test_sessions_that_start_at_once_teach_only_what_is_served() -> None:
    model = fitted(valid=replace(VALID, starts=np.full(len(VALID), HOUR)))
    assert model.since_.tolist() == [np.iinfo(np.int64).min, HOUR, HOUR + 1]
    unlearned, same, learned = model.weights_
    assert (unlearned == same).all()
    assert not (same == learned).all()


def test_targets_that_no_member_lists_leave_the_members_alike() -> None:
    # Popularity lists item 0 alone, and never is it the next.
    data = replace(fit_data([[0, 0], [0, 0], [0, 1]], 3), valid=started([[0, 2], [1, 2]], [0, 1]))
    model = combined(members=twins(), candidates=1).fit(data)
    assert all((weights == model.weights_[0]).all() for weights in model.weights_)
    ranks, lists = model.rank_positions(data.valid, data.valid.targets(), 3)
    assert ranks.tolist() == [EXCLUDED] * 2
    assert lists.tolist() == [[0, -1, -1]] * 2


def twins() -> list[Member]:
    return [member("popularity"), member("popularity").model_copy(update={"name": "again", "run": "again"})]


# --- What it answers -------------------------------------------------------------------------------------------------


def assert_answers_agree(model: Combined, exclude: bool) -> None:
    """Scores, lists and ranks, each made in another way, against counting."""
    queries = prefixes(VALID, POSITIONS, slice(None))
    left_out = queries if exclude else None
    items, found = model.recommend(queries, N_ITEMS, exclude=left_out)
    assert (items.dtype, found.dtype) == (np.int32, np.float32)
    top, best = model.top_positions(VALID, POSITIONS, N_ITEMS, exclude)
    np.testing.assert_array_equal(top, items)
    np.testing.assert_array_equal(best, found)
    np.testing.assert_array_equal(model.recommend(queries, 3, exclude=left_out)[0], items[:, :3])
    scores = np.full((len(queries), N_ITEMS), -np.inf, np.float32)
    rows, places = np.nonzero(items >= 0)
    scores[rows, items[rows, places]] = found[rows, places]
    if not exclude:
        np.testing.assert_array_equal(model.score_all(queries), scores)
    expected = [
        int((row >= row[target]).sum()) if row[target] > -np.inf else EXCLUDED for row, target in zip(scores, POSITIONS.target, strict=True)
    ]
    ranks, lists = model.rank_positions(VALID, POSITIONS, 4, exclude)
    assert ranks.tolist() == expected
    np.testing.assert_array_equal(lists, items[:, :4])
    for row in range(len(queries)):
        listed = items[row][items[row] >= 0]
        assert len(set(listed)) == len(listed)
        assert not exclude or not set(listed) & set(queries[row])
        order = np.lexsort((listed, -found[row][: len(listed)]))
        assert order.tolist() == list(range(len(listed)))


@pytest.mark.parametrize("exclude", [False, True], ids=["keep", "exclude"])
@each_method
def test_scores_lists_and_ranks_agree(method: str, exclude: bool) -> None:
    model = fitted(method=method)
    assert_answers_agree(model, exclude)
    refuse_collapsed(model, VALID, POSITIONS)


def test_ties_count_against_the_target() -> None:
    # Twins agree, and items that are clicked alike tie.
    data = replace(fit_data([[0, 1], [2, 0]], 3), valid=started([[0, 1], [0, 2], [1, 0]], range(3)))
    model = combined(members=twins(), method="scores", candidates=3).fit(data)
    asked = replace(data.valid, starts=np.full(3, -1))  # before anything was learned: the most clicked item first
    ranks, lists = model.rank_positions(asked, asked.targets(), 3)
    assert ranks.tolist() == [3, 3, 1]
    assert lists.tolist() == [[0, 1, 2]] * 3


def test_only_the_items_to_choose_from_are_listed(blend: Blend) -> None:
    items, scores = blend.recommend(
        Sessions.from_lists([[3], [1, 2]]), 4, candidates=np.array([7, 2, 9]), exclude=Sessions.from_lists([[], [2]])
    )
    assert [set(row) for row in items.tolist()] == [{2, 7, 9, -1}, {7, 9, -1}]
    assert (np.isneginf(scores) == (items < 0)).all()


@pytest.mark.parametrize("family", ["blend", "reranker"])
@pytest.mark.parametrize("exclude", [False, True], ids=["keep", "exclude"])
def test_what_follows_behind_the_end_changes_nothing_before_it(family: str, exclude: bool) -> None:
    model = fitted(family, **({"depth": 2} if family == "reranker" else {}))
    queries = prefixes(VALID, POSITIONS, slice(None))
    left_out = queries if exclude else None
    own, found = model.recommend(queries, N_ITEMS, exclude=left_out)
    whole, scores = model.recommend_further(queries, N_ITEMS, left_out)
    listed = own >= 0
    assert not listed.all()
    np.testing.assert_array_equal(whole[listed], own[listed])
    np.testing.assert_array_equal(scores[listed], found[listed])
    for row in range(len(queries)):
        expected = set(range(N_ITEMS)) - (set(queries[row].tolist()) if exclude else set())
        assert set(whole[row][whole[row] >= 0].tolist()) == expected
    for k in (1, 4, 7):
        shorter, its_scores = model.recommend_further(queries, k, left_out)
        np.testing.assert_array_equal(shorter, whole[:, :k])
        np.testing.assert_array_equal(its_scores, scores[:, :k])
    chosen = np.array([1, 4, 5, 9])
    items, _ = model.recommend(queries, 3, chosen, left_out)
    for row in range(len(queries)):
        expected = [item for item in whole[row].tolist() if item in chosen][:3]
        assert items[row].tolist() == expected + [-1] * (3 - len(expected))


def test_lists_end_where_the_members_lists_end(blend: Blend) -> None:
    items, scores = blend.recommend(Sessions.from_lists([[3]]), N_ITEMS)
    listed = set().union(*(one.recommend(Sessions.from_lists([[3]]), 5)[0][0].tolist() for one in blend.members_.values()))
    assert 5 <= len(listed) < N_ITEMS
    assert items[0].tolist()[len(listed) :] == [-1] * (N_ITEMS - len(listed))
    assert np.isneginf(scores[0, len(listed) :]).all()
    for k in (0, N_ITEMS + 1):
        with pytest.raises(RecsysError, match=f"k is {k}, but must lie between 1 and the {N_ITEMS} items"):
            blend.recommend(Sessions.from_lists([[3]]), k)


@pytest.mark.parametrize("family", ["blend", "reranker"])
def test_there_may_be_nothing_to_list(family: str) -> None:
    model = fitted(family, candidates=50)  # more than there are items
    every = list(range(N_ITEMS))
    assert model.recommend(Sessions.from_lists([]), 3)[0].shape == (0, 3)
    items, scores = model.recommend(Sessions.from_lists([[1], [1], [2]]), 3, exclude=Sessions.from_lists([every, [], every]))
    assert (items >= 0).tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert np.isneginf(scores[[0, 2]]).all()
    assert (model.recommend(Sessions.from_lists([[1]]), 3, exclude=Sessions.from_lists([every]))[0] == -1).all()
    sessions = Sessions.from_lists([[*every, 4], [0, 1]])
    last = Positions(*(part[[N_ITEMS - 1]] for part in vars(sessions.targets()).values()))
    ranks, lists = model.rank_positions(sessions, last, 3, exclude_clicked=True)
    assert (ranks.tolist(), lists.tolist()) == ([EXCLUDED], [[-1] * 3])
    none = Positions(*(part[:0] for part in vars(sessions.targets()).values()))
    assert [part.shape for part in model.rank_positions(sessions, none, 3)] == [(0,), (0, 3)]
    assert [part.shape for part in model.top_positions(sessions, none, 3)] == [(0, 3), (0, 3)]
    assert (model.recommend(Sessions.from_lists([[], []]), N_ITEMS)[0] >= 0).all()


# --- Members, and what is kept ---------------------------------------------------------------------------------------


def save(model: Model, folder: Path) -> Path:
    folder.mkdir(parents=True)
    model.save(folder)
    return folder


@pytest.mark.parametrize("family", ["blend", "reranker"])
def test_it_is_read_back_as_it_was(family: str, tmp_path: Path) -> None:
    model = fitted(family)
    read = load_model(save(model, tmp_path / "model"))
    assert (type(read), read.parameters, read.seed, read.n_items_) == (type(model), model.parameters, model.seed, N_ITEMS)
    np.testing.assert_array_equal(read.since_, model.since_)
    queries = Sessions.from_lists([[0], [1, 0], [], [3, 4, 5, 6, 7, 8]])
    np.testing.assert_array_equal(read.score_all(queries), model.score_all(queries))
    for ours, theirs in zip(read.rank_positions(VALID, POSITIONS, 5), model.rank_positions(VALID, POSITIONS, 5), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_altered_member_is_refused(blend: Blend, tmp_path: Path) -> None:
    folder = save(blend, tmp_path / "model")
    own = folder / "members" / "popularity" / "model.safetensors"
    own.write_bytes(own.read_bytes()[:-1] + b"\xff")
    with pytest.raises(PackageError, match="popularity.* was altered"):
        load_model(folder)


def test_members_that_were_fitted_are_taken_as_they_are(tmp_path: Path) -> None:
    other = model_class("popularity")().fit(fit_data([[9, 9], [9, 8]], N_ITEMS))
    folders = {"popularity": save(other, tmp_path / "popularity")}
    model = combined().fit(data_with(), FitContext(members=folders))
    assert model.members_["popularity"].score_all(Sessions.from_lists([[0]]))[0, 9] == 3
    own = fitted().members_
    queries = Sessions.from_lists([[0, 1], [4]])
    for name in ("session_knn", "item_to_item"):
        np.testing.assert_array_equal(model.members_[name].score_all(queries), own[name].score_all(queries))
    for wrong in ("item_to_item", "session_knn"):
        with pytest.raises(DataError, match=f"holds a popularity with seed 0, not the member {wrong}"):
            combined().fit(data_with(), FitContext(members={wrong: folders["popularity"]}))


def test_members_do_not_see_validation(blend: Blend) -> None:
    alone = model_class("session_knn")().fit(data_with(None))
    queries = Sessions.from_lists([[0, 1], [4]])
    np.testing.assert_array_equal(blend.members_["session_knn"].score_all(queries), alone.score_all(queries))


def test_what_was_learned_is_taken_over_by_a_refit(blend: Blend, tmp_path: Path) -> None:
    learned = save(blend, tmp_path / "learned")
    longer = fit_data(random_sessions(120, seed=4), N_ITEMS, starts=range(0, 120 * HOUR, HOUR))
    model = combined().fit(longer, FitContext(learned=learned))
    assert len(model.weights_) == 1
    np.testing.assert_array_equal(model.weights_[0], blend.weights_[-1])
    queries = prefixes(VALID, POSITIONS, slice(0, 20))
    # The starts of what is asked no longer matter, and the members are the new log's.
    np.testing.assert_array_equal(model.score_all(queries), model.score_all(replace(queries, starts=None)))
    apart = {name: own.score_all(queries) for name, own in blend.members_.items()}
    assert not any(np.array_equal(own.score_all(queries), apart[name]) for name, own in model.members_.items())
    again = load_model(save(model, tmp_path / "again"))
    np.testing.assert_array_equal(again.score_all(queries), model.score_all(queries))


def test_members_that_a_refit_changes_may_have_other_parameters(blend: Blend, tmp_path: Path) -> None:
    changed = [member("session_knn", neighbours=20), *MEMBERS[1:]]
    model = combined(members=changed).fit(data_with(None), FitContext(learned=save(blend, tmp_path / "learned")))
    np.testing.assert_array_equal(model.weights_[0], blend.weights_[-1])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"members": MEMBERS[:2]}, r"learned with the members .*popularity"),
        ({"members": MEMBERS[::-1]}, "learned with the members"),
        ({"method": "scores"}, "learned with the method stacking, but this blend has scores"),
        ({"rank_constant": 1.0}, "rank_constant 5.0"),
    ],
)
def test_what_was_learned_otherwise_is_refused(changes: dict, told: str, blend: Blend, tmp_path: Path) -> None:
    learned = save(blend, tmp_path / "learned")
    with pytest.raises(DataError, match=told):
        combined(**changes).fit(data_with(None), FitContext(learned=learned))


def test_there_must_be_something_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither validation sessions nor the model that learned on them"):
        combined().fit(data_with(None))
    with pytest.raises(DataError, match=r"no validation session with two clicks .* lengthen split.valid"):
        combined().fit(data_with(started([[1]], [0])))
    with pytest.raises(DataError, match="when validation sessions start"):
        combined().fit(data_with(Sessions.from_lists([[1, 2]])))
    with pytest.raises(ConfigurationError, match=r"combines other models, but was given none; name them under runs.NAME.members"):
        combined(members=[]).fit(data_with())
    with pytest.raises(PackageError, match="popularity"):
        combined().fit(data_with(None), FitContext(learned=save(model_class("popularity")().fit(data_with(None)), tmp_path / "learned")))


# --- Predictions, some at a time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 4, 7, 1000])
def test_predictions_come_by_whole_sessions(most: int) -> None:
    every = replace(VALID, times=np.arange(len(VALID.items)))
    some = np.random.default_rng(0).random(len(POSITIONS)) < 0.6
    for positions in (POSITIONS, Positions(*(part[some] for part in vars(POSITIONS).values()))):
        done, longest = 0, 0
        for part, own, these in positions.at_once(every, most):
            assert part.start == done
            done = part.stop
            assert len(these) == done - part.start
            longest = max(longest, len(these))
            assert these.target.tolist() == positions.target[part].tolist() == own.items[these.click].tolist()
            expected, found = prefixes(every, positions, part), prefixes(own, these, slice(None))
            np.testing.assert_array_equal(found.items, expected.items)
            np.testing.assert_array_equal(found.offsets, expected.offsets)
            np.testing.assert_array_equal(found.starts, expected.starts)
            np.testing.assert_array_equal(own.times[these.click], every.times[positions.click[part]])
        assert done == len(positions)
        assert longest <= max(most, 6)  # sessions have seven clicks at most
    assert list(POSITIONS.at_once(Sessions.from_lists([]), most)) == []
