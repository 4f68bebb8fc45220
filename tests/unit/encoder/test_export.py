"""Encoders written and read back: the same numbers, clear refusals, nothing executed."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.clips import ClipBatch, whole
from models.normalise import normalise
from pipeline.config.compose import load
from pipeline.config.root import Config
from pipeline.core.errors import UserError
from pipeline.encoder.build import build_framework
from pipeline.encoder.export import export_encoder, load_encoder

SMALL = ["model.width=16", "model.heads=2", "model.feedforward=24", "model.frames=8"]


@pytest.fixture(scope="module")
def config() -> Config:
    return load(SMALL)


@pytest.fixture
def exported(config, tmp_path) -> Path:
    export_encoder(str(tmp_path / "encoder"), build_framework(config).backbone, config)
    return tmp_path / "encoder"


def recordings(count: int, persons: int = 2, joints: int = 25) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [
        random.normal(size=(3 + 2 * n, persons, joints, 3)).astype(np.float32) for n in range(count)
    ]


def test_the_round_trip_is_bitwise(config, exported):
    framework = build_framework(config)
    framework.eval()
    encoder, prepare = load_encoder(str(exported))
    assert all(
        torch.equal(value, framework.backbone.state_dict()[name])
        for name, value in encoder.state_dict().items()
    )
    clips = recordings(4)
    offsets = torch.tensor([0, *map(len, clips)]).cumsum(0)
    batch = ClipBatch(
        torch.from_numpy(np.concatenate(clips)), offsets, torch.arange(4), torch.full((4,), -1)
    )
    layout = framework.backbone.layout
    views = whole(
        normalise(batch, layout, config.data.normalise.centre, config.data.normalise.align), 8
    )
    assert torch.equal(prepare(batch), views)
    assert torch.equal(prepare(clips), views)
    with torch.no_grad():
        assert torch.equal(encoder.features(prepare(clips)), framework.backbone.features(views))
    assert encoder.features(prepare(clips)).shape == (4, encoder.feature_width) == (4, 32)
    assert not encoder.training and not any(p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize(
    ("objective", "parts"),
    [("late", ["joint", "bone", "motion"]), ("single_bone", ["fused"]), ("umurl", ["fused"])],
)
def test_baselines_round_trip_with_their_parts(objective, parts, tmp_path):
    config = load([*SMALL, f"objective={objective}"])
    built = build_framework(config).backbone.eval()
    export_encoder(str(tmp_path), built, config)
    encoder, prepare = load_encoder(str(tmp_path))
    views = prepare(recordings(3))
    with torch.no_grad():
        assert torch.equal(encoder.features(views), built.features(views))
    assert encoder.parts == built.parts and list(encoder.parts) == parts
    assert encoder.feature_width == 32 * len(parts)


def test_an_export_says_all_that_it_needs(config, exported):
    card = json.loads((exported / "config.json").read_text())
    assert card["model"] == config.model.model_dump()
    assert list(card["skeleton"]["joints"]) == list(
        config.data.skeleton.joints
    )  # their order is that of the recordings
    assert sorted(path.name for path in exported.iterdir()) == ["config.json", "model.safetensors"]


def rewrite(exported: Path, change) -> None:
    place = exported / "model.safetensors"
    weights = load_file(place)
    change(weights)
    save_file(weights, place)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("temporal.fusion.weight"), "temporal.fusion.weight is missing"),
        (lambda w: w.update({"fc.weight": torch.ones(2)}), "fc.weight is unknown"),
        (
            lambda w: w.update({"temporal.fusion.weight": torch.ones(3, 16)}),
            r"temporal.fusion.weight is float32 \[3, 16\], not float32 \[16, 16\]",
        ),
        (
            lambda w: w.update({"spatial.fusion.weight": torch.ones(16, 16).half()}),
            "spatial.fusion.weight is float16",
        ),
        (
            lambda w: [w.pop(name) for name in list(w) if "spatial" in name],
            "missing.*and [0-9]+ more",
        ),
    ],
)
def test_weights_that_are_not_those_of_the_card_are_refused(exported, change, message):
    rewrite(exported, change)
    with pytest.raises(UserError, match=message) as caught:
        load_encoder(str(exported))
    assert "\n" not in str(caught.value) and str(exported / "model.safetensors") in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(format="other"), "format"),
        (lambda card: card.update(version=2), "version"),
        (lambda card: card.pop("persons"), "persons: Field required"),
        (lambda card: card["model"].update(width="wide"), "model.width"),
        (lambda card: card["model"].update(widht=3), "model.widht"),
        (lambda card: card["skeleton"].update(centre="nose"), "unknown joint nose"),
    ],
)
def test_a_card_that_is_none_is_refused(exported, change, message):
    place = exported / "config.json"
    card = json.loads(place.read_text())
    change(card)
    place.write_text(json.dumps(card))
    with pytest.raises(UserError, match=message) as caught:
        load_encoder(str(exported))
    assert "\n" not in str(caught.value) and str(place) in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe"])
def test_a_broken_card_is_refused(exported, content):
    (exported / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json"):
        load_encoder(str(exported))


def test_a_missing_export_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere/config\.json: not found"):
        load_encoder(str(tmp_path / "nowhere"))


class Bomb:
    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_executed(exported, tmp_path):
    trace = tmp_path / "executed"
    buffer = io.BytesIO()
    torch.save({"temporal.fusion.weight": Bomb(trace)}, buffer)
    for content in (pickle.dumps(Bomb(trace)), buffer.getvalue()):
        (exported / "model.safetensors").write_bytes(content)
        with pytest.raises(UserError, match="not a safetensors file"):
            load_encoder(str(exported))
        assert not trace.exists()
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()  # the bomb was a live one


def test_a_truncated_file_is_refused(exported):
    place = exported / "model.safetensors"
    place.write_bytes(place.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"model\.safetensors: not a safetensors file"):
        load_encoder(str(exported))


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (
            recordings(2, joints=20),
            "2 persons and 25 joints .kinect_v2., got 2 persons and 20 joints",
        ),
        (recordings(2, persons=1), "got 1 persons and 25 joints"),
        ([np.ones((5, 25, 3))], r"clip 0 must be \[frames, persons, joints, 3\], is \[5, 25, 3\]"),
        ([*recordings(1), np.ones((0, 2, 25, 3))], "clip 1 must be"),
    ],
)
def test_clips_of_another_shape_are_refused(exported, clips, message):
    _, prepare = load_encoder(str(exported))
    with pytest.raises(ValueError, match=message):
        prepare(clips)
