"""Trials as the driver of a sweep orders them, small enough for tests of their process."""

from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.config.sweep import Criterion
from pipeline.runs.directory import RunDirectory
from pipeline.runs.resolved import resolve
from pipeline.stream.plan import open_stream
from pipeline.sweep.messages import Order
from pipeline.sweep.trial_process import run_trial

SMALL = (
    "data.persons=1",
    "model.frames=8",
    "model.layers=1",
    "model.width=16",
    "model.heads=2",
    "model.feedforward=16",
    # So that a random state that measuring touches would show.
    "model.dropout=0.1",
    "views.min_frames=4",
    "train.batch_size=20",
    "train.epochs=4",
    "train.log_every=2",
    "train.checkpoint.every_epochs=1",
    "evaluate.linear.epochs=3",
    "cluster.workers=1",
    "cluster.gpu=false",
)
CRITERION = Criterion(metric="linear_top1", held_out=0.25, every_epochs=2, max_clips=1000)
EPOCHS = 4


def run_of(store, output, *overrides):
    """A run as the driver begins it."""
    overrides = (*SMALL, f"data.store={store}", f"output={output}", *overrides)
    overrides = ("stages=[pretrain]", *overrides)
    config = settle_places(load(overrides), in_job=False)
    run = resolve(config, Request(overrides), RunDirectory.open(config))
    run.directory.begin(config)
    return run


def order_of(store, output, *overrides, **values):
    """What the driver orders."""
    run = run_of(store, output, *overrides)
    config = run.config
    plan = open_stream(run.pool, batch_size=config.train.batch_size, seed=config.seed)
    return Order(config, run.request, plan, **({"attempt": "a"} | values))


def run_trial_of(order):
    """Its reports."""
    reports = []
    run_trial(order, reports.append)
    return reports


class Stopped(SystemExit):
    """What Tune raises in a report."""


def stop_at(epoch, reports):
    """A report that raises at the first report of an epoch."""

    def report(message):
        if message.epoch == epoch:
            raise Stopped
        reports.append(message)

    return report
