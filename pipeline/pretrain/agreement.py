"""Agreement of all workers to stop training after the same update. Pure torch."""

from collections.abc import Callable

import torch
from torch import distributed

from models.distributed import world_size


def never() -> bool:
    """Never stop."""
    return False


class Agreement:
    """Decides after every update whether training stops there, alike on all workers.

    The workers sum up who was asked to stop. The sum is read one update later, when it has arrived
    for long, so that neither worker nor device waits for it. One of two workers is asked in
    update 5:

        update    4      5      6
        worker 0  ----   asked  stops after it
        worker 1  ----   ----   stops after it

    One worker alone stops after the update in which it was asked.

    Args:
        asked: whether this worker was asked to stop.
        device: where workers exchange numbers.
    """

    def __init__(self, asked: Callable[[], bool], device: torch.device):
        self.asked = asked
        self.device = device
        # The sum of the update before, on its way to the CPU.
        self._on_gpu = device.type == "cuda"
        self._sum = torch.zeros(1, pin_memory=self._on_gpu)
        self._arrived: torch.cuda.Event | None = None

    def reached(self) -> bool:
        """Return whether training stops here. Every worker calls this after every update."""
        if world_size() == 1:
            return self.asked()
        if self._arrived is not None:
            self._arrived.synchronize()
        stops = bool(self._sum)
        if not stops:
            self._exchange()
        return stops

    def _exchange(self) -> None:
        total = torch.full((1,), float(self.asked()), device=self.device)
        distributed.all_reduce(total)
        self._sum.copy_(total, non_blocking=True)
        if self._on_gpu:
            self._arrived = torch.cuda.Event()
            self._arrived.record()
