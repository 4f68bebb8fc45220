"""On whom the trials of a search train, and on whom they are measured."""

import numpy as np
import pytest

from pipeline.config import plain_text
from pipeline.config.compose import load
from pipeline.config.sweep import Criterion
from pipeline.core.errors import ConfigError
from pipeline.store.protocols import mask
from pipeline.sweep.choosing import choosing_overrides
from tests.helpers.runs import resolved_from
from tests.helpers.stores import write_store

BASE = ("data.persons=1", "data.protocol=xview")


def criterion(metric="linear_top1", protocol=None, held_out=0.3):
    return Criterion(
        metric=metric, protocol=protocol, held_out=held_out, every_epochs=1, max_clips=100
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """120 clips of ten people and three cameras; `xview` trains on cameras 2 and 3."""
    return write_store(str(tmp_path_factory.mktemp("choosing") / "store"), load(list(BASE)))


def run_of(store, *overrides):
    return resolved_from(*BASE, f"data.store={store}", f"output={store}-run", *overrides)


def sides_of(run):
    """Name of a side -> which clips are on it."""
    return {name: mask(run.index.columns, side) for name, side in run.sides.items()}


def chosen(store, criterion, *overrides):
    """The sweep and a trial of it, composed as `compose_trial` does."""
    sweep = run_of(store, *overrides)
    trial = run_of(store, *overrides, *choosing_overrides(sweep, criterion))
    return sweep, trial


def people(run, clips):
    return set(run.index.subject[clips].tolist())


def test_without_labels_trials_train_on_the_whole_training_side(store):
    assert choosing_overrides(run_of(store), criterion("alignment_uniformity")) == []
    with pytest.raises(ConfigError, match=r"protocol=xsub: effective_rank needs no labels"):
        choosing_overrides(run_of(store), criterion("effective_rank", "xsub"))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_people_of_the_training_side_are_held_out(store, share, capsys):
    sweep, trial = chosen(store, criterion(held_out=share))
    assert "linear_top1 of" in capsys.readouterr().out
    training, sides = sides_of(sweep)["train"], sides_of(trial)
    assert trial.config.data.protocol == "held_out"
    # Both sides together are the training side, and nobody is on both.
    assert np.array_equal(sides["train"] | sides["test"], training)
    assert not people(sweep, sides["train"]) & people(sweep, sides["test"])
    assert len(people(sweep, sides["test"])) == min(max(1, round(10 * share)), 9)
    # An accuracy can be measured: `split` checks labels.
    assert len(trial.split.test)


def test_the_seed_of_the_sweep_decides_who_is_held_out(store):
    drawn = set()
    for seed in range(5):
        overrides = choosing_overrides(run_of(store, f"seed={seed}"), criterion())
        assert overrides == choosing_overrides(run_of(store, f"seed={seed}"), criterion())
        drawn.add(overrides[0])
    assert len(drawn) > 1


@pytest.mark.parametrize(
    "train",
    [
        "{subject:[1,3,5,7]}",
        "[{camera:[1],subject:[1,2,3]},{camera:[2],split:[part-0,'part-1']},{subject:[9]}]",
        "{}",
    ],
)
def test_filters_of_the_training_side_stay(store, train):
    own = f"+data.protocols.own={{train:{train},test:{{camera:[7]}}}}"
    sweep, trial = chosen(store, criterion(), own, "data.protocol=own")
    training, sides = sides_of(sweep)["train"], sides_of(trial)
    assert training.any()
    assert np.array_equal(sides["train"] | sides["test"], training)
    assert not people(sweep, sides["train"]) & people(sweep, sides["test"])


@pytest.mark.parametrize("name", ["part-0", "x y, {z}", "it's", "${seed}", "a:b", "ünï"])
def test_names_of_splits_are_written_for_the_command_line(tmp_path, name):
    def rename(row):
        return row | {"split": [name if part == "part-0" else part for part in row["split"]]}

    uri = write_store(str(tmp_path / "store"), load(list(BASE)), rename)
    # OmegaConf reads `${` in quotes, too, unless there is a backslash before it.
    written = plain_text.quote(name.replace("${", "\\${"))
    own = f"+data.protocols.own={{train:{{split:[{written}]}},test:{{split:[part-1]}}}}"
    sweep, trial = chosen(uri, criterion(), own, "data.protocol=own")
    sides = sides_of(trial)
    assert sides_of(sweep)["train"].sum() == 42
    assert np.array_equal(sides["train"] | sides["test"], sides_of(sweep)["train"])


def test_who_alone_performs_an_action_is_not_held_out(tmp_path):
    """Person 4 alone performs action 3; only 5 and 6 perform action 2, so one of them stays."""

    def actions(row):
        label = row["label"] % 2
        if row["subject"] == 4:
            label = 3
        if row["subject"] in (5, 6):
            label = 2
        return row | {"label": label}

    uri = write_store(str(tmp_path / "store"), load(list(BASE)), actions)
    for seed in range(8):
        sweep, trial = chosen(uri, criterion(held_out=0.9), f"seed={seed}")
        assert len(trial.split.test)
        held = people(sweep, sides_of(trial)["test"])
        assert 4 not in held and len(held & {5, 6}) == 1


def test_clips_of_unknown_people_are_on_no_side(tmp_path):
    def forget(row):
        return row | {"subject": None if row["subject"] > 8 else row["subject"]}

    uri = write_store(str(tmp_path / "store"), load(list(BASE)), forget)
    sweep, trial = chosen(uri, criterion())
    both = sides_of(trial)["train"] | sides_of(trial)["test"]
    expected = sides_of(sweep)["train"] & (sweep.index.subject > 0)
    assert np.array_equal(both, expected) and (expected != sides_of(sweep)["train"]).any()


def test_a_protocol_inside_of_the_training_side_is_used(store):
    inside = (
        "+data.protocols.inside={train:{camera:[2,3],subject:[1,2,3]},"
        "test:{camera:[2],subject:[4,5]}}"
    )
    sweep = run_of(store, inside)
    assert choosing_overrides(sweep, criterion(protocol="inside")) == ["data.protocol=inside"]


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        ("xview", r"protocol=xview: \d+ clips of its side test are not on the training side"),
        ("xsub", r"protocol=xsub: \d+ clips of its side train are not on the training side"),
        ("nobody", r"protocol=nobody: is not one of xview, xsub, apart, shared"),
        ("shared", r"protocol=shared: \d+ clips are on both its sides"),
        ("apart", r"protocol=apart: its sides have no labelled action in common"),
    ],
)
def test_a_protocol_that_cannot_choose_is_refused(store, protocol, reason):
    own = (
        "+data.protocols.apart={train:{camera:[2],label:[0]},test:{camera:[3],label:[1]}}",
        "+data.protocols.shared={train:{camera:[2]},test:{camera:[2,3],subject:[1,2]}}",
    )
    with pytest.raises(ConfigError, match=reason) as error:
        choosing_overrides(run_of(store, *own), criterion(protocol=protocol))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": None}, "no clip on the training side of xview has a label"),
        ({"subject": None}, "nobody knows who the people on the training side of xview are"),
        ({"subject": 3}, "the training side of xview shows one person alone"),
    ],
)
def test_clips_that_cannot_choose_are_refused(tmp_path, change, reason):
    uri = write_store(str(tmp_path / "store"), load(list(BASE)), lambda row: row | change)
    with pytest.raises(ConfigError, match=reason) as error:
        choosing_overrides(run_of(uri), criterion("knn_top1"))
    assert "\n" not in str(error.value) and "needs no labels" in str(error.value)


def test_where_everybody_does_something_else_nobody_can_be_held_out(tmp_path):
    uri = write_store(
        str(tmp_path / "store"), load(list(BASE)), lambda row: row | {"label": row["subject"]}
    )
    with pytest.raises(ConfigError, match="performs an action that nobody else performs"):
        choosing_overrides(run_of(uri), criterion())


def test_a_protocol_of_the_users_keeps_its_name(store):
    own = "+data.protocols.held_out={train:{camera:[2]},test:{camera:[3]}}"
    with pytest.raises(ConfigError, match="rename the protocol"):
        choosing_overrides(run_of(store, own), criterion())
    found = choosing_overrides(run_of(store, own), criterion(protocol="held_out"))
    assert found == ["data.protocol=held_out"]
