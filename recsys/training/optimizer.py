"""Adagrad as GRU4Rec uses it: accumulators from zero, heavy-ball momentum, and tables of which a step touches a few rows."""

from dataclasses import dataclass

import torch

EPSILON = 1e-6


@dataclass(frozen=True)
class Uses:
    """How the gradients of P uses of a table's rows are summed by row, in fixed shapes, for a step or, with an axis before, for several.

    Attributes
    ----------
    order : int64 [P]
        The uses in the order of their rows.
    place : int64 [P]
        Of the uses in that order, the place of their row among the distinct ones, ascending.
    rows : int64 [P]
        The distinct rows, ascending; the spare row in the places that are left over.
    """

    order: torch.Tensor
    place: torch.Tensor
    rows: torch.Tensor

    @classmethod
    def of(cls, ids: torch.Tensor, spare: int) -> "Uses":
        """Of rows [P] or [K, P]; `spare` is the row that stands for none."""
        ordered, order = torch.sort(ids, dim=-1, stable=True)
        first = torch.ones_like(ordered)
        first[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
        place = torch.cumsum(first, -1) - 1
        # Every use of a row writes the same id to the same place.
        rows = torch.full_like(ids, spare).scatter_(-1, place, ordered)
        return cls(order, place, rows)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sums of `values` [P, …] by row, in the order of `rows`; 0 in the places that are left over."""
        return torch.zeros_like(values).index_add_(0, self.place, values.index_select(0, self.order))


class Adagrad:
    """Adagrad with momentum over dense arrays and over the rows of tables.

    The accumulator starts at 0 and epsilon stands inside the root: step = lr * g / sqrt(acc + 1e-6);
    velocity = momentum * velocity - step; parameter += velocity.

    Parameters
    ----------
    parameters
        The arrays by name; they are updated in place.
    learning_rate, momentum
        As in the update above.
    """

    def __init__(self, parameters: dict[str, torch.Tensor], learning_rate: float, momentum: float) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.accumulators = {name: torch.zeros_like(array) for name, array in parameters.items()}
        self.velocities = {name: torch.zeros_like(array) for name, array in parameters.items()} if momentum else {}

    def update(self, name: str, gradient: torch.Tensor) -> None:
        """Update a whole array with its gradient (which is overwritten)."""
        accumulator = self.accumulators[name]
        accumulator.addcmul_(gradient, gradient)
        step = gradient.div_((accumulator + EPSILON).sqrt_())
        if self.momentum:
            step = self.velocities[name].mul_(self.momentum).sub_(step, alpha=self.learning_rate)
            self.parameters[name].add_(step)
        else:
            self.parameters[name].sub_(step, alpha=self.learning_rate)

    def update_rows(self, name: str, rows: torch.Tensor, gradient: torch.Tensor) -> None:
        """Update some rows of a table with their gradient [rows, …] (which is overwritten).

        Each row must stand in `rows` once, with the gradients of its uses summed; only one whose gradient and velocity are 0 may stand
        there more often. The other rows keep their velocity too.
        """
        table = self.accumulators[name]
        accumulator = table.index_select(0, rows).addcmul_(gradient, gradient)
        table.index_copy_(0, rows, accumulator)
        step = gradient.div_(accumulator.add_(EPSILON).sqrt_())
        if self.momentum:
            velocities = self.velocities[name]
            velocity = velocities.index_select(0, rows).mul_(self.momentum).sub_(step, alpha=self.learning_rate)
            velocities.index_copy_(0, rows, velocity)
            self.parameters[name].index_add_(0, rows, velocity)
        else:
            self.parameters[name].index_add_(0, rows, step, alpha=-self.learning_rate)

    def update_uses(self, name: str, uses: Uses, gradients: torch.Tensor) -> None:
        """Update the rows of a table that a step used, with the gradients of the uses [P, …]."""
        self.update_rows(name, uses.rows, uses.sum(gradients))
