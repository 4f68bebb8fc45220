"""The process of a trial: it trains and measures, and tells the driver of the sweep.

It knows nothing of Ray Tune, and writes only what nobody else does: checkpoints, exports, features
and `evaluation.json`. All that describes the trial is the driver's to write.

One process runs a trial after another. Nothing of a trial is left for the next one.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from models.framework import Framework
from pipeline.config.cluster import Cluster
from pipeline.core import storage
from pipeline.encoder.build import build_framework
from pipeline.evaluate.alone import evaluate_alone
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
from pipeline.sweep.messages import Order, Report
from pipeline.sweep.trial_reports import Messenger, Rungs, TrialEndedError


def run_trial(order: Order, report: Callable[[Report], None]) -> None:
    """Run a trial to its end, or until `report` raises SystemExit.

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
    devices = [torch.cuda.current_device()] if cluster.gpu else []
    _free_gpu(cluster)
    torch.set_num_threads(cluster.threads)
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        torch.set_num_threads(threads)
        _free_gpu(cluster)


def _free_gpu(cluster: Cluster) -> None:
    """Give the memory of an earlier trial back: others share the GPU."""
    if cluster.gpu:
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
    rungs = Rungs(run, order)
    try:
        framework, uri = _train(run, order, resume, messenger, rungs)
        figures = rungs.measure(framework.backbone)
    except LossNotFiniteError as error:
        messenger.send(ended=f"diverged: {error}")
        return
    except TrialEndedError as error:
        messenger.send(ended=str(error))
        return
    export_encoders(run, framework.state_dict())
    del framework
    results = {"pretrain": training_results(run, messenger.rows, messenger.collapse, uri)}
    seconds = {"pretrain": time.monotonic() - started}
    if "evaluate" in run.config.stages:
        started = time.monotonic()
        results["evaluate"] = evaluate_alone(run)
        seconds["evaluate"] = time.monotonic() - started
    messenger.send(figures=figures, results=results, seconds=seconds)


def _resume(run: ResolvedRun, order: Order) -> Checkpoint | None:
    """Return the checkpoint to go on from, and delete all others.

    A process that Ray starts again gets the same order again. It goes on from its own checkpoint.
    """
    folder = run.directory.path(CHECKPOINTS)
    found = checkpoint.newest(storage.join(folder, order.attempt))
    if found is None and order.resume is not None:
        found = checkpoint.load(order.resume)
    checkpoint.prune(folder, keep=found.uri if found is not None else None)
    return found


def _earlier_rows(run: ResolvedRun, resume: Checkpoint | None) -> list[Row]:
    """Return the rows of metrics until a checkpoint."""
    if resume is None:
        return []
    return rows_until(resume, read_rows(run.directory.path(METRICS)))


class _Listener:
    """Writes checkpoints, and reports at rungs.

    Args:
        folder: where checkpoints go.
        messenger: tells the driver.
        rungs: says when.
        framework: that is trained.
    """

    def __init__(
        self, folder: CheckpointFolder, messenger: Messenger, rungs: Rungs, framework: Framework
    ) -> None:
        self.folder = folder
        self.messenger = messenger
        self.rungs = rungs
        self.framework = framework

    def row(self, row: Row) -> None:
        """Take a row of metrics."""
        self.messenger.row(row)

    def checkpoint(self, position: Position, state: dict[str, object]) -> None:
        """Write a checkpoint, and report if it is time."""
        self.folder.write(position, state)
        self.reached(position)
        if self.rungs.due(position):
            self.report()

    def reached(self, position: Position) -> None:
        """Note where training stands."""
        self.messenger.epoch = position.epoch

    def report(self) -> None:
        """Measure the framework as it is, and report."""
        self.messenger.send(figures=self.rungs.measure(self.framework.backbone))


def _train(
    run: ResolvedRun,
    order: Order,
    resume: Checkpoint | None,
    messenger: Messenger,
    rungs: Rungs,
) -> tuple[Framework, str]:
    """Train by one worker, in this process.

    Returns:
        The trained framework, and its checkpoint.

    Raises:
        LossNotFiniteError, TrialEndedError: training ends here.
    """
    config = run.config
    framework = build_framework(config).to(own_device(config.cluster))
    attempt = run.directory.path(CHECKPOINTS, order.attempt)
    uri = resume.uri if resume is not None else None
    folder = CheckpointFolder(attempt, config.train.checkpoint.keep, uri)
    listener = _Listener(folder, messenger, rungs, framework)
    if resume is not None:
        framework.load_state_dict(resume.state["framework"])
        listener.reached(resume.position)
        if resume.position.epoch == config.train.epochs:
            # It was killed after its last epoch.
            return framework, resume.uri
        if rungs.missed(resume.position):
            listener.report()
    train_alone(framework, config, order.plan, listener, resume=resume, gpu_share=order.gpu_share)
    return framework, folder.newest
