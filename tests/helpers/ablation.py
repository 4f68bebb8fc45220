"""A small table: three variants of an experiment of a user's own, its stages played."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.sweep import cells, stage
from pipeline.sweep.records import Record, read_records
from pipeline.sweep.stage import ablate
from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.runs import perform
from pipeline.runs.directory import RunDirectory
from pipeline.runs.resolved import ResolvedRun
from tests.helpers.cli import TRACKING

EXPERIMENT = """
# @package _global_
defaults: [nw_ucla, _self_]
name: small_table
stages: [ablate]
ablate:
  published: []
  seeds: [0, 1]
  splits: null
  only: null
  variants: {variants}
"""
# Where things lie: it decides nothing else that Hydra composes.
PLACES = ("output", "data.raw", "ablate.published")
VARIANTS = "{full: [], early: [objective=early], late: [objective=late]}"
ONE_VARIANT = "{full: []}"
ALL_CELLS = ["full-0", "early-0", "late-0", "full-1", "early-1", "late-1"]


def table_run(place: Path, *overrides: str, variants: str = VARIANTS) -> ResolvedRun:
    """A run of a table of three variants and two seeds, as the command line would resolve it.

    Models are not built for it: the stages are played.
    """
    (place / "conf" / "experiment").mkdir(parents=True, exist_ok=True)
    (place / "conf" / "experiment" / "small_table.yaml").write_text(
        EXPERIMENT.format(variants=variants).lstrip()
    )
    places = (
        f"output={place}/run",
        f"tracking.uri={TRACKING}",
        f"data.raw={place}/nw-ucla.zip",
        f"ablate.published=[{place}/results/small_table.jsonl]",
    )
    request = Request(("experiment=small_table", *places, *overrides), str(place / "conf"))
    config = settle_places(cells.load(request.overrides, request.config_dir), in_job=False)
    return unbuilt(config, request, RunDirectory(config.output))


def load_once(overrides: Sequence[str], config_dir: str) -> Config:
    """The same as `load`, which takes its time; what differs in nothing but PLACES is kept."""
    places = {}
    others = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key in PLACES:
            places[key] = value
        else:
            others.append(override)
    experiment = Path(config_dir, "experiment", "small_table.yaml").read_text()
    key = (experiment, *others)
    if key not in _COMPOSED:
        _COMPOSED[key] = load(others, config_dir)
    config = _COMPOSED[key]
    published = places["ablate.published"].strip("[]").split(",")
    return config.model_copy(
        update={
            "output": places["output"],
            "data": config.data.model_copy(update={"raw": places["data.raw"]}),
            "ablate": config.ablate.model_copy(update={"published": published}),
        }
    )


_COMPOSED: dict[tuple[str, ...], Config] = {}


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
    """What each cell measures."""
    base = {"full": 0.9, "early": 0.8, "late": 0.85}[variant]
    gain = {0: 0.0, 1: 0.02, 2: 0.01}[seed]
    if variant == "full":
        gain *= 2
    return base + gain


class PlayedStages(dict):
    """Stages that note what was asked of them.

    Args:
        die_at: the stage and the cell that are interrupted.

    Attributes:
        calls: the stages and cells that were run.
        clips: the fingerprint of the clip store.
    """

    clips = "of the store"

    def __init__(self, die_at: tuple[str, str] = ("", "")):
        super().__init__(ingest=self.ingest, pretrain=self.pretrain, evaluate=self.evaluate)
        self.calls = []
        self.die_at = die_at

    def note(self, stage: str, run: ResolvedRun) -> None:
        self.calls.append((stage, run.config.name))
        if (stage, run.config.name) == self.die_at:
            raise KeyboardInterrupt

    @property
    def pretrained(self) -> list[str]:
        """The cells that were pretrained, in order."""
        return [name for stage, name in self.calls if stage == "pretrain"]

    def ingest(self, run, tracker):
        run.directory.state.stores["store"] = self.clips
        self.note("ingest", run)
        return {}

    def pretrain(self, run, tracker):
        run.directory.state.stores["store"] = self.clips
        Path(run.directory.path("checkpoints")).mkdir(exist_ok=True)
        self.note("pretrain", run)
        return {"epochs": run.config.train.epochs, "loss": 1.0, "checkpoint": "somewhere"}

    def evaluate(self, run, tracker):
        self.note("evaluate", run)
        config = run.config
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


class UntrackedRun:
    """Stands in for `Tracker`: a run gets an id, and nothing goes to MLflow."""

    ids = 0

    def __init__(self, config, directory, parent=None):
        known = directory.state.mlflow_run_id
        UntrackedRun.ids += 1
        self.run_id = known or f"run {UntrackedRun.ids}"
        directory.state.mlflow_run_id = self.run_id
        directory.save()

    def child(self, config, directory):
        return UntrackedRun(config, directory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def results(self, results):
        pass

    def artifacts(self, uris, folder=None):
        pass


def play(run: ResolvedRun, stages: PlayedStages, tracker: Any = None) -> dict:
    """Run the stage `ablate` as a command would; with `tracker` tracked by it."""
    opened = RunDirectory.open(run.config)
    run = unbuilt(run.config, run.request, opened)
    opened.begin(run.config)
    with (tracker or UntrackedRun)(run.config, opened) as tracked:
        return ablate(run, tracked, stages)


def untracked(monkeypatch) -> None:
    """Let `ablate` compose once, build no models, track nothing, and see committed code."""
    monkeypatch.setattr(cells, "load", load_once)
    monkeypatch.setattr(stage, "resolve", unbuilt)
    monkeypatch.setattr(perform, "code_version", lambda: "0123456789ab")


def records_of(output: Path) -> dict[str, Record]:
    """The records that a run left in its output, by the names of their cells."""
    return {record.name: record for record in read_records(str(output / "records.jsonl"))}


def forget(file: Path, cell: str) -> None:
    """Take the record of a cell out of a file."""
    kept = []
    for line in file.read_text().splitlines(keepends=True):
        record = Record.model_validate_json(line)
        if record.name != cell:
            kept.append(line)
    file.write_text("".join(kept))


def record(variant: str, seed: int, **figures: float) -> Record:
    """The record of a cell, with these figures beside what every record has."""
    costs = {
        "parameters": 10,
        "gflops": 0.5,
        "pretraining_parameters": 20,
        "pretraining_gflops": 2.0,
    }
    cell = {"protocol": "cross_view", "train_clips": 1020, "test_clips": 464, "epochs": 24}
    return Record(
        experiment="small_table",
        variant=variant,
        seed=seed,
        overrides=[],
        command=["experiment=small_table"],
        hash="0",
        figures=costs | cell | {"probe": "p", "random_linear_top1": 0.5 + seed / 10} | figures,
        versions={"torch": "2"},
        workers=1,
        gpu=False,
        date="2026-11-26",
        seconds=60,
        code="0123456789ab",
        stores=["of the store"],
    )
