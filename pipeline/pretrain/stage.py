"""The stage `pretrain`: Ray Train on the clip stream; it ends with two exported encoders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.core import storage
from pipeline.core.console import say
from pipeline.encoder import export
from pipeline.pretrain import checkpoint
from pipeline.pretrain.channel import open_channel
from pipeline.pretrain.checkpoint import Checkpoint
from pipeline.pretrain.fit import fit
from pipeline.pretrain.history import History
from pipeline.pretrain.outcome import export_encoders, training_results
from pipeline.pretrain.watch import Watch
from pipeline.pretrain.worker import TrainingJob
from pipeline.runs.files import CHECKPOINTS, ENCODER, METRICS
from pipeline.runs.resolved import ResolvedRun
from pipeline.stream.plan import StreamPlan, open_stream

if TYPE_CHECKING:  # MLflow takes seconds to import.
    from pipeline.runs.tracking import Tracker


@dataclass(frozen=True)
class ResumePoint:
    """The checkpoint that training goes on from, without its tensors.

    Args:
        uri: its directory.
        epochs_done: whole epochs before it.
    """

    uri: str
    epochs_done: int


def pretrain(run: ResolvedRun, tracker: Tracker) -> dict[str, Any]:
    """Train to the last epoch, from the newest checkpoint of the run if there is one.

    Args:
        run: the run.
        tracker: its MLflow run.

    Returns:
        Flat results for the summary.

    Raises:
        UserError: training cannot go on.
    """
    if "evaluate" in run.config.stages:
        # What evaluation would refuse is refused here, before hours of training.
        _ = run.split
    # MLflow shows which clips the run has seen.
    for part in run.pool:
        tracker.dataset(part.store, "pretraining")
    plan = _plan(run)
    say(f"  {plan.description}")
    final = checkpoint.newest(run.directory.path(CHECKPOINTS))
    history = History(run.directory.path(METRICS), tracker, final)
    # A run that was killed after its last epoch has only the export to do.
    if final is None or final.position.epoch < run.config.train.epochs:
        resume = None
        if final is not None:
            resume = ResumePoint(final.uri, final.position.epoch)
        # Weights and optimiser state would stay in the driver's memory through all of training; the
        # workers read them from the storage.
        del final
        final = _train(run, plan, history, resume)
    export_encoders(run, final.state["framework"])
    exported = []
    for name in (export.CONFIG, export.WEIGHTS):
        exported.append(run.directory.path(ENCODER, name))
    tracker.artifacts(exported, ENCODER)
    return training_results(run, history.rows, history.collapse, final.uri)


def _plan(run: ResolvedRun) -> StreamPlan:
    """Plan the stream of clips.

    A continued run keeps the cache that it began with, because the order of clips depends on it.
    """
    config = run.config
    plan = open_stream(
        run.pool,
        batch_size=config.train.batch_size // config.train.accumulate,
        seed=config.seed,
        cache=run.directory.state.cache or config.stream.cache,
        window=config.stream.window,
        pairs=config.stream.pairs,
        workers=config.cluster.workers,
    )
    # Kept before training begins, so that a kill at any time finds it.
    run.directory.state.cache = plan.cache
    run.directory.save()
    return replace(plan, choice=replace(plan.choice, automatic=config.stream.cache == "auto"))


def _train(
    run: ResolvedRun, plan: StreamPlan, history: History, resume: ResumePoint | None
) -> Checkpoint:
    """Train from a checkpoint, or from the start, to the last epoch."""
    resume_uri = None
    epochs_done = 0
    if resume is not None:
        resume_uri = resume.uri
        epochs_done = resume.epochs_done
        say(f"  going on from {storage.name(resume.uri)}")
    job = TrainingJob(
        config=run.config,
        plan=plan,
        channel=open_channel(),
        checkpoints=run.directory.path(CHECKPOINTS),
        resume=resume_uri,
    )
    watch = Watch.beside(run.config, run.pool[0], plan.cache, epochs_done)
    return fit(job, history, watch, run.directory)
