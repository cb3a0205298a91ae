"""The package's MLflow model: sessions in a table, recommendations out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel

from recsys.serving.recommender import DEFAULT_K, LARGEST_K, Recommender
from recsys.serving.rules import PLAIN, Rules


def _refuse(sentence: str) -> MlflowException:
    return MlflowException(sentence, error_code=INVALID_PARAMETER_VALUE)


class SessionRecommender(PythonModel):
    """Answers a table with the column `session`; see `Recommender.recommend` for what it answers."""

    recommender: Recommender

    def load_context(self, context: Any) -> None:
        """Load the recommender from the package that MLflow opened."""
        self.recommender = Recommender.load(Path(context.artifacts["items"]).parents[1])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """One answer a row of `model_input`.

        Parameters
        ----------
        context
            Not used.
        model_input
            `session`, lists of item ids; the optional columns `visitor`, `events` and `times` do not change the answer of this family.
        params
            `k`, items an answer; `exclude`, items left out; `categories`, the only ones if there are any; `diversity`, from 0 to 1.
        """
        params = params or {}
        k = params.get("k", DEFAULT_K)
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= LARGEST_K:
            raise _refuse(f"k must be a whole number from 1 to {LARGEST_K}.")
        sessions = []
        for session in model_input["session"]:
            if isinstance(session, np.ndarray):
                session = session.tolist()
            if not isinstance(session, list) or any(item is None or isinstance(item, list | dict | bool) for item in session):
                raise _refuse("A session must be a list of item ids.")
            sessions.append(session)
        return self.recommender.recommend(sessions, int(k), rules=self._rules(params))

    def _rules(self, params: dict[str, Any]) -> Rules:
        exclude, categories = (np.asarray(params.get(name, [])).tolist() for name in ("exclude", "categories"))
        diversity = float(params.get("diversity", 0.0))
        if not exclude and not categories and not diversity:
            return PLAIN
        if not 0 <= diversity <= 1:
            raise _refuse("diversity must be a number from 0 to 1.")
        if diversity and not self.recommender.can_diversify:
            raise _refuse("diversity cannot be used: the model has no item vectors and its package no categories.")
        if categories and not self.recommender.has_categories:
            raise _refuse("categories cannot be used: the package knows no categories.")
        return Rules(tuple(exclude), tuple(map(str, categories)) if categories else None, True, diversity)
