"""Running the trials of a sweep: Ray Tune places, stops and retries them."""

import tempfile
from collections.abc import Sequence
from typing import Any

import ray
from ray import tune
from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner

from pipeline.cluster.placement import alive_nodes, bundle, trials_at_once
from pipeline.config.root import Config
from pipeline.config.sweep import Sweep
from pipeline.core.console import Bar, say
from pipeline.core.errors import UserError, first_line
from pipeline.runs.metric_names import CRITERIA
from pipeline.runs.resolved import ResolvedRun
from pipeline.runs.tracking.children import Children
from pipeline.sweep.book import Book
from pipeline.sweep.schedulers import Memory, scheduler_of
from pipeline.sweep.searcher import Broken, Keeper, Progress, Source, SourceSearcher
from pipeline.sweep.trainable import Orders, trainable
from pipeline.sweep.trial import TrialRecord

# The process of a trial of several workers only waits for them.
WAITING_CPUS = 0.01
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
    cluster = sweep.config.cluster
    at_once = trials_at_once(cluster, settings.gpu_share, alive_nodes())
    if settings.concurrent is not None:
        at_once = min(at_once, settings.concurrent)
    say(f"  {total} trials, {at_once} at a time")
    scheduler = scheduler_of(settings)
    memory = Memory(scheduler, settings)
    memory.recall_ended(records)
    ended = sum(record.state != "open" for record in records)
    book = Book(sweep, settings, children)
    orders: Any = ray.remote(Orders).options(num_cpus=0).remote()
    mode = None
    if settings.criterion is not None:
        mode = CRITERIA[settings.criterion.metric].mode
    try:
        # What Tune itself writes is of no use to a restart.
        with tempfile.TemporaryDirectory() as scratch, Bar("sweep", total) as bar:
            bar.update(ended)
            progress = Progress(bar, mode)
            searcher = SourceSearcher(source, book, orders, memory, progress)
            tuner = Tuner(
                tune.with_resources(
                    tune.with_parameters(trainable, orders=orders),
                    _resources(sweep.config, settings),
                ),
                tune_config=TuneConfig(
                    search_alg=searcher,
                    scheduler=scheduler,
                    num_samples=AS_MANY_AS_THERE_ARE,
                    max_concurrent_trials=at_once,
                    # Imports and the start of a process take seconds: trials take turns in it.
                    reuse_actors=True,
                ),
                run_config=RunConfig(
                    name="sweep",
                    storage_path=scratch,
                    failure_config=FailureConfig(max_failures=sweep.config.train.max_failures),
                    callbacks=[Keeper(searcher)],
                    stop=Broken(searcher),
                    verbose=0,
                ),
            )
            _fit(tuner)
        if searcher.error is not None:
            raise searcher.error
    finally:
        book.abandon()
        ray.kill(orders)


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
