from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ConfigurationError
from recsys.serving.recommender import Recommender
from recsys.serving.rules import ItemList, Rules, most_diverse
from recsys.settings.serving import RuleSettings

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
def test_an_empty_list_leaves_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text(content)
    kept = recommender()
    kept.keep_to(RuleSettings(available=str(tmp_path / "none.txt")))
    assert kept.recommend([[100], []])[0]["recommendations"] == []


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
