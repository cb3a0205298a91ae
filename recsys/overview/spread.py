"""How values spread: their mean and quantiles, and histograms whose bins grow with the value."""

from typing import Any

import numpy as np

SHOWN_QUANTILES = {"median": 0.5, "p95": 0.95, "p99": 0.99}
"""Quantiles that every spread names."""


def spread(values: np.ndarray) -> dict[str, float]:
    """Mean, median, 95th and 99th percentile, and the largest of `values` [N]; a quantile is the smallest value that reaches it."""
    ordered = np.sort(values)
    found = {"mean": round(float(ordered.mean()), 6)}
    found |= {name: float(ordered[int(np.ceil(share * len(ordered))) - 1]) for name, share in SHOWN_QUANTILES.items()}
    return found | {"largest": float(ordered[-1])}


def at_least(counts: np.ndarray) -> dict[str, list]:
    """The share of `counts` (int [N], positive) that are at least 1, 2, 3, …; thinned where there are many different ones."""
    values, number = np.unique(counts, return_counts=True)
    share = np.cumsum(number[::-1])[::-1] / len(counts)
    kept = thinned(len(values))
    return {"at_least": values[kept].tolist(), "share": np.round(share[kept], 9).tolist()}


def thinned(length: int, most: int = 150) -> np.ndarray:
    """Up to `most` places from 0 to `length` - 1, as far from each other as is even on a logarithmic axis; both ends are among them."""
    if length <= most:
        return np.arange(length)
    return np.unique(np.round(np.geomspace(1, length, most)).astype(np.int64)) - 1


def growing_bins(values: np.ndarray, lowest: float, a_decade: int = 8) -> dict[str, Any]:
    """A histogram with `a_decade` bins a power of ten from `lowest` on; what is smaller is counted apart.

    Parameters
    ----------
    values : [N], not negative
    lowest
        Where the first bin begins, above 0.
    a_decade
        Bins between a value and its tenfold.
    """
    largest = max(float(values.max(initial=0)), lowest)
    last = int(np.floor(np.log10(largest / lowest) * a_decade + 1e-9)) + 1
    edges = lowest * 10 ** (np.arange(last + 1) / a_decade)
    edges[-1] = max(edges[-1], largest)
    counted, _ = np.histogram(values[values >= lowest], bins=edges)
    return {"edges": np.round(edges, 6).tolist(), "counts": counted.tolist(), "smaller": int((values < lowest).sum())}
