"""The variants of a table: the settings of their trials, and what is refused."""

import pytest

from pipeline.config.compose import Request, load
from pipeline.config.identity import digest
from pipeline.config.places import settle_places
from pipeline.core.errors import ConfigError
from pipeline.runs import resolved
from pipeline.sweep.variants import (
    check_variants,
    compose_variant,
    shared_command,
    split_of,
    variants_by_name,
)
from tests.helpers.paths import ROOT
from tests.helpers.tables import ALL_TRIALS, table_run


def composed(run):
    """All trials of a table of three variants and two seeds."""
    trials = {}
    for name in ALL_TRIALS:
        variant, seed = name.split("-")
        trials[name] = compose_variant(run, variant, int(seed))
    return trials


def test_a_trial_is_the_sweep_with_its_variant_and_seed(tmp_path):
    trials = composed(table_run(tmp_path, "train.epochs=7"))
    for name, trial in trials.items():
        config = trial.config
        assert trial.name == name == f"{trial.group}-{config.seed}"
        assert config.train.epochs == 7 and config.sweep is None
        assert config.output == f"{tmp_path}/run/{name}"
        assert config.store == f"{tmp_path}/run/store"
        assert config.stages == ["pretrain", "evaluate"]
        assert config.objective.name == {"full": "dc"}.get(trial.group, trial.group)
    # The same as the run that a user would start with these settings.
    by_hand = load(
        ["experiment=nw_ucla", "train.epochs=7", "objective=late", "name=late-1", "seed=1"]
    )
    assert digest(trials["late-1"].config) == digest(by_hand)


def test_records_are_expected_to_be_of_the_trials(tmp_path):
    run = table_run(tmp_path, "sweep.splits=[dev,cross_view]")
    expected = variants_by_name(run, "of the store")
    assert list(expected) == ["full", "early", "late"]
    for trial in composed(run).values():
        variant = expected[trial.group]
        assert variant.hash_of(trial.config.seed) == digest(trial.config)
        assert variant.stores == ["of the store"]


def test_splits_take_turns_from_seed_to_seed(tmp_path):
    assert [split_of(["a", "b"], seed) for seed in (0, 1, 2)] == ["a", "b", "a"]
    run = table_run(tmp_path, "sweep.splits=[dev,cross_view]", "data.protocol=dev_camera_1")
    trial = compose_variant(run, "early", 1)
    assert trial.overrides == ["objective=early", "data.protocol=cross_view"]
    by_hand = load(["experiment=nw_ucla", *trial.overrides, "name=early-1", "seed=1"])
    assert digest(trial.config) == digest(by_hand)


def test_splits_must_be_protocols(tmp_path):
    with pytest.raises(
        ConfigError, match=r"sweep\.splits: sideways is not one of cross_view, dev, "
    ):
        table_run(tmp_path, "sweep.splits=[dev,sideways]")


def test_only_must_name_variants(tmp_path):
    with pytest.raises(
        ConfigError, match=r"sweep.only: no variant single; the variants are: full, early, late"
    ):
        table_run(tmp_path, "sweep.only=[single]")


def verdict(variant="full", against="[early]", metrics="[knn_top1]", people="[]"):
    """The override that asks for a verdict."""
    asked = f"variant: {variant}, against: {against}, metrics: {metrics}, except_people: {people}"
    return f"sweep.verdict={{{asked}}}"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"variant": "sce"}, r"no variant sce; the variants are: full, early, late"),
        ({"against": "[early, sce]"}, r"no variant sce; the variants are: full, early, late"),
        ({"against": "[full]"}, r"against: full is the variant that is judged"),
        ({"against": "[]"}, r"against=\[\]"),
        ({"against": "[early, early]"}, r"against=\['early', 'early'\]: name each only once"),
        ({"metrics": "[]"}, r"metrics=\[\]"),
        ({"metrics": "[knn_top1, knn_top1]"}, r"metrics=.*: name each only once"),
        ({"people": "[1, 1]"}, r"except_people=\[1, 1\]: name each only once"),
    ],
)
def test_a_verdict_is_of_variants_of_the_table(wrong, message, tmp_path):
    with pytest.raises(ConfigError, match=r"sweep\.verdict.*" + message):
        table_run(tmp_path, verdict(**wrong))


def test_a_verdict_is_by_figures_of_people(tmp_path):
    run = table_run(tmp_path, verdict(metrics="[knn_top1, loss]"))
    known = "retrieval_map, linear_top1, knn_top1"
    with pytest.raises(ConfigError, match=rf"sweep\.verdict\.metrics: loss is not one of {known}"):
        check_variants(run)


def test_a_verdict_is_part_of_the_command_of_a_table():
    typed = ("sweep=ablation_nw_ucla", verdict(), "sweep.verdict.variant=late")
    assert shared_command(load(typed[:1]), Request(typed)) == list(typed)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{full: [], odd: [objective=fancy]}", r"sweep\.variants\.odd: objective=fancy: unknown"),
        ("{full: [], odd: [model.heads=3]}", r"sweep\.variants\.odd: model\.heads=3 must divide"),
        (
            "{full: [], odd: [objective.view.weight=0, stream.pairs=none, objective=late]}",
            r"sweep\.variants\.odd: model or objective",
        ),
    ],
)
def test_a_wrong_variant_is_named_before_anything_starts(wrong, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        check_variants(table_run(tmp_path, variants=wrong))
    assert "\n" not in str(caught.value)


def test_a_table_that_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"sweep\.variants\.random: this name is taken"):
        table_run(tmp_path, variants="{random: []}")
    with pytest.raises(ConfigError, match="each seed only once"):
        table_run(tmp_path, "sweep.seeds=[1,1]")


def test_the_shipped_tables_differ_in_data_alone():
    tables = {}
    for name in ("ablation_nw_ucla", "ablation_msr_action3d"):
        tables[name] = load([f"sweep={name}"]).model_dump()
    ucla, msr = tables.values()
    rows = msr["sweep"]["variants"]
    assert list(rows) == ["full", "umurl", "early", "no_rotation", "umurl_no_rotation"]
    for name in ("full", "umurl", "early"):
        assert rows[name] == ucla["sweep"]["variants"][name]
    for key in ("views", "model", "objective", "train", "evaluate"):
        assert ucla[key] == msr[key]
    # MSR-Action3D had one camera.
    assert msr["stream"] == ucla["stream"] | {"pairs": "none"}
    assert ucla["stream"]["pairs"] == "cameras"


def test_the_variants_of_the_shipped_table_differ_in_one_thing_each():
    table = load(["sweep=ablation_nw_ucla"]).sweep
    variants = {}
    for name, overrides in table.variants.items():
        variants[name] = load(["sweep=ablation_nw_ucla", *overrides])
    assert next(iter(variants)) == "full" and variants["no_view"].objective.view.weight == 0
    assert variants["umurl"].objective.alignment.loss == "variance_covariance"
    budgets = {repr((one.train, one.views, one.evaluate)) for one in variants.values()}
    assert len(budgets) == 1  # everything else equal
    # Pairs are part of viewpoint-invariant training: whatever has its term has them, but where the
    # table is about them.
    paired = {name for name, one in variants.items() if one.stream.pairs == "cameras"}
    assert variants.keys() - paired == {"umurl", "no_view", "no_cameras"}


def test_a_variant_of_null_is_not_in_the_table(tmp_path):
    run = table_run(tmp_path, "sweep.variants.early=null")
    assert list(run.config.sweep.variants) == ["full", "late"]


def test_published_records_are_those_of_the_checkout_in_a_job_too():
    """They are read and never written: a job's copy of the checkout is as good as any."""
    config = settle_places(load(["sweep=ablation_nw_ucla", "output=/somewhere"]), in_job=True)
    assert config.sweep.published == [f"{ROOT}/results/ablation_nw_ucla.jsonl"]
    with pytest.raises(ConfigError, match=r"output=here: relative"):
        settle_places(load(["sweep=ablation_nw_ucla", "output=here"]), in_job=True)


def test_checking_variants_counts_no_costs(tmp_path, monkeypatch):
    def counted(*_):
        raise AssertionError("counted a cost, which takes a second for each variant")

    monkeypatch.setattr(resolved, "cost_of", counted)
    check_variants(table_run(tmp_path))


def test_others_can_use_the_command():
    """It says what the table is of, and not where things lie or which trials one run was to do."""
    typed = (
        "sweep=ablation_nw_ucla",
        "stages=[sweep]",
        "data.raw=/recordings/nw-ucla.zip",
        "output=/somewhere",
        "sweep.only=[late]",
        "sweep.seeds=[1]",
        "sweep.concurrent=2",
        "cluster.workers=1",
        "+sweep.variants.half=['model.heads=4']",
        "sweep.splits=[dev,cross_view]",
        "train.epochs=7",
        "name=mine",
    )
    config = load(typed)
    assert shared_command(config, Request(typed)) == [
        "sweep=ablation_nw_ucla",
        "stages=[sweep]",
        "data.raw=nw-ucla.zip",
        "+sweep.variants.half=['model.heads=4']",
        "sweep.splits=[dev,cross_view]",
        "train.epochs=7",
        "name=mine",
    ]
    # Who has no recordings has a store.
    typed = ("sweep=ablation_nw_ucla", "data.store=/stores/nw_ucla", "sweep.published=[]")
    assert shared_command(load(typed), Request(typed)) == [
        "sweep=ablation_nw_ucla",
        "data.store=nw_ucla",
    ]
