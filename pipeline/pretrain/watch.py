"""Watching a run from the driver: what would the checkpoint just written score?

Nothing that training computes depends on it, and no failure of it ends a run.
"""

from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from pipeline.config.root import Config
from pipeline.core.console import say
from pipeline.core.errors import first_line
from pipeline.pretrain.watcher import Watcher
from pipeline.stream.instructions import READ_CPUS
from pipeline.stream.selection import Part

# How long a run that is done waits for a measurement that is under way.
WAIT_SECONDS = 30


@dataclass(frozen=True)
class _Measurement:
    """A measurement that a watcher was asked for, of the checkpoint after `step` updates."""

    figures: ray.ObjectRef
    step: int


@dataclass(frozen=True)
class _Wanted:
    """A checkpoint that waits to be measured, and the updates before it."""

    uri: str
    step: int


class Watch:
    """Hands checkpoints to a `Watcher`, one at a time, and collects its figures.

    The first checkpoint in or after every `train.watch.every_epochs` epochs is wanted. Of those
    that come while one is being measured only the newest is kept.

    Args:
        config: of the run.
        part: the training side of the run's store.
        cpus: of the cluster, for the watcher.
        begun: epochs that were done before this training began.
    """

    def __init__(self, config: Config, part: Part, cpus: float, begun: int = 0):
        self.config = config
        self.part = part
        self.cpus = cpus
        self.every_epochs = config.train.watch.every_epochs
        self.epoch = begun
        # Ray's handle of a `Watcher`.
        self.actor: Any = None
        self.pending: _Measurement | None = None
        self.waiting: _Wanted | None = None

    @classmethod
    def beside(cls, config: Config, part: Part, cache: str, begun: int) -> "Watch":
        """Watch on the CPUs that the cluster keeps free of training workers.

        With the cache `none` reading needs them for itself all the time.
        """
        cpus = READ_CPUS
        if cache == "none":
            cpus = 0
        return cls(config, part, cpus, begun)

    def offer(self, uri: str, epoch: int, step: int) -> None:
        """Tell of a checkpoint that was written after `epoch` whole epochs and `step` updates."""
        if self.every_epochs is None:
            return
        if epoch // self.every_epochs > self.epoch // self.every_epochs:
            self.epoch = epoch
            self.waiting = _Wanted(uri, step)

    def poll(self, seconds: float = 0) -> tuple[int, dict[str, float]] | None:
        """Collect a measurement that is done, and start the one that waits for its turn.

        Args:
            seconds: how long to wait for the one that is under way.

        Returns:
            (step, figures), or None where nothing is new.
        """
        found = None
        if self.pending is not None:
            pending = self.pending
            ready, _ = ray.wait([pending.figures], timeout=seconds)
            if ready:
                self.pending = None
                found = self._take(pending)
        if self.waiting is not None and self.pending is None:
            self._start(self.waiting)
            self.waiting = None
        return found

    def _start(self, wanted: _Wanted) -> None:
        """Ask the watcher to measure a checkpoint."""
        if self.actor is None:
            # Only now: the training workers have their places, and it takes what they left.
            options = {"num_cpus": self.cpus, "num_gpus": 0, "max_restarts": 0}
            self.actor = ray.remote(Watcher).options(**options).remote(self.config, self.part)
        figures = self.actor.measure.remote(wanted.uri)
        self.pending = _Measurement(figures, wanted.step)

    def _take(self, done: _Measurement) -> tuple[int, dict[str, float]] | None:
        """The figures of a measurement that is done; None where it failed."""
        try:
            figures = ray.get(done.figures)
        except RayError as error:
            reason = first_line(error)
            say(f"  watching failed at step {done.step}: {reason}; training goes on")
            if isinstance(error, RayActorError):
                # The actor is gone; the next checkpoint starts another.
                self.actor = None
            return None
        if figures is None:
            say("  watching is off: too few clips of the training side have labels")
            self.close()
            return None
        return done.step, figures

    def close(self) -> None:
        """End it; nothing is watched any more."""
        if self.actor is not None:
            ray.kill(self.actor)
        self.actor = None
        self.pending = None
        self.waiting = None
        self.every_epochs = None
