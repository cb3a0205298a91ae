"""What the next steps need, made on the device for many steps at once: inputs, targets, samples, masks, and how their rows are summed.

Everything has a fixed shape. Lanes that have vanished, and places of a sum that are not used, point to the spare row V of the tables,
whose gradient is zero.

Shapes: K steps of a block, T of an epoch, A lanes of all processes, M of this one, N samples, C = A + N columns, V items.
"""

from dataclasses import dataclass

import numpy as np
import torch

from recsys.models.gru4rec_network import TABLES, Masks
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.training.device_random import EMBEDDING_DROPOUT, HIDDEN_DROPOUT, Randomness
from recsys.training.graph import WARM_UPS
from recsys.training.optimizer import Uses
from recsys.training.sampling import NegativeSampler
from recsys.training.schedule import Schedule

MOST_STEPS = 64
"""Steps of a block; fewer where masks are large, but as many as a graph's warm-ups take."""
_MASKS = 1 << 22
"""Entries of a block's masks, from which on it has fewer steps."""
_USES = ("order", "place", "rows")


def steps_of_block(settings: GRU4RecParameters, lanes: int) -> int:
    """Steps that are made ready at once, for so many lanes."""
    entries = lanes * (settings.input_width + sum(settings.layers))
    return min(max(_MASKS // entries, WARM_UPS), MOST_STEPS)


@dataclass(frozen=True)
class Step:
    """What one step feeds.

    Attributes
    ----------
    inputs : int64 [M]
        This process's lanes' clicks.
    columns : int64 [C]
        The next clicks of all lanes, then the samples.
    keep : [M, 1]
        0 where a session begins, else 1.
    masks
        Of dropout.
    uses
        By the name of a table: how the gradients of its uses are summed by row.
    """

    inputs: torch.Tensor
    columns: torch.Tensor
    keep: torch.Tensor
    masks: Masks
    uses: dict[str, Uses]


class DeviceBlocks:
    """The epoch's schedule on a device, and the steps of it that come next.

    Parameters
    ----------
    schedule
        What each step feeds and predicts.
    settings
        The model's parameters.
    counts : [V]
        Clicks of each item in training, at least 1.
    randomness
        What samples and masks are drawn from.
    device
        Where all of it lies.
    lanes
        This process's lanes, of `all_lanes`.
    all_lanes
        Lanes of all processes; those beyond the schedule's never run.
    dtype
        Of the masks.
    """

    def __init__(
        self,
        schedule: Schedule,
        settings: GRU4RecParameters,
        counts: np.ndarray,
        randomness: Randomness,
        device: torch.device,
        lanes: slice,
        all_lanes: int,
        dtype: torch.dtype,
    ) -> None:
        self.steps = steps_of_block(settings, lanes.stop - lanes.start)
        self._settings, self._lanes, self._dtype = settings, lanes, dtype
        self._spare = len(counts)
        inputs, targets = (np.full((len(schedule) + 1, all_lanes), self._spare, np.int32) for _ in range(2))
        keep = np.zeros((len(schedule) + 1, all_lanes), bool)
        entries = np.repeat(np.arange(len(schedule)), np.diff(schedule.steps)), schedule.lanes
        inputs[entries], targets[entries], keep[entries] = schedule.inputs, schedule.targets, schedule.keep > 0
        self._inputs, self._targets, self._keep = (torch.from_numpy(array).to(device) for array in (inputs, targets, keep))
        self._sampler = NegativeSampler(counts, settings.sample_alpha, device)
        self._randomness = randomness
        self._offsets = torch.arange(self.steps, device=device)
        # Where in the epoch the block begins, its number of steps since the start of the training, and the next step within it.
        self._row, self._number, self._next = (torch.zeros(1, dtype=torch.int64, device=device) for _ in range(3))
        self.seek(len(schedule), 0)
        ids, factors = self._made()
        self._ids, self._factors = torch.cat(list(ids.values()), 1), torch.cat(list(factors.values()), 1)  # [K, …]
        self._id, self._factor = self._ids[:1].clone(), self._factors[:1].clone()  # [1, …]
        self.step = self._views(_split(self._id, ids), _split(self._factor, factors))

    def seek(self, step: int, number: int) -> None:
        """Let the next block begin with `step` of the epoch, which is step `number` since the start of the training."""
        self._row.fill_(step)
        self._number.fill_(number)

    def make(self) -> None:
        """Make the block's steps; those beyond the epoch's end feed nothing."""
        ids, factors = self._made()
        torch.cat(list(ids.values()), 1, out=self._ids)
        torch.cat(list(factors.values()), 1, out=self._factors)
        self._next.zero_()

    def advance(self) -> None:
        """Let `step` hold the block's next step."""
        torch.index_select(self._ids, 0, self._next, out=self._id)
        torch.index_select(self._factors, 0, self._next, out=self._factor)
        self._next.add_(1)

    def _views(self, ids: dict[str, torch.Tensor], factors: dict[str, torch.Tensor]) -> Step:
        lanes = self._lanes.stop - self._lanes.start
        uses = {table: Uses(*(ids[f"{table}.{part}"] for part in _USES)) for table in TABLES if f"{table}.order" in ids}
        masks = {name: mask.unflatten(0, (lanes, -1)) for name, mask in factors.items()}
        return Step(
            inputs=ids["inputs"],
            columns=ids["columns"],
            keep=masks["keep"],
            masks=Masks(masks.get("embedding"), [mask for name, mask in masks.items() if name.startswith("hidden.")]),
            uses={"item_table": uses["item_bias"]} | uses,
        )

    def _made(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """By name: ids, int64 [K, …], and factors [K, …]."""
        chosen, own = self._settings, self._lanes
        rows = (self._row + self._offsets).clamp_(max=len(self._targets) - 1)  # [K]
        numbers = self._number + self._offsets  # [K]
        inputs = self._inputs.index_select(0, rows).long()  # [K, A]
        targets = self._targets.index_select(0, rows).long()  # [K, A]
        columns = torch.cat([targets, self._sampler.draw(self._randomness, numbers, chosen.n_sample)], 1)  # [K, C]
        ids = {"inputs": inputs[:, own], "columns": columns, **self._uses("item_bias", columns)}
        if chosen.embedding == "shared":
            ids |= self._uses("item_table", torch.cat([columns, inputs], 1))
        else:
            ids |= self._uses("input_table", inputs)

        factors = {"keep": self._keep.index_select(0, rows)[:, own].to(self._dtype)}
        # Among the lanes that still run, so that a mask does not depend on those that have vanished.
        places = ((targets != self._spare).cumsum(1) - 1).clamp_(min=0)[:, own]  # [K, M]
        shares = [("embedding", EMBEDDING_DROPOUT, chosen.input_width, chosen.dropout_embedding)]
        shares += [(f"hidden.{layer}", HIDDEN_DROPOUT + layer, units, chosen.dropout_hidden) for layer, units in enumerate(chosen.layers)]
        for name, purpose, width, share in shares:
            if share:
                mask = self._randomness.dropout(numbers, purpose, places, width, share)  # [K, M, width]
                factors[name] = mask.to(self._dtype).flatten(1)
        return ids, factors

    def _uses(self, table: str, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        uses = Uses.of(ids, self._spare)
        return {f"{table}.{part}": getattr(uses, part) for part in _USES}


def _split(row: torch.Tensor, parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Views of `row` [1, …], by the names of the parts [K, …] that it is put together from."""
    return dict(zip(parts, row[0].split([part.shape[1] for part in parts.values()]), strict=True))
