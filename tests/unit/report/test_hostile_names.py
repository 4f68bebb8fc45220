"""Names of classes and clips that are markup go through all stages that show them, as text."""

import csv
import json
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from safetensors.numpy import save

from pipeline.card.stage import inspect
from pipeline.card.statistics import statistics
from pipeline.core import console, storage
from pipeline.ingest.stage import ingest
from pipeline.report.stage import report
from pipeline.runs.directory import RunDirectory
from tests.helpers import hostile
from tests.helpers.ingests import ingest_here
from tests.helpers.paths import ROOT
from tests.helpers.runs import resolved_from

CLIPS = 10
FRAMES = 3
JOINTS = 13
SECRET = "http://me:swordfish@host"
CLASSES = [hostile.MARKUP, hostile.HTML, hostile.CONTROL, "\u559d\u6c34", "_hidden"]


class Tracker:
    """Stands in for MLflow."""

    def dataset(self, store, context):
        pass

    def artifacts(self, uris, folder=None):
        pass


def write_recordings(folder):
    """Clips whose names are as hostile as those of their classes; one is no recording."""
    random = np.random.default_rng(0)
    folder.mkdir()
    with (folder / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["clip_id", "path", "label", "subject", "camera"])
        for number in range(CLIPS):
            clip = random.normal(3, 0.3, (FRAMES, JOINTS, 3))
            np.save(folder / f"{number}.npy", clip.astype(np.float32))
            name = f"{hostile.MARKUP}{hostile.HTML}\x1b[31m{number}"
            label = number % len(CLASSES)
            table.writerow([name, f"{number}.npy", label, 1 + number % 6, 1 + number % 2])
        table.writerow([f"{hostile.MARKUP}{hostile.HTML}-away", "away.npy", 0, 1, 1])


def write_configuration(folder):
    """The example of the documentation, with other classes."""
    example = ROOT / "examples" / "own_data" / "mine"
    data = yaml.safe_load((example / "data" / "mine.yaml").read_text())
    data["classes"] = CLASSES
    for group in ("data", "skeleton"):
        (folder / group).mkdir(parents=True)
    (folder / "data" / "mine.yaml").write_text(yaml.safe_dump(data))
    skeleton = (example / "skeleton" / "mine.yaml").read_text()
    (folder / "skeleton" / "mine.yaml").write_text(skeleton)


def leave_evaluation(directory: RunDirectory) -> None:
    """What evaluation leaves."""
    labels = np.arange(CLIPS) % len(CLASSES)
    random = np.random.default_rng(0)
    for name in ("encoder", "random"):
        content = {"test/labels": labels, "test/linear": labels[::-1].copy(), "test/knn": labels}
        content |= {"test/ids": np.arange(CLIPS), "test/features": random.normal(size=(CLIPS, 8))}
        storage.write_bytes(directory.path("features", f"{name}.safetensors"), save(content))
    curves = {name: {"test_top1": [0.5, 0.7], "train_loss": [1, 0.5]} for name in ("encoder",)}
    curves["random"] = curves["encoder"]
    storage.write_json(directory.path("evaluation.json"), {"probe": "p", "linear": curves})
    names = ("linear_top1", "knn_top1", "random_linear_top1", "random_knn_top1")
    costs = {"parameters": 1, "gflops": 1.0}
    directory.finish("evaluate", {"probe": SECRET} | dict.fromkeys(names, 0.5) | costs)


def all_statistics(store, layout):
    """The statistics of a store, without Ray."""
    clips = [store.clip(row) for row in range(store.clips)]
    offsets = np.cumsum([0, *map(len, clips)])
    return statistics(np.concatenate(clips), offsets, layout)


@pytest.fixture
def run(tmp_path, monkeypatch):
    write_recordings(tmp_path / "raw")
    write_configuration(tmp_path / "conf")
    monkeypatch.setattr("pipeline.ingest.stage.ingest_recordings", ingest_here)
    monkeypatch.setattr("pipeline.card.stage.measure", all_statistics)
    # Maps and moving pictures take seconds, and show no more names than others do.
    monkeypatch.setattr("pipeline.report.figures._project", lambda values, seed: values[:, :2])
    monkeypatch.setattr("pipeline.card.samples.SAMPLES", 1)
    monkeypatch.setattr("pipeline.card.samples.CROWDED_SAMPLES", 0)
    made = resolved_from(
        "data=mine",
        f"data.raw={tmp_path}/raw",
        f"data.store={tmp_path}/store",
        f"output={tmp_path}/run",
        "views.corrupt_joints=6",
        "model.width=16",
        "model.heads=2",
        "model.feedforward=16",
        "ingest.max_rejected=1",
        config_dir=str(tmp_path / "conf"),
    )
    made.directory.begin(made.config)
    return made


def test_hostile_names_are_shown_as_text(run, capsys):
    assert ingest(run, Tracker())["clips"] == CLIPS
    inspect(run, Tracker())
    leave_evaluation(run.directory)
    report(run, Tracker())
    console.table(run.config.data.classes[0], ["", "x"], [[run.config.data.classes[0], "1"]])
    said = capsys.readouterr()
    assert said.err == ""
    assert "\x1b" not in said.out
    # The reject, clips that somebody should look at, the table.
    assert said.out.count(hostile.MARKUP) >= 3
    for page in ("card/card.html", "report.html"):
        text = storage.read_bytes(run.directory.path(page)).decode()
        assert "\x1b" not in text
        assert "swordfish" not in text
        tags = Tags()
        tags.feed(text)
        assert "script" not in tags.found
        assert "&lt;script&gt;" in text
    # The values for programs are as they were.
    card = json.loads(storage.read_bytes(run.directory.path("card/card.json")))
    assert [one["name"] for one in card["classes"]] == run.config.data.classes


class Tags(HTMLParser):
    """The tags of a page."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attributes):
        self.found.add(tag)
