"""Steps as CUDA graphs: recorded once, then replayed without the host."""

from collections.abc import Callable

import torch

WARM_UPS = 3
"""Runs before one is recorded."""


def captured(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """`function` as a graph that is replayed; on a CPU, `function` itself.

    Parameters
    ----------
    function
        Works on tensors that stay where they are, in fixed shapes, without a look from the host. It is run a few times first, so that
        libraries set up what they need: it must do no harm.
    device
        Where it works.
    """
    if device.type != "cuda":
        return function
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            function()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as the watchdog of a process group, may go on asking the device.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        function()
    return graph.replay
