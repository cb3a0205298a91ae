from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ConfigurationError, RecsysError
from recsys.serving.recommender import Recommender
from recsys.serving.rules import ItemList, Rules, most_diverse
from recsys.sessions.table import Sessions
from recsys.settings.serving import RuleSettings
from tests.serving.conftest import N_ITEMS, Shop, integer_ids

V = 40
IDS = [100 + index for index in range(V)]


class Fixed:
    """Ranks the items by a seeded score, whatever the session; lists at most `deepest` of them."""

    def __init__(self, seed: int = 0, deepest: int = V) -> None:
        self.scores = np.random.default_rng(seed).permutation(V).astype(np.float32)
        self.deepest = deepest
        self.asked: list[int] = []

    def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(k)
        order = np.argsort(-self.scores)[:k]
        scores = self.scores[order].copy()
        scores[self.deepest :] = -np.inf
        return np.tile(order, (len(sessions), 1)), np.tile(scores, (len(sessions), 1))


def recommender(scorer: Fixed | None = None, categories: list | None = None) -> Recommender:
    items = pl.DataFrame({"item_id": IDS, "support": range(V, 0, -1)})
    if categories is not None:
        items = items.with_columns(pl.Series("category", categories, dtype=pl.String))
    return Recommender(scorer or Fixed(), items, "integer", 5)


def best(scorer: Fixed, allowed: set[int], k: int) -> list[int]:
    """The k best allowed ids, by hand."""
    return [IDS[index] for index in np.argsort(-scorer.scores) if IDS[index] in allowed][:k]


@given(excluded=st.sets(st.sampled_from([*IDS, 7])), k=st.integers(1, V), seed=st.integers(0, 5))
def test_excluded_items_leave_the_ranking_and_the_next_ones_move_up(excluded: set[int], k: int, seed: int) -> None:
    scorer = Fixed(seed)
    (answer,) = recommender(scorer).recommend([[100]], k, rules=Rules(exclude=tuple(excluded)))
    allowed = set(IDS) - excluded
    if allowed:
        assert answer["recommendations"] == best(scorer, allowed, k)
        assert answer["fallback"] is None
        assert answer["scores"] == sorted(answer["scores"], reverse=True)
    else:
        assert answer == {"recommendations": [], "scores": [], "fallback": "popular"}


@given(categories=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=V, max_size=V), asked=st.sets(st.sampled_from(["a", "b", "z"])))
def test_only_items_of_the_asked_categories_are_recommended(categories: list, asked: set[str]) -> None:
    scorer = Fixed()
    (answer,) = recommender(scorer, categories).recommend([[100]], 10, rules=Rules(categories=tuple(asked)))
    assert answer["recommendations"] == best(scorer, {item for item, own in zip(IDS, categories, strict=True) if own in asked}, 10)


@given(listed=st.sets(st.sampled_from(IDS), min_size=1), k=st.integers(1, 10))
def test_only_available_items_are_recommended_unless_all_are_asked_for(listed: set[int], k: int, tmp_path_factory) -> None:
    path = tmp_path_factory.getbasetemp() / "on-sale.txt"
    path.write_text("\n".join(map(str, [*listed, 3])))
    scorer = Fixed()
    kept = recommender(scorer)
    kept.keep_to(RuleSettings(available=str(path)))
    assert kept.available == len(listed)
    assert kept.recommend([[100]], k)[0]["recommendations"] == best(scorer, listed, k)
    assert kept.recommend([[100]], k, rules=Rules(available=False))[0]["recommendations"] == best(scorer, set(IDS), k)
    popular = kept.recommend([[]], k)[0]
    assert popular == {
        "recommendations": sorted(listed)[:k],
        "scores": [float(140 - item) for item in sorted(listed)[:k]],
        "fallback": "popular",
    }


def test_a_list_that_ends_early_is_not_asked_for_again_and_again() -> None:
    scorer = Fixed(deepest=6)
    listed = best(scorer, set(IDS), 6)
    rules = Rules(exclude=tuple(listed[:4]))
    assert recommender(scorer).recommend([[100]], 5, rules=rules)[0]["recommendations"] == listed[4:]
    assert len(scorer.asked) <= 3
    rules = Rules(exclude=tuple(listed))
    assert recommender(scorer).recommend([[100]], 5, rules=rules)[0]["fallback"] == "popular"


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.parquet"])
def test_a_changed_file_is_read_again_and_a_broken_one_changes_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    frame = pl.DataFrame({"item_id": [100, 101]})

    def write(ids: list[int]) -> None:
        frame = pl.DataFrame({"item_id": ids})
        match path.suffix:
            case ".txt":
                path.write_text("".join(f"{item}\n" for item in ids))
            case ".csv":
                frame.write_csv(path)
            case _:
                frame.write_parquet(path)

    write(frame["item_id"].to_list())
    scorer = Fixed()
    kept = recommender(scorer)
    kept.keep_to(RuleSettings(available=str(path)))
    assert set(kept.recommend([[100]])[0]["recommendations"]) == {100, 101}
    assert kept.refresh() == []
    write([102, 103, 104])
    assert kept.refresh() == []
    assert set(kept.recommend([[100]])[0]["recommendations"]) == {102, 103, 104}
    path.write_bytes(b"\xff\xfe\x00 nothing")
    (complaint,) = kept.refresh()
    assert "serve.rules.available" in complaint
    assert str(path) in complaint
    assert set(kept.recommend([[100]])[0]["recommendations"]) == {102, 103, 104}
    path.unlink()
    assert len(kept.refresh()) == 1
    write([100])
    assert kept.refresh() == []
    assert kept.available == 1


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_list_of_what_is_on_sale_is_one_that_is_being_written(content: str, tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text(content)
    with pytest.raises(ConfigurationError, match=r"serve\.rules\.available: .*no item that the model knows"):
        recommender().keep_to(RuleSettings(available=str(tmp_path / "none.txt")))
    kept = recommender()
    kept.keep_to(RuleSettings(exclude=str(tmp_path / "none.txt")))
    assert kept.recommend([[100], []])[0]["recommendations"]


def test_settings_that_cannot_be_kept_to_are_named(tmp_path: Path) -> None:
    (tmp_path / "strange.txt").write_text("1\n2\n")
    with pytest.raises(ConfigurationError, match=r"serve\.rules\.available: .*no item that the model knows"):
        recommender().keep_to(RuleSettings(available=str(tmp_path / "strange.txt")))
    with pytest.raises(ConfigurationError, match=r"serve\.rules\.exclude: .*cannot be read"):
        recommender().keep_to(RuleSettings(exclude=str(tmp_path / "nothing.txt")))
    with pytest.raises(ConfigurationError, match=r"serve\.rules\.categories: no item of the package has the category 'q'"):
        recommender(categories=["a"] * V).keep_to(RuleSettings(categories=["q"]))
    with pytest.raises(ConfigurationError, match="knows no categories"):
        recommender().keep_to(RuleSettings(categories=["a"]))
    with pytest.raises(ConfigurationError, match=r"serve\.rules\.diversity"):
        recommender().keep_to(RuleSettings(diversity=0.5))


def test_ids_of_a_list_are_of_the_vocabularys_type(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("item_id,price\n007,1\n8,2\n")
    assert ItemList(tmp_path / "list.csv", {"007": 0, "7": 1, "8": 2}, "key").mask.tolist() == [True, False, True]
    assert ItemList(tmp_path / "list.csv", {7: 0, 9: 1}, "key").mask.tolist() == [True, False]


def slow_diversity(scores: np.ndarray, likeness: np.ndarray, k: int, diversity: float) -> list[int]:
    """Maximal marginal relevance as the paper has it, one candidate at a time."""
    low, high = float(scores[-1]), float(scores[0])
    chosen = [0]
    while len(chosen) < min(k, len(scores)):
        gains = {}
        for candidate in range(len(scores)):
            if candidate not in chosen:
                relevance = 1.0 if high == low else (float(scores[candidate]) - low) / (high - low)
                gains[candidate] = (1 - diversity) * relevance - diversity * max(float(likeness[candidate][other]) for other in chosen)
        chosen.append(max(gains, key=gains.get))
    return chosen


@given(count=st.integers(1, 12), k=st.integers(1, 14), diversity=st.sampled_from([0.0, 0.3, 0.7, 1.0]), seed=st.integers(0, 100))
def test_diversity_is_maximal_marginal_relevance(count: int, k: int, diversity: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = np.sort(random.normal(size=count))[::-1]
    vectors = random.normal(size=(count, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = vectors @ vectors.T
    found = most_diverse(scores, likeness, k, diversity)
    assert found.tolist() == slow_diversity(scores, likeness, k, diversity)
    if diversity == 0:
        assert found.tolist() == list(range(min(k, count)))


def test_a_diverse_answer_takes_items_of_different_categories_first() -> None:
    scorer = Fixed()
    by_rank = best(scorer, set(IDS), V)
    categories = dict.fromkeys(by_rank, "common") | {by_rank[9]: "rare", by_rank[19]: "rarer"}
    kept = recommender(scorer, [categories[item] for item in IDS])
    assert kept.recommend([[100]], 3, rules=Rules(diversity=1.0))[0]["recommendations"] == [by_rank[0], by_rank[9], by_rank[19]]
    kept.keep_to(RuleSettings(diversity=1.0))
    assert kept.recommend([[100]], 3)[0]["recommendations"] == [by_rank[0], by_rank[9], by_rank[19]]
    assert kept.recommend([[100]], 3, rules=Rules(diversity=0.0))[0]["recommendations"] == by_rank[:3]


# --- Models over models, which combine the best items of their members alone ---------------------------------------------------------


@pytest.fixture(scope="module", params=["blend", "reranker"])
def short_shop(request: pytest.FixtureRequest, new_shop: Callable[..., Shop]) -> Shop:
    """Its model combines the five best items of each of three members, and the re-ranker lists four of these."""
    own = {"depth": 4, "exclude": True} if request.param == "reranker" else {}
    return new_shop(family=request.param, candidates=5, **own)


def left_out(shop: Shop, query: Sessions) -> Sessions | None:
    return query if shop.settings.evaluation.exclude_session_items else None


def whole_order(shop: Shop, session: list[int]) -> tuple[list[int], list[int]]:
    """Item indices: what the model itself lists, and what follows by the best place that a member gives it."""
    query = Sessions.from_lists([session])
    own = [int(item) for item in shop.model.recommend(query, N_ITEMS, exclude=left_out(shop, query))[0][0] if item >= 0]
    places: dict[int, tuple[int, int]] = {}
    for number, member in enumerate(shop.model.members_.values()):
        for place, item in enumerate(member.recommend(query, N_ITEMS, exclude=left_out(shop, query))[0][0].tolist()):
            if item >= 0:
                places[item] = min(places.get(item, (place, number)), (place, number))
    return own, sorted(set(places) - set(own), key=places.__getitem__)


SESSIONS = [[3], [10, 41], [7, 7, 20, 33, 2]]


def with_categories(shop: Shop, rare: set[int]) -> Recommender:
    """The package's recommender, of items of a rare category and a common one."""
    package = Recommender.load(shop.package)
    items = pl.DataFrame({"item_id": integer_ids(), "support": range(N_ITEMS, 0, -1)})
    items = items.with_columns(pl.Series("category", ["rare" if item in rare else "common" for item in range(N_ITEMS)]))
    return Recommender(package.scorer, items, "integer", package.max_session_length)


def test_a_rare_category_is_listed_in_full_by_a_model_over_models(short_shop: Shop) -> None:
    ids = integer_ids()
    for session in SESSIONS:
        own, behind = whole_order(short_shop, session)
        assert len(own) < 20 < len(own + behind)
        rare = {own[1], behind[0], *behind[-4:]}
        kept = with_categories(short_shop, rare)
        (answer,) = kept.recommend([[ids[item] for item in session]], 20, rules=Rules(categories=("rare",)))
        assert answer["recommendations"] == [ids[item] for item in own + behind if item in rare]
        assert answer["fallback"] is None
        assert np.isfinite(answer["scores"]).all()
        assert (np.diff(np.array(answer["scores"], np.float32)[1:]) < 0).all()
        assert answer["scores"][1] < answer["scores"][0]
        (answer,) = kept.recommend([[ids[item] for item in session]], 3, rules=Rules(categories=("rare",)))
        assert answer["recommendations"] == [ids[item] for item in own + behind if item in rare][:3]


def test_a_model_over_models_lists_as_many_items_on_sale_as_asked_for(short_shop: Shop, tmp_path: Path) -> None:
    ids = integer_ids()
    orders = [whole_order(short_shop, session) for session in SESSIONS]
    sold_out = {item for own, _ in orders for item in own[:4]}
    on_sale = [item for item in range(N_ITEMS) if item not in sold_out]
    (tmp_path / "on-sale.txt").write_text("".join(f"{ids[item]}\n" for item in on_sale))
    kept = Recommender.load(short_shop.package)
    kept.keep_to(RuleSettings(available=str(tmp_path / "on-sale.txt")))
    # All at once, though their lists end at different depths.
    for answer, (own, behind) in zip(kept.recommend([[ids[item] for item in session] for session in SESSIONS], 20), orders, strict=True):
        assert answer["recommendations"] == [ids[item] for item in own + behind if item in on_sale][:20]
        assert answer["fallback"] is None
        assert len(answer["recommendations"]) == 20
    # Down to the last item that a member lists.
    (answer,) = kept.recommend([[ids[item] for item in SESSIONS[0]]], N_ITEMS)
    assert answer["recommendations"] == [ids[item] for part in orders[0] for item in part if item in on_sale]


def test_without_rules_a_model_over_models_answers_with_what_it_was_evaluated_on(short_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = integer_ids()
    kept = Recommender.load(short_shop.package)
    for session in SESSIONS:
        own, _ = whole_order(short_shop, session)
        with monkeypatch.context() as patched:
            patched.setattr(kept.scorer, "further", None)  # is not asked
            for k in (3, 20, N_ITEMS):
                (answer,) = kept.recommend([[ids[item] for item in session]], k)
                assert answer["recommendations"] == [ids[item] for item in own][:k]
                (diverse,) = kept.recommend([[ids[item] for item in session]], k, rules=Rules(diversity=0.5))
                assert set(diverse["recommendations"]) <= {ids[item] for item in own}
        # What the rules do not reach keeps its place and its score.
        (plain,) = kept.recommend([[ids[item] for item in session]], 4)
        (ruled,) = kept.recommend([[ids[item] for item in session]], 3, rules=Rules(exclude=(plain["recommendations"][1],)))
        assert ruled["recommendations"] == [item for at, item in enumerate(plain["recommendations"]) if at != 1]
        assert ruled["scores"] == [score for at, score in enumerate(plain["scores"]) if at != 1]


def test_the_model_chooses_among_items_as_its_package_does(short_shop: Shop) -> None:
    ids, chosen = integer_ids(), np.arange(1, N_ITEMS, 2)
    kept = Recommender.load(short_shop.package)
    for session in SESSIONS:
        query = Sessions.from_lists([session])
        items, scores = short_shop.model.recommend(query, 20, candidates=chosen, exclude=left_out(short_shop, query))
        others = tuple(ids[item] for item in range(0, N_ITEMS, 2))
        (answer,) = kept.recommend([[ids[item] for item in session]], 20, rules=Rules(exclude=others))
        assert answer["recommendations"] == [ids[item] for item in items[0]]
        np.testing.assert_allclose(answer["scores"], scores[0], rtol=1e-4, atol=1e-5)


def test_a_packaged_member_leaves_out_nothing_else(short_shop: Shop) -> None:
    model = Recommender.load(short_shop.package).scorer._model
    with pytest.raises(RecsysError, match="leaves out what the package was made to leave out"):
        model.recommend(Sessions.from_lists([[1]]), 3, exclude=Sessions.from_lists([[2]]))
