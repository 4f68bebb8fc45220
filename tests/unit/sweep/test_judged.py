"""Verdicts of a table: those of its own run, and those of published records."""

import importlib.util
import json

import pytest

from pipeline.core.errors import UserError
from pipeline.sweep.publish import publish
from pipeline.sweep.records import read_records, write_records
from tests.helpers.paths import ROOT
from tests.helpers.tables import (
    ALL_TRIALS,
    PlayedTrials,
    play,
    quickly,
    records_of,
    table_run,
)

VERDICT = "{variant: early, against: [full, late], metrics: [retrieval_map]}"
# Of seeds 0 and 1: `early` is 0.80 and 0.82, `full` 0.90 and 0.94, for each person alike.
WORSE = "| small_table | mAP | 3 | 85.3 | 96.3 | 50.0 | -11.0 | -11.0 to -11.0 | worse |"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    quickly(monkeypatch)


@pytest.fixture(scope="module")
def judge():
    """The script `results/verdicts.py` as a function of its arguments."""
    spec = importlib.util.spec_from_file_location(
        "verdicts_script", ROOT / "results" / "verdicts.py"
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return lambda *arguments: script.main([str(argument) for argument in arguments])


@pytest.fixture
def published(tmp_path):
    """A published table of two seeds whose verdict was planned: the options that say where."""
    play(table_run(tmp_path, verdict=VERDICT), PlayedTrials(people=True))
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    return "--folder", tmp_path / "results", "--config-dir", tmp_path / "conf"


def test_a_run_of_a_table_shows_its_verdicts(tmp_path, capsys):
    found = play(table_run(tmp_path, verdict=VERDICT), PlayedTrials(people=True))
    assert found["early_over_full_retrieval_map"] == "worse"
    for end in ("difference", "low", "high"):
        assert found[f"early_over_full_retrieval_map_{end}"] == pytest.approx(-0.11)
    text = (tmp_path / "run" / "table.md").read_text()
    assert WORSE in text and "before 6 of 6 trials were run." in text
    assert "Is early better than late?" in capsys.readouterr().out
    record = records_of(tmp_path / "run")["early-1"]
    assert record.people["10"] == {
        "clips": 20,
        "retrieval_map": pytest.approx(0.92),
        "random_retrieval_map": 0.5,
    }
    assert (record.plan.variant, record.plan.seeds) == ("early", [0, 1])


def test_a_run_of_some_seeds_has_the_plan_of_the_file(tmp_path):
    run = table_run(tmp_path, "sweep.seeds=[1]", "sweep.only=[early,full]", verdict=VERDICT)
    found = play(run, PlayedTrials(people=True))
    assert found["early_over_full_retrieval_map"] == "incomplete"
    assert records_of(tmp_path / "run")["early-1"].plan.seeds == [0, 1]
    text = (tmp_path / "run" / "table.md").read_text()
    assert "missing: small_table: early-0, small_table: full-0, small_table: late-0" in text


def test_a_record_has_the_plan_that_its_trial_began_with(tmp_path):
    """Whoever changes the plan later has not planned it before the trials."""
    play(table_run(tmp_path, verdict=VERDICT), PlayedTrials(people=True))
    # As if the driver had been killed before it wrote them.
    (tmp_path / "run" / "records.jsonl").unlink()
    trials = PlayedTrials(people=True)
    later = VERDICT.replace("[full, late]", "[late]")
    play(table_run(tmp_path, verdict=later), trials)
    assert trials.trained == []
    assert records_of(tmp_path / "run")["early-1"].plan.against == ["full", "late"]
    assert "before 0 of 6 trials were run." in (tmp_path / "run" / "table.md").read_text()


def test_tables_that_leave_out_different_people_are_judged_together(
    published, tmp_path, judge, capsys
):
    conf = tmp_path / "conf" / "sweep"
    text = (conf / "small_table.yaml").read_text()
    for name, people in (("small_table", "1, 10"), ("other_table", "2")):
        verdict = VERDICT.replace("}", f", except_people: [{people}]}}")
        own = text.replace("small_table", name).replace(VERDICT, verdict)
        (conf / f"{name}.yaml").write_text(own)
    results = tmp_path / "results"
    (results / "other_table.jsonl").write_bytes((results / "small_table.jsonl").read_bytes())
    file = tmp_path / "verdicts.md"
    assert judge("small_table", "other_table", *published, "--markdown", file) == 0
    shown = capsys.readouterr().out
    assert "small_table: seeds 0, 1; without people 1, 10, on whom settings were chosen." in shown
    assert "other_table: seeds 0, 1; without people 2, on whom settings were chosen." in shown
    assert "| small_table + other_table | mAP | 3 |" in file.read_text()


def test_a_record_without_a_figure_of_the_plan_is_measured_again(tmp_path, capsys):
    play(table_run(tmp_path), PlayedTrials())
    publish(str(tmp_path / "run"), str(tmp_path / "results"))
    trials = PlayedTrials(people=True)
    play(table_run(tmp_path, f"output={tmp_path}/elsewhere", verdict=VERDICT), trials)
    assert trials.trained == ALL_TRIALS
    assert "early-0: stale, without retrieval_map; run again" in capsys.readouterr().out

    # The directory of a trial that an older version finished is left as it is.
    with pytest.raises(UserError, match="no trial was finished"):
        play(table_run(tmp_path, "sweep.published=[]", verdict=VERDICT), PlayedTrials(people=True))
    reason = "without retrieval_map; move its directory away, to run it"
    assert f"early-0: not in the table ({reason})" in capsys.readouterr().out


def test_runs_and_pages_show_the_noise_beside_the_published_tables(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    noise = {"configuration": "nw_ucla", "date": "2026-11-28"}
    for figure in ("linear_top1", "knn_top1", "retrieval_map"):
        noise[figure] = {"rounding": 0.02, "seeds": 0.03, "probe": 0.0}
    (results / "noise.json").write_text(json.dumps(noise))
    play(table_run(tmp_path, verdict=VERDICT), PlayedTrials(people=True))
    publish(str(tmp_path / "run"), str(results))
    # From seed to seed `early` differs by 1.4 and `full` by 2.8.
    for page in (tmp_path / "run" / "table.md", results / "small_table.md"):
        assert (
            "| early | 2 | 81.0 ± 2.0 | 71.0 ± 2.0 | 81.0 ± 2.0 | -11.0 ± 2.8 |" in page.read_text()
        )
        assert "| full | 2 | 92.0 ± 2.8 |" in page.read_text()
    # A table that plans nothing does not change because of it.
    play(table_run(tmp_path, f"output={tmp_path}/plain"), PlayedTrials(people=True))
    assert "| early | 2 | 81.0 ± 1.4 |" in (tmp_path / "plain" / "table.md").read_text()


def test_published_records_are_judged(published, tmp_path, judge, capsys):
    file = tmp_path / "verdicts.md"
    assert judge("small_table", *published, "--markdown", file) == 0
    shown = capsys.readouterr().out
    assert "Is early better than full?" in shown and "worse" in shown
    assert "small_table: seeds 0, 1. This comparison stood in the file of the table before" in shown
    text = file.read_text()
    assert WORSE in text and "before 6 of 6 trials" in text
    assert WORSE in (tmp_path / "results" / "small_table.md").read_text()


def test_records_of_other_settings_or_clips_do_not_count(published, tmp_path, judge, capsys):
    uri = str(tmp_path / "results" / "small_table.jsonl")
    records = []
    for record in read_records(uri):
        if record.name == "full-1":
            record = record.model_copy(update={"hash": "0"})
        if record.name == "late-0":
            record = record.model_copy(update={"stores": ["of others"]})
        records.append(record.model_copy(update={"plan": None}))
    write_records(uri, records, ["full", "early", "late"])
    assert judge("small_table", *published) == 0
    shown = capsys.readouterr().out
    assert "small_table: full-1 does not count, of another configuration" in shown
    assert "small_table: late-0 does not count, of other clips than most" in shown
    assert "2 measurements are missing: small_table: full-1, small_table: late-0" in shown
    assert shown.count("incomplete") == 2
    assert "before 0 of 4 trials were run" in shown


def test_what_cannot_be_judged_is_refused(published, tmp_path, judge, capsys):
    def refusal(*tables: str) -> str:
        assert judge(*tables, *published) == 2
        return capsys.readouterr().err

    assert "small_table, small_table: name each table only once" in refusal(*["small_table"] * 2)
    assert "ablation_nw_ucla: its file plans no verdict" in refusal("ablation_nw_ucla")
    assert "loss_weights: a search" in refusal("loss_weights")
    assert "sweep=small_tabel: unknown" in refusal("small_tabel")
    other = tmp_path / "conf" / "sweep" / "other_table.yaml"
    text = (tmp_path / "conf" / "sweep" / "small_table.yaml").read_text()
    other.write_text(text.replace("small_table", "other_table").replace("[full, late]", "[full]"))
    assert "other_table.jsonl: holds no records" in refusal("other_table")
    results = tmp_path / "results"
    (results / "other_table.jsonl").write_bytes((results / "small_table.jsonl").read_bytes())
    error = refusal("small_table", "other_table")
    assert "sweep.verdict: other_table asks something else" in error and error.count("\n") == 1
