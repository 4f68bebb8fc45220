"""Which trials of a table are run, and what comes of them. The trials are played."""

import csv
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
from pipeline.sweep.publish import publish
from pipeline.sweep.records import read_records
from pipeline.sweep.trial import read_record
from pipeline.sweep.variants import compose_variant
from pipeline.tables import page
from tests.helpers.stores import write_store
from tests.helpers.tables import (
    ALL_TRIALS,
    ONE_VARIANT,
    VARIANTS,
    PlayedTrials,
    forget,
    linear,
    play,
    quickly,
    records_of,
    table_run,
)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    quickly(monkeypatch)


@pytest.fixture(autouse=True)
def _no_plots(request, monkeypatch):
    """Draw only where a plot is looked at: it takes half a second."""
    if "plots" not in request.fixturenames:
        monkeypatch.setattr(page, "plot", lambda table: b"no plot")
        monkeypatch.setattr(publish_module, "plot", lambda table: b"no plot")


@pytest.fixture
def plots():
    """Marks a test that looks at plots."""


def trained(run) -> list[str]:
    """Play a table, and return the trials that were run for it."""
    trials = PlayedTrials()
    play(run, trials)
    return trials.trained


def test_a_whole_table(tmp_path):
    run = table_run(tmp_path)
    assert trained(run) == ALL_TRIALS  # seed by seed: a whole table early
    record = records_of(tmp_path / "run")["late-1"]
    assert (record.variant, record.seed, record.overrides) == ("late", 1, ["objective=late"])
    assert record.hash == digest(compose_variant(run, "late", 1).config)
    assert record.figures["linear_top1"] == linear("late", 1)
    assert "checkpoint" not in record.figures
    assert {"torch", "ray", "numpy"} == record.versions.keys() and record.date
    assert (record.code, record.seconds) == ("0123456789ab", 60)
    assert record.command == ["sweep=small_table", "data.raw=nw-ucla.zip"]
    # Nothing is written but in the output: the checkout is published to in a step of its own.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf", "run"]


def test_results_of_a_whole_table(tmp_path, capsys):
    found = play(table_run(tmp_path), PlayedTrials())
    full = [linear("full", seed) for seed in (0, 1)]
    early = [linear("early", seed) for seed in (0, 1)]
    assert (found["trials"], found["trials_unmeasured"]) == (6, 0)
    assert found["full_linear_top1"] == pytest.approx(np.mean(full))
    assert found["full_linear_top1_std"] == pytest.approx(abs(full[0] - full[1]) / np.sqrt(2))
    assert found["early_linear_top1_difference"] == pytest.approx(np.mean(np.subtract(early, full)))
    assert found["early_linear_top1_difference_std"] == pytest.approx(
        np.std(np.subtract(early, full), ddof=1)
    )
    assert found["random_linear_top1"] == pytest.approx(0.705)
    assert "full_linear_top1_difference" not in found
    assert "early" in capsys.readouterr().out.split("small_table")[-1]  # on the console


def test_pages_of_a_whole_table(tmp_path, plots):
    play(table_run(tmp_path), PlayedTrials())
    output = tmp_path / "run"
    text = (output / "table.md").read_text()
    assert "| early | 2 | 81.0 ± 1.4 | 71.0 ± 1.4 | -11.0 ± 1.4 | -11.0 ± 1.4 | 0.1 |" in text
    assert "skelfuse sweep=small_table data.raw=nw-ucla.zip\n" in text
    assert str(tmp_path) not in text
    assert (output / "table.png").read_bytes().startswith(b"\x89PNG")
    assert "(table.png)" in text
    # The page and the data beside it have every trial, with what it changes.
    shown = (output / "comparison.html").read_bytes()
    assert b"early-1" in shown and b'"reference":"full"' in shown
    rows = csv.DictReader((output / "comparison.csv").open())
    assert {row["name"]: row["params.objective"] for row in rows} == {
        "full-0": "",
        "early-0": "early",
        "late-0": "late",
        "full-1": "",
        "early-1": "early",
        "late-1": "late",
    }


def test_splits_take_turns_and_none_is_stale(tmp_path):
    overrides = [
        "sweep.splits=[dev,cross_view]",
        "sweep.seeds=[0,1,2]",
        "data.protocol=dev_camera_1",
    ]
    first = play(table_run(tmp_path, *overrides), PlayedTrials())
    again = PlayedTrials()
    assert play(table_run(tmp_path, *overrides), again) == first
    assert again.trained == []  # none is stale
    text = (tmp_path / "run" / "table.md").read_text()
    assert "each on a split of its own" in text and "'sweep.splits=[dev,cross_view]'" in text
    assert "protocols cross_view (1,020 / 464 clips), dev (1,020 / 464 clips), 24 epochs" in text

    # Seed 1 was on this protocol, the others not.
    other = trained(table_run(tmp_path, "sweep.seeds=[0,1,2]"))
    assert other == ["full-0", "early-0", "late-0", "full-2", "early-2", "late-2"]


def test_what_is_done_is_skipped_and_what_is_stale_done_again(tmp_path, capsys):
    play(table_run(tmp_path), PlayedTrials())
    again = PlayedTrials()
    found = play(table_run(tmp_path), again)
    assert again.trained == [] and found["full_linear_top1"] == pytest.approx(0.92)
    assert "6 of 6 trials" in capsys.readouterr().out

    # Another seed, and `early` with other settings: what is there of the others stays.
    variants = VARIANTS.replace("objective=early", "objective=umurl")
    done = trained(table_run(tmp_path, "sweep.seeds=[0,1,2]", variants=variants))
    assert done == ["early-0", "early-1", "full-2", "early-2", "late-2"]
    assert "early-0: stale, of another configuration" in capsys.readouterr().out
    # What the directory held moved aside.
    assert len(list((tmp_path / "run").glob("early-0.*"))) == 1
    assert records_of(tmp_path / "run")["early-0"].overrides == ["objective=umurl"]

    # A smaller request shows all seeds that are there.
    smaller = table_run(tmp_path, "sweep.seeds=[1]", variants=ONE_VARIANT)
    assert play(smaller, PlayedTrials())["full_linear_top1"] == pytest.approx(
        np.mean([linear("full", seed) for seed in (0, 1, 2)])
    )


def test_records_outlive_settings_that_are_tried(tmp_path):
    """Another meaning of `early`, and a table without `late`: both may be set back."""
    output = tmp_path / "run"
    play(table_run(tmp_path), PlayedTrials())
    before = records_of(output)
    tried = "{full: [], early: [objective=umurl]}"
    assert trained(table_run(tmp_path, "sweep.only=[full]", variants=tried)) == []
    assert list(records_of(output)) == ["full-0", "full-1"]
    assert "| early |" not in (output / "table.md").read_text()
    # They are not part of the table that is published.
    publish(str(output), str(tmp_path / "results"))
    published = read_records(str(tmp_path / "results" / "small_table.jsonl"))
    assert [record.name for record in published] == ["full-0", "full-1"]

    assert trained(table_run(tmp_path)) == []
    assert records_of(output) == before
    assert (output / "other_records.jsonl").read_text() == ""


def test_a_record_is_kept_until_its_trial_is_measured_again(tmp_path):
    output = tmp_path / "run"
    play(table_run(tmp_path), PlayedTrials())
    before = records_of(output)
    tried = VARIANTS.replace("objective=early", "objective=umurl")
    with pytest.raises(KeyboardInterrupt):
        play(table_run(tmp_path, variants=tried), PlayedTrials(die_at="early-1"))
    assert records_of(output)["early-0"].overrides == ["objective=umurl"]
    others = read_records(str(output / "other_records.jsonl"))
    assert others == [before["early-1"]] and "early-1" not in records_of(output)
    play(table_run(tmp_path, variants=tried), PlayedTrials())
    assert records_of(output)["early-1"].overrides == ["objective=umurl"]
    assert read_records(str(output / "other_records.jsonl")) == []


def test_a_killed_table_goes_on_with_its_trial(tmp_path):
    output = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        play(table_run(tmp_path), PlayedTrials(die_at="early-0"))
    assert sorted(records_of(output)) == ["full-0"]
    assert "| full | 1 | 90.0 |" in (output / "table.md").read_text()  # the table as it stands
    assert read_record(f"{output}/early-0").state == "open"
    assert trained(table_run(tmp_path)) == ALL_TRIALS[1:]
    assert not list(output.glob("early-0.*"))  # the same directory, its checkpoints in it


def test_a_trial_that_another_process_runs_is_not_touched(tmp_path):
    run = table_run(tmp_path)
    run.directory.begin(run.config)
    directory = compose_variant(run, "early", 0).config.output
    # A user may run a trial of a table alone.
    with take(directory):
        with pytest.raises(UserError, match=f"output={directory}: process") as caught:
            play(run, PlayedTrials())
        assert caught.value.exit_code == 1
        assert os.listdir(directory) == ["owner.json"]
    # The first trial is done, and no longer owned.
    assert len(records_of(Path(run.directory.uri))) == 1
    assert not list(tmp_path.rglob("owner.json"))


def test_a_trial_that_is_not_finished_does_not_end_the_table(tmp_path, capsys):
    reason = "the loss is not finite at step 7"
    trials = PlayedTrials(ends={"early-0": reason})
    found = play(table_run(tmp_path), trials)
    assert trials.trained == ALL_TRIALS
    assert (found["trials"], found["trials_unmeasured"]) == (6, 1)
    assert f"early-0: not in the table (stopped: {reason})" in capsys.readouterr().out
    assert sorted(records_of(tmp_path / "run")) == sorted({*ALL_TRIALS} - {"early-0"})
    assert "| early | 1 |" in (tmp_path / "run" / "table.md").read_text()

    # It would come to the same end.
    again = PlayedTrials()
    assert play(table_run(tmp_path), again) == found
    assert again.trained == []
    assert f"early-0: stopped before, skipped ({reason})" in capsys.readouterr().out
    # With other settings it may be better.
    variants = VARIANTS.replace("objective=early", "objective=umurl")
    assert trained(table_run(tmp_path, variants=variants)) == ["early-0", "early-1"]


def test_a_table_without_a_finished_trial_says_so(tmp_path):
    run = table_run(tmp_path, "sweep.seeds=[0]", variants=ONE_VARIANT)
    with pytest.raises(UserError, match="small_table: no trial was finished"):
        play(run, PlayedTrials(ends={"full-0": "the loss is not finite"}))


def test_a_run_of_some_variants_shows_the_whole_table(tmp_path):
    whole = play(table_run(tmp_path), PlayedTrials())
    text = (tmp_path / "run" / "table.md").read_text()
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    forget(tmp_path / "results" / "small_table.jsonl", "late-1")
    trials = PlayedTrials()
    some = table_run(
        tmp_path, f"output={tmp_path}/elsewhere", "sweep.only=[late]", "sweep.seeds=[1]"
    )
    assert play(some, trials) == whole | {"trials": 1}
    assert trials.trained == ["late-1"]
    assert (tmp_path / "elsewhere" / "table.md").read_text() == text  # the command, too
    assert list(records_of(tmp_path / "elsewhere")) == ["late-1"]


def test_trials_of_other_clips_are_stale(tmp_path, capsys):
    play(table_run(tmp_path, variants=ONE_VARIANT), PlayedTrials())
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    trials = PlayedTrials()
    trials.clips = "of recordings that came later"
    play(table_run(tmp_path, f"output={tmp_path}/elsewhere", variants=ONE_VARIANT), trials)
    assert trials.trained == ["full-0", "full-1"]
    assert "full-0: stale, of other clips; run again" in capsys.readouterr().out
    assert records_of(tmp_path / "elsewhere")["full-1"].stores == [trials.clips]


def test_trials_that_pooled_other_clips_are_stale(tmp_path, capsys):
    class Pooling(PlayedTrials):
        def stores(self, config):
            pooled = read_manifest(config.data.pool[0].store)["fingerprint"]
            return super().stores(config) | {"pool_0": pooled}

    def count(*overrides: str) -> int:
        trials = Pooling()
        play(table_run(tmp_path, "sweep.seeds=[0]", *overrides, variants=pooled), trials)
        return len(trials.trained)

    store = write_store(str(tmp_path / "store"), load(["data.persons=1"]))
    pooled = f"{{full: ['data.pool=[{{store: {store}, clips: {{}}, weight: 1}}]']}}"
    assert [count(), count()] == [1, 0]
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    manifest = tmp_path / "store" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"fingerprint": "of others"}))
    assert count(f"output={tmp_path}/elsewhere") == 1
    # Its directory holds a finished run on the former clips, which is not thrown away.
    forget(tmp_path / "results" / "small_table.jsonl", "full-0")
    with pytest.raises(UserError, match="no trial was finished"):
        count()
    assert "full-0: not in the table (of other clips" in capsys.readouterr().out


def test_a_collapsed_trial_is_marked(tmp_path):
    class Collapsing(PlayedTrials):
        def pretrained(self, config):
            results = super().pretrained(config)
            if config.name == "late-1":
                results["collapsed"] = "step 3: all the same"
            return results

    play(table_run(tmp_path), Collapsing())
    text = (tmp_path / "run" / "table.md").read_text()
    assert "| late (1 collapsed) | 2 |" in text and "| early | 2 |" in text


def test_published_trials_count(tmp_path):
    play(table_run(tmp_path, variants=ONE_VARIANT), PlayedTrials())
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    elsewhere = table_run(tmp_path, f"output={tmp_path}/elsewhere", variants=ONE_VARIANT)
    assert trained(elsewhere) == []
    # Records that were lost are made of the finished trial; nothing is trained again.
    published = tmp_path / "results" / "small_table.jsonl"
    forget(published, "full-0")
    forget(tmp_path / "run" / "records.jsonl", "full-0")
    assert trained(table_run(tmp_path, variants=ONE_VARIANT)) == []
    assert "full-0" in records_of(tmp_path / "run")
    published.write_text("{}\n")
    with pytest.raises(UserError, match=r"small_table.jsonl, line 1: not the record of a trial"):
        trained(elsewhere)


def test_a_table_that_the_version_before_began_goes_on(tmp_path):
    """Its runs have no records of their own, and its configuration and commands former words."""
    output = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        play(table_run(tmp_path), PlayedTrials(die_at="full-1"))
    for path in output.glob("*/trial.json"):
        path.unlink()
    for path in (output / "config.yaml", *output.glob("*/config.yaml")):
        text = path.read_text()
        path.write_text(text.replace("sweep:", "ablate:").replace("- ingest\n- sweep", "- ablate"))
        assert "- ablate\n" in path.read_text() or path.parent != output
    records = output / "records.jsonl"
    former = records.read_text().replace('"sweep=small_table"', '"ablate.splits=null"')
    # Interrupted before the record of its last trial was written.
    records.write_text("".join(former.splitlines(keepends=True)[:2]))
    assert "ablate.splits" in records.read_text()

    assert trained(table_run(tmp_path)) == ["full-1", "early-1", "late-1"]
    assert not [path for path in output.iterdir() if "." in path.name and path.is_dir()]
    assert sorted(records_of(output)) == sorted(ALL_TRIALS)
    assert records_of(output)["full-0"].command[0] == "sweep.splits=null"


def test_two_at_work_on_a_table_share_it(tmp_path, capsys):
    """While one run is in its first trial, another finishes and publishes the last ones."""
    elsewhere = table_run(tmp_path, f"output={tmp_path}/elsewhere", "sweep.seeds=[1]")

    class Beside(PlayedTrials):
        def pretrained(self, config):
            if config.name == "full-0":
                results = play(elsewhere, PlayedTrials())
                assert results["full_linear_top1"] == pytest.approx(linear("full", 1))
                publish(str(tmp_path / "elsewhere"), str(tmp_path / "results"))
            return super().pretrained(config)

    trials = Beside()
    found = play(table_run(tmp_path), trials)
    assert set(trials.trained) == {"full-0", "early-0", "late-0"}
    assert found["full_linear_top1"] == pytest.approx(
        np.mean([linear("full", seed) for seed in (0, 1)])
    )
    assert "late-1: measured elsewhere meanwhile, skipped" in capsys.readouterr().out


def test_records_of_another_table_complete_this_one(tmp_path):
    """As `full` of ablation_nw_ucla is the reference of pooled_nw_ucla."""
    play(table_run(tmp_path, variants=ONE_VARIANT), PlayedTrials())
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    other = table_run(
        tmp_path,
        "name=other_table",
        f"output={tmp_path}/other",
        f"sweep.published=[{tmp_path}/results/other_table.jsonl,"
        f"{tmp_path}/results/small_table.jsonl]",
        variants="{full: [], early: [objective=early]}",
    )
    assert trained(other) == ["early-0", "early-1"]
    publish(str(tmp_path / "other"), str(tmp_path / "results"))
    text = (tmp_path / "results" / "other_table.md").read_text()
    assert "| full | 2 |" in text and "| early | 2 |" in text
    assert "name=other_table" in text
