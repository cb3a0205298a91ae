"""Adagrad as GRU4Rec uses it: accumulators from zero, heavy-ball momentum, and tables of which a step touches a few rows."""

import torch

EPSILON = 1e-6


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

        Each row must stand in `rows` once, with the gradients of its uses summed. The other rows keep their velocity too.
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

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that has to survive an interruption."""
        named = {f"accumulator.{name}": array for name, array in self.accumulators.items()}
        return named | {f"velocity.{name}": array for name, array in self.velocities.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `state` gave."""
        for name, array in self.state().items():
            array.copy_(state[name])
