"""Whether a newly registered version becomes the champion."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from recsys.errors import DataError, RecsysError
from recsys.evaluation.bootstrap import paired_difference
from recsys.evaluation.ranking import gains
from recsys.evaluation.select import read_gains
from recsys.serving.parity import PackageUnderTest
from recsys.serving.recommender import id_type_of
from recsys.sessions.table import Sessions
from recsys.settings.serving import PromotionSettings
from recsys.settings.training import EvaluationSettings


@dataclass(frozen=True)
class Contender:
    """A registered version, as far as the decision needs it.

    Attributes
    ----------
    version
        Its number.
    package_hash
        What it is.
    split_hash
        The data and the cuts its validation metrics belong to.
    ranks
        Rank of every validation prediction, a file a seed.
    package
        Its package folder.
    trained_before
        Milliseconds since 1970-01-01 UTC: it learned from sessions that start before.
    """

    version: str
    package_hash: str
    split_hash: str | None = None
    ranks: list[Path] = field(default_factory=list)
    package: Path | None = None
    trained_before: int | None = None


@dataclass(frozen=True)
class TestWindow:
    """The newer version's test sessions and vocabulary."""

    __test__ = False  # no test class, whatever its name

    test: Path
    items: Path


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and the sentence that says why."""

    promote: bool
    reason: str


def trained_before(test: Path) -> int | None:
    """When the test window starts: the first start of a test session, in milliseconds; None for an empty one."""
    starts = pl.read_parquet(test, columns=["start"])["start"].cast(pl.Int64)
    return int(starts.min()) if len(starts) else None


def _judge(
    new: np.ndarray, old: np.ndarray, sessions: np.ndarray, where: str, version: str, margin: float, chosen: EvaluationSettings
) -> Decision:
    gap = paired_difference(new, old, sessions, chosen.bootstrap, chosen.confidence)
    figures = f"{gap['mean']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f}) against the champion, version {version}"
    text = f"{chosen.metric} on {where}: {figures}"
    # The interval, not the mean, must clear the margin: a small sample proves nothing by itself.
    if gap["low"] >= -margin:
        return Decision(True, f"{text}; not worse than the margin {margin:g} allows")
    return Decision(False, f"{text}; worse than the margin {margin:g} cannot be ruled out, so the champion stays")


def _rescore(new: Contender, old: Contender, window: TestWindow) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranks of both versions' packages on the newer test window, and each prediction's session."""
    sessions = Sessions.from_parquet(window.test)
    positions = sessions.targets()
    if not len(positions):
        raise DataError("the new test window holds no prediction")
    item_ids = pl.read_parquet(window.items, columns=["index", "item_id"]).sort("index")["item_id"]
    ranks = []
    for contender in (new, old):
        opened = PackageUnderTest(contender.package, item_ids)
        if (opened.id_type == "string") != (id_type_of(item_ids) == "string"):
            raise DataError("their item ids are of different types")
        ranks.append(opened.ranks(sessions, positions, opened.max_session_length))
    return ranks[0], ranks[1], positions.session


def decide(
    new: Contender,
    champion: Contender | None,
    promotion: PromotionSettings,
    evaluation: EvaluationSettings,
    window: TestWindow | None = None,
) -> Decision:
    """Decide by the paired difference of the two versions, session by session.

    On the same split they are compared on validation; on a later one, on its test sessions, where the champion was trained before them;
    otherwise they are not comparable and the configured policy holds.

    Parameters
    ----------
    new, champion
        The new version, and the one that holds the alias, if any.
    promotion
        The margin, and the policy where there is no comparison.
    evaluation
        The metric, the resamples and the confidence.
    window
        The new version's test window; without it nothing is scored again.
    """
    if champion is None:
        return Decision(True, "there was no champion")
    if champion.package_hash == new.package_hash:
        return Decision(True, "this package is the champion already")
    if new.split_hash is not None and new.split_hash == champion.split_hash:
        try:
            if not new.ranks or not champion.ranks:
                raise DataError("one of them has none")
            new_values, sessions = read_gains(new.ranks, evaluation.metric)
            old_values, old_sessions = read_gains(champion.ranks, evaluation.metric)
            if not np.array_equal(sessions, old_sessions):
                raise DataError("their validation ranks belong to different predictions")
        except (RecsysError, OSError, pl.exceptions.PolarsError) as error:
            return _not_comparable(f"validation ranks cannot be compared ({error})", champion, promotion)
        return _judge(new_values, old_values, sessions, "validation", champion.version, promotion.margin, evaluation)
    if window is None:
        return _not_comparable("it was made from another split, and no test window was given to score it on", champion, promotion)
    if champion.package is None:
        return _not_comparable("it was made from another split, and its package cannot be had from the store", champion, promotion)
    if champion.trained_before is None or new.trained_before is None or champion.trained_before > new.trained_before:
        return _not_comparable("it was made from another split, and may have learned from this one's test sessions", champion, promotion)
    try:
        new_ranks, old_ranks, sessions = _rescore(new, champion, window)
    except (RecsysError, OSError, ValueError) as error:
        return _not_comparable(f"it could not be scored on the new test window ({error})", champion, promotion)
    values = [gains(evaluation.metric, ranks) for ranks in (new_ranks, old_ranks)]
    return _judge(values[0], values[1], sessions, "the new test window", champion.version, promotion.margin, evaluation)


def _not_comparable(why: str, champion: Contender, promotion: PromotionSettings) -> Decision:
    promote = promotion.not_comparable == "promote"
    policy = "promoted" if promote else "kept back"
    return Decision(promote, f"not comparable with the champion, version {champion.version}: {why}; {policy} by promotion.not_comparable")
