"""Top items from a fitted model's own code: what a package of a counting family runs on."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from recsys.models.interface import Model
from recsys.sessions.table import Sessions


class NativeScorer:
    """Asks a fitted model.

    Parameters
    ----------
    model
        The fitted model.
    exclude_session_items
        Whether the session's own items are left out.
    """

    def __init__(self, model: Model, exclude_session_items: bool) -> None:
        self._model = model
        self._exclude = exclude_session_items

    def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and scores, [B, k], of sessions of item indices."""
        queries = Sessions.from_lists(sessions)
        return self._model.recommend(queries, min(k, self._model.n_items_), exclude=queries if self._exclude else None)


def load_scorer(artifacts: Path, manifest: dict[str, Any]) -> NativeScorer:
    """The scorer of a package's artifacts folder."""
    module, name = manifest["model_class"]
    model = getattr(import_module(module), name).load(artifacts / "model")
    return NativeScorer(model, manifest["exclude_session_items"])
