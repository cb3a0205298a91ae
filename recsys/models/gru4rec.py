"""GRU4Rec: a recurrent network over the clicks of a session, trained session-parallel on sampled ranking losses.

Sources: Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016 (the network and the schedule);
Hidasi & Karatzoglou, "Recurrent neural networks with top-k gains for session-based recommendations", CIKM 2018 (samples and losses).

Shapes: Q queries, H units of the last layer, V items, W entries of a query (H, or as an ensemble's `Product` has it).
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from recsys.errors import DataError
from recsys.models.gru4rec_ensemble import Product, apart, seed_of
from recsys.models.gru4rec_forward import Arrays, initial_arrays, outputs
from recsys.models.interface import Capabilities, FitContext, FitData, Model, Queries
from recsys.models.scores import not_a_number
from recsys.sessions.table import Positions, Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.threads import threads
from recsys.training.ensemble import EnsembleTrainer
from recsys.training.hardware import pick_device, require_memory
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
    # The tables: initial, learned, squares of Adagrad, momentum, the best epoch's, the average and what is added to it. A click: what is
    # held while the schedule is made (benchmarks/train_large.md).
    tables = 4 * entries * (4 + (settings.momentum > 0) + 2 * (settings.average > 0)) + 24 * clicks
    if settings.members > 1:
        tables = settings.members * (tables + 4 * n_items * (width + 1))  # and the table that scores for all of them
    scores = (13 if settings.loss == "bpr-max" else 5) * lanes * columns
    vectors = 3 * (columns + lanes) * width + 12 * lanes * sum(settings.layers)
    return tables, settings.members * (4 * (scores + vectors) + 8 * BLOCK * settings.n_sample)


class GRU4Rec(Model):
    """GRU4Rec.

    Attributes
    ----------
    arrays_ : dict of float32 arrays
        The learned arrays by name, see `recsys.models.gru4rec_forward.initial_arrays`; of an ensemble, see
        `recsys.models.gru4rec_ensemble.together`.
    """

    family: ClassVar[str] = "gru4rec"
    capabilities: ClassVar[Capabilities] = Capabilities(runtime="onnx", stepwise=True, seeded=True)
    parameters_class: ClassVar[type[GRU4RecParameters]] = GRU4RecParameters

    arrays_: Arrays
    _device: str = "cpu"
    _made: tuple[Arrays, Product] | None = None

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
        self._device = device
        trainer = self._trainer(data, device, context)
        self.arrays_ = run_epochs(trainer, self.parameters.epochs, context, self._validation(context), self.parameters.average)
        return self

    def _trainer(self, data: FitData, device: str, context: FitContext) -> "Trainer":
        schedule = Schedule.of(data.train, self.parameters.batch_size)
        counts = np.bincount(data.train.items, minlength=data.n_items).clip(min=1)
        native = context.step == "native" and device == "cpu" and context.ranks.count == 1
        if not native:
            self._require_device_memory(data, schedule, device, context)

        def make(member: int, threads: int) -> "Trainer":
            seed = seed_of(self.seed, member)
            given = (initial_arrays(data.n_items, self.parameters, seed), self.parameters, schedule, counts, seed)
            if native:
                return NativeTrainer(*given, threads=threads)
            import torch

            from recsys.training.session_parallel import SessionParallelTrainer

            return SessionParallelTrainer(*given, device=torch.device(device), ranks=context.ranks)

        members = self.parameters.members
        if members == 1:
            return make(0, threads())
        return EnsembleTrainer(make, members, threads() if native else 1)

    def _require_device_memory(self, data: FitData, schedule: Schedule, device: str, context: FitContext) -> None:
        from recsys.training.device_ranking import memory_of_ranking
        from recsys.training.session_parallel import memory_of_training

        tables, step = memory_of_training(self.parameters, data.n_items, schedule, context.ranks.count)
        members = self.parameters.members
        ranking = memory_of_ranking(self.parameters, data.n_items) if device != "cpu" and context.validate is not None else 0
        self._require_memory((members * tables + ranking, members * step), data, device)

    def _validation(self, context: FitContext) -> Callable[[Arrays], dict[str, float]] | None:
        if context.validate is None:
            return None

        def validate(arrays: Arrays) -> dict[str, float]:
            self.arrays_ = dict(arrays)  # another one each time: training goes on in the same memory
            return context.validate(self)

        return validate

    def _product(self) -> Product:
        """What scores, made once for the arrays that the model has."""
        if self._made is None or self._made[0] is not self.arrays_:
            self._made = self.arrays_, Product.of(apart(self.arrays_))
        return self._made[1]

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

    def score_all(self, queries: Queries) -> np.ndarray:
        """Scores of every item for every query, float32 [Q, V]; an empty query is scored from the zero state."""
        members = apart(self.arrays_)
        filled = np.flatnonzero(queries.lengths)
        states = []
        for member in members:
            last = np.zeros((len(queries), self.parameters.layers[-1]), np.float32)
            last[filled] = outputs(member, queries)[queries.offsets[1:][filled] - 1]
            states.append(last)
        product = self._product()
        return _scores(product, product.queries(states))

    def score_positions(self, sessions: Sessions, positions: Positions, chunk: int) -> Iterator[np.ndarray]:
        """As the interface has it; every session is followed once, click by click."""
        members = apart(self.arrays_)
        product = self._product()
        for _, queries in _before(members, product, sessions, positions):
            for begin in range(0, len(queries), chunk):
                yield _scores(product, queries[begin : begin + chunk])

    def rank_positions(
        self, sessions: Sessions, positions: Positions, length: int = 0, exclude_clicked: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """As the interface has it; a model that was trained on a GPU is ranked there."""
        if self._device == "cpu":
            return self._rank_on_cpu(sessions, positions, length, exclude_clicked)
        import torch

        from recsys.models.gru4rec_network import Network
        from recsys.training.device_ranking import rank_on_device

        members = apart(self.arrays_)
        networks = [Network(member, self.parameters, np.ones(self.n_items_), torch.device(self._device)) for member in members]
        return rank_on_device(networks, self._product(), sessions, positions, length, exclude_clicked)

    def top_positions(
        self, sessions: Sessions, positions: Positions, length: int, exclude_clicked: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """As the interface has it, by way of the lists that ranking makes."""
        _, lists = self.rank_positions(sessions, positions, length, exclude_clicked)
        members = apart(self.arrays_)
        product = self._product()
        scores = np.full(lists.shape, -np.inf, np.float32)
        for part, queries in _before(members, product, sessions, positions):
            for row, (query, listed) in enumerate(zip(queries, lists[part], strict=True), start=part.start):
                there = listed >= 0
                own = listed[there]
                scores[row, there] = product.table[own] @ query + product.bias[own]
        return lists, scores

    def _rank_on_cpu(self, sessions: Sessions, positions: Positions, length: int, exclude_clicked: bool) -> tuple[np.ndarray, np.ndarray]:
        """By the extension, which writes no scores."""
        ranks = np.empty(len(positions), np.int64)
        lists = np.empty((len(positions), length), np.int32)
        members = apart(self.arrays_)
        product = self._product()
        for part, queries in _before(members, product, sessions, positions):
            begins, ends = sessions.offsets[positions.session[part]], positions.click[part]
            try:
                found = rank(
                    queries,
                    product.table,
                    product.bias,
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


def _scores(product: Product, queries: np.ndarray) -> np.ndarray:
    """float32 [Q, V] of queries [Q, W]."""
    scores = queries @ product.table.T
    scores += product.bias
    return scores


def _before(members: list[Arrays], product: Product, sessions: Sessions, positions: Positions) -> Iterator[tuple[slice, np.ndarray]]:
    """Predictions, some at a time, and the query before each, [Q, W]; of a zero state where the session has not begun."""
    first = 0
    while first < len(sessions):
        # Whole sessions, as many as fit; at least one.
        last = int(np.searchsorted(sessions.offsets, sessions.offsets[first] + _ENCODE_CLICKS, side="right")) - 1
        last = min(max(last, first + 1), len(sessions))
        begin, end = sessions.offsets[first], sessions.offsets[last]
        own = Sessions(sessions.items[begin:end], sessions.offsets[first : last + 1] - begin)
        part = slice(*np.searchsorted(positions.session, (first, last)))
        clicks = positions.click[part]
        begun = clicks > sessions.offsets[positions.session[part]]
        states = []
        for member in members:
            after = outputs(member, own)
            before = np.zeros((len(clicks), after.shape[1]), np.float32)
            before[begun] = after[clicks[begun] - 1 - begin]
            states.append(before)
        yield part, product.queries(states)
        first = last
