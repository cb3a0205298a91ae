"""GRU4Rec: a recurrent network over the clicks of a session, trained session-parallel on sampled ranking losses.

Sources: Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016 (the network and the schedule);
Hidasi & Karatzoglou, "Recurrent neural networks with top-k gains for session-based recommendations", CIKM 2018 (samples and losses).

Shapes: Q queries, H units of the last layer, V items.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from recsys.errors import DataError
from recsys.models.gru4rec_forward import Arrays, initial_arrays, outputs
from recsys.models.interface import Capabilities, FitContext, FitData, Model, Queries
from recsys.models.scores import not_a_number
from recsys.sessions.table import Positions, Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training.hardware import pick_device, require_memory, threads
from recsys.training.loop import BLOCK, run_epochs
from recsys.training.native import NativeTrainer
from recsys.training.schedule import Schedule
from rust_sessionizer.ranking import ScoreError, rank

if TYPE_CHECKING:
    from recsys.training.loop import Trainer

_ENCODE_CLICKS = 16_384
"""Clicks whose outputs are held at a time while sessions are scored."""


def memory_of_fit(settings: GRU4RecParameters, n_items: int, sessions: int, clicks: int) -> tuple[int, int]:
    """About how many bytes a fit holds at once: in what is as large as the shop and its log, and in a step.

    Parameters
    ----------
    settings
        The model's parameters.
    n_items, sessions, clicks
        Of the training data.
    """
    width, lanes = settings.layers[-1], min(settings.batch_size, sessions)
    columns = lanes + settings.n_sample
    entries = n_items * (width + (settings.input_width if settings.embedding != "shared" else 0))
    # The tables: initial, learned, squares of Adagrad, momentum, the best epoch's, the average and what is added to it. A click: the plan's
    # place and lane, then input, target, lane and keep, here and in Rust.
    tables = 4 * entries * (4 + (settings.momentum > 0) + 2 * (settings.average > 0)) + 42 * clicks
    scores = (13 if settings.loss == "bpr-max" else 5) * lanes * columns
    vectors = 3 * (columns + lanes) * width + 12 * lanes * sum(settings.layers)
    return tables, 4 * (scores + vectors) + 8 * BLOCK * settings.n_sample


class GRU4Rec(Model):
    """GRU4Rec.

    Attributes
    ----------
    arrays_ : dict of float32 arrays
        The learned arrays by name, see `recsys.models.gru4rec_forward.initial_arrays`.
    """

    family: ClassVar[str] = "gru4rec"
    capabilities: ClassVar[Capabilities] = Capabilities(runtime="onnx", stepwise=True, seeded=True)
    parameters_class: ClassVar[type[GRU4RecParameters]] = GRU4RecParameters

    arrays_: Arrays
    _device: str = "cpu"

    def fit(self, data: FitData, context: FitContext | None = None) -> Self:
        """Train for the configured epochs, or until validation stops it.

        Raises
        ------
        DataError
            If there is no session to train on.
        TrainingError
            If the loss is not finite, or the memory does not suffice.
        """
        context = context if context is not None else FitContext()
        if not len(data.train):
            raise DataError("there is no training session with two clicks; lower filter.min_support or take a longer log")
        device = pick_device(context.device)
        self._require_memory(memory_of_fit(self.parameters, data.n_items, len(data.train), len(data.train.items)), data, "cpu")
        self.n_items_ = data.n_items
        self.arrays_ = initial_arrays(data.n_items, self.parameters, self.seed)
        self._device = device
        trainer = self._trainer(data, device, context)
        self.arrays_ = run_epochs(trainer, self.parameters.epochs, context, self._validation(context), self.parameters.average)
        return self

    def _trainer(self, data: FitData, device: str, context: FitContext) -> "Trainer":
        schedule = Schedule.of(data.train, self.parameters.batch_size)
        counts = np.bincount(data.train.items, minlength=data.n_items).clip(min=1)
        given = (self.arrays_, self.parameters, schedule, counts, self.seed)
        if context.step == "native" and device == "cpu" and context.ranks.count == 1:
            return NativeTrainer(*given)
        import torch

        from recsys.training.device_ranking import memory_of_ranking
        from recsys.training.session_parallel import SessionParallelTrainer, memory_of_training

        tables, step = memory_of_training(self.parameters, data.n_items, schedule, context.ranks.count)
        if device != "cpu" and context.validate is not None:
            tables += memory_of_ranking(self.parameters, data.n_items)
        self._require_memory((tables, step), data, device)
        return SessionParallelTrainer(*given, device=torch.device(device), ranks=context.ranks)

    def _validation(self, context: FitContext) -> Callable[[Arrays], dict[str, float]] | None:
        if context.validate is None:
            return None

        def validate(arrays: Arrays) -> dict[str, float]:
            self.arrays_ = arrays
            return context.validate(self)

        return validate

    def _require_memory(self, needed: tuple[int, int], data: FitData, device: str) -> None:
        """Make sure of memory for what is as large as the shop and its log, and for a step."""
        chosen = self.parameters
        tables, step = needed
        if step > tables:
            what = f"training with batch_size {chosen.batch_size:,} and n_sample {chosen.n_sample:,}"
            fix = "lower batch_size or n_sample"
        else:
            what = f"training with {data.n_items:,} items and layers {chosen.layers}"
            fix = "lower the last of layers, or raise filter.min_support"
        require_memory(tables + step, device, what, f"{fix} (under models.gru4rec, or in the run's parameters)")

    def _scores(self, states: np.ndarray) -> np.ndarray:
        """float32 [Q, V] of the network's outputs [Q, H]."""
        scores = states @ self.arrays_["item_table"].T
        scores += self.arrays_["item_bias"]
        return scores

    def score_all(self, queries: Queries) -> np.ndarray:
        """Scores of every item for every query, float32 [Q, V]; an empty query is scored from the zero state."""
        last = np.zeros((len(queries), self.parameters.layers[-1]), np.float32)
        filled = np.flatnonzero(queries.lengths)
        last[filled] = outputs(self.arrays_, queries)[queries.offsets[1:][filled] - 1]
        return self._scores(last)

    def score_positions(self, sessions: Sessions, positions: Positions, chunk: int) -> Iterator[np.ndarray]:
        """As the interface has it; every session is followed once, click by click."""
        for _, states in self._before(sessions, positions):
            for begin in range(0, len(states), chunk):
                yield self._scores(states[begin : begin + chunk])

    def _before(self, sessions: Sessions, positions: Positions) -> Iterator[tuple[slice, np.ndarray]]:
        """Predictions, some at a time, and the network's output before each, [Q, H]; zero where the session has not begun."""
        first = 0
        while first < len(sessions):
            # Whole sessions, as many as fit; at least one.
            last = int(np.searchsorted(sessions.offsets, sessions.offsets[first] + _ENCODE_CLICKS, side="right")) - 1
            last = min(max(last, first + 1), len(sessions))
            begin, end = sessions.offsets[first], sessions.offsets[last]
            after = outputs(self.arrays_, Sessions(sessions.items[begin:end], sessions.offsets[first : last + 1] - begin))
            part = slice(*np.searchsorted(positions.session, (first, last)))
            clicks = positions.click[part]
            begun = clicks > sessions.offsets[positions.session[part]]
            before = np.zeros((len(clicks), after.shape[1]), np.float32)
            before[begun] = after[clicks[begun] - 1 - begin]
            yield part, before
            first = last

    def rank_positions(
        self, sessions: Sessions, positions: Positions, length: int = 0, exclude_clicked: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """As the interface has it; a model that was trained on a GPU is ranked there."""
        if self._device == "cpu":
            return self._rank_on_cpu(sessions, positions, length, exclude_clicked)
        import torch

        from recsys.models.gru4rec_network import Network
        from recsys.training.device_ranking import rank_on_device

        network = Network(self.arrays_, self.parameters, np.ones(self.n_items_), torch.device(self._device))
        return rank_on_device(network, sessions, positions, length, exclude_clicked)

    def _rank_on_cpu(self, sessions: Sessions, positions: Positions, length: int, exclude_clicked: bool) -> tuple[np.ndarray, np.ndarray]:
        """By the extension, which writes no scores."""
        ranks = np.empty(len(positions), np.int64)
        lists = np.empty((len(positions), length), np.int32)
        for part, states in self._before(sessions, positions):
            begins, ends = sessions.offsets[positions.session[part]], positions.click[part]
            try:
                found = rank(
                    states,
                    self.arrays_["item_table"],
                    self.arrays_["item_bias"],
                    positions.target[part],
                    excluded=(begins, ends, sessions.items) if exclude_clicked else None,
                    length=length,
                    threads=threads(),
                )
            except ScoreError:
                raise not_a_number() from None
            ranks[part], lists[part] = found.ranks, found.items
        return ranks, lists

    def arrays(self) -> Arrays:
        """Learned arrays by name."""
        return dict(self.arrays_)

    def set_arrays(self, arrays: Arrays) -> None:
        """Take over learned arrays."""
        self.arrays_ = arrays
