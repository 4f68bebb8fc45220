"""What a trial of a sweep costs beyond its training, beside the straightforward construction.

    python benchmarks/sweep.py [--trials 8] [--epochs 30] [--no-reference] [--quick] [key=value ...]

Runs the stage `sweep` as a user does, with trials of one worker on two cores, and from the files
that it leaves computes

- `overhead_seconds_per_trial`: seconds that two slots were there for the sweep, less the seconds of
  training in them, for each trial. The start of the processes, the measuring at the end of a trial,
  exports and records are in it, and so is all that Ray Tune does. The start of Ray itself is not.
- `gap_seconds`: the median of the seconds from the last step of a trial to the first step of the
  next one in the same slot.

The reference, `reference_...`, is what the manuals of Ray Tune and Ray Train show: a function that
Tune calls builds a `TorchTrainer`, whose worker trains the same configurations on the same stream.
It measures nothing at the end and writes no records. It takes minutes, so it runs half as many
trials.

The last line printed is a JSON object. `--quick` takes seconds, without a reference (null): it
shows only that everything works.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.core.environment import prepare_environment

prepare_environment()

import ray
import ray.train
from ray import tune

from benchmarks.connected_ray import connected_ray
from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.pretrain.channel import open_channel
from pipeline.pretrain.worker import TrainingJob, train
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory
from pipeline.runs.metric_rows import read_rows
from pipeline.runs.resolved import resolve
from pipeline.stream.plan import StreamPlan, open_stream

SLOTS = 2
SETTINGS = [
    "data.synthetic.actions=4",
    "data.synthetic.subjects=6",
    "data.synthetic.replications=2",
    "data.files_per_shard=36",
    "model.frames=16",
    "model.width=32",
    "model.heads=2",
    "model.feedforward=32",
    "views.min_frames=8",
    "train.batch_size=16",
    # Every step has a time in `metrics.jsonl`.
    "train.log_every=1",
    "train.watch.every_epochs=null",
    "evaluate.linear.epochs=10",
    "cluster.workers=1",
    "cluster.object_store_gb=0.3",
]
SWEEP = [
    "sweep=loss_weights",
    "sweep.search=random",
    "sweep.scheduler.name=none",
    # Only at the end.
    "sweep.criterion.every_epochs=1000",
]

# The times of the first and of the last step, and the number of steps.
Training = tuple[float, float, int]


def seconds_of(training: Training) -> float:
    """Return how long a training took: there is no time before its first step."""
    first, last, steps = training
    return (last - first) * steps / (steps - 1)


def figures_of(wall: float, trainings: Sequence[Training]) -> dict[str, float]:
    """Return the two figures of a construction.

    Args:
        wall: seconds from the start of the sweep to its end.
        trainings: of all trials.
    """
    busy = sum(seconds_of(training) for training in trainings)
    # When the last training in each slot ended.
    ends: list[float] = []
    gaps = []
    for first, last, _ in sorted(trainings):
        if len(ends) == SLOTS:
            former = min(ends)
            gaps.append(first - former)
            ends.remove(former)
        ends.append(last)
    return {
        "overhead_seconds_per_trial": (SLOTS * wall - busy) / len(trainings),
        "gap_seconds": statistics.median(gaps) if gaps else 0.0,
    }


def sweep(output: str, trials: int, settings: Sequence[str]) -> tuple[float, list[Training]]:
    """Run a sweep by the command line; returns its seconds and its trainings."""
    command = [sys.executable, str(ROOT / "pipeline" / "run.py"), *settings, *SWEEP]
    command += [f"sweep.trials={trials}", f"output={output}"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    state = json.loads(Path(output, files.STATE).read_text())
    trainings = []
    for path in sorted(Path(output).glob(f"*/{files.METRICS}")):
        rows = read_rows(str(path))
        trainings.append((rows[0]["time"], rows[-1]["time"], len(rows)))
    assert len(trainings) == trials
    return state["seconds"]["sweep"], trainings


def reference(
    output: str, store: str, trials: int, settings: Sequence[str]
) -> tuple[float, list[Training]]:
    """Run as many trainings by a `TorchTrainer` inside a function of Ray Tune."""
    overrides = (*settings, f"output={output}", f"data.store={store}")
    config = settle_places(load(overrides), in_job=False)
    run = resolve(config, Request(overrides), RunDirectory(output))
    with connected_ray(cpus=SLOTS, object_store_bytes=300_000_000):
        plan = open_stream(run.pool, batch_size=config.train.batch_size, seed=config.seed)
        started = time.monotonic()
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(train_within, config=config, plan=plan), {"cpu": 0.01}
            ),
            param_space={"number": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=SLOTS),
            run_config=tune.RunConfig(name="reference", storage_path=output, verbose=0),
        )
        results = tuner.fit()
        wall = time.monotonic() - started
    trainings = []
    for result in results:
        if result.error:
            raise result.error
        trainings.append(tuple(result.metrics["training"]))
    return wall, trainings


def train_within(numbered: dict[str, int], config: Any, plan: StreamPlan) -> None:
    """Train with Ray Train; Ray Tune calls this."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folder = tempfile.mkdtemp()
    channel = open_channel()
    job = TrainingJob(config, plan, channel, checkpoints=folder, resume=None)
    TorchTrainer(
        train,
        train_loop_config=job,
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.75}),
        run_config=RunConfig(name=f"train-{numbered['number']}", storage_path=folder),
    ).fit()
    times = []
    while True:
        message = ray.get(channel._mailbox.get.remote())
        if message is None:
            break
        if hasattr(message, "row"):
            times.append(message.row["time"])
    channel.shutdown()
    tune.report({"training": [times[0], times[-1], len(times)]})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="further settings")
    options = parser.parse_args(arguments)
    if options.quick:
        options.trials, options.epochs, options.no_reference = 2, 2, True
    settings = [*SETTINGS, f"train.epochs={options.epochs}", *options.overrides]
    with tempfile.TemporaryDirectory() as scratch:
        ours = f"{scratch}/ours"
        found: dict[str, float | None] = dict(figures_of(*sweep(ours, options.trials, settings)))
        theirs: dict[str, float | None] = dict.fromkeys(found)
        if not options.no_reference:
            os.makedirs(f"{scratch}/reference")
            half = max(SLOTS + 1, options.trials // 2)
            measured = reference(f"{scratch}/reference", f"{ours}/store", half, settings)
            theirs = dict(figures_of(*measured))
    for name, value in theirs.items():
        found[f"reference_{name}"] = value
    print(json.dumps(found))


if __name__ == "__main__":
    main()
