"""Several GRU4Rec networks as one: each query's scores are standardised network by network and added, all in one product.

Source: Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep ensembles", NeurIPS 2017 (networks
that differ by their seed alone, and are averaged).

Shapes: Q queries, H units of the last layer, V items, M members, W = M (H + 1).
"""

from dataclasses import dataclass

import numpy as np

from recsys.models.gru4rec_forward import Arrays

LEAST_VARIANCE = 1e-12
"""Of a query's scores: scores that are all alike are left as they are, or nearly so."""


@dataclass(frozen=True)
class Product:
    """What scores items: queries [Q, W] times `table` [V, W], plus `bias` [V].

    With T the item table and b the biases, a member's scores T h + b of all items have the variance g' C g, where g = (h, 1) and C is the
    covariance of the rows (T, b). So g divided by its root, times (T, b), are scores of deviation 1. Their mean is left in: it is the same
    for every item.

    Attributes
    ----------
    table : float32 [V, W]
        A network's item table, W = H; or each member's (T, b), side by side.
    bias : float32 [V]
        A network's biases; 0 where there are several.
    covariances : M times float32 [H + 1, H + 1]
        Each member's C; none for a single network.
    """

    table: np.ndarray
    bias: np.ndarray
    covariances: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(cls, members: list[Arrays]) -> "Product":
        """The product of one network or more."""
        if len(members) == 1:
            return cls(members[0]["item_table"], members[0]["item_bias"])
        rows = [np.column_stack([member["item_table"], member["item_bias"]]) for member in members]  # [V, H + 1] each
        centred = (own - own.mean(0) for own in rows)
        covariances = tuple(own.T @ own / np.float32(len(own)) for own in centred)
        return cls(np.concatenate(rows, axis=1), np.zeros(len(rows[0]), np.float32), covariances)

    def queries(self, states: list[np.ndarray]) -> np.ndarray:
        """Queries, float32 [Q, W], of the networks' outputs, M times [Q, H]."""
        if not self.covariances:
            return states[0]
        ones = np.ones((len(states[0]), 1), np.float32)
        standardised = []
        for state, covariance in zip(states, self.covariances, strict=True):
            extended = np.concatenate([state, ones], axis=1)  # [Q, H + 1]
            variance = np.sum(extended @ covariance * extended, axis=1, keepdims=True)
            standardised.append(extended / np.sqrt(np.maximum(variance, np.float32(LEAST_VARIANCE))))
        return np.concatenate(standardised, axis=1)


def together(members: list[Arrays]) -> Arrays:
    """The arrays of one network or more under one roof: `members.N.` stands before the names where there are several."""
    if len(members) == 1:
        return members[0]
    return {f"members.{number}.{name}": array for number, member in enumerate(members) for name, array in member.items()}


def apart(arrays: Arrays) -> list[Arrays]:
    """What `together` was given."""
    if not any(name.startswith("members.") for name in arrays):
        return [arrays]
    members: dict[int, Arrays] = {}
    for name, array in arrays.items():
        _, number, own = name.split(".", 2)
        members.setdefault(int(number), {})[own] = array
    return [members[number] for number in sorted(members)]


def seed_of(seed: int, member: int) -> int:
    """A member's own seed: the first one has the ensemble's, and no two ensembles of different seeds share one."""
    return seed + (member << 32)
