"""Which spaces can be searched. Wrong ones are refused by `main` in tests/unit/test_requests.py."""

import pytest
import yaml

from pipeline.config.compose import Request, load
from pipeline.config.root import check, to_yaml
from pipeline.core.errors import ConfigError
from pipeline.core.paths import CONF
from pipeline.sweep.searchable import require_searchable
from tests.helpers.searches import NO_SPACE


def searches():
    """The names of the searches that come with the project."""
    for path in sorted((CONF / "sweep").glob("*.yaml")):
        if "space:" in path.read_text():
            yield path.stem


def check_search(*overrides):
    request = Request(overrides)
    require_searchable(load(overrides), request)


@pytest.mark.parametrize("name", searches())
def test_a_search_of_ours_can_be_searched(name):
    check_search(f"sweep={name}")


@pytest.mark.parametrize("experiment", ["nw_ucla", "ntu60_xsub"])
def test_a_search_suits_any_experiment(experiment):
    check_search(f"experiment={experiment}", "sweep=loss_weights")


def test_there_are_searches():
    assert {"loss_weights", "learning_rate", "views", "operators"} <= set(searches())


@pytest.mark.parametrize(
    "words",
    [
        ("+sweep.space.views.choice=[strong,umurl]",),
        ("+sweep.space.views.choice=[strong,mine]",),
        # A group, and a key in it that the search has already.
        ("+sweep.space.objective.choice=[dc,umurl]",),
        ("+sweep.space.stream.choice=[auto,cameras]",),
        ("+sweep.space.stream.pairs.choice=[none,cameras]",),
        ("+sweep.space.data.normalise.align.choice=[none,mean_yaw]",),
        (
            "data.pool=[{store: x, clips: {}, weight: 0.5}]",
            "+sweep.space.data.pool.0.weight.uniform=[0.1,1]",
        ),
        ("+sweep.space.train.epochs.integer=[6,12]",),
        ("+sweep.space.train.clip_norm.choice=[null,1.0]",),
        ("+sweep.space.model.modalities.choice=[[joint],[joint,bone]]",),
        ("sweep.criterion.metric=effective_rank",),
        ("sweep.criterion.protocol=xsub",),
        ("sweep.scheduler=null",),
        ("sweep.scheduler.name=none", "train.epochs=2"),
        ("sweep.seeds=[0,1]",),
        ("sweep.search=random", "sweep.seeds=[4,7,9]"),
    ],
    ids=" ".join,
)
def test_a_space_over_many_kinds_of_settings(tmp_path, words):
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "mine.yaml").write_text("defaults: [strong]\nshear: 0.1\n")
    overrides = ("sweep=loss_weights", *words)
    require_searchable(load(overrides, str(tmp_path)), Request(overrides, str(tmp_path)))


def test_a_key_is_taken_out_of_a_space():
    config = load(["sweep=loss_weights", "sweep.space.train=null"])
    assert list(config.sweep.space) == [
        "objective.decomposition.weight",
        "objective.composition.weight",
        "objective.view.weight",
        "objective.alignment.temperature",
    ]


def test_a_range_of_another_kind_takes_the_place_of_an_earlier_one():
    key = "sweep.space.train.optimiser.lr"
    config = load(["sweep=loss_weights", f"{key}.log_uniform=null", f"+{key}.choice=[1e-3,1e-2]"])
    assert config.sweep.space["train.optimiser.lr"].values == [0.001, 0.01]


@pytest.mark.parametrize("name", [*searches(), "ablation_nw_ucla"])
def test_a_saved_configuration_is_read_again(name):
    config = load([f"sweep={name}"])
    assert check(yaml.safe_load(to_yaml(config))) == config


@pytest.mark.parametrize(
    ("words", "kind", "points"),
    [
        ((), "tpe", 30),
        (("sweep.seeds=[0,1,2]",), "tpe", 10),
        (
            (
                *NO_SPACE,
                "+sweep.space.views.shear.choice=[0,1]",
                "+sweep.space.views.corrupt_joints.integer=[2,4]",
                "sweep.search=grid",
                "sweep.trials=null",
                "sweep.seeds=[0,1]",
            ),
            "grid",
            6,
        ),
    ],
)
def test_the_number_of_points(words, kind, points):
    sweep = load(["sweep=loss_weights", *words]).sweep
    assert (sweep.search, sweep.points) == (kind, points)


def test_the_key_at_fault_is_found_at_the_first_corner():
    """All keys have other values there than without a search."""
    with pytest.raises(ConfigError) as refused:
        check_search("sweep=loss_weights", "+sweep.space.model.heads.choice=[3,4]")
    assert str(refused.value) == "sweep.space.model.heads=3 must divide width=256"
    words = ("+sweep.space.views.crop.choice=[[0.5,1.0]]", "+sweep.space.train.accumulate=null")
    check_search("sweep=loss_weights", *words)


def test_values_that_no_run_accepts_together_are_named():
    words = (
        *NO_SPACE,
        "+sweep.space.train.batch_size.choice=[32,64]",
        "+sweep.space.train.accumulate.choice=[12,16]",
        "train.batch_size=48",
        "sweep.trials=4",
    )
    with pytest.raises(ConfigError) as refused:
        check_search("sweep=loss_weights", *words)
    assert str(refused.value) == (
        "sweep.space: together, train.batch_size=32, train.accumulate=12 are no run: "
        "train.accumulate=12 must divide train.batch_size=32"
    )
