"""Negative samples, drawn by popularity and shared by the lanes of a step."""

import torch


class NegativeSampler:
    """Draws items with replacement, with probability proportional to count ** alpha (CIKM 2018, section 3.1).

    Parameters
    ----------
    counts : [items]
        Clicks of each item in training.
    alpha
        0 is uniform, 1 is by popularity.
    """

    def __init__(self, counts: torch.Tensor, alpha: float) -> None:
        weights = counts.to(torch.float64) ** alpha
        self._cumulative = torch.cumsum(weights, 0)  # [items]
        self._cumulative /= self._cumulative[-1].clone()

    def draw(self, steps: int, samples: int, generator: torch.Generator) -> torch.Tensor:
        """Item indices, int64 [steps, samples]."""
        device = self._cumulative.device
        uniform = torch.rand(steps, samples, dtype=torch.float64, device=device, generator=generator)
        drawn = torch.searchsorted(self._cumulative, uniform, right=True)
        return drawn.clamp_(max=len(self._cumulative) - 1)
