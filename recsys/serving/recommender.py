"""From sessions of item ids to recommended item ids: what every package answers with, whatever its family."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from recsys.errors import PackageError

PACKAGE_FORMAT = 1
"""Of `manifest.json`; raised when a package of the old format can no longer be read."""

POPULAR = "popular"
DEFAULT_K = 20
LARGEST_K = 100

LARGEST_EXACT = 2**53
"""Integers beyond this change when a JSON reader holds numbers as doubles, as browsers do; such ids travel as strings."""

_SCORES_AT_ONCE = 2**24
_SESSIONS_AT_ONCE = 256


class Scorer(Protocol):
    """Ranks the items of one vocabulary."""

    def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and scores [B, k], best first; a score that is not finite marks no item."""


@runtime_checkable
class StepwiseScorer(Scorer, Protocol):
    """A scorer that can go on from where a session was left: a click more is the work of one click, however long the session.

    Shapes: B sessions, S entries of a session's state.

    Attributes
    ----------
    state_width
        S: float32 numbers that a session is remembered by. Zeros are the state before the first click.
    """

    state_width: int

    def follow(self, sessions: list[list[int]]) -> np.ndarray:
        """States, float32 [B, S], after sessions of item indices, none of them empty."""

    def step(self, states: np.ndarray, items: list[int]) -> np.ndarray:
        """States, float32 [B, S], from `states` [B, S] and the item that each session clicks next."""

    def best(self, states: np.ndarray, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `top` has it, from states [B, S] and the sessions that led to them: these tell which items are left out.

        `top(sessions, k)` is `best(follow(sessions), sessions, k)`.
        """


def id_type_of(item_ids: pl.Series) -> str:
    """How a shop's ids travel: `string`, `integer`, or `hash`: integers that only survive as strings."""
    if not item_ids.dtype.is_integer():
        return "string"
    largest = max(abs(int(item_ids.min() or 0)), abs(int(item_ids.max() or 0)))
    return "hash" if largest > LARGEST_EXACT else "integer"


class Recommender:
    """Answers sessions of item ids.

    Parameters
    ----------
    scorer
        Ranks item indices.
    item_ids
        The id of each item index; indices are ordered by popularity, the most clicked first.
    supports
        Clicks in training of each item index.
    id_type
        `integer`, `string` or `hash`.
    max_session_length
        Clicks of a session that are looked at, the last ones.
    """

    def __init__(self, scorer: Scorer, item_ids: list, supports: list[int], id_type: str, max_session_length: int) -> None:
        self.id_type = id_type
        self.max_session_length = max_session_length
        ids = [str(item) for item in item_ids] if id_type == "hash" else item_ids
        self._scorer = scorer
        self._index = {item: index for index, item in enumerate(ids)}
        self._ids = np.array(ids, dtype=np.int64 if id_type == "integer" else object)
        self._popular_ids = self._ids[:LARGEST_K].tolist()
        self._popular_scores = [float(support) for support in supports[:LARGEST_K]]
        self._at_once = max(1, min(_SESSIONS_AT_ONCE, _SCORES_AT_ONCE // max(len(ids), 1)))

    @classmethod
    def load(cls, package: Path) -> "Recommender":
        """The recommender of a package folder.

        Raises
        ------
        PackageError
            If this version cannot read the package.
        """
        path = package / "manifest.json"
        if not path.is_file():
            raise PackageError(f"{package} is no package: it has no manifest.json")
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest.get("format") != PACKAGE_FORMAT:
            raise PackageError(
                f"{path} has the format {manifest.get('format')!r}; this version reads {PACKAGE_FORMAT}, so build the package again"
            )
        artifacts = package / "artifacts"
        items = pl.read_parquet(artifacts / "items.parquet")
        runtime = import_module(f"recsys.serving.{manifest['runtime']}_runtime")
        return cls(
            runtime.load_scorer(artifacts, manifest),
            items["item_id"].to_list(),
            items["support"].to_list(),
            manifest["id_type"],
            manifest["max_session_length"],
        )

    def _last_known(self, session: list, longest: int) -> list[int]:
        """Indices of the last `longest` items of a session that the vocabulary holds, oldest first."""
        found: list[int] = []
        for item in reversed(session):
            index = self._index.get(item if self.id_type != "hash" else str(item))
            if index is not None:
                found.append(index)
                if len(found) == longest:
                    break
        return found[::-1]

    def recommend(self, sessions: list[list], k: int = DEFAULT_K, max_session_length: int | None = None) -> list[dict[str, Any]]:
        """The answer to each session: `recommendations`, `scores`, and `fallback`.

        Items that the shop's catalogue did not hold at training are skipped. A session with none left gets the most popular items,
        their clicks as scores, and the fallback `popular`; otherwise the fallback is None.

        Parameters
        ----------
        sessions
            Item ids, oldest click first.
        k
            Items an answer, at least 1; fewer where the vocabulary holds fewer.
        max_session_length
            Clicks of a session that are looked at, the last ones; None: what the package was made with.
        """
        longest = max_session_length or self.max_session_length
        known = [self._last_known(session, longest) for session in sessions]
        answers: list[dict[str, Any]] = [{}] * len(sessions)
        asked = []
        for row, session in enumerate(known):
            if session:
                asked.append(row)
            else:
                scores = self._popular_scores[:k]
                answers[row] = {"recommendations": self._popular_ids[:k], "scores": scores, "fallback": POPULAR}
        # Sessions of like length share a batch, so that little of it is padding.
        asked.sort(key=lambda row: len(known[row]))
        for begin in range(0, len(asked), self._at_once):
            rows = asked[begin : begin + self._at_once]
            indices, scores = self._scorer.top([known[row] for row in rows], k)
            listed = np.isfinite(scores)
            every = bool(listed.all())
            for position, row in enumerate(rows):
                best, best_scores = indices[position], scores[position]
                if not every:
                    best, best_scores = best[listed[position]], best_scores[listed[position]]
                answers[row] = {"recommendations": self._ids[best].tolist(), "scores": best_scores.tolist(), "fallback": None}
        return answers
