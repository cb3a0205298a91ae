"""Top items of a neural family: from its arrays where the extension can be had, else from its ONNX graph."""

from pathlib import Path
from typing import Any

import numpy as np

from recsys.serving.recommender import Scorer


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
        import onnxruntime  # not for packages whose arrays are served

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices int64 and scores float32, [B, k], of sessions of item indices, none of them empty."""
        lengths = np.array([len(session) for session in sessions], dtype=np.int64)  # [B]
        items = np.zeros((len(sessions), int(lengths.max())), dtype=np.int64)  # [B, T]
        for row, session in enumerate(sessions):
            items[row, : len(session)] = session
        indices, scores = self._session.run(["indices", "scores"], {"items": items, "lengths": lengths, "k": np.array([k], dtype=np.int64)})
        return indices, scores


def load_scorer(artifacts: Path, manifest: dict[str, Any]) -> Scorer:
    """The scorer of a package's artifacts folder: that of its arrays, which is several times as fast; where the extension was not built for
    this kind of machine, or the package was built before it held arrays, the graph's.
    """
    try:
        from recsys.serving.network_scorer import NETWORK, NetworkScorer
    except ImportError:
        return OnnxScorer(artifacts / "session.onnx")
    if not (artifacts / NETWORK).is_file():
        return OnnxScorer(artifacts / "session.onnx")
    return NetworkScorer(artifacts / NETWORK, manifest["exclude_session_items"])
