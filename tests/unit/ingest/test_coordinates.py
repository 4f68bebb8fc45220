"""What a data set declares of its axes and its unit is applied at ingest, and makes the store."""

import csv
import json

import numpy as np
import pytest
import torch

from models.clips import ClipBatch
from models.normalise import normalise
from pipeline.config.coordinates import CANONICAL, Coordinates
from pipeline.core.errors import ConfigError, UserError
from pipeline.ingest.assemble import NOT_CONTENT
from pipeline.ingest.formats.arrays import Arrays
from pipeline.ingest.prepare.coordinates import canonical, require_near
from pipeline.ingest.source import RejectedRecording
from pipeline.store.clip_store import ClipStore
from pipeline.store.manifest import MANIFEST, fingerprint, read_manifest
from tests.helpers.ingests import ingest_here, ingest_request
from tests.helpers.recordings import write_recordings
from tests.helpers.standing import layout, people

Z_UP = Coordinates(up="z", depth="y")
JOINTS = layout("kinect_v1").joints


def write_clips(folder, clips):
    """A folder of arrays and their table."""
    folder.mkdir()
    with open(folder / "clips.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["clip_id", "path"])
        for number, clip in enumerate(clips):
            np.save(folder / f"{number:02}.npy", clip[:, 0].astype(np.float32))
            table.writerow([f"clip{number:02}", f"{number:02}.npy"])
    return folder


def ingest(raw, store, **changed):
    reader = Arrays(table="clips.csv", select={}, fps=30.0)
    return ingest_here(
        ingest_request("utkinect", raw, store, reader=reader, protocols={}, **changed)
    )


def test_turning_changes_no_bit_but_signs():
    random = np.random.default_rng(0)
    bodies = random.normal(size=(20, 25, 3))
    bodies[3, 4] = 0
    assert canonical(bodies, CANONICAL) is bodies
    turned = canonical(bodies, Coordinates(up="-x", depth="z"))
    assert np.array_equal(turned, np.stack([bodies[..., 1], -bodies[..., 0], bodies[..., 2]], -1))
    # A joint that is missing has the bits of zero, and not those of -0.
    assert turned[3, 4].tobytes() == bytes(24)
    back = canonical(turned, Coordinates(up="x", depth="z"))
    assert np.array_equal(np.abs(back), np.abs(bodies))
    in_mm = canonical(bodies * 1024, Coordinates(unit=2.0**-10))
    assert np.array_equal(in_mm, bodies)


def test_what_is_no_metre_once_the_unit_is_applied_is_rejected():
    bodies = np.full((2, 25, 3), 4000.0)
    require_near(canonical(bodies, Coordinates(unit="mm")))
    with pytest.raises(RejectedRecording, match=r"beyond 1 km: .*data\.coordinates\.unit=mm"):
        require_near(canonical(bodies, CANONICAL))


def test_recordings_with_z_up_in_units_of_their_own_make_the_same_clips(tmp_path):
    clips = [clip.astype(np.float32) for clip in people(JOINTS, 12)]
    plain = ingest(write_clips(tmp_path / "plain", clips), tmp_path / "a")
    raw = [np.stack([-clip[..., 0], clip[..., 2], clip[..., 1]], -1) * 64 for clip in clips]
    declared = Coordinates(up="z", depth="y", unit=2.0**-6)
    turned = ingest(write_clips(tmp_path / "raw", raw), tmp_path / "b", coordinates=declared)
    assert [shard["content"] for shard in turned["shards"]] == [
        shard["content"] for shard in plain["shards"]
    ]
    assert turned["fingerprint"] != plain["fingerprint"]
    assert turned["coordinates"] == turned["settings"]["coordinates"] == declared.model_dump()
    assert turned["coordinate_check"] == plain["coordinate_check"]
    assert plain["space"] == "metres"
    assert plain["coordinate_check"]["warnings"] == plain["coordinate_check"]["notes"] == []
    wrong = ingest(tmp_path / "raw", tmp_path / "c")
    axes = [sentence.partition(",")[0] for sentence in wrong["coordinate_check"]["warnings"]]
    assert axes[-1] == "bodies stand along z" and len(axes) == 2


def test_every_format_is_turned_before_bodies_are_chosen(tmp_path):
    raw = write_recordings(tmp_path / "raw", 3)
    for store, declared in (("plain", CANONICAL), ("turned", Z_UP)):
        ingest_here(ingest_request("ntu60", raw, tmp_path / store, coordinates=declared))
    plain = ClipStore.open(str(tmp_path / "plain"))
    turned = ClipStore.open(str(tmp_path / "turned"))
    for row in range(plain.clips):
        old, new = plain.clip(row), turned.clip(row)
        expected = np.stack([-old[..., 0], old[..., 2], old[..., 1]], -1)
        assert np.array_equal(new, expected)


def test_a_store_is_of_its_coordinates_and_an_older_one_of_canonical_ones(tmp_path):
    raw = write_clips(tmp_path / "raw", people(JOINTS, 3))
    store = tmp_path / "store"
    made = ingest(raw, store)
    with pytest.raises(ConfigError, match=r"other settings \(coordinates: it has .*'up': 'y'"):
        ingest(raw, store, coordinates=Z_UP)
    # Whoever declares nothing has the fingerprint of the versions before.
    content = {key: value for key, value in made["settings"].items() if key not in NOT_CONTENT}
    del content["coordinates"]
    assert made["fingerprint"] == fingerprint(content, made["shards"])
    # A manifest that says what cannot be is damaged.
    for key, wrong in (("coordinates", {"up": "w"}), ("coordinate_check", []), ("space", "sea")):
        (store / MANIFEST).write_text(json.dumps(made | {key: wrong}))
        with pytest.raises(UserError, match=f"damaged manifest.*{key}"):
            read_manifest(str(store))
    # As these versions wrote it.
    del made["settings"]["coordinates"], made["coordinates"], made["coordinate_check"]
    made["settings"]["reader"]["axes"] = "x to the left, y up"
    (store / MANIFEST).write_text(json.dumps(made))
    assert ingest(raw, store)["fingerprint"] == made["fingerprint"]
    with pytest.raises(ConfigError, match="other settings"):
        ingest(raw, store, coordinates=Z_UP)


@pytest.mark.parametrize("align", ["mean_yaw", "first_frame"])
def test_alignment_leaves_declared_recordings_on_their_feet(align):
    body = layout("kinect_v1")
    standing = people(body.joints, 40)
    raw = [np.stack([-clip[..., 0], clip[..., 2], clip[..., 1]], -1) for clip in standing]

    def upside_down(clips):
        """The share of the clips whose head is below the feet after the alignment."""
        frames = torch.tensor(np.concatenate(clips), dtype=torch.float32)
        offsets = torch.arange(0, len(frames) + 1, len(clips[0]))
        ids = torch.arange(len(clips))
        batch = normalise(ClipBatch(frames, offsets, ids, ids), body, "first", align)
        head = batch.frames[:, 0, body.joints.index("head")]
        foot = batch.frames[:, 0, body.joints.index("left_foot")]
        height = (head - foot).reshape(len(clips), -1, 3).mean(1)
        # Which axis is up in the frames that were given.
        up = 1 if clips is not raw else 2
        return float((height[:, up] < 0).float().mean())

    declared = [canonical(clip, Z_UP) for clip in raw]
    assert upside_down(declared) == 0
    if align == "mean_yaw":
        assert upside_down(raw) > 0.2
