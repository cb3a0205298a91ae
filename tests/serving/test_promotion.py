from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.serving.promotion import Contender, TestWindow, decide, trained_before
from recsys.settings.serving import PromotionSettings
from recsys.settings.training import EvaluationSettings
from tests.serving.conftest import Shop

EVALUATION = EvaluationSettings(metric="recall@20", bootstrap=200)
KEEP = PromotionSettings(margin=0.01, not_comparable="keep")
PROMOTE = PromotionSettings(margin=0.01, not_comparable="promote")


def write_ranks(path: Path, ranks: np.ndarray) -> Path:
    sessions = np.arange(len(ranks)) // 4
    pl.DataFrame({"session": sessions, "position": np.arange(len(ranks)), "rank": ranks}).write_parquet(path)
    return path


@pytest.fixture
def contenders(tmp_path: Path):
    """Two versions on one split; the given shares of their predictions are hits."""

    def make(new_share: float, old_share: float) -> tuple[Contender, Contender]:
        made = []
        for name, share in (("new", new_share), ("old", old_share)):
            hits = np.arange(4000) % 1000 < share * 1000
            made.append(Contender(name, name, "split", [write_ranks(tmp_path / f"{name}.parquet", np.where(hits, 3, 50))]))
        return made[0], made[1]

    return make


def test_the_first_version_is_promoted(contenders) -> None:
    new, _ = contenders(0.0, 0.0)
    assert decide(new, None, KEEP, EVALUATION).promote


def test_the_same_package_stays_champion(contenders) -> None:
    new, old = contenders(0.0, 1.0)
    assert decide(new, replace(old, package_hash=new.package_hash), KEEP, EVALUATION).promote


@pytest.mark.parametrize(
    ("new_share", "old_share", "promoted"),
    [(0.5, 0.3, True), (0.3, 0.3, True), (0.299, 0.3, True), (0.25, 0.3, False), (0.0, 0.3, False)],
    ids=["better", "equal", "a little worse", "worse than the margin", "collapsed"],
)
def test_on_the_same_split_validation_decides(new_share: float, old_share: float, promoted: bool, contenders) -> None:
    new, old = contenders(new_share, old_share)
    for promotion in (KEEP, PROMOTE):
        decision = decide(new, old, promotion, EVALUATION)
        assert decision.promote is promoted
        assert "on validation" in decision.reason
        assert f"{new_share - old_share:+.4f}" in decision.reason


def test_a_small_sample_does_not_prove_that_a_version_is_not_worse(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    ranks = [random.choice([1, 50], 40) for _ in range(2)]
    new, old = (Contender(str(v), str(v), "split", [write_ranks(tmp_path / f"{v}.parquet", ranks[v])]) for v in range(2))
    assert not decide(new, old, PROMOTE, EVALUATION).promote


@pytest.mark.parametrize(("promotion", "promoted"), [(KEEP, False), (PROMOTE, True)])
def test_what_cannot_be_compared_follows_the_policy(promotion: PromotionSettings, promoted: bool, contenders, tmp_path: Path) -> None:
    new, old = contenders(0.0, 1.0)
    without_ranks = replace(old, ranks=[])
    other_predictions = replace(old, ranks=[write_ranks(tmp_path / "other.parquet", np.ones(8, dtype=np.int64))])
    other_split = replace(old, split_hash="another")
    for champion in (without_ranks, other_predictions, other_split, replace(old, split_hash=None)):
        decision = decide(new, champion, promotion, EVALUATION)
        assert decision.promote is promoted
        assert decision.reason.startswith("not comparable")


def test_on_a_later_split_an_older_champion_is_scored_again(shop: Shop, native_shop: Shop) -> None:
    # The counting model was fitted on the very sessions it is asked about here; random weights were not.
    window = TestWindow(native_shop.test, native_shop.items)
    counted = Contender("2", "counted", "later", package=native_shop.package, trained_before=trained_before(window.test))
    random = Contender("1", "random", "earlier", package=shop.package, trained_before=500)
    assert trained_before(window.test) == 1_000_000
    forward = decide(counted, random, KEEP, EVALUATION, window)
    assert forward.promote
    assert "new test window" in forward.reason
    backward = decide(replace(random, trained_before=2_000_000), replace(counted, trained_before=500), PROMOTE, EVALUATION, window)
    assert not backward.promote


def test_a_champion_that_may_have_seen_the_test_window_is_not_scored_on_it(shop: Shop) -> None:
    window = TestWindow(shop.test, shop.items)
    new = Contender("2", "new", "later", package=shop.package, trained_before=1_000_000)
    for champion in (
        Contender("1", "old", "earlier", package=shop.package, trained_before=1_000_001),
        Contender("1", "old", "earlier", package=shop.package),
    ):
        assert "may have learned" in decide(new, champion, KEEP, EVALUATION, window).reason
    assert "cannot be had" in decide(new, Contender("1", "old", "earlier", trained_before=5), KEEP, EVALUATION, window).reason
