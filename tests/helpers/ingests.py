"""Ingests of a test: requests with the settings of a data set, stores made without Ray."""

from dataclasses import replace
from functools import cache

from pipeline.config.compose import load
from pipeline.config.coordinates import CANONICAL
from pipeline.encoder.build import layout_of
from pipeline.ingest.build import build_store
from pipeline.ingest.formats import reader_for
from pipeline.ingest.recording import RawRecording
from pipeline.ingest.settings import IngestRequest
from pipeline.ingest.shard import IngestJob, ingest_shard
from pipeline.ingest.source import RejectedRecording
from pipeline.store.bodies import Landmarks


@cache
def configured(data):
    """The section `data` of the configuration of a data set."""
    return load([f"data={data}", "data.raw=elsewhere"]).data


def ingest_request(data, raw, store, **changed):
    """What a run of this data set asks for.

    raw: None, a path, or a list of paths.
    """
    data = configured(data)
    if raw is not None and not isinstance(raw, list):
        raw = [raw]
    request = IngestRequest(
        raw=raw and [str(path) for path in raw],
        store=str(store),
        reader=reader_for(data.reader, data.classes),
        dataset=data.dataset,
        layout=layout_of(data.skeleton),
        persons=data.persons,
        preparation=data.preparation,
        protocols=data.protocol_values(),
        files_per_shard=data.files_per_shard,
        seed=0,
        classes=len(data.classes) if data.classes else None,
    )
    if "left_out" in changed:
        changed["left_out"] = frozenset(changed["left_out"])
    return replace(request, **changed)


def star(joints):
    """Landmarks of a body whose joints all hang on the first one: nothing can be told of it."""
    bones = tuple((joint, 0) for joint in range(1, joints))
    return Landmarks(joints, (0, 1), bones, tuple(range(joints)))


def ingest_job(sources, store, reader, joints=25, **changed):
    """What the shards of an ingest share, when a test writes one by itself."""
    values = {
        "dataset": "d",
        "landmarks": star(joints),
        "coordinates": CANONICAL,
        "persons": 2,
        "preparation": "recorded",
        "classes": None,
        "left_out": frozenset(),
        "seed": 0,
        "metadata": {},
    }
    return IngestJob(sources=tuple(sources), store=str(store), reader=reader, **values | changed)


def write_shards_here(job, shards):
    """Write shards in this process, one after another."""
    for number, members in shards.items():
        yield ingest_shard(job, number, members)


def ingest_here(request, progress=None):
    """Make or reuse a clip store in this process; returns its manifest."""
    return build_store(request, write_shards_here, progress)


def read_all(reader, sources, joints):
    """What sources of one recording a member hold: {clip_id: recording} and {path: why not}."""
    recordings = {}
    rejects = {}
    with reader.opened(sources, joints) as parse:
        for member in reader.listing(sources).members:
            try:
                (recording,) = parse(member)
            except RejectedRecording as reason:
                assert "\n" not in str(reason)
                assert len(str(reason)) < 200
                rejects[member.path] = str(reason)
                continue
            assert isinstance(recording, RawRecording)
            recordings[recording.clip_id] = recording
    return recordings, rejects
