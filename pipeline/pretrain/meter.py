"""The figures of a training step, collected on the device until a row of metrics is due."""

import time
from typing import Any

import torch
from torch import Tensor

from pipeline.runs.metric_names import CLIPS_PER_SECOND, LOSS


class Meter:
    """Means of the losses since the last row. They stay on the device: no step waits for a number.

    Figures that are no losses come with the last step before a row; they are taken as they are.

    Args:
        device: where the losses are.
    """

    def __init__(self, device: torch.device):
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._seconds_before = 0.0
        self._reset()

    def add(self, losses: dict[str, Tensor], update: int, clips: int) -> None:
        """Add one micro-batch.

        Args:
            losses: name -> [], what the framework returned.
            update: the update that the micro-batch belongs to, from 0.
            clips: clips of the global batch.
        """
        for name, value in losses.items():
            if name.startswith(LOSS):
                self._sums[name] = self._sums.get(name, 0) + value.detach()
            else:
                self._figures[name] = value
        # On the device, too: the number is asked for only where a row is due.
        bad = ~torch.isfinite(losses[LOSS].detach())
        self._first_bad = torch.where((self._first_bad < 0) & bad, update, self._first_bad)
        self._batches += 1
        self._clips += clips

    def first_bad(self) -> int | None:
        """The first update whose loss was not finite, None if there was none."""
        bad = int(self._first_bad)
        if bad < 0:
            return None
        return bad

    def row(self) -> dict[str, Any]:
        """The figures since the last row, as numbers; then begin anew."""
        seconds = time.perf_counter() - self._since
        row = {}
        for name, total in self._sums.items():
            row[name] = float(total) / self._batches
        for name, value in self._figures.items():
            row[name] = float(value)
        row[CLIPS_PER_SECOND] = self._clips / max(seconds, 1e-9)
        self._reset()
        return row

    def state(self) -> dict[str, Any]:
        """Return what was added since the last row, for a checkpoint between two rows."""
        return {
            "sums": dict(self._sums),
            "batches": self._batches,
            "clips": self._clips,
            "seconds": time.perf_counter() - self._since,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on with what `state` returned."""
        device = self._first_bad.device
        for name, total in state["sums"].items():
            self._sums[name] = total.to(device)
        self._batches = state["batches"]
        self._clips = state["clips"]
        self._seconds_before = state["seconds"]

    def start(self) -> None:
        """Measure the time from now on, besides that of `load_state`."""
        self._since = time.perf_counter() - self._seconds_before

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._figures: dict[str, Tensor] = {}
        self._batches = 0
        self._clips = 0
        self._since = time.perf_counter()
