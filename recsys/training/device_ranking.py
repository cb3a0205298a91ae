"""Where the next item stands among all items, without a score leaving the device.

Shapes: Q queries at a time, H units of the last layer, V items.
"""

from collections.abc import Iterator

import numpy as np
import torch

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
    return 4 * n_items * (settings.layers[-1] + 1 + inputs) + 28 * max(_SCORES, n_items)


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
    network: Network, sessions: Sessions, positions: Positions, length: int = 0, exclude_clicked: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Rank every prediction of `sessions` against all items; see `recsys.models.interface.Model.rank_positions`.

    Parameters
    ----------
    network
        The learned arrays, on the device that ranks.
    sessions
        Sessions over the network's items.
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
    table, bias = (network.stored[name][: network.spare] for name in ("item_table", "item_bias"))
    device = table.device
    ranks = [torch.empty(0, dtype=torch.int64, device=device)]
    lists = [torch.empty(0, length, dtype=torch.int32, device=device)]
    broken = torch.zeros((), dtype=torch.bool, device=device)
    for outputs, part in _parts(network, sessions, positions):
        scores = torch.addmm(bias, outputs, table.T)  # [Q, V]
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


def _parts(network: Network, sessions: Sessions, positions: Positions) -> Iterator[tuple[torch.Tensor, slice]]:
    """The outputs [Q, H] behind the predictions, part by part, in order."""
    together = max(_SCORES // network.spare, 1)
    first = 0
    while first < len(sessions):
        # Whole sessions, as many as fit; at least one.
        last = int(np.searchsorted(sessions.offsets, sessions.offsets[first] + _CLICKS, side="right")) - 1
        last = min(max(last, first + 1), len(sessions))
        begin, end = sessions.offsets[first], sessions.offsets[last]
        outputs = followed(network, Sessions(sessions.items[begin:end], sessions.offsets[first : last + 1] - begin))
        wanted = np.searchsorted(positions.session, [first, last])
        for start in range(wanted[0], wanted[1], together):
            part = slice(start, min(start + together, wanted[1]))
            clicks = positions.click[part]
            before = torch.from_numpy(np.maximum(clicks - 1 - begin, 0)).to(outputs.device)
            empty = torch.from_numpy(clicks == sessions.offsets[positions.session[part]]).to(outputs.device)  # scored from the zero state
            yield outputs.index_select(0, before).masked_fill_(empty.unsqueeze(1), 0.0), part
        first = last


def _clicked(sessions: Sessions, positions: Positions, part: slice, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows and items of what was clicked before each prediction of a part."""
    begins, ends = sessions.offsets[positions.session[part]], positions.click[part]
    counts = ends - begins
    rows = np.repeat(np.arange(len(counts)), counts)
    clicks = np.arange(counts.sum()) + np.repeat(begins - (np.cumsum(counts) - counts), counts)
    return torch.from_numpy(rows).to(device), torch.from_numpy(sessions.items[clicks]).to(device, torch.int64)
