"""Session-kNN: what followed in the past sessions most like the current one.

Sources: Kersbergen, Sprangers & Schelter, "Serenade", SIGMOD 2022 (VMIS-kNN's index); Ludewig & Jannach, UMUAI 2018 (VS-kNN); Garg et al.,
"Sequence and time aware neighborhood for session-based recommendations", SIGIR 2019 (STAN); Ludewig et al., UMUAI 2021 (V-STAN). The
computation is Rust's (`rust_sessionizer.neighbours`), whose documentation has the formulas and says which of the published ones they
cover.
"""

from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from recsys.errors import DataError, PackageError
from recsys.models.interface import Capabilities, FitContext, FitData, Model, Queries
from recsys.models.scores import refuse_length
from recsys.sessions.table import Positions, Sessions
from recsys.settings.session_knn import SessionKNNParameters
from recsys.threads import threads
from rust_sessionizer.neighbours import Index, IndexFileError, Parameters

_FILE = "sessions.knn"


class SessionKNN(Model):
    """Scores an item by the votes of the sessions most like the query; items without a vote follow, by their clicks, below 0.

    Attributes
    ----------
    index_ : rust_sessionizer.neighbours.Index
        The training sessions, and the most recent ones of every item; memory-mapped where the model was loaded.
    """

    family: ClassVar[str] = "session_knn"
    capabilities: ClassVar[Capabilities] = Capabilities(runtime="native")
    parameters_class: ClassVar[type[SessionKNNParameters]] = SessionKNNParameters

    index_: Index

    def fit(self, data: FitData, context: FitContext | None = None) -> Self:
        """Build the index.

        Raises
        ------
        DataError
            If sessions are to be weighted by their recency and have no starts.
        """
        train = data.train
        if self.parameters.recency and train.starts is None:
            raise DataError("session_knn's recency needs to know when sessions start; read them with their column `start`, or leave it out")
        self.n_items_ = data.n_items
        self.index_ = Index.build(
            train.items,
            train.offsets,
            n_items=data.n_items,
            starts=train.starts,
            sessions_per_item=self.parameters.sessions_per_item,
            threads=threads(),
        )
        return self

    @cached_property
    def _voting(self) -> Parameters:
        return Parameters(**self.parameters.model_dump(exclude={"sessions_per_item"}))

    def score_all(self, queries: Queries) -> np.ndarray:
        """Scores of every item for every query: float32 [Q, items]."""
        return self.index_.score_all(_lists(queries), self._voting, threads=threads())

    def recommend(
        self, queries: Queries, k: int, candidates: np.ndarray | None = None, exclude: Sessions | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Model.recommend`, from the votes alone."""
        refuse_length(k, self.n_items_)
        return self.index_.recommend(
            _lists(queries),
            k,
            self._voting,
            exclude=None if exclude is None else _lists(exclude),
            candidates=None if candidates is None else np.ascontiguousarray(candidates, dtype=np.int32),
            threads=threads(),
        )

    def rank_positions(
        self, sessions: Sessions, positions: Positions, length: int = 0, exclude_clicked: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Model.rank_positions`, from the votes alone."""
        queries = sessions.items, sessions.offsets[positions.session], positions.click
        exclude = queries if exclude_clicked else None
        found = self.index_.rank(queries, positions.target, self._voting, length=length, exclude=exclude, threads=threads())
        return found.ranks, found.items

    def top_positions(
        self, sessions: Sessions, positions: Positions, length: int, exclude_clicked: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Model.top_positions`, from the votes alone."""
        queries = sessions.items, sessions.offsets[positions.session], positions.click
        exclude = queries if exclude_clicked else None
        return self.index_.recommend(queries, length, self._voting, exclude=exclude, threads=threads())

    def arrays(self) -> dict[str, np.ndarray]:
        """None: the index is a file of its own."""
        return {}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Nothing to take over."""

    def write_learned(self, folder: Path) -> None:
        """Write the index."""
        self.index_.save(folder / _FILE)

    def read_learned(self, folder: Path) -> None:
        """Map the index into memory.

        Raises
        ------
        PackageError
            If it is not what was written.
        """
        try:
            self.index_ = Index.open(folder / _FILE, threads=threads())
        except (IndexFileError, OSError) as error:
            raise PackageError(f"{error}; train the model again") from None


def _lists(sessions: Sessions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return sessions.items, sessions.offsets[:-1], sessions.offsets[1:]
