"""Every small file that a run leaves, damaged in every way: one line, or as if it was not there."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.compose import Request, load
from pipeline.core.errors import UserError
from pipeline.encoder.export import load_encoder
from pipeline.ingest import resume
from pipeline.preflight import plan_run
from pipeline.pretrain import checkpoint
from pipeline.runs.directory import RunDirectory
from pipeline.runs.metric_rows import read_rows
from pipeline.runs.saved_features import SavedFeatures, read_curves
from pipeline.store.clip_store import ClipStore
from pipeline.sweep.records import read_records
from tests.helpers.stores import STREAM_LAYOUT, clip_row, write_rows

STAGES = ["ingest", "pretrain", "evaluate", "report"]
# Keys of all files, with values of wrong types.
WRONG_TYPES = {
    "stages": {"ingest": 3},
    "epoch": [],
    "linear": {"encoder": 7},
    "version": [],
    "seed": {},
    "format": "skelfuse-clip-store",
    "number": "x",
    "rejects": 3,
    "data": 7,
    "step": None,
}
DAMAGES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"7",
    b'"x"',
    b"a: [1\n",
    b"!!python/object:os.system {}",
    b"2026-99-99",
    b"\x00\xff\xfe\x80",
    b"[" * 50_000,
    b"{}",
    json.dumps(WRONG_TYPES).encode(),
    json.dumps([WRONG_TYPES]).encode(),
]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    output = tmp_path_factory.mktemp("damaged") / "run"
    return load(["data=nw_ucla", f"output={output}"])


@pytest.fixture(scope="module", autouse=True)
def finished_run(config):
    """A finished run, whose output holds only what is checked before anything starts."""
    joints = np.ones((2, 1, 4, 3), np.float32)
    write_rows(config.store, [[clip_row("clip", joints)]], STREAM_LAYOUT)
    directory = RunDirectory(config.output)
    directory.begin(config)
    directory.claim("store", ClipStore.open(config.store).fingerprint, config.store)
    for stage in STAGES:
        directory.finish(stage, {stage: 1})
    directory.conclude()


def plan(config, uri):
    return plan_run(config, Request())


def begin_ingest(config, uri):
    """Take up an ingest of the same settings, whose file `uri` is damaged."""
    store = uri.parent.parent
    wanted = {"settings": 1}
    if uri.name != "settings.json":
        damaged = uri.read_bytes()
        resume.begin(str(store), wanted)
        uri.write_bytes(damaged)
    assert resume.begin(str(store), wanted) == {}


READERS = {
    "config.yaml": plan,
    "run.json": plan,
    "summary.json": plan,
    "encoder/config.json": lambda config, uri: load_encoder(str(uri.parent)),
    "random/config.json": plan,
    "evaluation.json": lambda config, uri: read_curves(str(uri)),
    "features/encoder.safetensors": lambda config, uri: SavedFeatures.read(str(uri)),
    "metrics.jsonl": lambda config, uri: read_rows(str(uri)),
    "records.jsonl": lambda config, uri: read_records(str(uri)),
    "checkpoints/attempt/step-00000001/meta.json": lambda config, uri: checkpoint.newest(
        str(uri.parent.parent.parent)
    ),
    "store/manifest.json": lambda config, uri: ClipStore.open(str(uri.parent)),
    "ingest/unfinished/settings.json": begin_ingest,
    "ingest/unfinished/shard-00000.json": begin_ingest,
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_one_line_or_counts_as_missing(config, name):
    path = Path(config.output, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.exists() else None
    try:
        for damage in DAMAGES:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(damage)
            try:
                READERS[name](config, path)
            except UserError as error:
                assert "\n" not in str(error)
                assert path.name in str(error) or config.output in str(error)
    finally:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
