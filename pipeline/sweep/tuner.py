"""Running the trials of a sweep: Ray Tune places, stops and retries them."""

import tempfile
from collections.abc import Sequence
from typing import Any

import ray
from ray import tune
from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import TrialScheduler

from pipeline.cluster.placement import alive_nodes, bundle, trials_at_once
from pipeline.cluster.ray_internals import patient
from pipeline.config.root import Config
from pipeline.config.sweep import Sweep
from pipeline.core.console import Bar, say
from pipeline.core.errors import UserError, first_line
from pipeline.runs.resolved import ResolvedRun
from pipeline.runs.tracking.children import Children
from pipeline.sweep.book import Book
from pipeline.sweep.progress import Progress
from pipeline.sweep.schedulers import RungMemory, scheduler_of
from pipeline.sweep.searcher import BookKeeper, Source, SourceSearcher, StopOnError
from pipeline.sweep.trainable import Orders, trainable
from pipeline.sweep.trial import TrialRecord

# The process of a trial of several workers only waits for them.
WAITING_CPUS = 0.01
# A trial of several workers ends at their next checkpoint. Its process is waited for so long.
PATIENCE_SECONDS = 120
# Tune asks the searcher for a trial whenever there is room, until the source has no more.
AS_MANY_AS_THERE_ARE = 10**6


def run_trials(
    sweep: ResolvedRun,
    settings: Sweep,
    source: Source,
    children: Children,
    *,
    total: int,
    records: Sequence[TrialRecord] = (),
) -> None:
    """Run all trials of a source.

    Args:
        sweep: the run of the sweep.
        settings: of these trials.
        source: hands out the trials, and learns how they end.
        children: the MLflow runs of the trials.
        total: how many trials there are, for the console.
        records: of the trials of earlier attempts.

    Raises:
        UserError: the sweep cannot go on. The same command goes on from there.
    """
    at_once = _at_once(sweep.config, settings)
    say(f"  {total} trials, {at_once} at a time")
    scheduler = scheduler_of(settings)
    memory = RungMemory(scheduler, settings)
    memory.recall_ended(records)
    book = Book(sweep, settings, children)
    orders: Any = ray.remote(Orders).options(num_cpus=0).remote()
    try:
        # What Tune itself writes is of no use to a restart.
        with tempfile.TemporaryDirectory() as scratch, Bar("sweep", total) as bar:
            progress = Progress(bar, settings.criterion, records)
            searcher = SourceSearcher(source, book, orders, memory, progress)
            tuner = Tuner(
                _placed_trainable(orders, sweep.config, settings),
                tune_config=_tune_config(searcher, scheduler, at_once),
                run_config=_run_config(sweep.config, searcher, scratch),
            )
            _fit(tuner)
        if searcher.error is not None:
            raise searcher.error
    finally:
        book.abandon()
        ray.kill(orders)


def _at_once(config: Config, settings: Sweep) -> int:
    """Return how many trials run at the same time."""
    room = trials_at_once(config.cluster, settings.gpu_share, alive_nodes())
    if settings.concurrent is None:
        return room
    return min(room, settings.concurrent)


def _tune_config(searcher: SourceSearcher, scheduler: TrialScheduler, at_once: int) -> TuneConfig:
    """Return how Tune gets trials, and when it stops them."""
    return TuneConfig(
        search_alg=searcher,
        scheduler=scheduler,
        num_samples=AS_MANY_AS_THERE_ARE,
        max_concurrent_trials=at_once,
        # Imports and the start of a process take seconds: trials take turns in it.
        reuse_actors=True,
    )


def _run_config(config: Config, searcher: SourceSearcher, scratch: str) -> RunConfig:
    """Return how Tune runs trials: quietly, and again if their processes die."""
    return RunConfig(
        name="sweep",
        storage_path=scratch,
        failure_config=FailureConfig(max_failures=config.train.max_failures),
        callbacks=[BookKeeper(searcher)],
        stop=StopOnError(searcher),
        verbose=0,
    )


def _placed_trainable(orders: Any, config: Config, settings: Sweep) -> Any:
    """Return what runs a trial, with the resources that it takes."""
    runs_trial = patient(tune.with_parameters(trainable, orders=orders), PATIENCE_SECONDS)
    return tune.with_resources(runs_trial, _resources(config, settings))


def _resources(config: Config, settings: Sweep) -> dict[str, float]:
    """Return what the process of a trial takes of the cluster."""
    if config.cluster.workers > 1:
        return {"cpu": WAITING_CPUS}
    need = bundle(config.cluster, settings.gpu_share)
    return {name.lower(): amount for name, amount in need.items()}


def _fit(tuner: Tuner) -> None:
    """Run Ray Tune until it ends; its errors become ours."""
    try:
        tuner.fit()
    except (ray.tune.TuneError, ray.exceptions.RayError) as error:
        raise UserError(f"sweep failed: {first_line(error)}") from error
