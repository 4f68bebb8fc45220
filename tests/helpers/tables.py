"""A small table: three variants of a data set of the project, its trials played."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.runs.directory import RunDirectory
from pipeline.runs.resolved import ResolvedRun
from pipeline.sweep import book, compose
from pipeline.sweep.book import Book
from pipeline.sweep.compose import settings_of
from pipeline.sweep.messages import Order, Report
from pipeline.sweep.records import Record, read_records
from pipeline.sweep.trial import TrialRecord
from pipeline.sweep.variant_table import VariantTable
from tests.helpers.cli import TRACKING
from tests.helpers.measured import COSTS, SETTINGS

SWEEP = """
# @package _global_
defaults: [/experiment/nw_ucla, _self_]
name: small_table
stages: [ingest, sweep]
sweep:
  published: []
  seeds: [0, 1]
  splits: null
  only: null
  verdict: {verdict}
  concurrent: null
  variants: {variants}
"""
VARIANTS = "{full: [], early: [objective=early], late: [objective=late]}"
ONE_VARIANT = "{full: []}"
ALL_TRIALS = ["full-0", "early-0", "late-0", "full-1", "early-1", "late-1"]


def table_run(
    place: Path, *overrides: str, variants: str = VARIANTS, verdict: str = "null"
) -> ResolvedRun:
    """A run of a table of three variants and two seeds, as the command line would resolve it.

    Models are not built for it: its trials are played.
    """
    (place / "conf" / "sweep").mkdir(parents=True, exist_ok=True)
    (place / "conf" / "sweep" / "small_table.yaml").write_text(
        SWEEP.format(variants=variants, verdict=verdict).lstrip()
    )
    places = (
        f"output={place}/run",
        f"tracking.uri={TRACKING}",
        f"data.raw={place}/nw-ucla.zip",
        f"sweep.published=[{place}/results/small_table.jsonl]",
    )
    request = Request(("sweep=small_table", *places, *overrides), str(place / "conf"))
    config = settle_places(load_once(request.overrides, request.config_dir), in_job=False)
    return unbuilt(config, request, RunDirectory(config.output))


def load_once(overrides: Sequence[str], config_dir: str) -> Config:
    """The same as `load`, which takes its time. What is composed for one test serves all."""
    place = str(Path(config_dir).parent)
    anywhere = tuple(override.replace(place, ANYWHERE) for override in overrides)
    key = (Path(config_dir, "sweep", "small_table.yaml").read_text(), *anywhere)
    if key not in _COMPOSED:
        _COMPOSED[key] = load(anywhere, config_dir).model_dump_json()
    return Config.model_validate_json(_COMPOSED[key].replace(ANYWHERE, place))


# Stands for the directory of a test.
ANYWHERE = "/anywhere"
_COMPOSED: dict[tuple[str, ...], str] = {}


def unbuilt(config: Any, request: Request, directory: RunDirectory) -> ResolvedRun:
    """A run whose models nobody built; stands in for `resolve`."""
    return ResolvedRun(
        config=config,
        request=request,
        directory=directory,
        recorded_layout=None,
        layout=None,
        sides={},
        blueprint=None,
    )


def linear(variant: str, seed: int) -> float:
    """What each trial measures."""
    base = {"full": 0.9, "early": 0.8, "late": 0.85}[variant]
    gain = {0: 0.0, 1: 0.02, 2: 0.01}[seed]
    if variant == "full":
        gain *= 2
    return base + gain


class PlayedTrials:
    """Plays the trials that a table hands out, and notes them.

    Args:
        die_at: the trial in which the driver is killed.
        ends: the name of a trial -> why it ends without being finished.
        people: whether each test person is measured.

    Attributes:
        trained: the trials that were run, in order.
        clips: the fingerprint of the clip store.
    """

    clips = "of the store"

    def __init__(
        self, die_at: str = "", ends: dict[str, str] | None = None, people: bool = False
    ) -> None:
        self.die_at = die_at
        self.people = people
        self.ends = ends or {}
        self.trained: list[str] = []

    def run(self, order: Order, directory: RunDirectory) -> Report:
        """What the process of a trial does, and its last report."""
        config = order.config
        self.trained.append(config.name)
        Path(directory.path("checkpoints")).mkdir(exist_ok=True)
        if config.name == self.die_at:
            raise KeyboardInterrupt
        if config.name in self.ends:
            return Report(epoch=1, ended=self.ends[config.name])
        figures = evaluated(config)
        if self.people:
            of_people = {"encoder": people_of(config), "random": random_people()}
            storage.write_json(directory.path("evaluation.json"), {"people": of_people})
            figures["retrieval_map"] = linear(config.name.split("-")[0], config.seed)
        return Report(
            epoch=config.train.epochs,
            results={"pretrain": self.pretrained(config), "evaluate": figures},
            seconds={"pretrain": 50.0, "evaluate": 10.0},
        )

    def pretrained(self, config: Any) -> dict[str, Any]:
        """The results of the stage `pretrain`."""
        return {"epochs": config.train.epochs, "loss": 1.0, "checkpoint": "somewhere"}

    def stores(self, config: Any) -> dict[str, str]:
        """The fingerprints of the clip stores of a trial."""
        return {"store": self.clips}

    # In the place of `Streams`.

    def open(self, trial: Any, directory: RunDirectory) -> Any:
        """Note the stores of a trial, and plan nothing."""
        directory.state.stores.update(self.stores(trial.config))
        directory.save()
        return SimpleNamespace(epochs=SimpleNamespace(steps=10))

    def close(self, name: str) -> None:
        """Let nothing go."""


def evaluated(config: Any) -> dict[str, Any]:
    """The results of the stage `evaluate`."""
    top1 = linear(config.name.split("-")[0], config.seed)
    streams = 3 if config.model.fusion == "late" else 1
    return {
        "linear_top1": top1,
        "knn_top1": top1 - 0.1,
        "linear_best_top1": top1,
        "random_linear_top1": 0.7 + 0.01 * config.seed,
        "random_knn_top1": 0.6,
        "parameters": 1000 * streams,
        "gflops": 0.1 * streams,
        "pretraining_parameters": 5000,
        "pretraining_gflops": 1.5,
        "train_clips": 1020,
        "test_clips": 464,
        "probe": config.evaluate.probe,
        "protocol": config.data.protocol,
    }


def people_of(config: Any) -> dict[str, dict[str, float]]:
    """What is measured of three people, who differ by a point from one to the next."""
    top1 = linear(config.name.split("-")[0], config.seed)
    people = {}
    for number in (1, 2, 10):
        people[str(number)] = {"clips": 20, "retrieval_map": top1 + number / 100}
    return people


def random_people() -> dict[str, dict[str, float]]:
    """The same of the encoder before training."""
    return {str(number): {"clips": 20, "retrieval_map": 0.5} for number in (1, 2, 10)}


class NoMLflow:
    """Stands in for `Tracker` and `Children`: nothing goes to MLflow."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def play(run: ResolvedRun, trials: PlayedTrials) -> dict[str, Any]:
    """Run a table as the stage `sweep` does, one trial after another."""
    run = begun(run, trials)
    table = VariantTable(run)
    play_trials(run, table, trials, NoMLflow())
    return table.finish(NoMLflow())


def begun(run: ResolvedRun, trials: PlayedTrials) -> ResolvedRun:
    """The run of a table, its directory begun and its store known."""
    directory = RunDirectory.open(run.config)
    directory.begin(run.config)
    directory.state.stores["store"] = trials.clips
    directory.save()
    return unbuilt(run.config, run.request, directory)


def play_trials(run: ResolvedRun, table: VariantTable, trials: PlayedTrials, children: Any) -> None:
    """Run all trials of a table, tracked by `children`."""
    keeper = Book(run, settings_of(run.config), children)
    keeper.streams = trials
    try:
        while True:
            trial = table.next_trial()
            if trial is None:
                break
            table.ended(_play_trial(keeper, trial, trials))
    finally:
        keeper.abandon()


def _play_trial(keeper: Book, trial: Any, trials: PlayedTrials) -> TrialRecord:
    order = keeper.open(trial)
    if isinstance(order, TrialRecord):
        return order
    report = trials.run(order, keeper.running(trial.name).directory)
    keeper.report(trial.name, report)
    return keeper.close(trial.name, "stopped", "")


def quickly(monkeypatch: Any) -> None:
    """Let trials be composed once for all tests, and be measured by code that is committed."""
    monkeypatch.setattr(compose, "load", load_once)
    monkeypatch.setattr(book, "code_version", lambda: "0123456789ab")


def records_of(output: Path) -> dict[str, Record]:
    """The records that a run left in its output, by the names of their trials."""
    return {record.name: record for record in read_records(str(output / "records.jsonl"))}


def forget(file: Path, trial: str) -> None:
    """Take the record of a trial out of a file."""
    kept = []
    for line in file.read_text().splitlines(keepends=True):
        record = Record.model_validate_json(line)
        if record.name != trial:
            kept.append(line)
    file.write_text("".join(kept))


def record(variant: str, seed: int, **figures: float) -> Record:
    """The record of a trial, with these figures beside what every record has."""
    start = {"random_linear_top1": 0.5 + seed / 10}
    return Record(
        experiment="small_table",
        variant=variant,
        seed=seed,
        overrides=[],
        command=["sweep=small_table"],
        hash="0",
        figures=COSTS | SETTINGS | start | figures,
        versions={"torch": "2"},
        workers=1,
        gpu=False,
        date="2026-11-26",
        seconds=60,
        code="0123456789ab",
        stores=["of the store"],
    )
