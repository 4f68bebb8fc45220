"""The stream over a real store on a real Ray: it serves what the store holds, from every cache."""

import hashlib
import threading
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.cluster.ray_internals import free_object_store_bytes
from pipeline.core import storage
from pipeline.core.errors import ConfigError, UserError
from pipeline.store.clip_store import ClipStore
from pipeline.store.conversion import Conversion
from pipeline.stream import object_store_blocks, running_dataset
from pipeline.stream import plan as plan_module
from pipeline.stream.instructions import Shards
from pipeline.stream.plan import open_stream
from pipeline.stream.selection import Part
from tests.helpers.stores import (
    JOINTS,
    PERSONS,
    STREAM_SHARDS,
    UNSEEN_GROUP,
    UNSEEN_SHARD,
    cameras_side,
    write_stream_store,
)

CACHES = ("memory", "device", "none")
BATCH = 20


@pytest.fixture(autouse=True)
def short_datasets(monkeypatch):
    """What a closed stream still reads is taken to its end, which is then near."""
    monkeypatch.setattr(running_dataset, "TASKS_PER_DATASET", 16)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_stream_store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def clips(store):
    """Every clip of the store, read with pyarrow alone."""
    values = [value for path in store.paths for value in pq.read_table(path)["joints"].to_pylist()]
    return [np.frombuffer(value, np.float32).reshape(-1, PERSONS, JOINTS, 3) for value in values]


@pytest.fixture(scope="module")
def plans(ray_session, store):
    """One plan a cache, on cameras 2 and 3."""
    settings = {"batch_size": BATCH, "seed": 3, "window": 24}
    return {
        cache: open_stream([Part(store, cameras_side([2, 3]))], cache=cache, **settings)
        for cache in CACHES
    }


def read(plan, epochs=(0,), rank=0, world_size=1, start_step=0):
    """(epoch, step, batch) of one worker."""
    with plan.worker(rank, world_size) as worker:
        return [
            (epoch, step, batch)
            for epoch in epochs
            for step, batch in worker.epoch(epoch, start_step)
        ]


def assert_equal_batches(left, right):
    assert [(epoch, step) for epoch, step, _ in left] == [(epoch, step) for epoch, step, _ in right]
    for (*_, one), (*_, other) in zip(left, right, strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.frames, other.frames) and torch.equal(one.offsets, other.offsets)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.performances, other.performances)


def executors():
    return [thread for thread in threading.enumerate() if "StreamingExecutor" in thread.name]


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("cache", CACHES)
def test_every_clip_is_served_once_an_epoch_as_the_store_holds_it(
    plans, store, clips, cache, world_size
):
    plan, expected = plans[cache], store.select(cameras_side([2, 3]))
    assert 0 < len(expected) < len(clips)
    index = store.index()
    served = [read(plan, (0, 1), rank, world_size) for rank in range(world_size)]
    orders = []
    for epoch in range(2):
        batches = [[batch for number, _, batch in rank if number == epoch] for rank in served]
        assert {len(rank) for rank in batches} == {plan.epochs.steps}
        for step in zip(*batches, strict=True):
            sizes = [len(batch) for batch in step]
            assert max(sizes) - min(sizes) <= 1 and BATCH - 1 <= sum(sizes) <= BATCH
        orders.append(torch.cat([batch.ids for rank in batches for batch in rank]).tolist())
        assert sorted(orders[-1]) == expected.tolist()
    assert orders[0] != orders[1]
    for rank in served:
        for *_, batch in rank:
            assert batch.frames.shape[1:] == (PERSONS, JOINTS, 3)
            assert np.array_equal(batch.labels, index.label[batch.ids])
            assert np.array_equal(
                batch.frames.numpy(), np.concatenate([clips[row] for row in batch.ids])
            )
            assert batch.lengths.tolist() == [len(clips[row]) for row in batch.ids]
    assert_performances(index, [batch for rank in served for *_, batch in rank])


def assert_performances(index, batches):
    """Clips have the same number exactly where they are of one performance, on every worker."""
    names = index.performance_id[torch.cat([batch.ids for batch in batches])]
    numbers = torch.cat([batch.performances for batch in batches]).tolist()
    pairs = set(zip(names.tolist(), numbers, strict=True))
    assert len(pairs) == len(set(names.tolist())) == len(set(numbers)) > 1


@pytest.mark.parametrize("cache", CACHES)
def test_a_seed_fixes_the_batches(plans, cache):
    first = read(plans[cache])
    assert_equal_batches(first, read(plans[cache]))
    other = read(replace(plans[cache], epochs=replace(plans[cache].epochs, seed=4)))
    assert any(
        not torch.equal(one.ids, two.ids) for (*_, one), (*_, two) in zip(first, other, strict=True)
    )


def test_memory_and_device_serve_the_same_and_global_batches_do_not_depend_on_workers(plans):
    alone = read(plans["memory"])
    assert_equal_batches(alone, read(plans["device"]))
    shared = [read(plans["memory"], rank=rank, world_size=3) for rank in range(3)]
    for (*_, whole), *parts in zip(alone, *shared, strict=True):
        assert sorted(whole.ids.tolist()) == sorted(
            torch.cat([part.ids for *_, part in parts]).tolist()
        )


@pytest.mark.parametrize("cache", CACHES)
def test_an_epoch_goes_on_from_its_middle(plans, cache):
    whole = read(plans[cache], (0, 1), rank=1, world_size=2)
    steps = plans[cache].epochs.steps
    for start in (1, steps - 2):
        with plans[cache].worker(1, 2) as worker:
            rest = [(0, step, batch) for step, batch in worker.epoch(0, start)]
            rest += [(1, step, batch) for step, batch in worker.epoch(1)]
        assert_equal_batches(rest, whole[start:])
    assert read(plans[cache], start_step=steps) == []
    with pytest.raises(ValueError, match="not in an epoch"):
        read(plans[cache], start_step=steps + 1)


def test_blocks_are_the_same_after_an_epoch_of_consumers_that_write(ray_session, plans):
    def digests():
        buffers = [
            chunk.buffers()[2]
            for block in plan.blocks
            for chunk in ray_session.get(block)["joints"].chunks
        ]
        return [hashlib.blake2b(buffer).hexdigest() for buffer in buffers]

    for plan in (plans["memory"], plans["device"]):
        before = digests()
        for *_, batch in read(plan):
            batch.frames.fill_(7)
        assert digests() == before and len(before) >= 1


def test_a_plan_travels_to_other_processes(ray_session, plans):
    @ray_session.remote
    def remote(plan, rank):
        return read(plan, rank=rank, world_size=2)

    for rank, batches in enumerate(
        ray_session.get([remote.remote(plans["memory"], rank) for rank in range(2)])
    ):
        assert_equal_batches(batches, read(plans["memory"], rank=rank, world_size=2))


def test_blocks_are_small_and_none_is_joined_with_another(ray_session, store, clips, monkeypatch):
    limit = 4096
    monkeypatch.setattr(object_store_blocks, "BLOCK_BYTES", limit)
    plan = open_stream([Part(store, cameras_side())], cache="memory", batch_size=BATCH, seed=0)
    sizes = [ray_session.get(block).nbytes for block in plan.blocks]
    assert len(sizes) > STREAM_SHARDS and max(sizes) <= 1.5 * limit
    batches = read(plan)
    assert sorted(torch.cat([batch.ids for *_, batch in batches]).tolist()) == list(
        range(len(clips))
    )
    for *_, batch in batches:
        assert np.array_equal(
            batch.frames.numpy(), np.concatenate([clips[row] for row in batch.ids])
        )


def test_datasets_follow_each_other_within_and_across_epochs(plans, monkeypatch):
    expected = read(plans["none"], (0, 1))
    monkeypatch.setattr(running_dataset, "PIECES_PER_TASK", 2)
    monkeypatch.setattr(running_dataset, "TASKS_PER_DATASET", 3)
    assert_equal_batches(read(plans["none"], (0, 1)), expected)
    assert wait_until(lambda: not executors())


def damaged(store, directory):
    """A copy of the store in which one row group's coordinates are gone."""
    for path in [*store.paths, storage.join(store.uri, "manifest.json")]:
        storage.write_bytes(str(directory / storage.name(path)), storage.read_bytes(path))
    copy = ClipStore.open(str(directory))
    group = pq.read_metadata(copy.paths[UNSEEN_SHARD]).row_group(UNSEEN_GROUP)
    column = next(
        c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "joints"
    )
    with open(copy.paths[UNSEEN_SHARD], "r+b") as file:
        file.seek(column.data_page_offset)
        file.write(bytes(column.total_compressed_size))
    return copy


def test_row_groups_without_a_selected_row_are_not_read(ray_session, store, plans, tmp_path):
    files = replace(plans["none"].files, shards=Shards.of([damaged(store, tmp_path)]))
    plan = replace(plans["none"], files=files)
    assert_equal_batches(read(plan), read(plans["none"]))


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_a_shard_that_cannot_be_read_is_named(ray_session, store, tmp_path, cache):
    with pytest.raises(UserError) as caught:
        read(
            open_stream(
                [Part(damaged(store, tmp_path), cameras_side())],
                cache=cache,
                batch_size=BATCH,
                seed=0,
            )
        )
    message = str(caught.value)
    assert str(tmp_path) in message and "cannot be read" in message and "\n" not in message
    assert wait_until(lambda: not executors())


def test_a_consumer_that_stops_releases_the_executor(plans):
    worker = plans["none"].worker(0, 1)
    batches = worker.epoch(0)
    next(batches)
    assert executors()
    batches.close()
    assert wait_until(lambda: not executors())
    # It can be taken up again, and between epochs the reader runs on until the stream is closed.
    assert len(list(worker.epoch(0))) == worker.steps_per_epoch
    assert executors()
    worker.close()
    assert wait_until(lambda: not executors())


def test_a_stopped_epoch_does_not_disturb_the_one_that_replaced_it(plans):
    with plans["none"].worker(0, 1) as worker:
        abandoned = worker.epoch(0)
        next(abandoned)
        current = worker.epoch(1)
        first = next(current)
        abandoned.close()
        rest = [first, *current]
    assert_equal_batches([(1, *pair) for pair in rest], read(plans["none"], (1,)))


def test_auto_chooses_by_the_room_there_is(ray_session, store, monkeypatch):
    size = sum(entry["frames"] for entry in store.manifest["shards"]) * store.bytes_per_frame
    settings = {"batch_size": BATCH, "seed": 0, "cache": "auto"}
    monkeypatch.setattr(plan_module, "free_object_store_bytes", lambda: int(size / 0.59))
    plan = open_stream([Part(store, cameras_side())], **settings)
    assert (
        plan.cache == "memory" and "210 clips" in plan.description and "60% of" in plan.description
    )
    monkeypatch.setattr(plan_module, "free_object_store_bytes", lambda: int(size / 0.61))
    plan = open_stream([Part(store, cameras_side())], **settings)
    assert plan.cache == "none" and "exceed 60%" in plan.description and not plan.blocks
    monkeypatch.setattr(plan_module, "free_object_store_bytes", lambda: size - 1)
    with pytest.raises(ConfigError, match=r"stream\.cache=memory: .* exceed the smallest node's"):
        open_stream([Part(store, cameras_side())], **settings | {"cache": "memory"})


def test_free_object_store_is_what_is_left(ray_session):
    whole = ray_session.cluster_resources()["object_store_memory"]
    assert 0 < free_object_store_bytes() <= whole


@pytest.mark.parametrize("cache", CACHES)
def test_several_stores_are_one_stream_with_weights(ray_session, store, clips, cache):
    """The second store has the same clips with joints in another order; an epoch draws some."""
    conversion = Conversion(PERSONS, JOINTS, (3, 2, 1, 0), PERSONS)
    other = replace(store, conversion=conversion)
    parts = [Part(store, cameras_side([2, 3])), Part(other, cameras_side([1]), 0.25)]
    first, second = store.select(cameras_side([2, 3])), store.select(cameras_side([1]))
    plan = open_stream(parts, batch_size=BATCH, seed=1, cache=cache, window=24)
    drawn = []
    for epoch in range(2):
        batches = [batch for rank in range(2) for *_, batch in read(plan, (epoch,), rank, 2)]
        ids = torch.cat([batch.ids for batch in batches]).numpy()
        assert sorted(ids[ids < len(clips)]) == first.tolist()
        drawn.append(sorted(ids[ids >= len(clips)] - len(clips)))
        assert len(set(drawn[-1])) == len(drawn[-1]) == round(len(second) / 4)
        assert set(drawn[-1]) <= set(second)
        for batch in batches:
            expected = [
                clips[row] if row < len(clips) else clips[row - len(clips)][:, :, ::-1]
                for row in batch.ids
            ]
            assert np.array_equal(batch.frames.numpy(), np.concatenate(expected))
    assert drawn[0] != drawn[1]
    with pytest.raises(ConfigError, match=r"weight=0\.001 of \d+ clips leaves none"):
        open_stream([Part(store, cameras_side([1]), 0.001)], batch_size=BATCH, seed=1)


def test_blocks_that_are_not_the_selection_are_noticed(ray_session, store, monkeypatch):
    index = store.index()
    wrong = replace(index, num_frames=index.num_frames[::-1])
    monkeypatch.setattr(ClipStore, "index", lambda self: wrong)
    with pytest.raises(UserError, match="other clips than their index"):
        open_stream([Part(store, cameras_side())], cache="memory", batch_size=BATCH, seed=0)


@pytest.fixture(scope="module")
def paired(plans, store):
    settings = {"batch_size": BATCH, "seed": 3, "pairs": "cameras"}
    return {
        cache: open_stream([Part(store, cameras_side([2, 3]))], cache=cache, **settings)
        for cache in ("memory", "device")
    }


@pytest.mark.parametrize("cache", ["memory", "device"])
def test_batches_bring_another_cameras_clip_of_the_same_performance(
    plans, paired, store, clips, cache
):
    index, plan = store.index(), paired[cache]
    alone = read(plan, (0, 1))
    assert_equal_batches(
        alone, read(plans[cache], (0, 1))
    )  # the clips themselves are those of a stream without pairs
    assert all(batch.other is None for *_, batch in read(plans[cache]))
    found = {}
    for epoch, _, batch in alone:
        ids, other = batch.ids.numpy(), batch.other
        assert np.array_equal(
            other.frames.numpy(), np.concatenate([clips[row] for row in other.ids])
        )
        assert other.lengths.tolist() == [len(clips[row]) for row in other.ids]
        assert np.array_equal(other.labels, index.label[other.ids])
        assert torch.equal(other.performances, batch.performances)
        assert np.array_equal(index.performance_id[ids], index.performance_id[other.ids])
        assert set(index.camera[other.ids]) <= {2, 3}
        differs = index.camera[ids] != index.camera[other.ids]
        assert np.array_equal(ids[~differs], other.ids.numpy()[~differs])
        found |= {
            (epoch, one): two for one, two in zip(ids.tolist(), other.ids.tolist(), strict=True)
        }
    shown = {
        (name, camera)
        for name, camera in zip(index.performance_id, index.camera, strict=True)
        if camera in (2, 3)
    }
    both = [
        (name, 5 - camera) in shown
        for name, camera in zip(index.performance_id, index.camera, strict=True)
    ]
    assert all((two != one) == both[one] for (_, one), two in found.items())
    assert (
        sum(found[0, one] != found[1, one] for epoch, one in found if not epoch) > len(found) // 4
    )
    assert "with another camera's clip" in plan.description
    # Neither the number of workers nor where an epoch is taken up changes a clip's partner.
    for rank in range(3):
        for epoch, _, batch in read(plan, (1,), rank, 3, start_step=2):
            assert batch.other.ids.tolist() == [found[epoch, one] for one in batch.ids.tolist()]
    assert_equal_batches(
        [(e, s, b.other) for e, s, b in alone],
        [(e, s, b.other) for e, s, b in read(paired["memory"], (0, 1))],
    )
