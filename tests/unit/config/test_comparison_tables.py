"""The tables `dev_...` and `confirm_...`: what they compare, on which people, how long."""

import numpy as np
import pytest

from pipeline.config.compose import load
from pipeline.config.identity import differences
from pipeline.core.arithmetic import ceil_div
from pipeline.sweep.variants import split_of

SMALL_SETS = ("msr_action3d", "utkinect", "msr_dailyactivity3d", "kinder_gator")
CONFIRM = [f"confirm_{name}" for name in ("nw_ucla", *SMALL_SETS)]
DEV = ["dev_kinder_gator", "dev_msr_action3d"]
ROWS = {
    "full",
    "umurl",
    "umurl_long",
    "umurl_dc",
    "early",
    "late",
    "sce",
    "sce_self",
    "vicrel",
    "vicrel_feature",
    "dc_vc",
}
ONLY_DEV = {"no_rotation", "sce_no_rotation"}
ONLY_CONFIRM = {"dc_feature"}
# Left out for time.
NOT_IN_LONG_TABLES = {"sce_self", "dc_feature", "vicrel"}


def table(name, *overrides):
    return load([f"sweep={name}", "data.raw=x", *overrides])


def cells(config):
    """The protocol of each seed, and the people on its two sides."""
    found = []
    for seed in config.sweep.seeds:
        protocol = split_of(config.sweep.splits, seed) or config.data.protocol
        sides = config.data.protocols[protocol]
        found.append((seed, set(sides.train["subject"]), set(sides.test["subject"])))
    return found


@pytest.mark.parametrize("name", [*CONFIRM, *DEV])
def test_rows_and_verdict_are_those_of_every_table(name):
    sweep = table(name).sweep
    rows = ROWS | ONLY_CONFIRM
    if name in DEV:
        rows = ROWS | ONLY_DEV
    elif name in ("confirm_utkinect", "confirm_msr_dailyactivity3d"):
        rows = rows - NOT_IN_LONG_TABLES
    assert set(sweep.variants) == rows and next(iter(sweep.variants)) == "full"
    verdict = sweep.verdict
    if name in DEV:
        assert (verdict.variant, verdict.against) == ("sce", ["umurl", "full"])
    else:
        assert verdict.variant == "vicrel_feature"
        assert verdict.against == ["umurl", "umurl_long", "full", "late"]
    assert verdict.metrics == ["retrieval_map", "linear_top1", "knn_top1"]


@pytest.mark.parametrize("name", [*CONFIRM, *DEV])
def test_a_row_is_a_run_of_the_table(name):
    config = table(name)
    for variant, overrides in config.sweep.variants.items():
        trial = table(name, *overrides)
        assert trial.model.width == 256 and trial.cluster.workers == 1
        long = 2 if variant == "umurl_long" else 1
        assert trial.train.epochs == long * config.train.epochs
        pairs = "cameras" if name == "confirm_nw_ucla" else "none"
        precision = "float32" if name == "confirm_nw_ucla" else "bfloat16"
        assert trial.train.precision == precision
        if variant in ("umurl", "umurl_long"):
            pairs = "none"
        assert trial.stream.pairs == pairs
    values = config.sweep.variants.values()
    objectives = {repr(table(name, *overrides).objective) for overrides in values}
    chosen = {word for overrides in values for word in overrides if word.startswith("objective=")}
    assert len(objectives) == 1 + len(chosen)


def test_nw_ucla_is_confirmed_on_its_test_camera_with_six_seeds():
    config = table("confirm_nw_ucla")
    assert (config.data.protocol, config.sweep.splits) == ("cross_view", None)
    assert len(config.sweep.seeds) == 6


@pytest.mark.parametrize("name", SMALL_SETS[:3])
def test_splits_are_drawn_as_they_say(name):
    random = np.random.default_rng(0)
    expected = []
    for _ in range(5):
        drawn = set((random.permutation(10)[:5] + 1).tolist())
        other = set(range(1, 11)) - drawn
        expected += [(drawn, other), (other, drawn)]
    found = cells(table(f"confirm_{name}"))
    first = 5 if name == "msr_action3d" else 0
    assert [seed for seed, _, _ in found] == list(range(first, 10))
    assert [(train, test) for _, train, test in found] == expected[first:]


def test_every_person_of_kinder_gator_is_tested_with_three_seeds_or_more():
    found = cells(table("confirm_kinder_gator"))
    assert len(found) == 9
    for person in range(1, 21):
        assert sum(person in test for _, _, test in found) in (3, 6)


def test_choices_are_made_among_people_who_train():
    config = table("dev_kinder_gator")
    trained = set(config.data.protocols["alternate_people"].train["subject"])
    tested = set()
    for _, train, test in cells(config):
        assert train | test <= trained and not train & test
        tested |= test
    assert tested == trained and len(config.sweep.seeds) == 3

    config = table("dev_msr_action3d")
    trained = set(config.data.protocols["cross_subject"].train["subject"])
    tested = set()
    for _, train, test in cells(config):
        assert train | test == trained and not train & test
        tested |= test
    assert tested == trained and len(config.sweep.seeds) == 3


@pytest.mark.parametrize("name", ["kinder_gator", "msr_action3d"])
def test_settings_are_tried_as_the_objectives_are(name):
    ours, theirs = table(f"dev_{name}_settings"), table(f"dev_{name}")
    changed = differences(ours, theirs).keys()
    assert changed == {"name"}  # of the table; a trial is called by its row
    assert (ours.sweep.seeds, ours.sweep.splits) == (theirs.sweep.seeds, theirs.sweep.splits)
    for variant, overrides in ours.sweep.variants.items():
        if variant in theirs.sweep.variants:
            # The two tables share these records.
            assert overrides == theirs.sweep.variants[variant]
            continue
        trial = table(f"dev_{name}_settings", *overrides)
        base = table(f"dev_{name}_settings", overrides[0])
        changed = differences(trial, base)
        assert changed and len({key.rpartition(".")[0] for key in changed}) <= 3


def test_rows_of_the_table_of_lengths_differ_in_nothing_else():
    ours, theirs = table("dev_msr_action3d_length"), table("dev_msr_action3d")
    assert differences(ours, theirs).keys() == {"name"}
    lengths = {}
    for overrides in ours.sweep.variants.values():
        trial = table("dev_msr_action3d_length", *overrides)
        others = [word for word in overrides if not word.startswith("train.epochs=")]
        lengths.setdefault(tuple(others), []).append(trial.train.epochs)
    assert lengths.pop(()) == [40, 80]
    assert lengths.pop(("objective=late",)) == [40, 80]
    assert lengths.keys() > {("objective=umurl",), ("objective=vicrel_feature",)}
    assert len(lengths) == 3 and all(epochs == [40, 80, 160] for epochs in lengths.values())


def test_choices_for_nw_ucla_never_use_its_test_camera():
    config = table("dev_nw_ucla")
    for split in config.sweep.splits:
        for side in config.data.protocols[split].model_dump().values():
            filters = side if isinstance(side, list) else [side]
            assert all(set(one["camera"]) <= {1, 2} for one in filters)


@pytest.mark.parametrize(
    ("name", "clips", "updates"),
    [
        ("confirm_nw_ucla", 1020, 384),
        ("confirm_kinder_gator", 580, 380),
        ("dev_kinder_gator", 290, 385),
        ("confirm_msr_action3d", 290, 385),
        ("confirm_utkinect", 100, 384),
        ("confirm_msr_dailyactivity3d", 160, 384),
        ("dev_msr_action3d", 174, 120),
    ],
)
def test_tables_have_as_many_updates_as_they_say(name, clips, updates):
    train = table(name).train
    assert ceil_div(clips, train.batch_size) * train.epochs == updates
