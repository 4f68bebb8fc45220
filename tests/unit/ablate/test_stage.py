"""Which cells of a table are run, and what comes of them. The stages are played."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.compose import load
from pipeline.config.identity import digest
from pipeline.core.errors import UserError
from pipeline.runs.owner import take
from pipeline.store.manifest import read_manifest
from pipeline.sweep import publish as publish_module
from pipeline.sweep.cells import cells
from pipeline.sweep.publish import publish
from pipeline.sweep.records import read_records
from pipeline.tables import page
from tests.helpers.ablation import (
    ALL_CELLS,
    ONE_VARIANT,
    VARIANTS,
    PlayedStages,
    forget,
    linear,
    play,
    records_of,
    table_run,
    untracked,
)
from tests.helpers.stores import write_store

INGESTED = [("ingest", "small_table")]


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    untracked(monkeypatch)


@pytest.fixture(autouse=True)
def _no_plots(request, monkeypatch):
    """Draw only where a plot is looked at: it takes half a second."""
    if "plots" not in request.fixturenames:
        monkeypatch.setattr(page, "plot", lambda table: b"no plot")
        monkeypatch.setattr(publish_module, "plot", lambda table: b"no plot")


@pytest.fixture
def plots():
    """Marks a test that looks at plots."""


def test_splits_take_turns_and_none_is_stale(tmp_path):
    overrides = [
        "ablate.splits=[dev,cross_view]",
        "ablate.seeds=[0,1,2]",
        "data.protocol=dev_camera_1",
    ]
    first = play(table_run(tmp_path, *overrides), PlayedStages())
    again = PlayedStages()
    assert play(table_run(tmp_path, *overrides), again) == first
    assert again.calls == INGESTED  # none is stale
    text = (tmp_path / "run" / "ablation.md").read_text()
    assert "each on a split of its own" in text and "'ablate.splits=[dev,cross_view]'" in text
    assert "protocols cross_view (1,020 / 464 clips), dev (1,020 / 464 clips), 24 epochs" in text

    # Seed 1 was on this protocol, the others not.
    other = PlayedStages()
    play(table_run(tmp_path, "ablate.seeds=[0,1,2]"), other)
    assert {name for _, name in other.calls} == {
        "small_table",
        *(f"{variant}-{seed}" for variant in ("full", "early", "late") for seed in (0, 2)),
    }


def test_a_whole_table(tmp_path, capsys):
    run = table_run(tmp_path)
    stages = PlayedStages()
    play(run, stages)
    assert stages.calls[:1] == INGESTED
    assert stages.calls[1:] == [
        (stage, name) for name in ALL_CELLS for stage in ("pretrain", "evaluate")
    ]
    record = records_of(tmp_path / "run")["late-1"]
    assert (record.variant, record.seed, record.overrides) == ("late", 1, ["objective=late"])
    assert record.hash == digest(cells(run.config, run.request)[-1].config)
    assert record.figures["linear_top1"] == linear("late", 1)
    assert "checkpoint" not in record.figures
    assert {"torch", "ray", "numpy"} == record.versions.keys() and record.code and record.date
    assert record.command == ["experiment=small_table", "data.raw=nw-ucla.zip"]
    shown = capsys.readouterr().out
    assert "cell 1 of 6: full-0" in shown and "cell 6 of 6: late-1   about 0 h 00 min left" in shown
    assert "early" in shown.split("small_table")[-1]  # the table, on the console
    # Nothing is written but in the output: the checkout is published to in a step of its own.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf", "run"]


def test_results_of_a_whole_table(tmp_path):
    found = play(table_run(tmp_path), PlayedStages())
    full = [linear("full", seed) for seed in (0, 1)]
    early = [linear("early", seed) for seed in (0, 1)]
    assert found["full_linear_top1"] == pytest.approx(np.mean(full))
    assert found["full_linear_top1_std"] == pytest.approx(abs(full[0] - full[1]) / np.sqrt(2))
    assert found["early_linear_top1_difference"] == pytest.approx(np.mean(np.subtract(early, full)))
    assert found["early_linear_top1_difference_std"] == pytest.approx(
        np.std(np.subtract(early, full), ddof=1)
    )
    assert found["random_linear_top1"] == pytest.approx(0.705)
    assert "full_linear_top1_difference" not in found


def test_pages_of_a_whole_table(tmp_path, plots):
    play(table_run(tmp_path), PlayedStages())
    output = tmp_path / "run"
    text = (output / "ablation.md").read_text()
    assert "| early | 2 | 81.0 ± 1.4 | 71.0 ± 1.4 | -11.0 ± 1.4 | -11.0 ± 1.4 | 0.1 |" in text
    assert "'stages=[ablate]' experiment=small_table data.raw=nw-ucla.zip\n" in text
    assert str(tmp_path) not in text
    assert (output / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert "(ablation.png)" in text
    html = (output / "ablation.html").read_text()
    assert "data:image/png;base64" in html and "<th>early</th>" in html and 'src="http' not in html
    # The page has all columns.
    assert "<td>70.5 ± 0.7</td><td>60.0 ± 0.0</td>" in html


def test_what_is_done_is_skipped_and_what_is_stale_done_again(tmp_path, capsys):
    play(table_run(tmp_path), PlayedStages())
    again = PlayedStages()
    found = play(table_run(tmp_path), again)
    assert again.calls == INGESTED and found["full_linear_top1"] == pytest.approx(0.92)
    assert "6 of 6 cells" in capsys.readouterr().out

    # Another seed, and `early` with other settings: what is there of the others stays.
    variants = VARIANTS.replace("objective=early", "objective=umurl")
    stages = PlayedStages()
    play(table_run(tmp_path, "ablate.seeds=[0,1,2]", variants=variants), stages)
    assert stages.pretrained == ["early-0", "early-1", "full-2", "early-2", "late-2"]
    assert "early-0: stale, of another configuration" in capsys.readouterr().out
    # What the directory held moved aside.
    assert len(list((tmp_path / "run").glob("early-0.*"))) == 1
    assert records_of(tmp_path / "run")["early-0"].overrides == ["objective=umurl"]

    # A smaller request shows all seeds that are there.
    smaller = table_run(tmp_path, "ablate.seeds=[1]", variants=ONE_VARIANT)
    assert play(smaller, PlayedStages())["full_linear_top1"] == pytest.approx(
        np.mean([linear("full", seed) for seed in (0, 1, 2)])
    )


def test_records_outlive_settings_that_are_tried(tmp_path):
    """Another meaning of `early`, and a table without `late`: both may be set back."""
    output = tmp_path / "run"
    play(table_run(tmp_path), PlayedStages())
    before = records_of(output)
    tried = "{full: [], early: [objective=umurl]}"
    stages = PlayedStages()
    play(table_run(tmp_path, "ablate.only=[full]", variants=tried), stages)
    assert stages.calls == INGESTED
    assert list(records_of(output)) == ["full-0", "full-1"]
    assert "| early |" not in (output / "ablation.md").read_text()
    # They are not part of the table that is published.
    publish(str(output), str(tmp_path / "results"))
    published = read_records(str(tmp_path / "results" / "small_table.jsonl"))
    assert [record.name for record in published] == ["full-0", "full-1"]

    play(table_run(tmp_path), stages)
    assert stages.calls == INGESTED * 2
    assert records_of(output) == before
    assert (output / "other_records.jsonl").read_text() == ""


def test_a_record_is_kept_until_its_cell_is_measured_again(tmp_path):
    output = tmp_path / "run"
    play(table_run(tmp_path), PlayedStages())
    before = records_of(output)
    tried = VARIANTS.replace("objective=early", "objective=umurl")
    stages = PlayedStages(die_at=("pretrain", "early-1"))
    with pytest.raises(KeyboardInterrupt):
        play(table_run(tmp_path, variants=tried), stages)
    assert records_of(output)["early-0"].overrides == ["objective=umurl"]
    others = read_records(str(output / "other_records.jsonl"))
    assert others == [before["early-1"]] and "early-1" not in records_of(output)
    play(table_run(tmp_path, variants=tried), PlayedStages())
    assert records_of(output)["early-1"].overrides == ["objective=umurl"]
    assert read_records(str(output / "other_records.jsonl")) == []


@pytest.mark.parametrize("stage", ["pretrain", "evaluate"])
def test_a_killed_table_goes_on_inside_its_cell(tmp_path, stage):
    with pytest.raises(KeyboardInterrupt):
        play(table_run(tmp_path), PlayedStages(die_at=(stage, "early-0")))
    output = tmp_path / "run"
    assert sorted(records_of(output)) == ["full-0"]
    assert "| full | 1 | 90.0 |" in (output / "ablation.md").read_text()  # the table as it stands
    state = json.loads((output / "early-0" / "run.json").read_text())
    stages = PlayedStages()
    play(table_run(tmp_path), stages)
    rest = [("pretrain", "early-0"), ("evaluate", "early-0")][1 if stage == "evaluate" else 0 :]
    assert stages.calls[1 : 1 + len(rest)] == rest and ("pretrain", "full-0") not in stages.calls
    after = json.loads((output / "early-0" / "run.json").read_text())
    assert after["mlflow_run_id"] == state["mlflow_run_id"]
    assert not list(output.glob("early-0.*"))  # the same directory, its checkpoints in it


def test_a_cell_that_another_process_runs_is_not_touched(tmp_path):
    run = table_run(tmp_path)
    run.directory.begin(run.config)
    directory = cells(run.config, run.request)[1].config.output
    # A user may run a cell of a table alone.
    with take(directory):
        with pytest.raises(UserError, match=f"output={directory}: process") as caught:
            play(run, PlayedStages())
        assert caught.value.exit_code == 1
        assert os.listdir(directory) == ["owner.json"]
    # The first cell is done, and no longer owned.
    assert len(records_of(Path(run.directory.uri))) == 1
    assert not list(tmp_path.rglob("owner.json"))


def test_a_run_of_some_variants_shows_the_whole_table(tmp_path):
    whole = play(table_run(tmp_path), PlayedStages())
    text = (tmp_path / "run" / "ablation.md").read_text()
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    forget(tmp_path / "results" / "small_table.jsonl", "late-1")
    stages = PlayedStages()
    some = table_run(
        tmp_path, f"output={tmp_path}/elsewhere", "ablate.only=[late]", "ablate.seeds=[1]"
    )
    assert play(some, stages) == whole | {"cells": 1}
    assert stages.pretrained == ["late-1"]
    assert (tmp_path / "elsewhere" / "ablation.md").read_text() == text  # the command, too
    assert list(records_of(tmp_path / "elsewhere")) == ["late-1"]


def test_cells_of_other_clips_are_stale(tmp_path, capsys):
    play(table_run(tmp_path, variants=ONE_VARIANT), PlayedStages())
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    stages = PlayedStages()
    stages.clips = "of recordings that came later"
    play(table_run(tmp_path, f"output={tmp_path}/elsewhere", variants=ONE_VARIANT), stages)
    assert stages.pretrained == ["full-0", "full-1"]
    assert "full-0: stale, of other clips; run again" in capsys.readouterr().out
    assert records_of(tmp_path / "elsewhere")["full-1"].stores == [stages.clips]


def test_cells_that_pooled_other_clips_are_stale(tmp_path):
    class Pooling(PlayedStages):
        def pretrain(self, run, tracker):
            pooled = read_manifest(run.config.data.pool[0].store)["fingerprint"]
            run.directory.state.stores["pool_0"] = pooled
            return super().pretrain(run, tracker)

    store = write_store(str(tmp_path / "store"), load(["data.persons=1"]))
    pooled = f"{{full: ['data.pool=[{{store: {store}, clips: {{}}, weight: 1}}]']}}"
    pretrained = []
    for _ in range(2):
        stages = Pooling()
        play(table_run(tmp_path, "ablate.seeds=[0]", variants=pooled), stages)
        pretrained.append(len(stages.pretrained))
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    manifest = tmp_path / "store" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"fingerprint": "of others"}))
    elsewhere = table_run(
        tmp_path, f"output={tmp_path}/elsewhere", "ablate.seeds=[0]", variants=pooled
    )
    stages = Pooling()
    play(elsewhere, stages)
    assert [*pretrained, len(stages.pretrained)] == [1, 0, 1]


def test_a_collapsed_cell_is_marked(tmp_path):
    class Collapsing(PlayedStages):
        def pretrain(self, run, tracker):
            results = super().pretrain(run, tracker)
            if run.config.name == "late-1":
                results["collapsed"] = "step 3: all the same"
            return results

    play(table_run(tmp_path), Collapsing())
    text = (tmp_path / "run" / "ablation.md").read_text()
    assert "| late (1 collapsed) | 2 |" in text and "| early | 2 |" in text


def test_published_cells_count(tmp_path):
    play(table_run(tmp_path, variants=ONE_VARIANT), PlayedStages())
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    elsewhere = table_run(tmp_path, f"output={tmp_path}/elsewhere", variants=ONE_VARIANT)
    stages = PlayedStages()
    play(elsewhere, stages)
    assert stages.calls == INGESTED
    # Records that were lost are made of the finished cell; nothing is trained again.
    published = tmp_path / "results" / "small_table.jsonl"
    forget(published, "full-0")
    forget(tmp_path / "run" / "records.jsonl", "full-0")
    play(table_run(tmp_path, variants=ONE_VARIANT), stages)
    assert stages.calls == INGESTED * 2
    assert "full-0" in records_of(tmp_path / "run")
    published.write_text("{}\n")
    with pytest.raises(UserError, match=r"small_table.jsonl, line 1: not the record of a cell"):
        play(elsewhere, PlayedStages())


def test_two_at_work_on_a_table_share_it(tmp_path, capsys):
    """While one run is in its first cell, another finishes and publishes the last ones."""
    elsewhere = table_run(tmp_path, f"output={tmp_path}/elsewhere", "ablate.seeds=[1]")

    class Beside(PlayedStages):
        def pretrain(self, run, tracker):
            if run.config.name == "full-0":
                results = play(elsewhere, PlayedStages())
                assert results["full_linear_top1"] == pytest.approx(linear("full", 1))
                publish(str(tmp_path / "elsewhere"), str(tmp_path / "results"))
            return super().pretrain(run, tracker)

    stages = Beside()
    found = play(table_run(tmp_path), stages)
    assert set(stages.pretrained) == {"full-0", "early-0", "late-0"}
    assert found["full_linear_top1"] == pytest.approx(
        np.mean([linear("full", seed) for seed in (0, 1)])
    )
    assert "late-1 was measured elsewhere meanwhile, skipped" in capsys.readouterr().out


def test_records_of_another_table_complete_this_one(tmp_path):
    """As `full` of ablation_nw_ucla is the reference of pooled_nw_ucla."""
    play(table_run(tmp_path, variants=ONE_VARIANT), PlayedStages())
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    other = table_run(
        tmp_path,
        "name=other_table",
        f"output={tmp_path}/other",
        f"ablate.published=[{tmp_path}/results/other_table.jsonl,"
        f"{tmp_path}/results/small_table.jsonl]",
        variants="{full: [], early: [objective=early]}",
    )
    stages = PlayedStages()
    play(other, stages)
    assert stages.pretrained == ["early-0", "early-1"]
    publish(str(tmp_path / "other"), str(tmp_path / "results"))
    text = (tmp_path / "results" / "other_table.md").read_text()
    assert "| full | 2 |" in text and "| early | 2 |" in text
    assert "name=other_table" in text
