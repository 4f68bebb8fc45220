"""The stage `inspect` finds what is wrong in a store, and leaves a card that says so."""

import csv
import io

import pytest

from pipeline.card.measure import measure
from pipeline.card.samples import SAMPLES
from pipeline.card.stage import inspect
from pipeline.config.compose import load
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.encoder.build import layout_of
from pipeline.store.clip_store import ClipStore
from pipeline.store.manifest import FLAWS
from tests.helpers.planted import PLANTED, planted, write_planted
from tests.helpers.runs import resolved


class Tracker:
    """Takes what the stage tells MLflow."""

    def __init__(self):
        self.logged = []
        self.datasets = []

    def artifacts(self, uris, folder=None):
        self.logged += [(storage.name(uri), folder) for uri in uris]

    def dataset(self, store, context):
        self.datasets.append((store.uri, context))


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    place = tmp_path_factory.mktemp("card")
    config = load(
        ["data=nw_ucla", "data.persons=2", f"data.store={place}/store", f"output={place}/run"]
    )
    write_planted(config)
    return config


def test_the_stage_leaves_a_card_and_says_what_it_found(ray_session, config, capsys):
    run = resolved(config)
    directory = run.directory
    tracker = Tracker()
    storage.write_bytes(
        storage.join(config.store, FLAWS), b"clip_id,flaw\nshort,3 of 4 frames hold nobody\n"
    )
    results = inspect(run, tracker)
    clips = planted(run.recorded_layout)
    assert results == {
        "card": directory.path("card", "card.html"),
        "card_findings": 13,
        "card_flagged_clips": len(PLANTED),
    }
    assert tracker.datasets == [(config.store, "inspection")]
    present = {storage.name(entry.path) for entry in storage.files(directory.path("card"))}
    assert sorted(tracker.logged) == sorted((name, "card") for name in present)
    pictures = {"joints", "classes", "recordings", "lengths", "bones", "missing", "worst"}
    written = {"card.html", "card.json", "clips.csv"}
    written |= {f"{name}.png" for name in pictures}
    written |= {f"sample-{number}.gif" for number in range(1, SAMPLES + 1)}
    assert present == written

    card = storage.read_json(directory.path("card", "card.json"))
    assert card["clips"] == len(clips) and card["frames"] == sum(map(len, clips.values()))
    assert card["rejects"] == [{"reason": "no frames", "count": 1, "example": "bad.json"}]
    assert (
        card["flaws"][0]["reason"] == "... of ... frames hold nobody"
        and len(card["samples"]) == SAMPLES
    )
    told = {}
    for kind, found in card["findings"].items():
        for one in found["clips"]:
            told.setdefault(one["clip"], {})[kind] = one["what"]
    assert {name: set(kinds) for name, kinds in told.items()} == {
        name: set(kinds) for name, kinds in PLANTED.items()
    }

    rows = list(
        csv.DictReader(
            io.StringIO(storage.read_bytes(directory.path("card", "clips.csv")).decode())
        )
    )
    assert {row["clip_id"]: int(row["frames"]) for row in rows} == {
        name: len(clip) for name, clip in clips.items()
    }
    by_name = {row["clip_id"]: row for row in rows}
    assert (
        by_name["rubber-thigh"]["findings"] == "bone_varies;jump"
        and by_name["clean-1"]["findings"] == ""
    )
    assert by_name["empty-frames"]["missing_frames"] == "0.25"
    assert float(by_name["zero-joints"]["missing_joints"]) == pytest.approx(3 / (30 * 20), rel=1e-3)
    assert (
        float(by_name["long-forearm"]["bone_score"]) > 6 > float(by_name["clean-1"]["bone_score"])
    )
    assert {row["subject"] for row in rows} == {""} and {row["label"] for row in rows} == {
        "",
        "0",
        "1",
    }

    text = storage.read_bytes(directory.path("card", "card.html")).decode()
    assert all(name in text for name in PLANTED) and text.count("data:image/gif") == SAMPLES
    said = capsys.readouterr().out
    assert (
        f"{len(clips)} clips, {len(PLANTED)} to look at" in said
        and "jumps: 3 (" in said
        and "card.html" in said
    )


def test_a_damaged_shard_is_one_line(ray_session, config, tmp_path):
    other = config.model_copy(
        update={"data": config.data.model_copy(update={"store": f"{tmp_path}/store"})}
    )
    write_planted(other)
    place = tmp_path / "store" / "shard-00001.parquet"
    data = place.read_bytes()
    place.write_bytes(
        data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    )  # of the size that the manifest says
    store = ClipStore.open(other.store)
    with pytest.raises(
        UserError, match=r"^inspect: .*shard-00001.parquet: row group 0 cannot be read"
    ) as caught:
        measure(store, layout_of(other.data.skeleton))
    assert "\n" not in str(caught.value)
