"""Where the next item stands among all items, without a score leaving the device.

Shapes: Q queries at a time, H units of the last layer, V items, W entries of a query.
"""

from collections.abc import Iterator

import numpy as np
import torch

from recsys.models.gru4rec_ensemble import LEAST_VARIANCE, Product
from recsys.models.gru4rec_network import Masks, Network
from recsys.models.scores import EXCLUDED, not_a_number
from recsys.sessions.table import Positions, Sessions
from recsys.settings.gru4rec import GRU4RecParameters

_CLICKS = 1 << 17
"""Clicks whose outputs are held at a time."""
_SCORES = 1 << 25
"""Scores that are held at a time."""


def memory_of_ranking(settings: GRU4RecParameters, n_items: int) -> int:
    """About how many bytes ranking holds on its device: the tables, the scores, and what these are compared by and sorted into."""
    inputs = settings.input_width if settings.embedding != "shared" else 0
    tables = settings.members * (settings.layers[-1] + 1 + inputs)
    if settings.members > 1:
        tables += settings.members * (settings.layers[-1] + 1)
    return 4 * n_items * tables + 28 * max(_SCORES, n_items)


def followed(network: Network, sessions: Sessions) -> torch.Tensor:
    """The network's output after every click, [clicks, H]; each session starts from zero."""
    dense = network.stored["dense"]
    device = dense.device
    items = torch.from_numpy(sessions.items).to(device)
    order = np.argsort(-sessions.lengths, kind="stable")
    lengths, starts = sessions.lengths[order], torch.from_numpy(sessions.offsets[:-1][order]).to(device)
    outputs = dense.new_empty(len(items), network.settings.layers[-1])
    states = [dense.new_zeros(len(order), units) for units in network.settings.layers]
    for position in range(int(lengths[0]) if len(lengths) else 0):
        alive = int(np.searchsorted(-lengths, -position, side="left"))  # sessions with more than `position` clicks
        clicks = starts[:alive] + position
        output, states, _ = network.forward(items.index_select(0, clicks), [state[:alive] for state in states], Masks())
        outputs.index_copy_(0, clicks, output)
    return outputs


@torch.inference_mode()
def rank_on_device(
    networks: list[Network], product: Product, sessions: Sessions, positions: Positions, length: int = 0, exclude_clicked: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Rank every prediction of `sessions` against all items; see `recsys.models.interface.Model.rank_positions`.

    Parameters
    ----------
    networks
        The learned arrays of each member, on the device that ranks.
    product
        What scores items by their outputs.
    sessions
        Sessions over the networks' items.
    positions
        What is to be predicted of them.
    length
        Of the lists of the best items.
    exclude_clicked
        Leave the items clicked so far out; a target among them then counts as missed.

    Returns
    -------
    ranks : int64 [P]
        How many items score at least as high as the target, itself included; `EXCLUDED` where it is left out or scores -inf.
    lists : int32 [P, length]
        The best items, ties to the smaller index; -1 where fewer are left.

    Raises
    ------
    TrainingError
        If a score is NaN.
    """
    device = networks[0].stored["dense"].device
    on_device = _Product(networks, product, device)
    ranks = [torch.empty(0, dtype=torch.int64, device=device)]
    lists = [torch.empty(0, length, dtype=torch.int32, device=device)]
    broken = torch.zeros((), dtype=torch.bool, device=device)
    for outputs, part in _parts(networks, sessions, positions):
        scores = on_device.scores(outputs)  # [Q, V]
        if exclude_clicked:
            scores[_clicked(sessions, positions, part, device)] = -torch.inf
        target = scores.gather(1, torch.from_numpy(positions.target[part]).to(device, torch.int64).unsqueeze(1))  # [Q, 1]
        broken |= scores.isnan().any()
        ranks.append(torch.where(target.isneginf().squeeze(1), EXCLUDED, (scores >= target).sum(1)))
        if length:
            best, items = torch.sort(scores, dim=1, descending=True, stable=True)
            lists.append(torch.where(best[:, :length].isneginf(), -1, items[:, :length]).int())
    if broken:
        raise not_a_number()
    return torch.cat(ranks).cpu().numpy(), torch.cat(lists).cpu().numpy()


class _Product:
    """A product where its tables lie on the device; a single network's are its own."""

    def __init__(self, networks: list[Network], product: Product, device: torch.device) -> None:
        self._covariances = [torch.from_numpy(covariance).to(device) for covariance in product.covariances]
        if len(networks) == 1:
            self._table, self._bias = (networks[0].stored[name][: networks[0].spare] for name in ("item_table", "item_bias"))
        else:
            self._table, self._bias = (torch.from_numpy(array).to(device) for array in (product.table, product.bias))

    def scores(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """Scores [Q, V] of the networks' outputs, M times [Q, H]."""
        queries = [self._standardised(*own) for own in zip(outputs, self._covariances, strict=True)] if self._covariances else outputs
        return torch.addmm(self._bias, torch.cat(queries, 1), self._table.T)

    @staticmethod
    def _standardised(output: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
        extended = torch.nn.functional.pad(output, (0, 1), value=1.0)
        variance = (extended @ covariance * extended).sum(1, keepdim=True)
        return extended * variance.clamp_min(LEAST_VARIANCE).rsqrt()


def _parts(networks: list[Network], sessions: Sessions, positions: Positions) -> Iterator[tuple[list[torch.Tensor], slice]]:
    """The outputs, M times [Q, H], behind the predictions, part by part, in order."""
    together = max(_SCORES // networks[0].spare, 1)
    first = 0
    while first < len(sessions):
        # Whole sessions, as many as fit; at least one.
        last = int(np.searchsorted(sessions.offsets, sessions.offsets[first] + _CLICKS, side="right")) - 1
        last = min(max(last, first + 1), len(sessions))
        begin, end = sessions.offsets[first], sessions.offsets[last]
        own = Sessions(sessions.items[begin:end], sessions.offsets[first : last + 1] - begin)
        outputs = [followed(network, own) for network in networks]
        wanted = np.searchsorted(positions.session, [first, last])
        for start in range(wanted[0], wanted[1], together):
            part = slice(start, min(start + together, wanted[1]))
            clicks = positions.click[part]
            before = torch.from_numpy(np.maximum(clicks - 1 - begin, 0)).to(outputs[0].device)
            empty = torch.from_numpy(clicks == sessions.offsets[positions.session[part]]).to(before.device)  # scored from the zero state
            yield [output.index_select(0, before).masked_fill_(empty.unsqueeze(1), 0.0) for output in outputs], part
        first = last


def _clicked(sessions: Sessions, positions: Positions, part: slice, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows and items of what was clicked before each prediction of a part."""
    begins, ends = sessions.offsets[positions.session[part]], positions.click[part]
    counts = ends - begins
    rows = np.repeat(np.arange(len(counts)), counts)
    clicks = np.arange(counts.sum()) + np.repeat(begins - (np.cumsum(counts) - counts), counts)
    return torch.from_numpy(rows).to(device), torch.from_numpy(sessions.items[clicks]).to(device, torch.int64)
