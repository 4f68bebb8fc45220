"""Two sweeps in one output directory."""

import pytest

from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.config.root import to_yaml
from pipeline.core.errors import ConfigError
from pipeline.preflight import plan_run
from pipeline.runs.directory import RunDirectory
from pipeline.runs.state import OWN_STORE
from pipeline.sweep.same import recall_stores, require_same_search
from tests.helpers.stores import write_store

FIRST = ("sweep=loss_weights",)


def config_of(tmp_path, words):
    return settle_places(load([*words, f"output={tmp_path}"]), in_job=False)


def compare(tmp_path, there, now):
    """Check a request, after another sweep was begun in its output."""
    (tmp_path / "config.yaml").write_text(to_yaml(config_of(tmp_path, there)))
    (tmp_path / "store").mkdir()
    (tmp_path / "point000-0").mkdir()
    (tmp_path / "point000-0" / "trial.json").write_text("{}")
    require_same_search(config_of(tmp_path, now))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("sweep.trials=60",),
        ("sweep.trials=10",),
        ("sweep.concurrent=1",),
        ("sweep.confirm=3",),
        ("sweep.gpu_share=0.5", "cluster.gpu=true", "cluster.workers=1"),
        ("cluster.workers=2", "train.log_every=1"),
    ],
    ids=" ".join,
)
def test_what_may_change(tmp_path, words):
    compare(tmp_path, FIRST, (*FIRST, *words))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (
            ("sweep.criterion.metric=knn_top1",),
            "sweep.criterion.metric (linear_top1 there, knn_top1 now)",
        ),
        (("sweep.criterion.held_out=0.2",), "sweep.criterion.held_out (0.3 there, 0.2 now)"),
        (("sweep.seeds=[1]",), "sweep.seeds ([0] there, [1] now)"),
        (("sweep.search=random",), "sweep.search (tpe there, random now)"),
        (("sweep.scheduler.reduction=2",), "sweep.scheduler.reduction (3.0 there, 2.0 now)"),
        (("sweep.scheduler=null",), "sweep.scheduler.grace_epochs (4 there, None now)"),
        (
            ("sweep.space.train.optimiser.lr.log_uniform=[1e-4,1e-3]",),
            "sweep.space.train.optimiser.lr.log_uniform ([0.0002, 0.005] there, [0.0001, 0.001] n",
        ),
        (("sweep.space.train=null",), "sweep.space.train.optimiser.lr.log_uniform ([0.0002, 0"),
        (("train.epochs=20",), "train.epochs (12 there, 20 now)"),
        (("seed=1",), "seed (0 there, 1 now)"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_what_decides_the_points_may_not_change(tmp_path, words, part):
    with pytest.raises(ConfigError) as refused:
        compare(tmp_path, FIRST, (*FIRST, *words))
    line = str(refused.value)
    assert line.startswith(f"output={tmp_path}: holds a search with other settings: ")
    assert part in line
    assert line.endswith("; choose another, or fresh=true")
    assert "\n" not in line


def test_the_order_of_keys_numbers_the_points_of_a_grid(tmp_path):
    def grid(*keys):
        spaces = [f"+sweep.space.views.{key}.choice=[0.0,0.5]" for key in keys]
        empty = ("sweep.space.train=null", "sweep.search=grid", "sweep.trials=null")
        return ("sweep=learning_rate", *empty, *spaces)

    with pytest.raises(ConfigError, match=r"sweep\.space \(\['views\.mirror', 'views\.shear'\] t"):
        compare(tmp_path, grid("mirror", "shear"), grid("shear", "mirror"))


def test_many_differences_are_counted(tmp_path):
    words = ("objective=umurl", "views=umurl", "train=umurl", "seed=4")
    with pytest.raises(ConfigError, match=r"and \d+ more; choose"):
        compare(tmp_path, FIRST, (*FIRST, *words))


def test_a_table_and_a_search_do_not_mix(tmp_path):
    table = ("sweep=ablation_nw_ucla", "name=loss_weights")
    with pytest.raises(ConfigError, match="holds the trials of a table"):
        compare(tmp_path, table, FIRST)


def test_a_search_and_a_table_do_not_mix(tmp_path):
    with pytest.raises(ConfigError, match="holds the trials of a search"):
        compare(tmp_path, FIRST, ("sweep=ablation_nw_ucla",))


def test_other_stages_keep_the_settings_of_the_search(tmp_path):
    """They write the configuration anew. Then any search could go on there."""
    compare(tmp_path, FIRST, (*FIRST, "stages=[inspect]"))
    with pytest.raises(ConfigError, match=r"holds the trials of a sweep; give its sweep=NAME, too"):
        require_same_search(config_of(tmp_path, ("stages=[ingest]",)))
    with pytest.raises(ConfigError, match=r"sweep\.seeds \(\[0\] there, \[1\] now\)"):
        require_same_search(config_of(tmp_path, (*FIRST, "stages=[inspect]", "sweep.seeds=[1]")))


def test_a_table_may_change(tmp_path):
    compare(tmp_path, ("sweep=ablation_nw_ucla",), ("sweep=ablation_nw_ucla", "train.epochs=1"))


def test_anything_may_change_before_the_first_trial(tmp_path):
    (tmp_path / "config.yaml").write_text(to_yaml(config_of(tmp_path, FIRST)))
    require_same_search(config_of(tmp_path, (*FIRST, "sweep.seeds=[1]")))
    require_same_search(config_of(tmp_path / "new", FIRST))


def test_fresh_starts_anew(tmp_path):
    compare(tmp_path, FIRST, (*FIRST, "sweep.seeds=[1]", "fresh=true"))


def test_a_damaged_configuration_is_named(tmp_path):
    compare(tmp_path, FIRST, FIRST)
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"config\.yaml: damaged"):
        require_same_search(config_of(tmp_path, FIRST))


def killed_search(tmp_path, words=FIRST):
    """A search whose driver was killed in its first stage, after it had begun a trial."""
    store = tmp_path / "clips"
    write_store(str(store), load([]))
    words = (*words, "stages=[sweep]", f"data.store={store}", "cluster.workers=1")
    config = settle_places(load([*words, f"output={tmp_path / 'run'}"]), in_job=False)
    directory = RunDirectory.open(config)
    directory.begin(config)
    directory.claim(OWN_STORE, "of other clips", str(store))
    (tmp_path / "run" / "point000-0").mkdir()
    (tmp_path / "run" / "point000-0" / "trial.json").write_text("{}")
    return config


def test_a_search_that_was_killed_goes_on_with_the_same_clips_alone(tmp_path):
    config = killed_search(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.store=.*/clips: holds other clips"):
        plan_run(config, Request())


def test_a_table_that_was_killed_may_go_on_with_other_clips(tmp_path):
    """Its records say of which clips they are."""
    config = killed_search(tmp_path, ("sweep=ablation_nw_ucla",))
    directory = RunDirectory.open(config)
    recall_stores(config, directory)
    assert not directory.state.stores
