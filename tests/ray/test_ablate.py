"""The table of an ablation: which cells are run, and what is made of their figures. Its stages are played here."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from pipeline.ablate import results
from pipeline.ablate.stage import ablate, cells, variants
from pipeline.config.schema import Config, digest, load
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs.rundir import RunDir, settle_places
from pipeline.runs.tracking import Tracker
from pipeline.store.clip_store import ClipStore
from tests.helpers.cli import TRACKING
from tests.helpers.stores import write_store

EXPERIMENT = """
# @package _global_
defaults: [nw_ucla, _self_]
name: small_table
stages: [ablate]
ablate:
  results: {place}/runs
  page: {place}/results.md
  seeds: [0, 1]
  splits: null
  only: null
  variants: {variants}
"""
VARIANTS = "{full: [], early: [objective=early], late: [objective=late]}"


def configured(place: Path, *overrides: str, variants: str = VARIANTS) -> Config:
    """A table of three variants and two seeds, an experiment of a user's own."""
    (place / "conf" / "experiment").mkdir(parents=True, exist_ok=True)
    (place / "conf" / "experiment" / "small_table.yaml").write_text(
        EXPERIMENT.format(place=place, variants=variants).lstrip()
    )
    places = [f"output={place}/run", f"tracking.uri={TRACKING}", f"data.raw={place}/nw-ucla.zip"]
    return settle_places(load(["experiment=small_table", *places, *overrides], str(place / "conf")))


def linear(variant: str, seed: int) -> float:
    """What each cell measures."""
    return {"full": 0.9, "early": 0.8, "late": 0.85}[variant] + {0: 0.0, 1: 0.02, 2: 0.01}[seed] * (
        2 if variant == "full" else 1
    )


class Stages(dict):
    """Stages that note what was asked of them; `die_at` interrupts that stage of that cell. clips: of their store."""

    clips = "of the store"

    def __init__(self, die_at: tuple[str, str] = ("", "")):
        super().__init__(ingest=self.ingest, pretrain=self.pretrain, evaluate=self.evaluate)
        self.calls, self.die_at = [], die_at

    def note(self, stage: str, config: Config) -> None:
        self.calls.append((stage, config.name))
        if (stage, config.name) == self.die_at:
            raise KeyboardInterrupt

    def ingest(self, config, run, tracker):
        run.state["fingerprint"] = self.clips
        self.note("ingest", config)
        return {}

    def pretrain(self, config, run, tracker):
        self.store = config.store
        run.state["fingerprint"] = self.clips
        Path(run.path("checkpoints")).mkdir(exist_ok=True)
        self.note("pretrain", config)
        return {"epochs": config.train.epochs, "loss": 1.0, "checkpoint": "somewhere"}

    def evaluate(self, config, run, tracker):
        self.note("evaluate", config)
        top1 = linear(config.name.split("-")[0], config.seed)
        figures = {"linear_top1": top1, "knn_top1": top1 - 0.1, "linear_best_top1": top1}
        figures |= {"random_linear_top1": 0.7 + 0.01 * config.seed, "random_knn_top1": 0.6}
        late = 3 if config.model.fusion == "late" else 1
        figures |= {"parameters": 1000 * late, "gflops": 0.1 * late}
        figures |= {"pretraining_parameters": 5000, "pretraining_gflops": 1.5}
        sizes = {
            "train_clips": 1020,
            "test_clips": 464,
            "probe": config.evaluate.probe,
            "protocol": config.data.protocol,
        }
        return figures | sizes


def run(config: Config, stages: Stages) -> dict:
    directory = RunDir.open(config)
    directory.begin(config)
    with Tracker(config, directory) as tracker:
        return ablate(config, directory, tracker, stages)


ALL = [f"{variant}-{seed}" for seed in (0, 1) for variant in ("full", "early", "late")]


def test_a_cell_is_the_experiment_with_its_variant_and_seed(tmp_path):
    config = configured(tmp_path, "train.epochs=7")
    table = cells(config)
    assert [cell.name for cell in table] == ALL  # seed by seed: a whole table early
    for cell in table:
        assert cell.config.train.epochs == 7 and cell.config.seed == int(cell.name[-1])
        assert (
            cell.config.output == f"{tmp_path}/run/{cell.name}"
            and cell.config.store == f"{tmp_path}/run/store"
        )
        assert cell.config.stages == ["pretrain", "evaluate"]
        assert cell.config.objective.name == {"full": "dc"}.get(cell.variant, cell.variant)
    # The same as the run that a user would start with these settings.
    by_hand = load(
        ["experiment=nw_ucla", "train.epochs=7", "objective=late", "name=late-1", "seed=1"]
    )
    assert digest(table[-1].config) == digest(by_hand)


def test_splits_take_turns_from_seed_to_seed(tmp_path):
    config = configured(
        tmp_path,
        "ablate.splits=[dev,cross_view]",
        "ablate.seeds=[0,1,2]",
        "data.protocol=dev_camera_1",
    )
    protocols = ["dev", "cross_view", "dev"]
    assert [cell.config.data.protocol for cell in cells(config)] == [
        p for p in protocols for _ in range(3)
    ]
    by_hand = load(
        [
            "experiment=nw_ucla",
            "data.protocol=cross_view",
            "objective=early",
            "name=early-1",
            "seed=1",
        ]
    )
    assert digest(cells(config)[4].config) == digest(by_hand)

    first = run(config, Stages())
    assert run(config, again := Stages()) == first and again.calls == [
        ("ingest", "small_table")
    ]  # none is stale
    page = (tmp_path / "results.md").read_text()
    assert "each on a split of its own" in page and "ablate.splits=[dev,cross_view]" in page
    assert "protocols cross_view (1,020 / 464 clips), dev (1,020 / 464 clips), 24 epochs" in page

    run(
        configured(tmp_path, "ablate.seeds=[0,1,2]"), other := Stages()
    )  # seed 1 was on this protocol, the others not
    assert {name for _, name in other.calls} == {
        "small_table",
        *(f"{v}-{s}" for v in ("full", "early", "late") for s in (0, 2)),
    }


def test_splits_must_be_protocols(tmp_path):
    with pytest.raises(
        ConfigError, match=r"ablate\.splits: sideways is not one of cross_view, dev, "
    ):
        configured(tmp_path, "ablate.splits=[dev,sideways]")


def test_a_whole_table(tmp_path, capsys):
    config, stages = configured(tmp_path), Stages()
    found = run(config, stages)
    assert stages.calls[0] == ("ingest", "small_table")
    assert stages.calls[1:] == [(stage, name) for name in ALL for stage in ("pretrain", "evaluate")]
    record = json.loads((tmp_path / "runs" / "late-1.json").read_text())
    assert (record["variant"], record["seed"], record["overrides"]) == (
        "late",
        1,
        ["objective=late"],
    )
    assert record["hash"] == digest(cells(config)[-1].config)
    assert (
        record["figures"]["linear_top1"] == linear("late", 1)
        and "checkpoint" not in record["figures"]
    )
    assert (
        {"torch", "ray", "numpy"} == record["versions"].keys() and record["code"] and record["date"]
    )
    shown = capsys.readouterr().out
    assert "cell 1 of 6: full-0" in shown and "cell 6 of 6: late-1   about 0 h 00 min left" in shown

    full, early = ([linear(variant, seed) for seed in (0, 1)] for variant in ("full", "early"))
    assert found["full_linear_top1"] == pytest.approx(np.mean(full))
    assert found["full_linear_top1_std"] == pytest.approx(abs(full[0] - full[1]) / np.sqrt(2))
    assert found["early_linear_top1_difference"] == pytest.approx(np.mean(np.subtract(early, full)))
    assert found["early_linear_top1_difference_std"] == pytest.approx(
        np.std(np.subtract(early, full), ddof=1)
    )
    assert found["random_linear_top1"] == pytest.approx(0.705)
    assert "full_linear_top1_difference" not in found

    page = (tmp_path / "results.md").read_text()
    assert (
        "| early | 2 | 81.0 ± 1.4 | 71.0 ± 1.4 | -11.0 ± 1.4 | -11.0 ± 1.4 | 70.5 ± 0.7 | 60.0 ± 0.0 |"
        in page
    )
    assert (
        "stages=[ablate] experiment=small_table data.raw=nw-ucla.zip`" in page
        and str(tmp_path) not in page
    )
    assert (tmp_path / "results" / "small_table.png").read_bytes().startswith(b"\x89PNG")
    assert "(results/small_table.png)" in page
    html = (tmp_path / "run" / "ablation.html").read_text()
    assert "data:image/png;base64" in html and "<th>early</th>" in html and 'src="http' not in html

    client = MlflowClient(TRACKING)
    parent = RunDir.open(config).state.get("mlflow_run_id")
    parent = parent or json.loads((tmp_path / "run" / "run.json").read_text())["mlflow_run_id"]
    (experiment,) = [e for e in client.search_experiments() if e.name == config.tracking.experiment]
    children = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    assert sorted(child.info.run_name for child in children) == sorted(ALL)
    assert {child.info.status for child in children} == {"FINISHED"}
    by_name = {child.info.run_name: child for child in children}
    assert by_name["late-1"].data.metrics["linear/top1"] == linear("late", 1)


def test_what_is_done_is_skipped_and_what_is_stale_done_again(tmp_path, capsys):
    run(configured(tmp_path), Stages())
    again = Stages()
    found = run(configured(tmp_path), again)
    assert again.calls == [("ingest", "small_table")] and found[
        "full_linear_top1"
    ] == pytest.approx(0.92)
    assert "6 of 6 cells" in capsys.readouterr().out

    # Another seed, and `early` with other settings: what is there of the others stays.
    other = configured(
        tmp_path,
        "ablate.seeds=[0,1,2]",
        variants=VARIANTS.replace("objective=early", "objective=umurl"),
    )
    stages = Stages()
    run(other, stages)
    assert [name for stage, name in stages.calls if stage == "pretrain"] == [
        *("early-0", "early-1"),
        *("full-2", "early-2", "late-2"),
    ]
    assert "early-0: stale, of another configuration" in capsys.readouterr().out
    assert (
        len(list((tmp_path / "run").glob("early-0.*"))) == 1
    )  # what the directory held moved aside
    assert json.loads((tmp_path / "runs" / "early-0.json").read_text())["overrides"] == [
        "objective=umurl"
    ]

    # A smaller request shows all seeds that are there.
    assert run(configured(tmp_path, "ablate.seeds=[1]", variants="{full: []}"), Stages())[
        "full_linear_top1"
    ] == pytest.approx(np.mean([linear("full", seed) for seed in (0, 1, 2)]))


@pytest.mark.parametrize("stage", ["pretrain", "evaluate"])
def test_a_killed_table_goes_on_inside_its_cell(tmp_path, stage):
    with pytest.raises(KeyboardInterrupt):
        run(configured(tmp_path), Stages(die_at=(stage, "early-0")))
    assert sorted(path.stem for path in (tmp_path / "runs").glob("*.json")) == ["full-0"]
    assert "| full | 1 | 90.0 |" in (tmp_path / "results.md").read_text()  # the table as it stands
    state = json.loads((tmp_path / "run" / "early-0" / "run.json").read_text())
    stages = Stages()
    run(configured(tmp_path), stages)
    rest = [("pretrain", "early-0"), ("evaluate", "early-0")][1 if stage == "evaluate" else 0 :]
    assert stages.calls[1 : 1 + len(rest)] == rest and ("pretrain", "full-0") not in stages.calls
    after = json.loads((tmp_path / "run" / "early-0" / "run.json").read_text())
    assert after["mlflow_run_id"] == state["mlflow_run_id"]
    assert not list(
        (tmp_path / "run").glob("early-0.*")
    )  # the same directory, its checkpoints in it


def test_a_run_of_some_variants_shows_the_whole_table(tmp_path):
    whole = run(configured(tmp_path), Stages())
    page = (tmp_path / "results.md").read_text()
    (tmp_path / "runs" / "late-1.json").unlink()
    stages = Stages()
    some = configured(
        tmp_path, f"output={tmp_path}/elsewhere", "ablate.only=[late]", "ablate.seeds=[1]"
    )
    assert run(some, stages) == whole | {"cells": 1}
    assert [name for stage, name in stages.calls if stage == "pretrain"] == ["late-1"]
    assert (tmp_path / "results.md").read_text() == page  # the command, too
    with pytest.raises(
        ConfigError, match=r"ablate.only: no variant single; there are: full, early, late"
    ):
        configured(tmp_path, "ablate.only=[single]")


def test_cells_of_other_clips_are_stale(tmp_path, capsys):
    run(configured(tmp_path, **ONE), Stages())
    stages = Stages()
    stages.clips = "of recordings that came later"
    run(configured(tmp_path, f"output={tmp_path}/elsewhere", **ONE), stages)
    assert [name for stage, name in stages.calls if stage == "pretrain"] == ["full-0", "full-1"]
    assert "full-0: stale, of other clips; run again" in capsys.readouterr().out
    record = json.loads((tmp_path / "runs" / "full-1.json").read_text())
    assert record["stores"] == [stages.clips]


def test_cells_that_pooled_other_clips_are_stale(tmp_path):
    class Pooling(Stages):
        def pretrain(self, config, run, tracker):
            run.state["pool_0"] = ClipStore.open(config.data.pool[0].store).fingerprint
            return super().pretrain(config, run, tracker)

    store = write_store(str(tmp_path / "store"), load(["data.persons=1"]))
    pooled = {"variants": f"{{full: ['data.pool=[{{store: {store}, clips: {{}}, weight: 1}}]']}}"}
    pretrained = []
    for _ in range(2):
        stages = Pooling()
        run(configured(tmp_path, "ablate.seeds=[0]", **pooled), stages)
        pretrained.append(sum(stage == "pretrain" for stage, _ in stages.calls))
    manifest = tmp_path / "store" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"fingerprint": "of others"}))
    run(
        configured(tmp_path, f"output={tmp_path}/elsewhere", "ablate.seeds=[0]", **pooled),
        stages := Pooling(),
    )
    assert [*pretrained, sum(stage == "pretrain" for stage, _ in stages.calls)] == [1, 0, 1]


def test_a_collapsed_cell_is_marked(tmp_path):
    class Collapsing(Stages):
        def pretrain(self, config, run, tracker):
            collapse = {"collapsed": "step 3: all the same"} if config.name == "late-1" else {}
            return super().pretrain(config, run, tracker) | collapse

    run(configured(tmp_path), Collapsing())
    page = (tmp_path / "results.md").read_text()
    assert "| late (1 collapsed) | 2 |" in page and "| early | 2 |" in page


ONE = {"variants": "{full: []}"}


def test_cells_measured_elsewhere_count(tmp_path):
    run(configured(tmp_path, **ONE), Stages())
    stages = Stages()
    run(configured(tmp_path, f"output={tmp_path}/elsewhere", **ONE), stages)
    assert stages.calls == [("ingest", "small_table")]
    # Figures that were lost are read from the finished cell; nothing is trained again.
    (tmp_path / "runs" / "full-0.json").unlink()
    run(configured(tmp_path, **ONE), stages)
    assert stages.calls == [("ingest", "small_table")] * 2
    assert (tmp_path / "runs" / "full-0.json").exists()
    (tmp_path / "runs" / "full-0.json").write_text("{}")
    with pytest.raises(UserError, match=r"full-0.json: not the figures of a cell"):
        run(configured(tmp_path, f"output={tmp_path}/elsewhere", **ONE), Stages())


def test_two_at_work_on_a_table_share_it(tmp_path, capsys):
    """While one run is in its first cell, another finishes the last one."""
    config, elsewhere = (
        configured(tmp_path),
        configured(tmp_path, f"output={tmp_path}/elsewhere", "ablate.seeds=[1]"),
    )

    class Beside(Stages):
        def pretrain(self, config, run_, tracker):
            if config.name == "full-0":
                assert run(elsewhere, Stages())["full_linear_top1"] == pytest.approx(
                    linear("full", 1)
                )
            return super().pretrain(config, run_, tracker)

    stages = Beside()
    found = run(config, stages)
    assert {name for stage, name in stages.calls if stage == "pretrain"} == {
        "full-0",
        "early-0",
        "late-0",
    }
    assert found["full_linear_top1"] == pytest.approx(
        np.mean([linear("full", seed) for seed in (0, 1)])
    )
    assert "late-1 was measured elsewhere meanwhile, skipped" in capsys.readouterr().out


def test_hand_written_text_stays(tmp_path):
    (tmp_path / "results.md").write_text(
        "# Results\n\nBefore.\n\n<!-- other: generated, begin -->\nkept\n"
    )
    run(configured(tmp_path, **ONE), Stages())
    first = (tmp_path / "results.md").read_text()
    assert first.startswith(
        "# Results\n\nBefore.\n\n<!-- other: generated, begin -->\nkept\n\n<!-- small_table: gen"
    )
    (tmp_path / "results.md").write_text(first + "\nAfter, with a \\1 in it.\n")
    run(configured(tmp_path, **ONE), Stages())
    assert (tmp_path / "results.md").read_text() == first + "\nAfter, with a \\1 in it.\n"


def figures(seed: int, **values: float) -> dict:
    costs = {
        "parameters": 10,
        "gflops": 0.5,
        "pretraining_parameters": 20,
        "pretraining_gflops": 2.0,
    }
    return costs | {"random_linear_top1": 0.5 + seed / 10} | values


def test_differences_are_paired_by_seed():
    records = [
        {"variant": "full", "seed": seed, "figures": figures(seed, linear_top1=value)}
        for seed, value in ((0, 0.90), (1, 0.80), (2, 0.85))
    ] + [
        {"variant": "early", "seed": seed, "figures": figures(seed, linear_top1=value)}
        for seed, value in ((1, 0.79), (2, 0.82), (5, 0.10))  # seed 5 has no partner
    ]
    rows = {row.variant: row for row in results.rows_of(records, ["full", "early", "absent"])}
    assert list(rows) == ["full", "early", "random"]
    assert rows["early"].figures["linear_top1"].mean == pytest.approx((0.79 + 0.82 + 0.10) / 3)
    difference = rows["early"].differences["linear_top1"]
    assert difference == pytest.approx((-0.02, np.sqrt((0.01**2 + 0.01**2) / 1)))
    assert rows["random"].figures["linear_top1"].mean == pytest.approx(0.6)
    assert rows["random"].costs["pretraining_gflops"] == 0
    assert "knn_top1" not in rows["full"].figures and rows["full"].differences == {}
    alone = results.rows_of(records[:1], ["full"])
    assert alone[0].figures["linear_top1"] == results.Spread(0.90, None)
    header, body = results.cells_of(list(rows.values()))
    assert (
        body[1][header.index("Δ linear")] == "-2.0 ± 1.4"
        and body[0][header.index("linear")] == "85.0 ± 5.0"
    )


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
            variants(configured(tmp_path, variants=wrong))
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"ablate.*variants\.random"):
        configured(tmp_path, variants="{random: []}")
    with pytest.raises(ConfigError, match="each only once"):
        configured(tmp_path, "ablate.seeds=[1,1]")
    for stages in ("[ablate,pretrain]", "[ingest,ablate]"):
        with pytest.raises(ConfigError, match="ablate stands alone"):
            configured(tmp_path, f"stages={stages}")
    with pytest.raises(ConfigError, match="ablate stands alone, and needs the variants"):
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
    assert (
        msr["stream"] == ucla["stream"] | {"pairs": "none"} and ucla["stream"]["pairs"] == "cameras"
    )
    by_name = variants(tables["ablation_nw_ucla"])
    assert next(iter(by_name)) == "full" and by_name["no_view"].objective.view.weight == 0
    assert by_name["umurl"].objective.alignment.loss == "variance_covariance"
    budgets = {repr((one.train, one.views, one.evaluate)) for one in by_name.values()}
    assert len(budgets) == 1  # everything else equal
    # Pairs are part of viewpoint-invariant training: whatever has its term has them, but where the table is about them.
    paired = {name for name, one in by_name.items() if one.stream.pairs == "cameras"}
    assert by_name.keys() - paired == {"umurl", "no_view", "no_cameras"}


def test_a_variant_of_null_is_not_in_the_table(tmp_path):
    assert list(configured(tmp_path, "ablate.variants.early=null").ablate.variants) == [
        "full",
        "late",
    ]


def test_where_it_would_be_lost_a_relative_place_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(ConfigError, match=r"ablate\.results=docs/results/runs: relative"):
        settle_places(load(["experiment=ablation_nw_ucla", "output=/somewhere"]))
