"""Resume points: everything a fit needs to go on, bit for bit, after it was killed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from recsys.files import whole_file


class Checkpoint:
    """One resume point in a folder; a new one takes the place of the old one in a single move.

    Parameters
    ----------
    folder
        Where it is kept. None: nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = folder / "resume.safetensors" if folder is not None else None

    def save(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        """Keep arrays and a JSON-able state."""
        if self.path is None:
            return
        with whole_file(self.path) as partial:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, partial, {"state": json.dumps(state)})

    def load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """What was kept last, or None. A file that cannot be read counts as none: it costs time, never a result."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
                return arrays, json.loads(file.metadata()["state"])
        except (SafetensorError, KeyError, ValueError):
            return None

    def clear(self) -> None:
        """Forget it, once the fit's result is safe."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()
