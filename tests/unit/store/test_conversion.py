"""Clips of one layout read as clips of another."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config.compose import load
from pipeline.core.errors import ConfigError, UserError
from pipeline.encoder.build import layout_of
from pipeline.store.blocks import table_to_clips
from pipeline.store.clip_store import ClipStore
from pipeline.store.conversion import Conversion
from pipeline.store.manifest import layout_record
from tests.helpers.stores import write_store

MAPPED = "mapping@data.mapping=kinect_v2_to_kinect_v1"


def clips(*lengths, persons=2, joints=25):
    random = np.random.default_rng(0)
    return [random.standard_normal((n, persons, joints, 3), dtype=np.float32) for n in lengths]


def column(*chunks):
    return pa.chunked_array(
        [pa.array([clip.tobytes() for clip in chunk], pa.binary()) for chunk in chunks]
    )


@pytest.mark.parametrize(("wanted", "padded"), [(1, 0), (2, 0), (3, 1)])
def test_rows_become_the_chosen_joints_and_persons(wanted, padded):
    source = clips(3, 1, 4)
    order = (2, 0, 24)
    convert = Conversion.loads(Conversion(2, 25, order, wanted).dumps())
    found = convert(column(source[:2], source[2:]).slice(1))
    batch = table_to_clips(pa.table({"joints": found}), wanted, len(order))
    expected = [
        np.stack([clip[:, :, joint] for joint in order], axis=2)[:, :wanted] for clip in source[1:]
    ]
    expected = [
        np.concatenate([clip, np.zeros((len(clip), padded, 3, 3))], axis=1) for clip in expected
    ]
    assert batch.lengths.tolist() == [1, 4]
    assert np.array_equal(batch.frames.numpy(), np.concatenate(expected))


def test_a_lone_second_person_is_not_cut():
    both, second = clips(2, 3)
    second[:, 0] = 0
    found = Conversion(2, 25, (1, 0), 1)(column([both, second, both]))
    batch = table_to_clips(pa.table({"joints": found}), 1, 2)
    expected = [both[:, :1], second[:, 1:], both[:, :1]]
    assert np.array_equal(batch.frames.numpy(), np.concatenate(expected)[:, :, [1, 0]])


def test_kinect_v2_is_read_as_kinect_v1_joint_by_joint():
    config = load(["data=ntu60", MAPPED, "data.raw=x"])
    v2, v1 = layout_of(config.data.skeleton), layout_of(config.data.seen_skeleton)
    assert (v2.name, v2.num_joints, v1.name, v1.num_joints) == ("kinect_v2", 25, "kinect_v1", 20)
    conversion = Conversion.of(layout_record(v2), 2, v1, 2, config.data.mapping)
    assert conversion.order == tuple(range(20))  # one to one, by position
    for joint, there in config.data.mapping.joints.items():
        side = {name.split("_")[0] for name in (joint, there)} & {"left", "right"}
        assert len(side) <= 1
    assert Conversion.of(layout_record(v1), 2, v1, 2, config.data.mapping) is None
    assert Conversion.of(layout_record(v1), 1, v1, 2, config.data.mapping).same_layout


def test_a_store_is_read_as_another_layout(tmp_path):
    config = load(["data=ntu60", MAPPED, "data.raw=x"])
    store = ClipStore.open(write_store(str(tmp_path), config), layout_of(config.data.skeleton))
    as_v1 = store.read_as(layout_of(config.data.seen_skeleton), 1, config.data.mapping)
    assert (as_v1.persons, as_v1.joints, as_v1.bytes_per_frame) == (1, 20, 240)
    assert np.array_equal(as_v1.clip(3), store.clip(3)[:, :1, :20])
    with pytest.raises(UserError, match="'kinect_v2'"):
        store.read_as(layout_of(config.data.seen_skeleton), 2)


def test_a_mapping_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(
        ConfigError, match=r"data\.mapping\.joints: must name every joint of kinect_v1 .*left_elbow"
    ):
        load(["data=ntu60", MAPPED, "data.raw=x", "~data.mapping.joints.left_elbow"])
    config = load(["data=ntu60", MAPPED, "data.raw=x", "data.mapping.joints.head=antenna"])
    with pytest.raises(
        ConfigError,
        match=r"data\.mapping\.joints\.head=antenna: not a joint of the layout 'kinect_v2'",
    ):
        Conversion.of(
            layout_record(layout_of(config.data.skeleton)),
            2,
            layout_of(config.data.seen_skeleton),
            2,
            config.data.mapping,
        )
