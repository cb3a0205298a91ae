"""Intervals by resampling sessions: the predictions of one session hang together, so that sessions, not predictions, are drawn."""

import numpy as np


def _resampled_means(values: np.ndarray, sessions: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of `values` [P] over `resamples` draws of whole sessions with replacement: float64 [resamples]."""
    _, session = np.unique(sessions, return_inverse=True)
    sums = np.bincount(session, weights=values)
    counts = np.bincount(session).astype(np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for resample in range(resamples):
        drawn = generator.integers(0, len(sums), len(sums))
        means[resample] = sums[drawn].sum() / counts[drawn].sum()
    return means


def interval(values: np.ndarray, sessions: np.ndarray, resamples: int, confidence: float, seed: int = 0) -> dict[str, float]:
    """Mean and percentile interval of the mean.

    Parameters
    ----------
    values : [P]
        One number a prediction.
    sessions : [P]
        The session of each prediction.
    resamples, confidence
        How many resamples, and the interval's coverage in (0, 1).

    Returns
    -------
    `{"mean", "low", "high"}`
    """
    if not len(values):
        return {"mean": 0.0, "low": 0.0, "high": 0.0}
    means = _resampled_means(np.asarray(values, dtype=np.float64), np.asarray(sessions), resamples, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high)}


def paired_difference(
    values_a: np.ndarray, values_b: np.ndarray, sessions: np.ndarray, resamples: int, confidence: float, seed: int = 0
) -> dict[str, float]:
    """Mean of a - b and its interval, both measured on the same predictions (see `interval`)."""
    return interval(np.asarray(values_a, dtype=np.float64) - np.asarray(values_b, dtype=np.float64), sessions, resamples, confidence, seed)


def intervals(values: np.ndarray, sessions: np.ndarray, resamples: int, confidence: float, seed: int = 0) -> list[dict[str, float]]:
    """What `interval` gives for each column of `values` [P, V], to the last bits; the columns share their draws, so that many cost little.

    Parameters
    ----------
    values : [P, V]
        V numbers a prediction.
    sessions, resamples, confidence, seed
        As `interval` takes them.

    Returns
    -------
    V times `{"mean", "low", "high"}`
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return [{"mean": 0.0, "low": 0.0, "high": 0.0} for _ in range(values.shape[1])]
    _, session = np.unique(sessions, return_inverse=True)
    sums = np.stack([np.bincount(session, weights=column) for column in values.T] + [np.bincount(session)], axis=1)  # [S, V + 1]
    generator = np.random.default_rng(seed)
    drawn = np.empty((resamples, sums.shape[1]))
    for resample in range(resamples):
        times = np.bincount(generator.integers(0, len(sums), len(sums)), minlength=len(sums))  # [S]
        drawn[resample] = times @ sums
    means = drawn[:, :-1] / drawn[:, -1:]  # [resamples, V]
    lows, highs = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return [
        {"mean": float(mean), "low": float(low), "high": float(high)}
        for mean, low, high in zip(values.mean(axis=0), lows, highs, strict=True)
    ]
