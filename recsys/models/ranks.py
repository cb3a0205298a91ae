"""The processes that train one model together, as one of them sees them; by itself here, over torch in `recsys.training.distributed`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; as it is, a single one by itself.

    Attributes
    ----------
    rank
        This process's number.
    count
        Processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process validates, writes and keeps resume points."""
        return self.rank == 0

    def add_up(self, tensor: "torch.Tensor") -> None:
        """Put the sum over all processes in the tensor's place, the same bits everywhere."""

    def gathered(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """The tensors [M, …] of all processes, in the order of their ranks: [count * M, …]."""
        return tensor

    def told(self, value: Value) -> Value:
        """The leader's value, in every process."""
        return value

    def agree(self, value: str, what: str) -> None:
        """Make sure that all processes were given the same.

        Raises
        ------
        ConfigurationError
            Where a value differs from the leader's.
        """
        if self.told(value) != value:
            raise ConfigurationError(
                f"process {self.rank} of {self.count} was given another {what} than process 0; "
                "start all with the same command, on the same files and the same version"
            )


ALONE = Ranks()
