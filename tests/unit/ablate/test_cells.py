"""The cells of a table: their configurations, and what is refused."""

import pytest

from pipeline.config.compose import Request, load
from pipeline.config.identity import digest
from pipeline.config.places import settle_places
from pipeline.core.errors import ConfigError
from pipeline.runs import resolved
from pipeline.sweep.cells import cells, compose_variants
from pipeline.sweep.stage import check_variants
from tests.helpers.ablation import ALL_CELLS, table_run
from tests.helpers.paths import ROOT


def test_a_cell_is_the_experiment_with_its_variant_and_seed(tmp_path):
    run = table_run(tmp_path, "train.epochs=7")
    table = cells(run.config, run.request)
    assert [cell.name for cell in table] == ALL_CELLS  # seed by seed: a whole table early
    for cell in table:
        config = cell.config
        assert config.train.epochs == 7 and config.seed == int(cell.name[-1])
        assert config.output == f"{tmp_path}/run/{cell.name}"
        assert config.store == f"{tmp_path}/run/store"
        assert config.stages == ["pretrain", "evaluate"]
        assert config.objective.name == {"full": "dc"}.get(cell.variant, cell.variant)
    # The same as the run that a user would start with these settings.
    by_hand = load(
        ["experiment=nw_ucla", "train.epochs=7", "objective=late", "name=late-1", "seed=1"]
    )
    assert digest(table[-1].config) == digest(by_hand)


def test_splits_take_turns_from_seed_to_seed(tmp_path):
    run = table_run(
        tmp_path,
        "ablate.splits=[dev,cross_view]",
        "ablate.seeds=[0,1,2]",
        "data.protocol=dev_camera_1",
    )
    table = cells(run.config, run.request)
    protocols = ["dev", "cross_view", "dev"]
    assert [cell.config.data.protocol for cell in table] == [p for p in protocols for _ in range(3)]
    by_hand = load(
        [
            "experiment=nw_ucla",
            "data.protocol=cross_view",
            "objective=early",
            "name=early-1",
            "seed=1",
        ]
    )
    assert digest(table[4].config) == digest(by_hand)


def test_splits_must_be_protocols(tmp_path):
    with pytest.raises(
        ConfigError, match=r"ablate\.splits: sideways is not one of cross_view, dev, "
    ):
        table_run(tmp_path, "ablate.splits=[dev,sideways]")


def test_only_must_name_variants(tmp_path):
    with pytest.raises(
        ConfigError, match=r"ablate.only: no variant single; the variants are: full, early, late"
    ):
        table_run(tmp_path, "ablate.only=[single]")


def test_a_wrong_variant_is_named_before_anything_starts(tmp_path):
    for wrong, message in (
        ("{full: [], odd: [objective=fancy]}", r"ablate\.variants\.odd: objective=fancy: unknown"),
        ("{full: [], odd: [model.heads=3]}", r"ablate\.variants\.odd: model\.heads=3 must divide"),
        (
            "{full: [], odd: [objective.view.weight=0, stream.pairs=none, objective=late]}",
            r"ablate\.variants\.odd: model or objective",
        ),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            check_variants(table_run(tmp_path, variants=wrong))
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"ablate.*variants\.random"):
        table_run(tmp_path, variants="{random: []}")
    with pytest.raises(ConfigError, match="each seed only once"):
        table_run(tmp_path, "ablate.seeds=[1,1]")
    for stages in ("[ablate,pretrain]", "[ingest,ablate]"):
        with pytest.raises(ConfigError, match="ablate must be the only stage"):
            table_run(tmp_path, f"stages={stages}")
    with pytest.raises(ConfigError, match="ablate must be the only stage, and needs the variants"):
        load(["stages=[ablate]"])


def test_the_shipped_tables_differ_in_data_alone():
    tables = {
        name: load([f"experiment={name}"]) for name in ("ablation_nw_ucla", "ablation_msr_action3d")
    }
    ucla, msr = (config.model_dump() for config in tables.values())
    rows = msr["ablate"]["variants"]
    assert list(rows) == ["full", "umurl", "early", "no_rotation", "umurl_no_rotation"]
    assert all(
        rows[name] == ucla["ablate"]["variants"][name] for name in ("full", "umurl", "early")
    )
    assert all(
        ucla[key] == msr[key] for key in ("views", "model", "objective", "train", "evaluate")
    )
    # MSR-Action3D had one camera.
    assert msr["stream"] == ucla["stream"] | {"pairs": "none"}
    assert ucla["stream"]["pairs"] == "cameras"
    request = Request(("experiment=ablation_nw_ucla",))
    by_name = compose_variants(tables["ablation_nw_ucla"], request)
    assert next(iter(by_name)) == "full" and by_name["no_view"].objective.view.weight == 0
    assert by_name["umurl"].objective.alignment.loss == "variance_covariance"
    budgets = {repr((one.train, one.views, one.evaluate)) for one in by_name.values()}
    assert len(budgets) == 1  # everything else equal
    # Pairs are part of viewpoint-invariant training: whatever has its term has them, but where the
    # table is about them.
    paired = {name for name, one in by_name.items() if one.stream.pairs == "cameras"}
    assert by_name.keys() - paired == {"umurl", "no_view", "no_cameras"}


def test_a_variant_of_null_is_not_in_the_table(tmp_path):
    run = table_run(tmp_path, "ablate.variants.early=null")
    assert list(run.config.ablate.variants) == ["full", "late"]


def test_published_records_are_those_of_the_checkout_in_a_job_too():
    """They are read and never written: a job's copy of the checkout is as good as any."""
    config = settle_places(load(["experiment=ablation_nw_ucla", "output=/somewhere"]), in_job=True)
    assert config.ablate.published == [f"{ROOT}/results/ablation_nw_ucla.jsonl"]
    with pytest.raises(ConfigError, match=r"output=here: relative"):
        settle_places(load(["experiment=ablation_nw_ucla", "output=here"]), in_job=True)


def test_checking_variants_counts_no_costs(tmp_path, monkeypatch):
    def counted(*_):
        raise AssertionError("counted a cost, which takes a second for each variant")

    monkeypatch.setattr(resolved, "cost", counted)
    monkeypatch.setattr(resolved, "training_cost", counted)
    check_variants(table_run(tmp_path))
