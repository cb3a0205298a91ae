"""Top items of a neural family: from its arrays where the extension can be had, else from its ONNX graphs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.serving.recommender import Scorer

if TYPE_CHECKING:
    import onnxruntime

NETWORK = "network.safetensors"
"""What is served of a network: `item_table` [V, W] and `item_bias` [V] of what scores items; and, of each network of an ensemble below
`members.N.`, its layers' arrays, its input table where it has one, and the covariance of its scores."""
SESSION, STEP = "session.onnx", "step.onnx"
"""The graphs that refer to these arrays."""

_NOTHING = np.zeros(1, np.int64)
"""A k by which nothing is searched."""
_TABLES = ("item_table", "item_bias", "input_table", "covariance")
"""Arrays that the graphs take as they are."""


class OnnxScorer:
    """Runs `session.onnx`; see `recsys.serving.onnx_graph` for its inputs and outputs.

    Parameters
    ----------
    path
        The graph.
    threads
        Threads of one inference. One is best where several requests are answered at once.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._session = _opened(path, _options(threads))

    def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices int64 and scores float32, [B, k], of sessions of item indices, none of them empty."""
        items, lengths = _padded(sessions)
        inputs = {"items": items, "lengths": lengths, "k": np.array([k], dtype=np.int64)}
        indices, scores = self._session.run(["indices", "scores"], inputs)
        return indices, scores


class StepwiseOnnxScorer(OnnxScorer):
    """Runs `session.onnx` and `step.onnx`; a `StepwiseScorer`. Both read the same arrays, once in memory.

    Parameters
    ----------
    folder
        Where the graphs are, and the file of arrays that they refer to.
    threads
        As `OnnxScorer` has it.

    Attributes
    ----------
    state_width
        S: units of all layers of all networks.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import onnxruntime

        options = _options(threads)
        # A graph would else hold its arrays a second time, as its products like to have them.
        options.add_session_config_entry("session.disable_prepacking", "1")
        self._shared = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in _tables(folder / NETWORK).items()}
        for name, value in self._shared.items():
            options.add_initializer(name, value)
        self._session, self._steps = _opened(folder / SESSION, options), _opened(folder / STEP, options)
        self._inputs = {given.name for given in self._steps.get_inputs()}
        (self.state_width,) = (given.shape[1] for given in self._steps.get_inputs() if given.name == "states")

    def follow(self, sessions: list[list[int]]) -> np.ndarray:
        """States, float32 [B, S], after sessions of item indices, none of them empty."""
        items, lengths = _padded(sessions)
        return self._session.run(["states"], {"items": items, "lengths": lengths, "k": _NOTHING})[0]

    def step(self, states: np.ndarray, items: list[int]) -> np.ndarray:
        """States, float32 [B, S], after one click more each; from zeros, after the first click."""
        inputs = {"states": states, "items": np.array(items, np.int64), "k": _NOTHING}
        return self._run(["next_states"], inputs, [[0]] * len(items))[0]

    def best(self, states: np.ndarray, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `top`, of sessions whose states are known."""
        inputs = {"states": states, "items": np.zeros(len(states), np.int64), "k": np.array([k], np.int64)}
        indices, scores = self._run(["indices", "scores"], inputs, sessions)
        return indices, scores

    def _run(self, outputs: list[str], inputs: dict[str, np.ndarray], sessions: list[list[int]]) -> list[np.ndarray]:
        if "sessions" in self._inputs:
            inputs["sessions"], inputs["lengths"] = _padded(sessions)
        return self._steps.run(outputs, inputs)


def _options(threads: int) -> "onnxruntime.SessionOptions":
    import onnxruntime  # not for packages whose arrays are served

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return options


def _opened(path: Path, options: "onnxruntime.SessionOptions") -> "onnxruntime.InferenceSession":
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _tables(path: Path) -> dict[str, np.ndarray]:
    """The arrays that the graphs take as they are, by name, where they lie in the file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        described = json.loads(file.read(length))
    found = {}
    for name, array in described.items():
        if name.rpartition(".")[2] in _TABLES:
            offset = 8 + length + array["data_offsets"][0]
            found[name] = np.memmap(path, np.float32, "r", offset, tuple(array["shape"]))
    return found


def _padded(sessions: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Items int64 [B, T], padded with the first item there is, and lengths int64 [B]."""
    lengths = np.array([len(session) for session in sessions], dtype=np.int64)  # [B]
    items = np.zeros((len(sessions), int(lengths.max(initial=1))), dtype=np.int64)  # [B, T]
    for row, session in enumerate(sessions):
        items[row, : len(session)] = session
    return items, lengths


def load_scorer(artifacts: Path, manifest: dict[str, Any]) -> Scorer:
    """The scorer of a package's artifacts folder: that of its arrays, which is several times as fast; where the extension was not built for
    this kind of machine, or the package was built before it held arrays, the graphs'. A package from before `step.onnx` cannot go on from
    where a session was left where its graph is what answers.
    """
    try:
        from recsys.serving.network_scorer import NetworkScorer
    except ImportError:
        return _of_graphs(artifacts)
    if not (artifacts / NETWORK).is_file():
        return _of_graphs(artifacts)
    return NetworkScorer(artifacts / NETWORK, manifest["exclude_session_items"])


def _of_graphs(folder: Path) -> OnnxScorer:
    return StepwiseOnnxScorer(folder) if (folder / STEP).is_file() else OnnxScorer(folder / SESSION)
