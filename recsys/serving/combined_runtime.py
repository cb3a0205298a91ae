"""Top items from several scorers: what a package of a model over models runs on."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from recsys.errors import RecsysError
from recsys.models.combined import MEMBERS, Combined
from recsys.models.interface import Queries
from recsys.serving.recommender import Scorer
from recsys.sessions.table import Sessions

COMBINATION = "combination"
"""Folder of what combines the members, beside theirs."""


class _Member:
    """A scorer, asked as a model is. What of the session is left out is the scorer's own setting."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def recommend(self, queries: Queries, k: int, *, exclude: Sessions | None = None) -> tuple[np.ndarray, np.ndarray]:
        if exclude is not None:
            raise RecsysError("the scorer of a package leaves out what the package was made to leave out; ask it without `exclude`")
        indices, scores = self._scorer.top([queries[query].tolist() for query in range(len(queries))], k)
        return np.where(np.isfinite(scores), indices, -1).astype(np.int32), scores


class CombinedScorer:
    """Asks every member's scorer, and combines what they list; a `FurtherScorer`.

    Parameters
    ----------
    model
        What combines; its own members are not used.
    scorers
        The members' scorers, in the order of the model's members.
    """

    def __init__(self, model: Combined, scorers: dict[str, Scorer]) -> None:
        self._model = model
        model.members_ = {name: _Member(scorer) for name, scorer in scorers.items()}
        vectors = [scorer.vectors for scorer in scorers.values() if hasattr(scorer, "vectors")]
        if vectors:
            self.vectors = vectors[0]

    def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and scores, [B, k], of sessions of item indices."""
        return self._model.recommend(Sessions.from_lists(sessions), min(k, self._model.n_items_))

    def further(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `top`, and behind what is combined, what the members list."""
        return self._model.recommend_further(Sessions.from_lists(sessions), min(k, self._model.n_items_))


def load_scorer(artifacts: Path, manifest: dict[str, Any]) -> CombinedScorer:
    """The scorer of a package's artifacts folder."""
    folder = artifacts / "model"
    module, name = manifest["model_class"]
    model = getattr(import_module(module), name).load(folder / COMBINATION, with_members=False)
    scorers = {}
    for member in model.parameters.combines:
        described = manifest["members"][member.name] | {"exclude_session_items": manifest["exclude_session_items"]}
        runtime = import_module(f"recsys.serving.{described['runtime']}_runtime")
        scorers[member.name] = runtime.load_scorer(folder / MEMBERS / member.name, described)
    return CombinedScorer(model, scorers)
