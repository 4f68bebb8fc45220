"""The report of a run is what its stages left, in figures and on one page."""

import json
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from pipeline.config.compose import load
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.report.groups import figures_by_group
from pipeline.report.page import page
from pipeline.report.stage import (
    MAPPED_CLIPS,
    STRIP_CLIPS,
    clips_of_strip,
    read_saved_features,
    report,
)
from pipeline.runs.directory import RunDirectory
from pipeline.runs.resolved import ResolvedRun
from pipeline.store.clip_store import ClipStore
from tests.helpers.runs import resolved
from tests.helpers.stores import ACTIONS, write_store

MEASURED = {
    "probe": "standardised_adamw",
    "linear_top1": 0.8876,
    "knn_top1": 0.8,
    "retrieval_map": 0.512,
    "random_linear_top1": 0.7,
    "random_knn_top1": 0.6,
    "parameters": 1_450_000,
    "gflops": 0.0756,
    "pretraining_parameters": 6_700_000,
    "pretraining_gflops": 1.4,
}


class Tracker:
    def __init__(self):
        self.logged = []

    def artifacts(self, uris, folder=None):
        self.logged += [(storage.name(uri), folder) for uri in uris]


@pytest.fixture
def config(tmp_path) -> Config:
    return config_in(tmp_path)


def config_in(folder: Path) -> Config:
    """A run that has a store and nothing else."""
    overrides = ["data=nw_ucla", f"data.store={folder}/store", f"output={folder}/run", "name=trial"]
    config = load(overrides)
    write_store(config.store, config)
    return config


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> tuple[ResolvedRun, Tracker]:
    """A run of all stages, with its report."""
    run = resolved(config_in(tmp_path_factory.mktemp("reported")))
    leave_results(run.directory)
    tracker = Tracker()
    assert report(run, tracker) == {"report": run.directory.path("report.html")}
    return run, tracker


def leave_results(directory: RunDirectory) -> None:
    """What pretraining and evaluation leave."""
    random = np.random.default_rng(0)
    rows = [
        {"step": step, "epoch": 0, "time": 0, "loss": 5 / step, "loss/view": 1 / step}
        for step in range(1, 6)
    ]
    storage.write_bytes(
        directory.path("metrics.jsonl"), "".join(json.dumps(row) + "\n" for row in rows).encode()
    )
    directory.finish("pretrain", {"loss": 1.0})
    labels = np.arange(40) % ACTIONS
    for name in ("encoder", "random"):
        one = np.zeros_like(labels)
        content = {
            "test/labels": labels,
            "test/linear": labels if name == "encoder" else one,
            "test/knn": one,
            "test/average_precision": labels / ACTIONS,
        }
        content |= {"test/ids": np.arange(40), "test/features": random.normal(size=(40, 8))}
        storage.write_bytes(directory.path("features", f"{name}.safetensors"), save(content))
    curves = {
        name: {"test_top1": [0.5, 0.7], "train_loss": [1.0, 0.5]} for name in ("encoder", "random")
    }
    storage.write_json(
        directory.path("evaluation.json"), {"probe": "standardised_adamw", "linear": curves}
    )
    directory.finish("evaluate", MEASURED)


def test_everything_is_drawn_embedded_and_logged(reported):
    run, tracker = reported
    folder = run.directory.path("figures")
    names = ["confusion", "embedding", "losses", "probe", "skeletons"]
    images = {name: storage.read_bytes(storage.join(folder, f"{name}.png")) for name in names}
    assert len(storage.files(folder)) == len(names)
    assert sorted(tracker.logged) == sorted(
        [(f"{name}.png", "figures") for name in names] + [("report.html", None)]
    )
    text = storage.read_bytes(run.directory.path("report.html")).decode()
    embedded = {
        b64decode(found) for found in re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    }
    assert embedded == set(images.values())
    assert "<b>88.8\u2009%</b><span>linear evaluation</span>" in text
    assert "<b>51.2\u2009%</b><span>mean average precision of retrieval</span>" in text
    assert "<b>60.0\u2009%</b><span>nearest neighbours, random start</span>" in text
    assert (
        "<b>1.45</b><span>million parameters" in text
        and "<b>0.0756</b><span>GFLOPs a clip in inference" in text
    )
    assert not re.search(r'(src|href)="(?!data:)', text)  # opens anywhere, asks nobody


def test_a_run_that_has_only_read_data_shows_data(config):
    run = resolved(config)
    tracker = Tracker()
    report(run, tracker)
    assert [storage.name(entry.path) for entry in storage.files(run.directory.path("figures"))] == [
        "skeletons.png"
    ]


def test_the_page_shows_values_and_never_runs_them(config):
    text = page(
        config, {"store": "<script>alert(1)</script>", "loss": 0.123456789, "clips": 7}, {}, {}
    ).decode()
    assert "<script>" not in text and "&lt;script&gt;alert(1)" in text
    assert "<td>0.123457</td>" in text and "<td>7</td>" in text
    assert "batch_size: 128" in text


def test_the_strip_shows_long_clips_of_different_actions(config):
    store = ClipStore.open(config.store)
    index = store.index()
    chosen = clips_of_strip(resolved(config))
    rows = [int(np.flatnonzero(index.clip_id == name.split()[-1])[0]) for name, _ in chosen]
    assert len(rows) == STRIP_CLIPS == len({int(label) for label in index.label[rows]})
    assert all(index.num_frames[rows] >= np.median(index.num_frames))
    for row, (name, clip) in zip(rows, chosen, strict=True):
        np.testing.assert_array_equal(clip, store.clip(row))
        assert name.startswith(config.data.classes[index.label[row]])


def test_two_persons_come_first_where_there_are_any(tmp_path):
    config = load([f"data.store={tmp_path}/store", f"output={tmp_path}/run"])
    write_store(config.store, config, alone_but_late)
    store = ClipStore.open(config.store)
    row = np.flatnonzero(store.index().num_persons == 2)[0]
    assert row > 80  # others of its action come long before it
    assert clips_of_strip(resolved(config))[0][0].endswith(store.index().clip_id[row])


def alone_but_late(row: dict) -> dict:
    late = row["clip_id"].startswith("clip-2-") and row["num_frames"] > 8
    return row | {"num_persons": 2 if late else 1}


def test_accuracies_by_subject_and_camera(reported):
    run, _ = reported
    text = storage.read_bytes(run.directory.path("report.html")).decode()
    index = run.index
    for name in ("subject", "camera"):
        numbers = getattr(index, name)[:40]
        rows = re.findall(r"<tr>(.*?)</tr>", text.split(f"<h2>By {name}</h2>")[1].split("<h2>")[0])[
            1:
        ]
        assert len(rows) == len(set(numbers)) > 1
        for row, number in zip(rows, sorted(set(numbers)), strict=True):
            clips = [
                label
                for label, of in zip(np.arange(40) % ACTIONS, numbers, strict=True)
                if of == number
            ]
            nearest = f"{100 * clips.count(0) / len(clips):.1f}"
            precision = f"{100 * np.mean(clips) / ACTIONS:.1f}"
            cells = [number if number >= 0 else "unknown", len(clips), "100.0"]
            cells += [nearest, precision, nearest, nearest, precision]
            assert re.findall(r"<t[hd]>(.*?)</t[hd]>", row) == [str(cell) for cell in cells]


def test_features_of_older_versions_have_no_precision(reported):
    run, _ = reported
    saved = read_saved_features(run)
    older = {name: replace(one, average_precision=None) for name, one in saved.items()}
    for groups in figures_by_group(run.index, older).values():
        for group in groups:
            names = ["linear_top1", "knn_top1", "random_linear_top1", "random_knn_top1"]
            assert list(group.figures) == names


def test_the_map_is_capped(config, monkeypatch):
    monkeypatch.setattr("pipeline.report.stage.MAPPED_CLIPS", 12)
    shown = {}
    monkeypatch.setattr(
        "pipeline.report.figures.embedding",
        lambda features, labels, *_: shown.update(features, labels=labels),
    )
    monkeypatch.setattr("pipeline.report.stage.png", lambda figure: b"")
    run = resolved(config)
    leave_results(run.directory)
    report(run, Tracker())
    assert {name: len(values) for name, values in shown.items()} == {
        "random": 12,
        "encoder": 12,
        "labels": 12,
    }
    assert MAPPED_CLIPS == 1500
