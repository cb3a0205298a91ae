"""GRU4Rec: a recurrent network over the clicks of a session, trained session-parallel on sampled ranking losses.

Sources: Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016 (the network and the schedule);
Hidasi & Karatzoglou, "Recurrent neural networks with top-k gains for session-based recommendations", CIKM 2018 (samples and losses).

Shapes: Q queries, H units of the last layer, V items.
"""

from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
import torch

from recsys.errors import DataError
from recsys.models.gru4rec_network import Network, initial_parameters
from recsys.models.interface import Capabilities, FitContext, FitData, Model, Queries
from recsys.sessions.table import Positions, Sessions
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training.hardware import pick_device, require_memory
from recsys.training.loop import BLOCK, run_epochs
from recsys.training.native import NativeTrainer
from recsys.training.schedule import Schedule
from recsys.training.session_parallel import SessionParallelTrainer

_ENCODE_CLICKS = 16_384
"""Clicks whose states are held at a time while sessions are scored."""


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
    # The item table: initial, learned, squares of Adagrad, momentum, the best epoch's. A click: input, target, lane.
    tables = 4 * n_items * width * (4 + (settings.momentum > 0)) + 24 * clicks
    scores = (13 if settings.loss == "bpr-max" else 5) * lanes * columns
    vectors = 3 * (columns + lanes) * width + 12 * lanes * sum(settings.layers)
    return tables, 4 * (scores + vectors) + 8 * BLOCK * settings.n_sample


class GRU4Rec(Model):
    """GRU4Rec with one item table for input and output.

    Attributes
    ----------
    network_ : Network
        The learned arrays and the step over them; `arrays` gives them by name.
    """

    family: ClassVar[str] = "gru4rec"
    capabilities: ClassVar[Capabilities] = Capabilities(runtime="onnx", stepwise=True, seeded=True)
    parameters_class: ClassVar[type[GRU4RecParameters]] = GRU4RecParameters

    network_: Network

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
        self._require_memory(data, device)
        counts = torch.from_numpy(np.bincount(data.train.items, minlength=data.n_items).clip(min=1)).to(device)
        initial = initial_parameters(data.n_items, self.parameters.layers, self.seed)
        network = Network({name: array.to(device) for name, array in initial.items()}, self.parameters, counts.float().log())
        schedule = Schedule.of(data.train, self.parameters.batch_size, device)
        trainer_class = NativeTrainer if context.step == "native" and device.type == "cpu" else SessionParallelTrainer
        trainer = trainer_class(network, schedule, counts, self.seed)
        self.n_items_ = data.n_items
        self.network_ = network
        validate = (lambda: context.validate(self)) if context.validate is not None else None
        with torch.inference_mode():
            run_epochs(trainer, self.parameters.epochs, context, validate)
        return self

    def _require_memory(self, data: FitData, device: torch.device) -> None:
        chosen = self.parameters
        tables, step = memory_of_fit(chosen, data.n_items, len(data.train), len(data.train.items))
        if step > tables:
            what = f"training with batch_size {chosen.batch_size:,} and n_sample {chosen.n_sample:,}"
            fix = "lower batch_size or n_sample"
        else:
            what = f"training with {data.n_items:,} items and layers {chosen.layers}"
            fix = "lower the last of layers, or raise filter.min_support"
        require_memory(tables + step, device, what, f"{fix} (under models.gru4rec, or in the run's parameters)")

    @torch.inference_mode()
    def _states(self, sessions: Sessions) -> torch.Tensor:
        """The network's output after every click: [clicks, H]. Each session starts from zero."""
        table = self.network_.parameters["item_table"]
        outputs = table.new_zeros(len(sessions.items), self.parameters.layers[-1])
        order = np.argsort(-sessions.lengths, kind="stable")
        lengths = sessions.lengths[order]
        starts = sessions.offsets[:-1][order]
        states = [table.new_zeros(len(order), units) for units in self.parameters.layers]
        for position in range(int(lengths[0]) if len(lengths) else 0):
            alive = int(np.searchsorted(-lengths, -position, side="left"))  # sessions with more than `position` clicks
            clicks = starts[:alive] + position
            inputs = torch.from_numpy(sessions.items[clicks].astype(np.int64)).to(table.device)
            output, states, _ = self.network_.forward(inputs, [state[:alive] for state in states])
            outputs[torch.from_numpy(clicks).to(table.device)] = output
        return outputs

    def _scores(self, outputs: torch.Tensor) -> np.ndarray:
        """float32 [Q, V] of outputs [Q, H]."""
        parameters = self.network_.parameters
        return torch.addmm(parameters["item_bias"], outputs, parameters["item_table"].T).cpu().numpy()

    @torch.inference_mode()
    def score_all(self, queries: Queries) -> np.ndarray:
        """Scores of every item for every query, float32 [Q, V]; an empty query is scored from the zero state."""
        outputs = self._states(queries)
        last = outputs.new_zeros(len(queries), outputs.shape[1])
        filled = np.flatnonzero(queries.lengths)
        last[torch.from_numpy(filled)] = outputs[torch.from_numpy(queries.offsets[1:][filled] - 1)]
        return self._scores(last)

    @torch.inference_mode()
    def score_positions(self, sessions: Sessions, positions: Positions, chunk: int) -> Iterator[np.ndarray]:
        """As the interface has it; every session is followed once, click by click."""
        first = 0
        while first < len(sessions):
            # Whole sessions, as many as fit; at least one.
            last = int(np.searchsorted(sessions.offsets, sessions.offsets[first] + _ENCODE_CLICKS, side="right")) - 1
            last = min(max(last, first + 1), len(sessions))
            begin, end = sessions.offsets[first], sessions.offsets[last]
            outputs = self._states(Sessions(sessions.items[begin:end], sessions.offsets[first : last + 1] - begin))
            wanted = positions.click[np.searchsorted(positions.session, first) : np.searchsorted(positions.session, last)]
            for part in range(0, len(wanted), chunk):
                rows = torch.from_numpy(wanted[part : part + chunk] - 1 - begin).to(outputs.device)
                yield self._scores(outputs[rows])
            first = last

    def arrays(self) -> dict[str, np.ndarray]:
        """Learned arrays by name: `item_table` [V, H], `item_bias` [V], and each layer's weights and biases."""
        return {name: array.cpu().numpy() for name, array in self.network_.parameters.items()}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over learned arrays; scoring then happens on the CPU."""
        self.network_ = Network({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, self.parameters)
