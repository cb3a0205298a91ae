"""What every recommender offers; evaluation, packaging and serving know only this."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from recsys.errors import PackageError
from recsys.files import folder_digests, read_json, write_json
from recsys.models.ranks import ALONE, Ranks
from recsys.models.scores import prefixes, rank_scores, top_k, top_scores
from recsys.sessions.table import Positions, Sessions
from recsys.settings.base import Section

Queries = Sessions
"""A table of queries: the items of each session so far, optionally events, times and visitors."""

MANIFEST_FORMAT = 1
_ARRAYS = "model.safetensors"
_CHUNK = 256
"""Predictions scored at a time where ranks are made from scores: what is held is one [256, items] matrix."""


@dataclass(frozen=True)
class Capabilities:
    """What a family can do.

    Attributes
    ----------
    runtime
        `onnx` for families that are served from an ONNX graph, `native` for those served by their own code, `combined` for models over
        models, whose members are each served by their own runtime.
    exact_full_rank
        `score_all` scores every item.
    stepwise
        A session can be followed click by click with a state of fixed size.
    user
        The visitor changes the answer.
    features
        Item or session features are used.
    seeded
        Two seeds give two models.
    """

    runtime: str
    exact_full_rank: bool = True
    stepwise: bool = False
    user: bool = False
    features: bool = False
    seeded: bool = False


@dataclass(frozen=True)
class FitData:
    """What a model learns from.

    Attributes
    ----------
    train
        The training sessions, ordered by their start, each with two clicks at least.
    items
        The window's vocabulary, a row an item index: `index`, `code`, `item_id`, `support` (clicks in training).
    valid
        Sessions after the training ones: families that train by epochs stop early on them, and models over models learn from them how to
        combine their members, which do not see them. None when a chosen run is refitted.
    categories : int32 [items], optional
        What each item belongs to, as it was known when the last training session started; -1 where it was not.
    """

    train: Sessions
    items: pl.DataFrame
    valid: Sessions | None = None
    categories: np.ndarray | None = None

    @property
    def n_items(self) -> int:
        """Items in the vocabulary."""
        return self.items.height


@dataclass(frozen=True)
class Epoch:
    """One row of a run's history."""

    epoch: int
    loss: float
    seconds: float
    events: int
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class FitContext:
    """What surrounds a fit, and what a fit reports back; models that only count ignore most of it.

    Attributes
    ----------
    device
        `cpu`, `cuda`, or `auto`.
    step
        What computes the training steps of a neural family on a CPU: `native`, or torch, which does on a GPU.
    ranks
        The processes that train together; all but the first only help with the training.
    resume_folder
        Where resume points are kept; None keeps none.
    checkpoint_every
        Seconds between resume points.
    validate
        Scores the model on `FitData.valid` after each epoch: metrics by name.
    metric, patience
        The validation metric that names the best epoch, and how many epochs without a better one end the fit.
    keep
        `best` keeps the best epoch's arrays; `last` trains all epochs and keeps the last one's.
    progress
        Called as (epoch, epochs, share of the epoch done, mean loss so far).
    members
        Of a model over models: folders of members that were fitted on the same data, by the members' names.
    learned
        Of a model over models that is fitted without validation: the folder of the one that learned there how to combine its members.
    history
        The epochs done, in order; filled by the fit.
    """

    device: str = "auto"
    step: str = "native"
    ranks: Ranks = ALONE
    resume_folder: Path | None = None
    checkpoint_every: float = 60.0
    validate: "Callable[[Model], dict[str, float]] | None" = None
    metric: str = "mrr@20"
    patience: int = 3
    keep: str = "best"
    progress: Callable[[int, int, float, float], None] | None = None
    members: dict[str, Path] = field(default_factory=dict)
    learned: Path | None = None
    history: list[Epoch] = field(default_factory=list)


class Model(ABC):
    """A recommender over the item indices of one vocabulary.

    `__init__` only stores parameters, `fit` returns self, learned attributes end in `_`.

    Attributes
    ----------
    n_items_ : int
        Items in the vocabulary the model was fitted on.
    """

    family: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    parameters_class: ClassVar[type[Section]]

    n_items_: int

    def __init__(self, parameters: Section | None = None, seed: int = 0) -> None:
        self.parameters = parameters if parameters is not None else self.parameters_class()
        self.seed = seed

    @abstractmethod
    def fit(self, data: FitData, context: FitContext | None = None) -> Self:
        """Learn from `data.train`."""

    @abstractmethod
    def score_all(self, queries: Queries) -> np.ndarray:
        """Scores of every item for every query: float32 [Q, items]. Only where `exact_full_rank`."""

    def score_positions(self, sessions: Sessions, positions: Positions, chunk: int) -> Iterator[np.ndarray]:
        """Scores for every prediction of `sessions`, in order: float32 [at most `chunk`, items] a time."""
        for begin in range(0, len(positions), chunk):
            yield self.score_all(prefixes(sessions, positions, slice(begin, min(begin + chunk, len(positions)))))

    def rank_positions(
        self, sessions: Sessions, positions: Positions, length: int = 0, exclude_clicked: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the target of every prediction of `sessions` stands among all items, and the best items.

        A family that can do so without writing the scores out overrides this.

        Parameters
        ----------
        sessions, positions
            P predictions, session by session; what a session holds before its first click is nothing.
        length
            How many items to list; at most the vocabulary's size.
        exclude_clicked
            Leave the items clicked so far out.

        Returns
        -------
        ranks : int64 [P]
            How many items score at least as high as the target, itself included; `EXCLUDED` where it is left out or scores -inf.
        lists : int32 [P, length]
            The best items, best first, ties to the smaller index; -1 where fewer are left.

        Raises
        ------
        TrainingError
            If a score is NaN.
        """
        return rank_scores(self.score_positions(sessions, positions, _CHUNK), sessions, positions, length, exclude_clicked)

    def top_positions(
        self, sessions: Sessions, positions: Positions, length: int, exclude_clicked: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best items for every prediction of `sessions`, as `recommend` lists them: int32 and float32 [P, length].

        Parameters
        ----------
        sessions, positions
            P predictions, session by session.
        length
            How many items to list; at most the vocabulary's size.
        exclude_clicked
            Leave the items clicked so far out.
        """
        return top_scores(self.score_positions(sessions, positions, _CHUNK), sessions, positions, length, exclude_clicked)

    def recommend(
        self,
        queries: Queries,
        k: int,
        candidates: np.ndarray | None = None,
        exclude: Sessions | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of each query, best first; ties go to the smaller index.

        Parameters
        ----------
        queries
            Q sessions so far.
        k
            How many items; at most the vocabulary's size.
        candidates
            Item indices to choose from; None: all.
        exclude
            Q lists of item indices to leave out.

        Returns
        -------
        items : int32 [Q, k]
            Item indices; -1 where fewer than k items are left.
        scores : float32 [Q, k]
            Their scores; -inf where there is no item.
        """
        return top_k(self.score_all(queries), k, candidates, exclude)

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """The learned arrays by name."""

    @abstractmethod
    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over learned arrays, as `arrays` gave them."""

    def write_learned(self, folder: Path) -> None:
        """Write what was learned into the folder: the arrays as safetensors. A family whose files are mapped into memory overrides this."""
        from safetensors.numpy import save_file

        contiguous = {name: np.ascontiguousarray(array) for name, array in self.arrays().items()}
        save_file(contiguous, folder / _ARRAYS)

    def read_learned(self, folder: Path) -> None:
        """Read what `write_learned` wrote."""
        from safetensors.numpy import load_file

        self.set_arrays(load_file(folder / _ARRAYS))

    def save(self, folder: Path) -> None:
        """Write the model into an existing, empty folder: what was learned, and a manifest."""
        self.write_learned(folder)
        manifest = {
            "format": MANIFEST_FORMAT,
            "family": self.family,
            "parameters": self.parameters.model_dump(mode="json"),
            "seed": self.seed,
            "items": self.n_items_,
            "files": folder_digests(folder, leave_out=("manifest.json",)),
        }
        write_json(folder / "manifest.json", manifest)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        PackageError
            If a file is missing or is not the one the manifest was written for.
        """
        manifest = read_manifest(folder)
        if manifest["family"] != cls.family:
            raise PackageError(f"{folder} holds a model of the family {manifest['family']!r}, not {cls.family!r}")
        model = cls(cls.parameters_class.model_validate(manifest["parameters"]), seed=manifest["seed"])
        model.n_items_ = manifest["items"]
        model.read_learned(folder)
        return model


def read_manifest(folder: Path) -> dict[str, Any]:
    """A model folder's manifest, once every file it names has been found unaltered."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise PackageError(f"{folder} is no model folder: it has no manifest.json")
    manifest = read_json(path)
    if manifest.get("format") != MANIFEST_FORMAT:
        raise PackageError(
            f"{path} has the format {manifest.get('format')!r}; this version reads {MANIFEST_FORMAT}, so train the model again"
        )
    found = folder_digests(folder, leave_out=("manifest.json",))
    for name, digest in manifest["files"].items():
        if name not in found:
            raise PackageError(f"{folder / name} is missing; train the model again")
        if found[name] != digest:
            raise PackageError(
                f"{folder / name} was altered after it was written (its SHA-256 is not the manifest's); train the model again"
            )
    return manifest
