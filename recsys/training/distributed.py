"""Several processes that train one model: what torchrun tells each of them, and what they tell each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")

_PATIENCE = timedelta(days=1)
"""How long the others wait for the leader, which validates alone; when a process fails, torchrun ends them all at once."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; a single one by itself is rank 0 of 1.

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
        if self.count > 1:
            import torch.distributed

            torch.distributed.all_reduce(tensor)

    def gathered(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """The tensors [M, …] of all processes, in the order of their ranks: [count * M, …]."""
        if self.count == 1:
            return tensor
        import torch.distributed

        parts = [torch.empty_like(tensor) for _ in range(self.count)]
        torch.distributed.all_gather(parts, tensor)
        return torch.cat(parts)

    def told(self, value: Value) -> Value:
        """The leader's value, in every process."""
        if self.count == 1:
            return value
        import torch.distributed

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

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


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, str]]:
    """This process's ranks and device while it trains, as torchrun's environment has them; without torchrun it is alone.

    Parameters
    ----------
    device
        `cpu` or `cuda`; with several processes, each takes the GPU of its number on the machine.

    Raises
    ------
    ConfigurationError
        If there are more processes than GPUs on this machine.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE, device
        return
    import torch

    if device == "cuda":
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise ConfigurationError(
                f"process {local} of this machine has no GPU, since there are {gpus}; lower torchrun's --nproc-per-node to {gpus}"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    # Tensors are added up on their device, what the leader tells the others goes from processor to processor.
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    torch.distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Ranks(torch.distributed.get_rank(), count), device
    finally:
        torch.distributed.destroy_process_group()
