"""Kinder-Gator: the labels that its table does not have in `label`, and the sides of protocols."""

import csv
import io
import zipfile
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.config.compose import load
from pipeline.ingest.formats import reader_for
from pipeline.ingest.shard import ingest_shard
from pipeline.store.clip_store import ClipStore
from pipeline.store.protocols import mask, parse
from tests.helpers.ingests import ingest_here, ingest_job, ingest_request
from tests.helpers.paths import SHARED_DATA

RECORDINGS = SHARED_DATA / "kinder-gator.zip"
ADULTS = set(range(1, 11))
CHILDREN = set(range(11, 21))
ODD = set(range(1, 21, 2))


def people(protocol):
    """The subjects on each side of a protocol."""
    sides = load(["data=kinder_gator", "data.raw=x"]).data.protocols[protocol]
    return set(sides.train["subject"]), set(sides.test["subject"])


def test_no_one_trains_and_is_tested():
    for protocol in load(["data=kinder_gator", "data.raw=x"]).data.protocols:
        train, test = people(protocol)
        assert not train & test
        if protocol.startswith("dev"):
            # Everyone who takes part in a choice trains in alternate_people.
            assert train | test <= people("alternate_people")[0]
        else:
            assert train | test == ADULTS | CHILDREN


def test_protocols_ask_what_their_names_say():
    assert people("adults_to_children") == (ADULTS, CHILDREN)
    assert people("children_to_adults") == (CHILDREN, ADULTS)
    assert people("dev_adults_to_children") == (ADULTS & ODD, CHILDREN & ODD)
    assert people("dev_children_to_adults") == (CHILDREN & ODD, ADULTS & ODD)
    for side in people("alternate_people"):
        assert len(side & ADULTS) == len(side & CHILDREN) == 5
    for side in people("dev_alternate_people"):
        assert {len(side & ADULTS), len(side & CHILDREN)} == {2, 3}


@pytest.fixture(scope="module")
def table():
    """The rows of the table, by clip_id."""
    if not RECORDINGS.exists():
        pytest.skip(f"Kinder-Gator is not there ({RECORDINGS})")
    with zipfile.ZipFile(RECORDINGS) as archive:
        text = io.TextIOWrapper(archive.open("clips.csv"), encoding="utf-8")
        return {row["clip_id"]: row for row in csv.DictReader(text)}


def test_the_column_label_is_no_action(table):
    """It counts the recordings of a person, so it names one action for nine of 58 numbers."""
    actions = {}
    for row in table.values():
        actions.setdefault(int(row["label"]), set()).add(row["action"])
    assert len(actions) == 58
    assert [number for number in actions if len(actions[number]) == 1] == list(range(9))
    classes = load(["data=kinder_gator", "data.raw=x"]).data.classes
    assert {row["action"].strip() for row in table.values()} == set(classes)
    assert len(classes) == 58


def test_the_real_recordings_are_whole(table, tmp_path):
    config = load(["data=kinder_gator", f"data.raw={RECORDINGS}"])
    reader = reader_for(config.data.reader, config.data.classes)
    members = reader.listing(config.data.sources).members
    job = ingest_job(config.data.sources, tmp_path, reader, joints=20, persons=1, classes=58)
    report = ingest_shard(job, 0, members)
    assert (report.rejects, report.flaws) == ([], [])
    rows = pq.read_table(tmp_path / "shard-00000.parquet").to_pylist()
    assert len(rows) == len(table) == 1159
    assert sum(row["num_frames"] for row in rows) == 194_523
    with zipfile.ZipFile(RECORDINGS) as archive:
        for row in rows:
            recorded = table[row["clip_id"]]
            joints = np.load(io.BytesIO(archive.read(recorded["path"])))
            assert row["joints"] == joints.astype("<f4").tobytes()
            assert config.data.classes[row["label"]] == recorded["action"].strip()
            assert row["subject"] == int(recorded["subject"])
            assert (row["subject"] in ADULTS) == (recorded["group"] == "adult")
    # Everyone performs every action once, but for one.
    performed = Counter((row["subject"], row["label"]) for row in rows)
    assert set(performed.values()) == {1}
    missing = []
    for subject in ADULTS | CHILDREN:
        for label, name in enumerate(config.data.classes):
            if (subject, label) not in performed:
                missing.append((subject, name))
    assert missing == [(1, "jump as high as you can")]


def test_the_sides_of_protocols_are_counted(table, tmp_path):
    manifest = ingest_here(ingest_request("kinder_gator", RECORDINGS, tmp_path))
    assert manifest["protocols"] == {
        "alternate_people": {"train": 579, "test": 580},
        "adults_to_children": {"train": 579, "test": 580},
        "children_to_adults": {"train": 580, "test": 579},
        "dev_alternate_people": {"train": 289, "test": 290},
        "dev_adults_to_children": {"train": 289, "test": 290},
        "dev_children_to_adults": {"train": 290, "test": 289},
    }
    index = ClipStore.open(str(tmp_path)).index()
    values = load(["data=kinder_gator", "data.raw=x"]).data.protocol_values()
    for sides in parse(values).values():
        # Each side knows every class.
        for side in sides.values():
            assert set(index.label[mask(index.columns, side)]) == set(range(58))
