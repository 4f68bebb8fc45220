"""The process of a trial: it trains and measures, and tells the driver of the sweep.

It knows nothing of Ray Tune, and writes only what nobody else does: checkpoints, exports, features
and `evaluation.json`. All that describes the trial is the driver's to write.

One process runs a trial after another. Nothing of a trial is left for the next one.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pipeline.config.cluster import Cluster
from pipeline.encoder.build import build_framework
from pipeline.evaluate.alone import evaluate_alone
from pipeline.evaluate.stage import evaluate
from pipeline.pretrain import checkpoint
from pipeline.pretrain.alone import CheckpointFolder, own_device, train_alone
from pipeline.pretrain.cadence import Position
from pipeline.pretrain.checkpoint import Checkpoint
from pipeline.pretrain.history import rows_until
from pipeline.pretrain.loop import LossNotFiniteError
from pipeline.pretrain.outcome import export_encoders, training_results
from pipeline.runs.directory import RunDirectory
from pipeline.runs.files import CHECKPOINTS, METRICS
from pipeline.runs.metric_rows import Row, read_rows
from pipeline.runs.resolved import ResolvedRun, resolve
from pipeline.runs.untracked import Untracked
from pipeline.sweep.messages import Order, Report
from pipeline.sweep.trial_reports import Messenger, Rungs, Training, TrialEndedError
from pipeline.sweep.trial_workers import train_by_workers


def run_trial(order: Order, report: Callable[[Report], None]) -> None:
    """Run a trial to its end, or until `report` raises SystemExit.

    A trial of one worker trains in this process. One of several starts Ray Train, and this process
    follows it.

    Args:
        order: what is to be done.
        report: tells the driver. Before each report there is a checkpoint to go on from, and the
            last one comes when all is done.

    Raises:
        UserError: the trial cannot go on.
    """
    with _no_trace(order.config.cluster):
        _run(order, report)


@contextmanager
def _no_trace(cluster: Cluster) -> Iterator[None]:
    """Leave this process as it was: its random state, its threads, the memory of its GPU."""
    threads = torch.get_num_threads()
    devices = [torch.cuda.current_device()] if _device(cluster).type == "cuda" else []
    _free_gpu(cluster)
    torch.set_num_threads(cluster.threads if cluster.workers == 1 else 1)
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        torch.set_num_threads(threads)
        _free_gpu(cluster)


def _device(cluster: Cluster) -> torch.device:
    """Return the device of this process. Beside workers it has none: they have the GPUs."""
    if cluster.workers > 1:
        return torch.device("cpu")
    return own_device(cluster)


def _free_gpu(cluster: Cluster) -> None:
    """Give the memory of an earlier trial back: others share the GPU."""
    if _device(cluster).type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _run(order: Order, report: Callable[[Report], None]) -> None:
    """Train, measure and export, and report the results."""
    started = time.monotonic()
    run = resolve(order.config, order.request, RunDirectory.reading(order.config.output))
    if "evaluate" in run.config.stages:
        # What evaluation would refuse is refused here, before hours of training.
        _ = run.split
    resume = _resume(run, order)
    messenger = Messenger(report, order, _earlier_rows(run, resume))
    framework = build_framework(run.config).to(_device(run.config.cluster))
    training = Training(run, order, framework, messenger, Rungs(run, order))
    try:
        uri = _train(training, resume)
        figures = training.rungs.measure(framework.exported)
    except LossNotFiniteError as error:
        messenger.send(ended=f"diverged: {error}")
        return
    except TrialEndedError as error:
        messenger.send(ended=str(error))
        return
    export_encoders(run, framework.state_dict())
    # Its memory is wanted for features.
    del framework, training, resume
    results = {"pretrain": training_results(run, messenger.rows, messenger.collapse, uri)}
    seconds = {"pretrain": time.monotonic() - started}
    if "evaluate" in run.config.stages:
        started = time.monotonic()
        results["evaluate"] = _evaluate(run)
        seconds["evaluate"] = time.monotonic() - started
    messenger.send(figures=figures, results=results, seconds=seconds)


def _resume(run: ResolvedRun, order: Order) -> Checkpoint | None:
    """Return the checkpoint to go on from, and delete all others.

    A process that Ray starts again may get the same order again. It goes on from what the one
    before it has written.

    Raises:
        UserError: the checkpoint of the order is damaged, and there is no other.
    """
    folder = run.directory.path(CHECKPOINTS)
    found = checkpoint.newest(folder)
    if found is None and order.resume is not None:
        found = checkpoint.load(order.resume)
    checkpoint.prune(folder, keep=found.uri if found is not None else None)
    return found


def _earlier_rows(run: ResolvedRun, resume: Checkpoint | None) -> list[Row]:
    """Return the rows of metrics until a checkpoint."""
    if resume is None:
        return []
    return rows_until(resume, read_rows(run.directory.path(METRICS)))


def _train(training: Training, resume: Checkpoint | None) -> str:
    """Train to the last epoch; returns the checkpoint there.

    Raises:
        LossNotFiniteError, TrialEndedError: training ends before.
    """
    order = training.order
    config = training.run.config
    uri = None
    if resume is not None:
        uri = resume.uri
        training.framework.load_state_dict(resume.state["framework"])
        training.reached(resume.position)
        if resume.position.epoch == config.train.epochs:
            # It was killed after its last epoch.
            return resume.uri
        if training.rungs.missed(resume.position):
            training.report()
    if config.cluster.workers > 1:
        return train_by_workers(training, uri)
    attempt = training.run.directory.path(CHECKPOINTS, order.attempt)
    folder = CheckpointFolder(attempt, config.train.checkpoint.keep, uri)
    train_alone(
        training.framework,
        config,
        order.plan,
        _Listener(folder, training),
        resume=resume,
        gpu_share=order.gpu_share,
    )
    return folder.newest


class _Listener:
    """Hears the loop: writes checkpoints, and reports at rungs.

    Args:
        folder: where checkpoints go.
        training: that is reported.
    """

    def __init__(self, folder: CheckpointFolder, training: Training) -> None:
        self.folder = folder
        self.training = training

    def row(self, row: Row) -> None:
        """Take a row of metrics."""
        self.training.messenger.row(row)

    def checkpoint(self, position: Position, state: dict[str, Any]) -> None:
        """Write a checkpoint, and report if it is time."""
        self.folder.write(position, state)
        self.training.reached(position)
        if self.training.rungs.due(position):
            self.training.report()


def _evaluate(run: ResolvedRun) -> dict[str, Any]:
    """Measure both encoders, with the resources that training had."""
    if run.config.cluster.workers > 1:
        return evaluate(run, Untracked())
    return evaluate_alone(run)
