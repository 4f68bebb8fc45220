"""How far equal runs end apart: by rounding, by the seed, by the seed of the linear probe alone.

    python benchmarks/noise.py --work DIR data.raw=nw-ucla.zip [--output FILE] [key=value ...]

Measures one configuration with one worker, `experiment=nw_ucla` unless `experiment=` or `data=`
says otherwise:

- `rounding`: eight runs with one seed, which see the same clips in the same batches. Nothing but
  the order of sums differs: every batch is rotated by another number of clips, and half of the runs
  compute with two threads.
- `seeds`: eight runs with eight seeds.
- `probe`: the linear probe of each run with eight seeds, on the same features.

A run without rotation and with the first seed is one of both eights. It is repeated once, and the
repetition must have the same weights, bit for bit.

Runs take turns in two processes of one core each. The same command goes on after an interruption:
runs in DIR that were measured by the same code with the same settings are not measured again.

Prints a table. The last line is a JSON object, which `--output` writes into a file: the sample
deviations of every figure, and all values, as fractions.
"""

import argparse
import datetime
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.core.environment import prepare_environment

prepare_environment()

import torch

from benchmarks.rotated_run import linear_by_seed, train_rotated
from pipeline.config.compose import Request, key_of, load
from pipeline.config.identity import digest
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.encoder.export import WEIGHTS
from pipeline.evaluate.alone import evaluate_alone
from pipeline.runs import files
from pipeline.runs.code_version import code_version
from pipeline.runs.directory import RunDirectory, has_store
from pipeline.runs.metric_names import ACCURACIES, KNN, LINEAR, RETRIEVAL_MAP
from pipeline.runs.resolved import resolve
from pipeline.sweep.variants import shared_command

METRICS = (LINEAR, KNN, RETRIEVAL_MAP)
EXPERIMENT = "experiment=nw_ucla"
SETTINGS = [
    "stages=[pretrain,evaluate]",
    "cluster.workers=1",
    "stream.cache=memory",
    "train.watch.every_epochs=null",
]
# Where a run leaves what was measured; it is written last.
RESULT = "result.json"
ROUNDING = "rounding"
SEEDS = "seeds"
PROBE = "probe"
REPEAT = "repeat"


@dataclass(frozen=True)
class PlannedRun:
    """One of the runs.

    Attributes:
        name: of its folder.
        seed: of the run.
        rotation: clips by which every batch is rotated.
        threads: of torch.
    """

    name: str
    seed: int
    rotation: int = 0
    threads: int = 1


def planned_runs(seed: int, count: int) -> tuple[list[PlannedRun], list[PlannedRun], PlannedRun]:
    """Return the runs that differ in rounding, those that differ in the seed, and the repetition.

    Args:
        seed: the first one.
        count: how many runs there are of each kind. The first one is the same.
    """
    first = PlannedRun(f"seed-{seed}", seed)
    rounding = [first]
    seeds = [first]
    for number in range(1, count):
        threads = 1 + number % 2
        rounding.append(PlannedRun(f"{ROUNDING}-{number}", seed, number, threads))
        seeds.append(PlannedRun(f"seed-{seed + number}", seed + number))
    return rounding, seeds, PlannedRun(REPEAT, seed)


class Measurements:
    """The runs of one configuration in a folder.

    Args:
        work: the folder.
        overrides: of the configuration.
        probes: how many seeds the linear probe of each run has.
    """

    def __init__(self, work: str, overrides: Sequence[str], probes: int):
        self.work = storage.absolute(work)
        self.overrides = list(overrides)
        chosen = {key_of(override) for override in overrides}
        if not chosen & {"experiment", "data"}:
            self.overrides.insert(0, EXPERIMENT)
        self.probes = probes
        self.config = self._load("data", [])

    def _load(self, folder: str, own: Sequence[str]) -> Config:
        """Return the configuration, with a folder for what it writes."""
        output = f"output={storage.join(self.work, folder)}"
        return settle_places(load([*SETTINGS, *self.overrides, *own, output]), in_job=False)

    def check(self) -> None:
        """End the benchmark where rotated batches would differ in more than the order of sums."""
        if self.config.cluster.workers != 1:
            sys.exit("cluster.workers must be 1: a worker's share of a batch is not rotated")
        if self.config.model.dropout > 0:
            sys.exit("model.dropout must be 0: what it drops depends on the place in the batch")

    def ingest(self) -> None:
        """Make the clip store of all runs, unless it is there."""
        if has_store(self.config.store):
            return
        command = [sys.executable, str(ROOT / "pipeline" / "run.py"), *SETTINGS, *self.overrides]
        command += ["stages=[ingest]", f"output={self.config.output}"]
        subprocess.run(command, check=True, stdout=sys.stderr)

    def config_of(self, planned: PlannedRun) -> Config:
        """Return the configuration of a run."""
        own = [
            f"seed={planned.seed}",
            f"cluster.threads={planned.threads}",
            f"data.store={self.config.store}",
        ]
        return self._load(planned.name, own)

    def identity(self, planned: PlannedRun) -> dict[str, Any]:
        """Return what decides what a run measures."""
        config = self.config_of(planned)
        code = code_version()
        return asdict(planned) | {"hash": digest(config), "probes": self.probes, "code": code}

    def result(self, planned: PlannedRun) -> dict[str, Any] | None:
        """Return what a run measured, None where it has not, or with other settings or code."""
        place = storage.join(self.work, planned.name, RESULT)
        found = storage.read_object(place)
        if found is None or found["identity"] != self.identity(planned):
            return None
        return found

    def measure(self, planned: PlannedRun) -> None:
        """Train and measure a run in this process, and write its result."""
        started = time.monotonic()
        config = self.config_of(planned)
        run = resolve(config, Request(), RunDirectory.reading(config.output))
        torch.set_num_threads(config.cluster.threads)
        train_rotated(run, planned.rotation)
        summary = evaluate_alone(run)
        weights = storage.read_bytes(run.directory.path(files.ENCODER, WEIGHTS))
        result = {
            "identity": self.identity(planned),
            "weights": hashlib.sha256(weights).hexdigest(),
            "figures": {metric: summary[metric] for metric in METRICS},
            "probes": linear_by_seed(run, self.probes),
            "seconds": round(time.monotonic() - started),
        }
        storage.write_json(storage.join(self.work, planned.name, RESULT), result)


def measure_missing(
    measurements: Measurements, runs: Sequence[PlannedRun], processes: int, command: Sequence[str]
) -> None:
    """Measure the runs without a result, each in a process of its own.

    Args:
        measurements: of all runs.
        runs: those that are wanted.
        processes: of one thread that work at the same time.
        command: the arguments of this script; `--only NAME` makes them those of one run.
    """
    missing = [run for run in runs if measurements.result(run) is None]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are there", flush=True)

    def measure(run: PlannedRun) -> PlannedRun:
        own = [sys.executable, os.path.abspath(__file__), *command, "--only", run.name]
        subprocess.run(own, check=True, stdout=sys.stderr)
        return run

    for threads in (1, 2):
        at_once = max(1, processes // threads)
        with ThreadPoolExecutor(at_once) as pool:
            futures = [pool.submit(measure, run) for run in missing if run.threads == threads]
            try:
                for future in as_completed(futures):
                    # In this thread: Hydra composes one configuration at a time.
                    require_measured(measurements, future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def require_measured(measurements: Measurements, run: PlannedRun) -> None:
    """Say that a run is done, or end the benchmark where its result is of other code."""
    if measurements.result(run) is None:
        sys.exit(f"{run.name}: the code was changed meanwhile; start the same command again")
    print(f"  {run.name} done", flush=True)


def require_equal(first: dict[str, Any], repeated: dict[str, Any]) -> None:
    """End the benchmark where a run and its repetition differ."""
    for key in ("weights", "figures", "probes"):
        if first[key] != repeated[key]:
            sys.exit(f"a repeated run has other {key}: {first[key]} before, {repeated[key]} after")


def require_different(results: Sequence[dict[str, Any]]) -> None:
    """End the benchmark where runs that were rounded otherwise have the same weights."""
    if len({result["weights"] for result in results}) < len(results):
        sys.exit("runs that should be rounded differently have the same weights")


def deviation_within(groups: Sequence[Sequence[float]]) -> float:
    """Return the deviation inside groups of equal size: the root of their mean variance."""
    return statistics.mean(statistics.variance(group) for group in groups) ** 0.5


def noise_of(
    rounding: Sequence[dict[str, Any]], seeds: Sequence[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the deviations of every figure.

    Args:
        rounding: the results of the runs that differ in rounding.
        seeds: the results of the runs that differ in the seed. The first is the same.

    Returns:
        Figure -> sample deviations and values of `rounding` and `seeds`, and the deviation by the
        `probe` alone. `*_training` are those of the mean over the probe's seeds: what is left of
        the spread if it is not the probe's.
    """
    kinds = {ROUNDING: rounding, SEEDS: seeds}
    found: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        values = {}
        for kind, results in kinds.items():
            values[kind] = [result["figures"][metric] for result in results]
            if metric == LINEAR:
                means = [statistics.mean(result["probes"]) for result in results]
                values[f"{kind}_training"] = means
        found[metric] = {kind: statistics.stdev(values[kind]) for kind in values}
        # Nearest neighbours have nothing that is drawn.
        found[metric] |= {PROBE: 0.0, "values": values}
    different = [*rounding, *seeds[1:]]
    found[LINEAR][PROBE] = deviation_within([result["probes"] for result in different])
    return found


def table(noise: dict[str, dict[str, Any]]) -> str:
    """Return a line for every figure: mean, deviation and range in %, and the probe's part."""
    lines = [f"{'':26}{'rounding':^28}{'seeds':^28}{'probe':>8}"]
    for metric, found in noise.items():
        cells = [_spread(found["values"][kind]) for kind in (ROUNDING, SEEDS)]
        lines.append(f"{ACCURACIES[metric]:26}{cells[0]:^28}{cells[1]:^28}{_points(found[PROBE])}")
        if metric == LINEAR:
            means = [_spread(found["values"][f"{kind}_training"]) for kind in (ROUNDING, SEEDS)]
            lines.append(f"{'  mean of probe seeds':26}{means[0]:^28}{means[1]:^28}")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    """Example: `88.4 ± 1.7 (85.8 to 89.7)`."""
    percent = [100 * value for value in values]
    mean = statistics.mean(percent)
    deviation = statistics.stdev(percent)
    return f"{mean:.1f} ± {deviation:.1f} ({min(percent):.1f} to {max(percent):.1f})"


def _points(deviation: float) -> str:
    return f"{100 * deviation:8.1f}"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", required=True, help="the folder of the runs")
    parser.add_argument("--output", help="a file for the JSON object, results/noise.json")
    parser.add_argument("--runs", type=int, default=8, help="runs of each kind, and probe seeds")
    parser.add_argument("--processes", type=int, default=2, help="at the same time")
    parser.add_argument("--only", metavar="NAME", help="measure this run here, and nothing else")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    if options.runs < 2 or options.processes < 1:
        sys.exit("--runs must be at least 2, and --processes at least 1")
    measurements = Measurements(options.work, options.overrides, options.runs)
    measurements.check()
    rounding, seeds, repeat = planned_runs(measurements.config.seed, options.runs)
    # The repetition comes first: what is wrong with it is known before the others are measured.
    runs = [rounding[0], repeat, *rounding[1:], *seeds[1:]]
    if options.only is not None:
        (planned,) = [run for run in runs if run.name == options.only]
        measurements.measure(planned)
        return
    measurements.ingest()
    command = ["--work", options.work, "--runs", str(options.runs), *options.overrides]
    measure_missing(measurements, runs[:2], options.processes, command)
    require_equal(measurements.result(runs[0]), measurements.result(repeat))
    measure_missing(measurements, runs[2:], options.processes, command)

    results = {run.name: measurements.result(run) for run in runs}
    of_rounding = [results[run.name] for run in rounding]
    require_different(of_rounding)
    noise = noise_of(of_rounding, [results[run.name] for run in seeds])
    print(table(noise))
    found = {
        "configuration": measurements.config.name,
        "command": shared_command(measurements.config, Request(tuple(measurements.overrides))),
        "date": datetime.date.today().isoformat(),
        "runs": options.runs,
        "code": code_version(),
        **noise,
    }
    if options.output is not None:
        storage.write_json(options.output, found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
