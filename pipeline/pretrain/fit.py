"""One attempt at training with Ray Train, followed from the driver."""

import signal
import threading

import ray
import ray.train
from ray.exceptions import RayError
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from pipeline.cluster.placement import bundle
from pipeline.cluster.ray_internals import leave_interrupts_alone
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.console import Bar
from pipeline.core.errors import NO_SPACE, UserError, first_line
from pipeline.core.termination import ending
from pipeline.pretrain import checkpoint
from pipeline.pretrain.checkpoint import Checkpoint
from pipeline.pretrain.follower import Follower, TakesCheckpoints, TakesRows
from pipeline.pretrain.loop import LoopSettings, LossNotFiniteError
from pipeline.pretrain.worker import TrainingJob, train
from pipeline.runs.directory import RunDirectory

# What Ray Train says where a node does not see the storage of checkpoints.
STORAGE_NOT_SHARED = "Unable to set up cluster storage"


def fit(
    job: TrainingJob, history: TakesRows, watch: TakesCheckpoints, run: RunDirectory
) -> Checkpoint:
    """Train to the last epoch.

    Args:
        job: what the workers do; its channel is closed at the end.
        history: receives the rows of metrics.
        watch: measures checkpoints on the way.
        run: the output directory, which this process owns, or reads for its owner.

    Returns:
        The checkpoint at the end of training.

    Raises:
        LossNotFiniteError: a worker said so.
        UserError: training cannot go on.
        KeyboardInterrupt, Terminated: somebody wants it to end. Its newest step is a checkpoint.
    """
    # All attempts of earlier processes are over, but only if the directory is still ours.
    run.verify_owned()
    checkpoint.prune(job.checkpoints, keep=job.resume)
    storage.make_directory(job.checkpoints)
    # A name of its own for every attempt: what a killed one was still writing is never taken for a
    # checkpoint of this one.
    attempt = run.attempt
    trainer = _trainer(job, attempt)
    cadence = LoopSettings.of(job.config).cadence(job.plan.epochs.steps)
    with (
        Bar("pretrain", cadence.updates) as bar,
        Follower(
            job.channel,
            history,
            bar,
            watch,
            storage.join(job.checkpoints, attempt),
            run.require_owned,
        ) as follower,
        ending.checkpoint_first(follower.ask_to_stop),
    ):
        _run(trainer, job)
    # The follower has taken all messages: nobody listens any more.
    job.channel.shutdown()
    if follower.failure:
        raise LossNotFiniteError(follower.failure)
    # What a tracking server that was away has missed; now it is an error if it is still away.
    history.send()
    return _last_checkpoint(job)


def _trainer(job: TrainingJob, attempt: str) -> TorchTrainer:
    """Ray Train's trainer, which writes checkpoints to the directory `attempt`."""
    config: Config = job.config
    filesystem, path = storage.resolve(job.checkpoints)
    trainer = TorchTrainer(
        train,  # type: ignore[arg-type]  # Ray hands any value on as it is
        train_loop_config=job,  # type: ignore[arg-type]
        scaling_config=ScalingConfig(
            num_workers=config.cluster.workers,
            use_gpu=config.cluster.gpu,
            resources_per_worker=bundle(config.cluster),
        ),
        run_config=RunConfig(
            name=attempt,
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=CheckpointConfig(num_to_keep=config.train.checkpoint.keep),
            failure_config=FailureConfig(max_failures=config.train.max_failures),
        ),
    )
    leave_interrupts_alone(trainer)
    return trainer


def _run(trainer: TorchTrainer, job: TrainingJob) -> None:
    """Run Ray Train until it ends; its errors become ours."""
    # Signals belong to the main thread. Ray Train leaves them alone elsewhere.
    in_main_thread = threading.current_thread() is threading.main_thread()
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except (ray.train.TrainingFailedError, RayError) as error:
        raise UserError(f"training failed: {_reason(job, error)}") from error
    except SystemExit:
        # Ray Train ends like this on Ctrl-C.
        raise KeyboardInterrupt from None
    finally:
        # Ray Train leaves its own handler behind.
        if in_main_thread:
            signal.signal(signal.SIGINT, on_interrupt)


def _reason(job: TrainingJob, error: Exception) -> str:
    """The deepest cause in one line; Ray's log of that worker has the whole story."""
    reason = first_line(error)
    # Ray Train writes a file there on the driver, and looks for it on the workers' nodes.
    if STORAGE_NOT_SHARED in reason:
        return f"{job.checkpoints}: not every node can write there; choose an output that all share"
    if reason == NO_SPACE:
        return f"{job.checkpoints}: {reason}"
    return reason


def _last_checkpoint(job: TrainingJob) -> Checkpoint:
    """The checkpoint at the end of training.

    Raises:
        UserError: there is none.
    """
    last = checkpoint.newest(job.checkpoints)
    if last is None or last.position.epoch < job.config.train.epochs:
        raise UserError(f"{job.checkpoints}: training ended without its last checkpoint")
    return last
