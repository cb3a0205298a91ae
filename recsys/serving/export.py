"""From a fitted model to the form it is served from, and the proof that both answer alike."""

import copy
import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.errors import PackageError
from recsys.files import folder_digests, read_json, whole_folder, write_json
from recsys.models.interface import Model, read_manifest
from recsys.models.registry import load_model
from recsys.serving.recommender import LARGEST_K, Scorer, StepwiseScorer
from recsys.serving.settings import StageSettings
from recsys.sessions.table import Sessions

if TYPE_CHECKING:
    from recsys.models.combined import Combined

RTOL, ATOL = 1e-4, 1e-5
"""Two float32 sums of the same terms in another order stay well within this."""

LARGEST_SHARE_APART = 0.03
"""Of a model over models: queries whose lists may differ by more. A member may list two items in the other order whose scores differ by
rounding alone, and their ranks then differ by one."""

_BATCHES = (1, 2, 7)


def scores_of(model: Model, queries: Sessions, indices: np.ndarray) -> np.ndarray:
    """The fitted model's own scores [Q, k] of the items `indices` [Q, k]."""
    return np.take_along_axis(model.score_all(queries), indices.astype(np.int64), axis=1)


def differs(items: np.ndarray, scores: np.ndarray, expected_items: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Whether each list [Q, k] differs from the expected one by more than rounding: bool [Q].

    It does where a score does, and where another item stands at a place whose score is so far from those beside it that rounding cannot
    have put two items into each other's place. What stands beside the last place of a full list is not known.
    """
    listed = np.isfinite(expected)
    values = np.where(listed, expected, np.finfo(np.float32).min).astype(np.float64)
    apart = values[:, :-1] - values[:, 1:] > 2 * (ATOL + RTOL * np.abs(values[:, :-1]))
    unknown = np.zeros((len(values), 1), bool)
    alone = np.concatenate([~unknown, apart], axis=1) & np.concatenate([apart, unknown], axis=1)
    other = listed & alone & (items != expected_items)
    return other.any(axis=1) | ~np.isclose(scores, expected, rtol=RTOL, atol=ATOL).all(axis=1)


def check_scorer(scorer: Scorer, model: Model, exclude_session_items: bool, longest: int, seed: int = 0) -> None:
    """Compare a scorer with the fitted model over batches of 1, 2 and 7 sessions of 1, 3 and `longest` clicks, and of mixed lengths.

    Raises
    ------
    PackageError
        If a score differs by more than a relative 1e-4; of a model over models, if scores or items of more than a few sessions do.
    """
    apart, compared = 0, 0
    random = np.random.default_rng(seed)
    lengths = sorted({1, min(3, longest), longest})
    k = min(LARGEST_K, model.n_items_)
    for batch in _BATCHES:
        for shape in [[length] * batch for length in lengths] + [[lengths[row % len(lengths)] for row in range(batch)]]:
            lists = [random.integers(0, model.n_items_, length).tolist() for length in shape]
            queries = Sessions.from_lists(lists)
            expected_items, expected = model.recommend(queries, k, exclude=queries if exclude_session_items else None)
            indices, scores = scorer.top(lists, k)
            where = f"a batch of {batch} sessions of {shape} clicks"
            if not model.capabilities.exact_full_rank:
                apart += int(np.count_nonzero(differs(indices, scores, expected_items, expected)))
                compared += batch
                continue
            if not np.allclose(scores, expected, rtol=RTOL, atol=ATOL):
                raise PackageError(f"the exported graph's best scores differ from the model's for {where}; the export is faulty")
            listed = np.isfinite(scores)
            own = scores_of(model, queries, np.where(listed, indices, 0))
            if not np.allclose(scores[listed], own[listed], rtol=RTOL, atol=ATOL):
                raise PackageError(f"the exported graph lists items whose scores differ from the model's for {where}; the export is faulty")
    if apart > LARGEST_SHARE_APART * compared:
        raise PackageError(
            f"the exported {model.family} answers {apart} of {compared} sessions with other items or scores than the model; "
            "the export is faulty"
        )


def check_steps(scorer: StepwiseScorer, n_items: int, longest: int, seed: int = 0) -> None:
    """Compare sessions followed click by click with the same ones followed at once: their states, and what is best after them.

    Raises
    ------
    PackageError
        If a number differs by more than a relative 1e-4.
    """
    random = np.random.default_rng(seed)
    k = min(LARGEST_K, n_items)
    for batch in _BATCHES:
        sessions = [random.integers(0, n_items, int(length)).tolist() for length in np.linspace(1, longest, batch)]
        states = np.zeros((batch, scorer.state_width), np.float32)
        for place in range(longest):
            rows = [row for row, session in enumerate(sessions) if len(session) > place]
            if rows:
                states[rows] = scorer.step(states[rows], [sessions[row][place] for row in rows])
        pairs = [(states, scorer.follow(sessions)), (scorer.best(states, sessions, k)[1], scorer.top(sessions, k)[1])]
        if not all(np.allclose(found, expected, rtol=RTOL, atol=ATOL) for found, expected in pairs):
            raise PackageError(f"a batch of {batch} sessions followed click by click differs from whole sessions; the export is faulty")


def export_model(model_folder: Path, output: Path, settings: StageSettings) -> dict[str, Any]:
    """Write the export folder of a fitted model, and `runtime.json`: arrays and a checked ONNX graph, a counting model's own files, or,
    of a model over models, these of its members beside what combines them.

    Returns
    -------
    The content of `runtime.json`: family, runtime, class, what serves the members of a model over models, capabilities, items, whether
    session items are left out, digests of the files.

    Raises
    ------
    PackageError
        If the graph is not sound or does not answer as the model does.
    """
    model = load_model(model_folder)
    exclude = settings.evaluation.exclude_session_items
    runtime = model.capabilities.runtime
    with whole_folder(output) as folder:
        members: dict[str, dict[str, Any]] = {}
        match runtime:
            case "onnx":
                _write_graph(model, folder, settings)
            case "native":
                _copy_model(model_folder, folder)
            case "combined":
                members = _write_parts(model, model_folder, folder, settings)
        description = {
            **_served_by(model),
            "members": members,
            "capabilities": dataclasses.asdict(model.capabilities),
            "items": model.n_items_,
            "exclude_session_items": exclude,
            "files": folder_digests(folder),
        }
        write_json(folder / "runtime.json", description)
    return description


def _served_by(model: Model) -> dict[str, Any]:
    return {
        "family": model.family,
        "runtime": model.capabilities.runtime,
        "model_class": [type(model).__module__, type(model).__name__],
    }


def _write_graph(model: Model, folder: Path, settings: StageSettings) -> None:
    """The arrays, and the graphs that refer to them; both answer as the model does, whole sessions and click by click."""
    from recsys.serving.network_scorer import NetworkScorer, write_network
    from recsys.serving.onnx_graph import build_graph, build_step_graph, write_graph
    from recsys.serving.onnx_runtime import NETWORK, SESSION, STEP, StepwiseOnnxScorer

    exclude, longest = settings.evaluation.exclude_session_items, settings.serve.max_session_length
    graph, step = build_graph(model.arrays(), exclude), build_step_graph(model.arrays(), exclude)  # finds out whether every array is there
    write_network(model.arrays(), folder / NETWORK)
    write_graph(graph, folder / SESSION, folder / NETWORK)
    write_graph(step, folder / STEP, folder / NETWORK)
    for scorer in (StepwiseOnnxScorer(folder), NetworkScorer(folder / NETWORK, exclude)):
        check_scorer(scorer, model, exclude, longest)
        check_steps(scorer, model.n_items_, longest)


def _copy_model(model_folder: Path, folder: Path) -> None:
    for name in ("manifest.json", *read_manifest(model_folder)["files"]):
        shutil.copyfile(model_folder / name, folder / name)


def _write_parts(model: "Combined", model_folder: Path, folder: Path, settings: StageSettings) -> dict[str, dict[str, Any]]:
    """What combines, and each member as a package of its own would have it; returns what serves the members."""
    from recsys.models.combined import MEMBERS
    from recsys.serving.combined_runtime import COMBINATION, load_scorer

    for name, member in model.members_.items():
        own = folder / "model" / MEMBERS / name
        if member.capabilities.runtime == "onnx":
            own.mkdir(parents=True)
            _write_graph(member, own, settings)
        else:
            (own / "model").mkdir(parents=True)
            _copy_model(model_folder / MEMBERS / name, own / "model")
    alone = copy.copy(model)
    alone.members_ = {}
    (folder / "model" / COMBINATION).mkdir()
    alone.save(folder / "model" / COMBINATION)
    served = {name: _served_by(member) for name, member in model.members_.items()}
    exclude = settings.evaluation.exclude_session_items
    scorer = load_scorer(folder, _served_by(model) | {"members": served, "exclude_session_items": exclude})
    check_scorer(scorer, model, exclude, settings.serve.max_session_length)
    return served


def read_export(folder: Path) -> dict[str, Any]:
    """An export folder's `runtime.json`, once every file it names has been found unaltered.

    Raises
    ------
    PackageError
        If the folder is none, or a file is missing or altered.
    """
    path = folder / "runtime.json"
    if not path.is_file():
        raise PackageError(f"{folder} is no export folder: it has no runtime.json; run `recsys export` first")
    description = read_json(path)
    found = folder_digests(folder, leave_out=("runtime.json",))
    for name, digest in description["files"].items():
        if found.get(name) != digest:
            raise PackageError(f"{folder / name} is missing or was altered after the export; run `recsys export` again")
    return description
