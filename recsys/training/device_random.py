"""Randomness from a counter, on any device: the numbers of the native trainer, bit for bit.

Every number follows from the seed, the step and its purpose, so that a resume needs no state of a generator, several processes draw
alike without a word between them, and what is drawn does not depend on where the steps are cut into blocks.
"""

import numpy as np
import torch

SAMPLES, EMBEDDING_DROPOUT, HIDDEN_DROPOUT = 0, 1, 2
"""What numbers are for; the layers count on from `HIDDEN_DROPOUT`. Numbers of different purposes have nothing to do with each other."""

WORD = (1 << 32) - 1
"""The largest random number."""


def philox(counter: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], key: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

    Parameters
    ----------
    counter : int64
        Four words of 32 bits; their shapes are broadcast.
    key
        Two words of 32 bits.

    Returns
    -------
    Four tensors of words of 32 bits, int64.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # Products of 64 bits: as signed numbers they wrap around, and their bits are right.
        first, second = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = second >> 32 & WORD ^ c1 ^ k0, second & WORD, first >> 32 & WORD ^ c3 ^ k1, first & WORD
        k0, k1 = k0 + 0x9E3779B9 & WORD, k1 + 0xBB67AE85 & WORD
    return c0, c1, c2, c3


def dropout_constants(share: float) -> tuple[int, float]:
    """The word from which on an entry is kept, and what stands for a kept one; from the share in float32, as in the native trainer."""
    rounded = np.float32(share)
    return int(float(rounded) * 2**32), float(1 / (1 - rounded))


class Randomness:
    """The random words of a training.

    Parameters
    ----------
    seed
        What everything random follows from, modulo 2^64.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed & (WORD << 32 | WORD)

    def words(self, steps: torch.Tensor, purpose: int, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Words of 32 bits, four for each place: int64 [K, …, 4].

        Parameters
        ----------
        steps : int64 [K, 1, …]
            Steps, counted from the start of the training.
        purpose
            What the words are for.
        first, second : int64
            Places, in shapes that broadcast with that of `steps`.
        """
        key = self.seed & WORD, self.seed >> 32
        return torch.stack(philox((first, second, steps & WORD, steps >> 32 | purpose << 16), key), dim=-1)

    def dropout(self, steps: torch.Tensor, purpose: int, rows: torch.Tensor, width: int, share: float) -> torch.Tensor:
        """Masks of K steps and M rows: 0 with probability `share`, else 1 / (1 - share), float32 [K, M, width].

        Parameters
        ----------
        steps : int64 [K]
            Steps, counted from the start of the training.
        purpose
            What the masks are for.
        rows : int64 [K, M]
            Each row's number.
        width
            Units.
        share
            Of the units, dropped.
        """
        threshold, kept = dropout_constants(share)
        quads = torch.arange((width + 3) // 4, device=steps.device)
        words = self.words(steps[:, None, None], purpose, rows.unsqueeze(2), quads).flatten(2)[..., :width]  # [K, M, width]
        return (words >= threshold).float() * kept

    def items(self, steps: torch.Tensor, kept: torch.Tensor, other: torch.Tensor, samples: int) -> torch.Tensor:
        """Items drawn from an alias table, see `recsys.training.sampling.alias_table`: int64 [K, samples]."""
        pairs = torch.arange((samples + 1) // 2, device=steps.device)
        words = self.words(steps.unsqueeze(1), SAMPLES, pairs, torch.zeros_like(pairs))  # [K, pairs, 4]
        words = words.flatten(1)[:, : 2 * samples].unflatten(1, (samples, 2))  # [K, samples, 2]
        slots = words[..., 0] * len(kept) >> 32  # [K, samples]
        return torch.where(words[..., 1] <= kept[slots], slots, other[slots])
