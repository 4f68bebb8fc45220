"""Recordings in the field's own formats go through all stages: 2-D key points, npy with pickles."""

import json
import pickle

import numpy as np
import pytest

from pipeline.card import samples
from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.encoder.export import load_encoder
from pipeline.runs.directory import RunDirectory
from pipeline.runs.perform import perform
from pipeline.runs.resolved import resolve
from pipeline.runs.tracking import Tracker
from pipeline.stages import STAGES
from tests.helpers.cli import TINY, TRACKING
from tests.helpers.here import encode_here, train_here

TODO = ("ingest", "inspect", "pretrain", "evaluate")
SETTINGS = [setting for setting in TINY if not setting.startswith("data.")]
CLASSES, TRAIN, TEST = 3, 24, 12
FRAMES = 20


def swing(number, joints, arm):
    """A body of which one arm swings, faster for each class: [T, V, 2], metres, y up."""
    rng = np.random.default_rng(number)
    body = np.random.default_rng(7).normal(0, 0.4, (joints, 2)) + rng.normal(0, 0.02, (joints, 2))
    clip = np.repeat(body[None], FRAMES, axis=0)
    turn = np.sin(np.linspace(0, 2 * np.pi * (1 + number % CLASSES), FRAMES))
    clip[:, arm, 1] += 0.5 * turn
    return clip


def write_hrnet(folder):
    """pyskl's pickle of COCO's joints in pixels, with confidences."""
    annotations = []
    names = [f"clip{number}" for number in range(TRAIN + TEST)]
    for number, name in enumerate(names):
        clip = swing(number, 17, 9)
        pixels = np.stack([960 + 300 * clip[..., 0], 540 - 300 * clip[..., 1]], axis=-1)
        annotations.append(
            {
                "frame_dir": name,
                "label": number % CLASSES,
                "img_shape": (1080, 1920),
                "original_shape": (1080, 1920),
                "total_frames": FRAMES,
                "keypoint": pixels[None].astype("f2"),
                "keypoint_score": np.full((1, FRAMES, 17), 0.8, "f2"),
            }
        )
    split = {"train": names[:TRAIN], "val": names[TRAIN:]}
    content = {"split": split, "annotations": annotations}
    (folder / "mine_hrnet.pkl").write_bytes(pickle.dumps(content))
    return folder / "mine_hrnet.pkl"


def write_agcn(folder):
    """Arrays [N, 3, T, V, M] of the 2s-AGCN line, with pickles of NTU's names and labels."""
    for part, numbers in (("train", range(TRAIN)), ("val", range(TRAIN, TRAIN + TEST))):
        data = np.zeros((len(numbers), 3, FRAMES + 10, 25, 2), np.float32)
        names, labels = [], []
        for row, number in enumerate(numbers):
            clip = swing(number, 25, 6)
            data[row, :2, :FRAMES, :, 0] = clip.transpose(2, 0, 1)
            data[row, 2, :FRAMES, :, 0] = 3 + np.random.default_rng(9).normal(0, 0.1, 25)
            label = number % CLASSES
            labels.append(label)
            names.append(f"S001C001P{1 + number:03}R001A{1 + label:03}.skeleton")
        np.save(folder / f"{part}_data_joint.npy", data)
        np.save(folder / f"{part}_num_frame.npy", np.full(len(numbers), FRAMES))
        (folder / f"{part}_label.pkl").write_bytes(pickle.dumps((names, labels)))
    return folder


@pytest.mark.parametrize(
    ("data", "write", "joints"), [("pyskl_2d", write_hrnet, 17), ("agcn_ntu60", write_agcn, 25)]
)
def test_all_stages(ray_session, monkeypatch, tmp_path, data, write, joints):
    (tmp_path / "raw").mkdir()
    raw = write(tmp_path / "raw")
    overrides = [
        *SETTINGS,
        f"data={data}",
        f"data.raw={raw}",
        "cluster.workers=1",
        f"output={tmp_path}/run",
        f"tracking.uri={TRACKING}",
    ]
    config = settle_places(load(overrides), in_job=False)
    run = resolve(config, Request(tuple(overrides)), RunDirectory.open(config))
    run.directory.begin(config)
    train_here(ray_session, monkeypatch)
    encode_here(monkeypatch)
    # An animation of each would take a second.
    monkeypatch.setattr(samples, "SAMPLES", 1)
    perform(STAGES, TODO, run, Tracker(config, run.directory))

    summary = run.directory.summary()
    assert (summary["clips"], summary["rejected"]) == (TRAIN + TEST, 0)
    assert (summary["train_clips"], summary["test_clips"]) == (TRAIN, TEST)
    assert summary["epochs"] == 2
    assert np.isfinite(summary["loss"])
    assert summary["linear_top1"] > 1.5 / CLASSES
    card = json.loads((tmp_path / "run" / "card" / "card.json").read_text())
    assert (card["clips"], card["frames"]) == (TRAIN + TEST, FRAMES * (TRAIN + TEST))
    # The encoder takes what the store holds.
    backbone, prepare = load_encoder(f"{tmp_path}/run/encoder")
    feature = backbone.features(prepare([run.store.clip(0)]))
    assert feature.isfinite().all()
    assert run.store.clip(0).shape[2:] == (joints, 3)
