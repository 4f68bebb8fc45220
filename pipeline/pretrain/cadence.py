"""What is due at which step of training: plain arithmetic on step numbers.

An epoch is a row of micro-batches. Several of them (`accumulate`) make one update of the weights,
and the last update of an epoch takes what is left. An epoch of 7 micro-batches, 3 to an update:

    micro-batch   0 1 2 | 3 4 5 | 6
    update        0       1       2
    averaged over 3 3 3   3 3 3   1

Rows of metrics and checkpoints are due after whole updates only.
"""

from dataclasses import dataclass

from pipeline.core.arithmetic import ceil_div


@dataclass(frozen=True)
class Position:
    """Where training stands.

    Args:
        epoch: epochs that are done.
        step: micro-batches of the next epoch that are done; 0 at the end of an epoch.
        updates: updates of the weights in all.
    """

    epoch: int
    step: int
    updates: int


START = Position(epoch=0, step=0, updates=0)


@dataclass(frozen=True)
class MicroBatch:
    """One micro-batch, its place in training, and what is due after it.

    Args:
        epoch: its epoch, from 0.
        step: its number in the epoch, from 0.
        update: the update that it belongs to, from 0 at the start of training.
        averaged_over: how many micro-batches this update takes together.
        ends_update: whether it is the last of its update.
        row_due: whether a row of metrics follows.
        checkpoint_due: whether a checkpoint follows.
        after: where training stands once its update is done.
    """

    epoch: int
    step: int
    update: int
    averaged_over: int
    ends_update: bool
    row_due: bool
    checkpoint_due: bool
    after: Position


@dataclass(frozen=True)
class Cadence:
    """The rhythm of a training run.

    Args:
        micro_batches: micro-batches of an epoch.
        accumulate: micro-batches of an update, at most.
        epochs: epochs of the whole training.
        log_every: updates from one row of metrics to the next.
        checkpoint_every_epochs: epochs from one checkpoint to the next, or None.
        checkpoint_every_steps: updates from one checkpoint to the next, or None.
    """

    micro_batches: int
    accumulate: int
    epochs: int
    log_every: int
    checkpoint_every_epochs: int | None
    checkpoint_every_steps: int | None

    @property
    def updates_per_epoch(self) -> int:
        """Updates of the weights in an epoch."""
        return ceil_div(self.micro_batches, self.accumulate)

    @property
    def updates(self) -> int:
        """Updates of the weights in the whole training."""
        return self.updates_per_epoch * self.epochs

    def micro_batch(self, epoch: int, step: int) -> MicroBatch:
        """Describe micro-batch `step` of an epoch; both count from 0."""
        first_of_update = step // self.accumulate * self.accumulate
        update = epoch * self.updates_per_epoch + step // self.accumulate
        ends_epoch = step + 1 == self.micro_batches
        ends_update = ends_epoch or (step + 1) % self.accumulate == 0
        if ends_epoch:
            after = Position(epoch + 1, 0, update + 1)
        else:
            after = Position(epoch, step + 1, update + 1)
        checkpoint_due = ends_update and self._checkpoint_after(after)
        row_due = ends_update and (checkpoint_due or after.updates % self.log_every == 0)
        return MicroBatch(
            epoch=epoch,
            step=step,
            update=update,
            averaged_over=min(self.accumulate, self.micro_batches - first_of_update),
            ends_update=ends_update,
            row_due=row_due,
            checkpoint_due=checkpoint_due,
            after=after,
        )

    def _checkpoint_after(self, position: Position) -> bool:
        """Whether a checkpoint follows the update that ends at `position`."""
        # The end of training is always kept: the encoder is exported from it.
        if position.epoch == self.epochs:
            return True
        every_steps = self.checkpoint_every_steps
        if every_steps and position.updates % every_steps == 0:
            return True
        every_epochs = self.checkpoint_every_epochs
        ends_epoch = position.step == 0
        return bool(ends_epoch and every_epochs and position.epoch % every_epochs == 0)
