"""Negative samples, drawn by popularity and shared by the lanes of a step."""

import numpy as np
import torch

from recsys.training.device_random import WORD, Randomness


def alias_table(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A table that is drawn from in constant time (Walker's alias method, as Vose builds it).

    Parameters
    ----------
    weights : float64 [V]
        Positive.

    Returns
    -------
    kept : int64 [V]
        Each slot's share of its own item, in 2^-32.
    other : int64 [V]
        The item that has the rest of the slot.
    """
    total = float(np.cumsum(weights)[-1])  # one after the other, as the native trainer adds them up
    share = (weights * (len(weights) / total)).tolist()
    kept, other = [WORD] * len(share), list(range(len(share)))
    small = [item for item, own in enumerate(share) if own < 1.0]
    large = [item for item, own in enumerate(share) if own >= 1.0]
    while small and large:
        poor, rich = small.pop(), large[-1]
        kept[poor], other[poor] = int(share[poor] * 2**32), rich
        share[rich] -= 1.0 - share[poor]
        if share[rich] < 1.0:
            small.append(large.pop())
    return np.array(kept, np.int64), np.array(other, np.int64)


class NegativeSampler:
    """Draws items with replacement, with probability proportional to count ** alpha (CIKM 2018, section 3.1).

    Parameters
    ----------
    counts : [V]
        Clicks of each item in training, at least 1.
    alpha
        0 is uniform, 1 is by popularity.
    device
        Where samples are drawn.
    """

    def __init__(self, counts: np.ndarray, alpha: float, device: torch.device) -> None:
        kept, other = alias_table(counts.astype(np.float64) ** alpha)
        self._kept, self._other = torch.from_numpy(kept).to(device), torch.from_numpy(other).to(device)

    def draw(self, randomness: Randomness, steps: torch.Tensor, samples: int) -> torch.Tensor:
        """Item indices of the steps `steps` [K], counted from the start of the training: int64 [K, samples]."""
        return randomness.items(steps, self._kept, self._other, samples)
