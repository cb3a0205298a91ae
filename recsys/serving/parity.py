"""The proof that a package answers as the fitted model does, and that it scores on test what the model scored."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import PackageError
from recsys.files import read_json, write_json
from recsys.models.combined import MEMBERS
from recsys.models.interface import Model
from recsys.models.registry import load_model
from recsys.serving.export import ATOL, LARGEST_SHARE_APART, RTOL, check_steps, differs, scores_of
from recsys.serving.manifest import MANIFEST
from recsys.serving.recommender import LARGEST_K
from recsys.serving.settings import StageSettings
from recsys.sessions.table import Positions, Sessions

CUTOFF = 20
MOST_QUERIES = 2_000
LARGEST_RECALL_DIFFERENCE = 5e-4
"""Items whose scores differ by rounding alone may change places; on a whole test set that moves recall by less."""

_CHUNK = 512
_SCORES_AT_ONCE = 2**24
_CLICKS_AT_ONCE = 50_000


def prefixes(sessions: Sessions, positions: Positions, rows: np.ndarray, longest: int | None = None) -> list[np.ndarray]:
    """What each chosen prediction may look at: the session's clicks before the target, the last `longest` of them."""
    starts = sessions.offsets[positions.session[rows]]
    ends = positions.click[rows]
    if longest is not None:
        starts = np.maximum(starts, ends - longest)
    return [sessions.items[start:end] for start, end in zip(starts, ends, strict=True)]


class PackageUnderTest:
    """A package opened as any user of MLflow opens it, spoken to in item indices.

    Parameters
    ----------
    package
        The package folder.
    item_ids
        The id of each item index of the window the queries come from.

    Attributes
    ----------
    id_type, max_session_length
        As `Recommender` has them.
    """

    def __init__(self, package: Path, item_ids: pl.Series) -> None:
        import mlflow.pyfunc

        self._model = mlflow.pyfunc.load_model(str(package))
        recommender = self._model.unwrap_python_model().recommender
        self.id_type: str = recommender.id_type
        self.max_session_length: int = recommender.max_session_length
        ids = item_ids.to_list()
        ids = [str(item) for item in ids] if self.id_type == "hash" else ids
        self._ids = np.array(ids, dtype=np.int64 if self.id_type == "integer" else object)
        self._index = {item: index for index, item in enumerate(self._ids.tolist())}

    def predict(self, queries: list[np.ndarray], k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Indices (-1: an item the window does not know) and scores of each query, best first."""
        import pandas as pd

        table = pd.DataFrame({"session": [self._ids[query].tolist() for query in queries]})
        answers = self._model.predict(table, params={"k": k})
        return [
            (
                np.array([self._index.get(item, -1) for item in answer["recommendations"]], dtype=np.int64),
                np.array(answer["scores"], dtype=np.float32),
            )
            for answer in answers
        ]

    def ranks(self, sessions: Sessions, positions: Positions, longest: int) -> np.ndarray:
        """The target's rank in each prediction, ties counted against it; more than `LARGEST_K` where it is not surely listed."""
        ranks = np.empty(len(positions), dtype=np.int64)

        def rank(rows: np.ndarray) -> None:
            answers = self.predict(prefixes(sessions, positions, rows, longest), LARGEST_K)
            for row, (indices, scores) in zip(rows, answers, strict=True):
                ranks[row] = listed_rank(indices, scores, int(positions.target[row]), LARGEST_K)

        # A package infers with one thread, as it does in a server.
        with ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))) as pool:
            for _ in pool.map(rank, _by_length(sessions, positions, _CHUNK)):
                pass
        return ranks


def listed_rank(indices: np.ndarray, scores: np.ndarray, target: int, k: int) -> int:
    """The target's conservative rank in a list of the k best items; k + 1 where the list cannot tell.

    Items that tie with the last of a full list may go on behind it, so a target that ties with it is counted as not listed.
    """
    place = np.flatnonzero(indices == target)
    if not len(place):
        return k + 1
    score = scores[place[0]]
    if len(scores) == k and scores[-1] == score:
        return k + 1
    return int((scores >= score).sum())


def _by_length(sessions: Sessions, positions: Positions, size: int) -> Iterator[np.ndarray]:
    """All predictions, `size` at a time, those with clicks of like number together."""
    order = np.argsort(positions.click - sessions.offsets[positions.session], kind="stable")
    for begin in range(0, len(order), size):
        yield order[begin : begin + size]


def _long_ones(clicks: np.ndarray, longest: int) -> Iterator[np.ndarray]:
    """The predictions that look at more than `longest` clicks, a few at a time: as many as have `_CLICKS_AT_ONCE` clicks in all."""
    rows = np.flatnonzero(clicks > longest)
    rows = rows[np.argsort(clicks[rows], kind="stable")]
    begin = 0
    while begin < len(rows):
        end = begin + max(1, int(np.searchsorted(np.cumsum(clicks[rows[begin:]]), _CLICKS_AT_ONCE, side="right")))
        yield rows[begin:end]
        begin = end


def _truncation_effect(model: Model, sessions: Sessions, positions: Positions, longest: int, exclude: bool) -> tuple[int, int]:
    """How many predictions look at more than `longest` clicks, and how many hits within 20 the model gains by looking at the last only.

    Evaluation looks at whole sessions, serving at their last clicks; the difference is no fault of the package.
    """
    seen, gained = 0, 0
    k = min(LARGEST_K, model.n_items_)
    full = k if k < model.n_items_ else k + 1  # a list of all items ends where the items end
    for rows in _long_ones(positions.click - sessions.offsets[positions.session], longest):
        seen += len(rows)
        for limit, sign in ((longest, 1), (None, -1)):
            queries = Sessions.from_lists(prefixes(sessions, positions, rows, limit))
            indices, scores = model.recommend(queries, k, exclude=queries if exclude else None)
            for row, listed, values in zip(rows, indices, scores, strict=True):
                known = listed >= 0
                gained += sign * int(listed_rank(listed[known], values[known], int(positions.target[row]), full) <= CUTOFF)
    return seen, gained


def _check_clicks(package: Path, longest: int) -> None:
    """Make sure that each network of a package answers click by click as it does whole sessions, from its arrays and from its graphs."""
    from recsys.serving.onnx_runtime import STEP, StepwiseOnnxScorer, load_scorer

    manifest = read_json(package / MANIFEST)
    parts = {package / "artifacts": manifest}
    parts |= {package / "artifacts" / "model" / MEMBERS / name: part for name, part in manifest["members"].items()}
    for folder, part in parts.items():
        if part["runtime"] == "onnx" and (folder / STEP).is_file():
            served = load_scorer(folder, {"exclude_session_items": manifest["exclude_session_items"]})
            for scorer in (served, StepwiseOnnxScorer(folder)):
                check_steps(scorer, manifest["items"], longest)


def check_parity(model_folder: Path, package: Path, items: Path, test: Path, metrics: Path, settings: StageSettings) -> dict[str, Any]:
    """Compare a package, opened through MLflow, with the fitted model and its test metrics.

    Returns
    -------
    Queries compared, of a model over models how many are apart (`export.LARGEST_SHARE_APART`), of all others the largest absolute and
    relative difference of a score, the share of equal top 20 lists, what is tolerated, and
    the test recall@20 through the package beside that of `metrics`.

    Raises
    ------
    PackageError
        If a score or the recall differs by more than rounding can, also click by click.
    """
    model = load_model(model_folder)
    _check_clicks(package, settings.serve.max_session_length)
    longest, exclude = settings.serve.max_session_length, settings.evaluation.exclude_session_items
    sessions = Sessions.from_parquet(test)
    positions = sessions.targets()
    if not len(positions):
        raise PackageError(f"{test} holds no prediction to compare; take a longer test part (split.test)")
    opened = PackageUnderTest(package, pl.read_parquet(items, columns=["index", "item_id"]).sort("index")["item_id"])

    rows = np.unique(np.linspace(0, len(positions) - 1, min(MOST_QUERIES, len(positions))).astype(np.int64))
    k = min(CUTOFF, model.n_items_)
    largest, largest_relative, equal, apart = 0.0, 0.0, 0, 0
    chunk = max(1, min(_CHUNK, _SCORES_AT_ONCE // model.n_items_))
    for begin in range(0, len(rows), chunk):
        queries = prefixes(sessions, positions, rows[begin : begin + chunk], longest)
        table = Sessions.from_lists(queries)
        expected_items, expected = model.recommend(table, k, exclude=table if exclude else None)
        answers = opened.predict(queries, k)
        listed = np.zeros((len(queries), k), dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for row, (indices, values) in enumerate(answers):
            listed[row, : len(indices)], scores[row, : len(values)] = indices, values
            equal += int(np.array_equal(indices, expected_items[row][expected_items[row] >= 0]))
        given = np.isfinite(scores)
        if not np.array_equal(given, np.isfinite(expected)):
            raise PackageError("the package lists another number of items than the fitted model; build the package again from this model")
        compared = [expected]
        if model.capabilities.exact_full_rank:
            compared.append(scores_of(model, table, listed))
        if not model.capabilities.exact_full_rank:
            other = differs(listed, scores, expected_items, expected)
            apart += int(np.count_nonzero(other))
            given &= ~other[:, None]
        for values in compared:
            if not np.allclose(scores[given], values[given], rtol=RTOL, atol=ATOL):
                raise PackageError("the package's scores differ from the fitted model's; build the package again from this model")
            difference = np.abs(scores[given].astype(np.float64) - values[given])
            largest = max(largest, float(difference.max(initial=0.0)))
            relative = difference / np.maximum(np.abs(values[given]), ATOL)
            largest_relative = max(largest_relative, float(relative.max(initial=0.0)))

    if apart > LARGEST_SHARE_APART * len(rows):
        raise PackageError(
            f"the package answers {apart} of {len(rows)} sessions with other items or scores than the fitted {model.family}; "
            "build the package again from this model"
        )

    ranks = opened.ranks(sessions, positions, longest)
    through_package = float((ranks <= CUTOFF).mean())
    reported = float(read_json(metrics)["recall"][str(CUTOFF)])
    truncated, gained = _truncation_effect(model, sessions, positions, longest, exclude)
    expected_recall = reported + gained / len(positions)
    parity = {
        "queries": len(rows),
        "queries_apart": apart,
        "largest_absolute_difference": largest,
        "largest_relative_difference": largest_relative,
        "equal_top_20": equal / len(rows),
        "tolerance": {"absolute": ATOL, "relative": RTOL, "recall@20": LARGEST_RECALL_DIFFERENCE},
        "test": {
            "predictions": len(positions),
            "recall@20 through the package": through_package,
            "recall@20 of the fitted model": reported,
            "difference": through_package - expected_recall,
            "predictions over serve.max_session_length": truncated,
            "hits gained by looking at the last clicks only": gained,
        },
    }
    if abs(through_package - expected_recall) > LARGEST_RECALL_DIFFERENCE:
        raise PackageError(
            f"the package's test recall@20 is {through_package:.4f}, the fitted model's {expected_recall:.4f} ({metrics}); "
            "build the package again from the model that was tested"
        )
    return parity


def write_parity(parity: dict[str, Any], path: Path) -> None:
    """Write what `check_parity` found."""
    write_json(path, parity)
