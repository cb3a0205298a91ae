"""Averages of what is learned."""

import numpy as np


def moving_average(average: dict[str, np.ndarray], arrays: dict[str, np.ndarray], kept: float, epoch: int) -> dict[str, np.ndarray]:
    """The exponential moving average of the arrays after each epoch, each epoch's share in it as if it had always been running.

    Averages over the path of the weights lie nearer to its centre than its end does (Polyak & Juditsky, SIAM J. Control and
    Optimization 1992; Izmailov et al., UAI 2018); the correction of its start is that of Adam (Kingma & Ba, ICLR 2015, section 3).

    Parameters
    ----------
    average
        The average after the epoch before, by name; it is changed in place. Empty after none.
    arrays
        The arrays after this epoch.
    kept
        Share of the average that an epoch leaves, in [0, 1).
    epoch
        The number of this epoch, from 1.

    Returns
    -------
    The average, this epoch included.
    """
    if not average:
        return {name: array.copy() for name, array in arrays.items()}
    share = np.float32((1 - kept) / (1 - kept**epoch))
    for name, array in arrays.items():
        average[name] *= 1 - share
        average[name] += share * array
    return average
