"""Several processes that train one model, started by torchrun: gloo adds up between processors, NCCL between GPUs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from recsys.errors import ConfigurationError
from recsys.models.ranks import ALONE, Ranks, Value

if TYPE_CHECKING:
    import torch

_PATIENCE = timedelta(days=1)
"""How long the others wait for the leader, which validates alone; when a process fails, torchrun ends them all at once."""


class Group(Ranks):
    """The processes of torch's process group."""

    def add_up(self, tensor: "torch.Tensor") -> None:
        """Put the sum over all processes in the tensor's place, the same bits everywhere."""
        import torch.distributed

        torch.distributed.all_reduce(tensor)

    def gathered(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """The tensors [M, …] of all processes, in the order of their ranks: [count * M, …]."""
        import torch.distributed

        parts = [torch.empty_like(tensor) for _ in range(self.count)]
        torch.distributed.all_gather(parts, tensor)
        return torch.cat(parts)

    def told(self, value: Value) -> Value:
        """The leader's value, in every process."""
        import torch.distributed

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, str]]:
    """The processes that train together, as torchrun's environment has them, and this one's device; without torchrun it is alone.

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

    if device != "cpu":
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise ConfigurationError(
                f"process {local} of this machine has no GPU of its own: there are {gpus}; lower torchrun's --nproc-per-node to {gpus}"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    # Gradients are added up where they lie; what the leader tells the others goes from processor to processor.
    torch.distributed.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl", timeout=_PATIENCE)
    yield Group(torch.distributed.get_rank(), count), device
    torch.distributed.destroy_process_group()  # not after an error: the others may be waiting, until torchrun ends them
