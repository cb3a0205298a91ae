"""Top items from an ONNX graph: what a package of a neural family runs on."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


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


def load_scorer(artifacts: Path, manifest: dict[str, Any]) -> OnnxScorer:
    """The scorer of a package's artifacts folder."""
    return OnnxScorer(artifacts / "session.onnx")
