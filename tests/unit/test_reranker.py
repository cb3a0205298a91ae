"""The re-ranker: trees that correct a blend's order, and learn from the past alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.models.blend import Blend
from recsys.models.interface import FitContext
from recsys.models.item_facts import ItemFacts
from recsys.models.registry import load_model
from recsys.models.reranker import Reranker
from recsys.models.scores import prefixes
from recsys.sessions.table import Sessions
from recsys.threads import allow
from tests.unit.test_baselines import fit_data
from tests.unit.test_blend import (
    N_ITEMS,
    POSITIONS,
    VALID,
    assert_answers_agree,
    assert_stages_are_of_the_past,
    assert_the_future_teaches_nothing,
    combined,
    data_with,
    fitted,
    member,
    random_sessions,
    save,
    started,
)

QUERIES = prefixes(VALID, POSITIONS, slice(None))
CATEGORIES = np.array([0, 0, 1, 1, 2, -1, 2, 0, -1, 1, 2, 0], np.int32)


@pytest.fixture(scope="module")
def reranker() -> Reranker:
    return fitted("reranker")


@pytest.fixture(scope="module")
def blend() -> Blend:
    return fitted("blend")


def text(model: Reranker) -> list[str | None]:
    return [trees and trees.model_to_string() for trees in model.trees_]


def test_a_stage_is_what_the_sessions_before_it_teach() -> None:
    assert_stages_are_of_the_past("reranker")


def test_the_future_teaches_nothing() -> None:
    assert_the_future_teaches_nothing("reranker", times=VALID.starts[[8, 24]])


def test_facts_are_of_the_training_sessions_alone(reranker: Reranker) -> None:
    expected = ItemFacts.of(data_with().train, N_ITEMS, reranker.parameters.recent, reranker.parameters.least_clicks)
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(vars(reranker.facts_)[name], array)
    other = fitted("reranker", started(random_sessions(30, seed=9), range(30)))
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(vars(other.facts_)[name], array)


def test_trees_correct_the_order_of_the_blend(reranker: Reranker, blend: Blend) -> None:
    served, blended = (model.recommend(QUERIES, N_ITEMS)[0] for model in (reranker, blend))
    assert not np.array_equal(served, blended)
    np.testing.assert_array_equal(np.sort(served), np.sort(blended))  # the same items, in another order


def test_trees_learn_what_the_members_cannot_say() -> None:
    # The next click is the first one again, which neither member puts first.
    rows = [[start % 4, 4 + start % 3, start % 4] for start in range(60)]
    data = replace(fit_data([[first, second] for first, second, _ in rows] + [[7, 7]] * 90, 8), valid=started(rows, range(60)))
    members = [member("popularity"), member("item_to_item")]
    found = {}
    for family in ("blend", "reranker"):
        model = combined(family, members, candidates=8, **({"rounds": 30} if family == "reranker" else {})).fit(data)
        asked = replace(prefixes(data.valid, data.valid.targets(), slice(1, None, 2)), starts=None)
        found[family] = float((model.recommend(asked, 1)[0][:, 0] == [row[0] for row in rows]).mean())
    assert found["reranker"] == 1
    assert found["blend"] < 0.5


@pytest.mark.parametrize("exclude", [False, True], ids=["keep", "exclude"])
def test_scores_lists_and_ranks_agree(reranker: Reranker, exclude: bool) -> None:
    assert_answers_agree(reranker, exclude)


@pytest.mark.parametrize("exclude", [False, True], ids=["keep", "exclude"])
def test_only_the_blends_best_are_listed(exclude: bool, blend: Blend) -> None:
    model = fitted("reranker", depth=2)
    assert_answers_agree(model, exclude)
    left_out = QUERIES if exclude else None
    items, scores = model.recommend(QUERIES, 5, exclude=left_out)
    assert (items[:, 2:] == -1).all()
    assert np.isneginf(scores[:, 2:]).all()
    np.testing.assert_array_equal(np.sort(items[:, :2]), np.sort(blend.recommend(QUERIES, 2, exclude=left_out)[0]))


def test_what_the_trees_cannot_tell_apart_stays_in_the_blends_order(blend: Blend) -> None:
    model = fitted("reranker", least_in_leaf=10_000)  # no leaf is so large: the trees say nothing
    assert [trees is None for trees in model.trees_] == [True, False, False, False, False]
    assert not any(trees.predict(np.zeros((1, trees.num_feature()))).any() for trees in model.trees_[1:])
    np.testing.assert_array_equal(model.recommend(QUERIES, N_ITEMS)[0], blend.recommend(QUERIES, N_ITEMS)[0])


def test_a_stage_without_anything_to_learn_from_is_the_blends() -> None:
    once = replace(VALID, starts=np.zeros(len(VALID), np.int64))
    model, blend = fitted("reranker", once), fitted("blend", once)
    assert [trees is None for trees in model.trees_] == [True, True, False]
    for since, same in zip(model.since_, (True, True, False), strict=True):
        asked = replace(QUERIES, starts=np.full(len(QUERIES), since))
        for ours, theirs in zip(model.recommend(asked, 5), blend.recommend(asked, 5), strict=True):
            assert np.array_equal(ours, theirs) == same


@pytest.fixture
def two_threads():
    allow(2)
    yield
    allow(1)


def test_it_is_the_same_again_and_another_with_another_seed(reranker: Reranker) -> None:
    assert text(fitted("reranker")) == text(reranker)
    assert text(combined("reranker", seed=1).fit(data_with())) != text(reranker)


def test_threads_change_nothing(reranker: Reranker, two_threads: None) -> None:
    other = fitted("reranker")
    ours, theirs = ([trees and trees.dump_model()["tree_info"] for trees in model.trees_] for model in (other, reranker))
    assert ours == theirs
    np.testing.assert_array_equal(other.score_all(QUERIES), reranker.score_all(QUERIES))


def test_an_altered_tree_is_refused(reranker: Reranker, tmp_path: Path) -> None:
    folder = save(reranker, tmp_path / "model")
    assert {path.name for path in folder.glob("trees-*.txt")} == {f"trees-{stage}.txt" for stage in range(1, 5)}
    (folder / "trees-3.txt").write_text("tree")
    with pytest.raises(Exception, match=r"trees-3.txt was altered"):
        load_model(folder)


@pytest.mark.parametrize("before", [None, CATEGORIES], ids=["unknown", "known"])
@pytest.mark.parametrize("after", [None, CATEGORIES], ids=["unknown", "known"])
def test_the_last_trees_are_taken_over_by_a_refit(before: np.ndarray | None, after: np.ndarray | None, tmp_path: Path) -> None:
    learned = combined("reranker").fit(replace(data_with(), categories=before))
    folder = save(learned, tmp_path / "learned")
    longer = fit_data(random_sessions(120, seed=4), N_ITEMS, starts=range(120))
    model = combined("reranker").fit(replace(longer, categories=after), FitContext(learned=folder))
    assert text(model) == text(learned)[-1:]
    np.testing.assert_array_equal(model.weights_[0], learned.weights_[-1])
    np.testing.assert_array_equal(model.facts_.clicks, ItemFacts.of(longer.train, N_ITEMS, 0.1, 10).clicks)
    np.testing.assert_array_equal(model.facts_.categories, CATEGORIES if after is not None else np.full(N_ITEMS, -1))
    again = load_model(save(model, tmp_path / "again"))
    np.testing.assert_array_equal(again.score_all(QUERIES), model.score_all(QUERIES))
    assert np.isfinite(model.recommend(Sessions.from_lists([[], [1]]), 5)[1]).all()
