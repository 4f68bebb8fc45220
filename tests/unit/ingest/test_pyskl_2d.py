"""2-D key points in pyskl's form, as HRNet's pickles have them."""

import pickle

import numpy as np
import pytest
import torch

from models.clips import ClipBatch
from models.modalities import modality
from models.views import Views
from pipeline.config.compose import load as load_config
from pipeline.core.errors import ConfigError
from pipeline.encoder.build import layout_of
from pipeline.ingest.formats import READERS, reader_for
from pipeline.ingest.formats.pyskl_2d import Pyskl2d
from pipeline.ingest.recording import RecordingReader
from tests.helpers.ingests import ingest_here, ingest_request, read_all
from tests.helpers.recordings import in_place

V = 17
IMAGE = (1080, 1920)


def pixels(frames=5, persons=1, seed=0):
    """[M, T, 17, 2], pixels in the middle half of a wide image."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0.25, 0.75, size=(persons, frames, V, 2))
    return (points * [IMAGE[1], IMAGE[0]]).astype("f2")


def annotation(name, points=None, **changed):
    points = pixels() if points is None else points
    return {
        "frame_dir": name,
        "label": 3,
        "img_shape": IMAGE,
        "original_shape": IMAGE,
        "total_frames": points.shape[1],
        "keypoint": points,
        "keypoint_score": np.full(points.shape[:3], 0.9, "f2"),
        **changed,
    }


def save(path, content):
    path.write_bytes(pickle.dumps(content))
    return str(path)


def read(tmp_path, *annotations, **options):
    source = save(tmp_path / "x.pkl", list(annotations))
    return read_all(Pyskl2d(**options), [source], V)


def as_stored(points, height=IMAGE[0], width=IMAGE[1]):
    """The rule of the page, number by number: [T, M, V, 3]."""
    stored = np.zeros((*points.shape[:3], 3))
    for at in np.ndindex(points.shape[:3]):
        x, y = (float(number) for number in points[at][:2])
        stored[at] = ((width / 2 - x) / height, (height / 2 - y) / height, 0)
    return stored.swapaxes(0, 1)


def test_the_image_is_one_high_and_x_goes_to_the_cameras_left(tmp_path):
    points = pixels(persons=2)
    found, rejects = read(tmp_path, annotation("a", points))
    assert rejects == {}
    stored = in_place(found["a"], 2)
    assert np.allclose(stored, as_stored(points), atol=1e-12)
    # A joint at the upper left of the image is to the camera's left and up.
    corner = np.full((1, 1, V, 2), 500.0)
    corner[0, 0, 0] = (10, 20)
    found, _ = read(tmp_path, annotation("b", corner, img_shape=(1000, 1000)))
    assert in_place(found["b"], 1)[0, 0, 0].tolist() == [0.49, 0.48, 0]
    # The very middle is a place like any other, not a joint that was not seen.
    assert in_place(found["b"], 1)[0, 0, 1:].any(axis=1).all()


def test_people_are_as_wide_as_they_are_high(tmp_path):
    """Of a square in the image a square is stored, whatever the shape of the image."""
    for height, width in ((1080, 1920), (1920, 1080), (240, 320)):
        square = np.full((1, 1, V, 2), 100.0)
        square[0, 0, 1] = (150, 100)
        square[0, 0, 2] = (100, 150)
        found, _ = read(tmp_path, annotation("a", square, img_shape=(height, width)))
        corner, right, down = in_place(found["a"], 1)[0, 0, :3]
        assert np.allclose(corner - right, [50 / height, 0, 0])
        assert np.allclose(corner - down, [0, 50 / height, 0])


def test_joints_of_low_confidence_were_not_seen(tmp_path):
    points = pixels()
    score = np.full((1, 5, V), 0.9)
    score[0, 0, :4] = [0.009, 0.011, np.nan, -0.2]
    score[0, 1] = 0
    points[0, 2, 7] = 0
    points[0, 3, 8, 0] = np.nan
    expected = as_stored(points)
    expected[0, 0, [0, 2, 3]] = expected[1] = expected[2, 0, 7] = expected[3, 0, 8] = 0
    flaw = "1 of 5 frames have joints that are not numbers, taken as not seen"
    third = np.concatenate([points, score[..., None]], axis=3)
    for one in (
        annotation("a", points, keypoint_score=score),
        annotation("a", third, keypoint_score=None),
        annotation("a", points[0], keypoint_score=score[0], total_frames=5),
    ):
        found, rejects = read(tmp_path, one)
        assert rejects == {}
        assert np.allclose(in_place(found["a"], 1), expected, atol=1e-6)
        assert found["a"].flaws == (flaw,)
    # The limit is a setting; without confidences every joint counts.
    found, rejects = read(
        tmp_path, annotation("a", points, keypoint_score=score), min_confidence=0.9
    )
    assert rejects == {"a": "no body in any frame"}
    found, _ = read(tmp_path, annotation("a", pixels(), keypoint_score=None), min_confidence=0.9)
    assert np.allclose(in_place(found["a"], 1), as_stored(pixels()))


BAD = {
    "spatial": (
        annotation("spatial", np.random.default_rng(0).normal(size=(1, 5, V, 3)) + 2)
        | {"keypoint_score": None},
        "the third number of a joint is no confidence from 0 to 1",
    ),
    "openpose": (
        annotation("openpose", np.ones((1, 5, 18, 2))),
        "keypoint has shape [1, 5, 18, 2], expected [persons, frames, 17, 2]",
    ),
    "no size": (annotation("no size", img_shape=None), "no img_shape, the height and width"),
    "zero size": (annotation("zero size", img_shape=(0, 1920)), "no img_shape"),
    "shares": (annotation("shares", pixels() / 1920), "all key points lie within 2 pixels"),
    "other image": (annotation("other image", img_shape=(48, 64)), "not that of its video"),
    "score": (
        annotation("score", keypoint_score=np.ones((1, 4, V))),
        "keypoint_score has shape [1, 4, 17], expected [1, 5, 17]",
    ),
    "score kind": (
        annotation("score kind", keypoint_score=np.ones((1, 5, V), "c8")),
        "keypoint_score is an array of 'c8', not of numbers",
    ),
    "frames": (annotation("frames", total_frames=4), "total_frames is not 5"),
    "nothing": (annotation("nothing", pixels() * 0), "no body in any frame"),
    "raw": ({"frame_dir": "raw", "label": 1, "raw_file": "x.pkl"}, "no keypoint array"),
}


def test_annotations_that_cannot_be_used_are_rejected_by_name(tmp_path):
    found, rejects = read(tmp_path, annotation("good"), *(one for one, _ in BAD.values()))
    assert list(found) == ["good"]
    assert rejects.keys() == BAD.keys()
    for name, (_, reason) in BAD.items():
        assert reason in rejects[name], name


def test_two_files_are_two_splits_and_an_image_tells_them_from_others(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    save(folder / "train.pkl", [annotation("a")])
    save(folder / "val.pkl", [annotation("b")])
    found, _ = read_all(Pyskl2d(), [str(folder)], V)
    assert {name: one.split for name, one in found.items()} == {"a": ("train",), "b": ("val",)}
    facts = Pyskl2d().listing([str(folder)]).facts
    save(folder / "val.pkl", [annotation("b", img_shape=(720, 1280))])
    assert Pyskl2d().listing([str(folder)]).facts != facts


def test_it_is_of_an_image_and_its_options_are_recorded():
    config = load_config(["data=pyskl_2d", "data.raw=x", "data.reader.min_confidence=0.3"])
    reader = reader_for(config.data.reader, config.data.classes)
    assert reader == Pyskl2d(min_confidence=0.3)
    assert (reader.space, READERS["pyskl"].space, RecordingReader.space) == (
        "image",
        "metres",
        "metres",
    )
    assert reader.record()["min_confidence"] == 0.3
    for wrong in (
        "data.normalise.align=first_frame",
        "data.normalise.align=mean_yaw",
        "data.coordinates.up=z",
        "data.reader.min_confidence=1",
    ):
        with pytest.raises(ConfigError):
            load_config(
                [
                    "data=pyskl_2d",
                    "data.raw=x",
                    *([wrong, "data.coordinates.depth=y"] if "up" in wrong else [wrong]),
                ]
            )


def test_ingested_as_configured_for_ntu(tmp_path):
    """The lists in the file and the names of the clips make the same protocols."""
    names = [f"S001C00{1 + n % 3}P00{1 + n % 6}R001A0{n + 10}" for n in range(12)]
    train = [name for name in names if int(name[9:12]) in (1, 2, 4, 5)]
    content = {
        "split": {"xsub_train": train, "xsub_val": sorted(set(names) - set(train))},
        "annotations": [annotation(name, label=int(name[-3:]) - 1) for name in names],
    }
    source = save(tmp_path / "ntu60_hrnet.pkl", content)
    manifest = ingest_here(ingest_request("pyskl_ntu60_2d", source, tmp_path / "store"))
    assert (manifest["clips"], manifest["rejected"], manifest["flawed"]) == (12, [], 0)
    assert manifest["protocols"]["xsub_lists"] == manifest["protocols"]["xsub"]
    assert manifest["protocols"]["xsub_lists"] == {"train": 8, "test": 4}
    assert manifest["layout"]["name"] == "coco17"


def test_the_views_of_a_plane_are_finite_and_those_in_it_stay_in_it(tmp_path):
    """Shear and rotation give z values that follow from x and y; nothing else is in them."""
    config = load_config(["data=pyskl_2d", "data.raw=x"])
    layout = layout_of(config.data.skeleton)
    found, _ = read(tmp_path, annotation("a", pixels(40)))
    frames = torch.tensor(in_place(found["a"], 1), dtype=torch.float32)
    clips = ClipBatch(frames, torch.tensor([0, 40]), torch.tensor([5]), torch.tensor([3]))
    settings = {
        "crop": (0.5, 1.0),
        "min_frames": 8,
        "corrupt_joints": 5,
        "corrupt_probability": 0.5,
        "shear": 1.0,
        "rotation": 30.0,
        "scale": 0.2,
        "mirror": 0.5,
    }
    make = Views(layout=layout, frames=16, **settings)
    for draw in range(8):
        view = make(clips, 0, 0, draw)
        assert view.isfinite().all()
        for name in ("joint", "bone", "motion"):
            assert modality(name, view, layout).isfinite().all()
    flat = {"corrupt_probability": 0.0, "shear": 0.0, "rotation": 0.0}
    in_plane = Views(layout=layout, frames=16, **settings | flat)
    for draw in range(8):
        assert not in_plane(clips, 0, 0, draw)[..., 2].any()
