"""Verdicts: pairs of people, what is missing, and what is concluded."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.verdict import Verdict
from pipeline.tables.bootstrap import intervals
from pipeline.tables.noise import Noise
from pipeline.tables.page import print_table
from pipeline.tables.rows import Table
from pipeline.tables.text import markdown
from pipeline.tables.verdict_text import missing_text, verdict_cells, verdict_paragraphs
from pipeline.tables.verdicts import Plan, PlannedTable, judge
from tests.helpers import hostile
from tests.helpers.measured import MeasuredRun, measured

MAP = "retrieval_map"
ASKED = Verdict(variant="sce", against=["umurl"], metrics=[MAP])
# Seed 0 tests persons 1 and 2, seed 1 tests 2 and 10, seed 2 those of seed 0 again.
SPLITS = {0: ("1", "2"), 1: ("2", "10"), 2: ("1", "2")}


def run_of(variant: str, seed: int, people: dict[str, float], store: str = "a") -> MeasuredRun:
    """A run that measured so much of each person."""
    before = 0.1 * (1 + seed)
    figures = {MAP: float(np.mean(list(people.values()))), f"random_{MAP}": before}
    run = measured(variant, seed, linear_top1=0.9, **figures)
    of_people = {}
    for person, value in people.items():
        of_people[person] = {MAP: value, f"random_{MAP}": before, "clips": 9}
    return replace(run, people=of_people, stores=(store,))


def with_plan(name, seeds, records, except_people=()) -> PlannedTable:
    """A table whose verdict was asked for by its plan."""
    asked = ASKED.model_dump() | {"except_people": list(except_people)}
    return PlannedTable(name, Plan(**asked, seeds=list(seeds)), records)


def table_of(differences: dict[str, float], name: str = "a", scale: float = 1.0) -> PlannedTable:
    """A table in which person by person differs by so much, whatever the seed adds to both."""
    records = []
    seeds = []
    for seed, people in SPLITS.items():
        tested = [person for person in people if person in differences]
        if not tested:
            continue
        seeds.append(seed)
        theirs = {person: 0.5 + 0.01 * seed for person in tested}
        mine = {person: theirs[person] + scale * differences[person] for person in tested}
        records.append(run_of("umurl", seed, theirs, name))
        records.append(run_of("sce", seed, mine, name))
    return with_plan(name, seeds, records)


def judgement_of(*tables: PlannedTable, asked: Verdict = ASKED):
    (judgement,) = judge(asked, tables)
    return judgement


def test_differences_are_averaged_for_each_person_first():
    records = [
        run_of("umurl", 0, {"1": 0.50, "2": 0.50}),
        run_of("sce", 0, {"1": 0.52, "2": 0.54}),
        run_of("umurl", 1, {"2": 0.60, "10": 0.60}),
        run_of("sce", 1, {"2": 0.60, "10": 0.61}),
        run_of("sce", 7, {"1": 0.99}),  # no seed of the plan
        run_of("late", 0, {"1": 0.99, "2": 0.99}),
    ]
    found = judgement_of(with_plan("a", [0, 1], records))
    (result,) = found.by_data
    of_people = np.array([0.02, 0.02, 0.01])
    assert (result.people, result.cells) == (3, 4)
    assert result.difference == pytest.approx(of_people.mean())
    assert result.interval == pytest.approx(intervals({"a": of_people}).pooled)
    assert result.variant == pytest.approx(np.mean([0.52, 0.57, 0.61]))
    assert result.against == pytest.approx(np.mean([0.50, 0.55, 0.60]))
    assert result.random == pytest.approx(np.mean([0.1, 0.15, 0.2]))
    assert found.missing == [] and found.finding == "better"


def test_people_on_whom_settings_were_chosen_are_not_judged():
    records = [
        run_of("umurl", 0, {"1": 0.50, "2": 0.50}),
        run_of("sce", 0, {"1": 0.90, "2": 0.51}),
        run_of("umurl", 1, {"1": 0.50, "10": 0.60}),
        run_of("sce", 1, {"1": 0.90, "10": 0.63}),
    ]
    # It does not matter, either, that a figure of theirs is missing.
    del records[0].people["1"][MAP]
    found = judgement_of(with_plan("a", [0, 1], records, except_people=[1]))
    assert found.missing == [] and found.by_data[0].people == 2
    assert found.by_data[0].difference == pytest.approx(0.02)


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.sampled_from(["1", "2", "3", "10"])),
        st.tuples(st.integers(0, 100), st.integers(0, 100)),
        min_size=1,
    )
)
def test_all_that_is_measured_is_paired(cells):
    """Against loops over everything that was measured."""
    tables = []
    for name in "ab":
        records = []
        for seed in range(3):
            mine = {}
            theirs = {}
            for (table, of_seed, person), (one, other) in cells.items():
                if (table, of_seed) == (name, seed):
                    mine[person], theirs[person] = one / 100, other / 100
            if mine:
                records += [run_of("sce", seed, mine, name), run_of("umurl", seed, theirs, name)]
        tables.append(with_plan(name, sorted({r.seed for r in records}), records))
    found = judgement_of(*tables)
    means = []
    for name in "ab":
        for person in ("1", "2", "3", "10"):
            pairs = [cells.get((name, seed, person)) for seed in range(3)]
            differences = [(one - other) / 100 for one, other in filter(None, pairs)]
            if differences:
                means.append(math.fsum(differences) / len(differences))
    assert found.missing == []
    assert found.pooled.people == len(means)
    assert found.pooled.cells == len(cells)
    assert found.pooled.difference == pytest.approx(math.fsum(means) / len(means), abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "finding"),
    [
        ({"1": 0.02, "2": 0.03, "10": 0.01}, None, "better"),
        ({"1": -0.02, "2": -0.03, "10": -0.01}, None, "worse"),
        ({"1": 0.02, "2": -0.03, "10": 0.01}, None, "not told apart"),
        ({"1": 0.0, "2": 0.0, "10": 0.0}, None, "not told apart"),
        # One data set tells nothing by itself, all together do.
        ({"1": 0.08, "2": 0.09, "10": 0.10}, {"1": -0.01, "2": 0.02, "10": 0.0}, "better"),
        # All together do, but one data set says the opposite.
        (
            {"1": 0.08, "2": 0.09, "10": 0.10},
            {"1": -0.01, "2": -0.02, "10": -0.01},
            "not told apart",
        ),
        # One person does not tell how much people differ.
        ({"1": 0.08, "2": 0.09, "10": 0.10}, {"1": 0.05}, "not told apart"),
    ],
)
def test_a_verdict_follows_from_the_intervals(a, b, finding):
    tables = [table_of(a)]
    if b is not None:
        tables.append(table_of(b, "b"))
    found = judgement_of(*tables)
    assert (found.missing, found.finding) == ([], finding)
    mirrored = Verdict(variant="umurl", against=["sce"], metrics=[MAP])
    opposite = {"better": "worse", "worse": "better"}
    assert judgement_of(*tables, asked=mirrored).finding == opposite.get(finding, finding)
    # The order of tables, records and people says nothing.
    shuffled = []
    for table in reversed(tables):
        records = []
        for record in reversed(table.records):
            records.append(replace(record, people=dict(reversed(record.people.items()))))
        shuffled.append(with_plan(table.name, table.plan.seeds[::-1], records))
    again = judgement_of(*shuffled)
    assert again.finding == finding
    if found.pooled.interval is not None:
        assert again.pooled.interval == pytest.approx(found.pooled.interval)


def test_what_is_left_of_rounding_is_no_difference():
    found = judgement_of(table_of({"1": 1e-17, "2": 3e-17, "10": 2e-16}))
    assert found.finding == "not told apart" and found.pooled.interval == (0.0, 0.0)


def test_tables_of_the_same_clips_are_one_data_set():
    first = table_of({"1": 0.02, "2": 0.04, "10": 0.03})
    second = replace(first, name="again")
    other = table_of({"1": 0.02, "2": 0.04, "10": 0.03}, "b")
    found = judgement_of(first, second, other)
    assert [result.name for result in found.by_data] == ["a + again", "b"]
    assert [result.people for result in found.by_data] == [3, 3]
    assert [result.cells for result in found.by_data] == [12, 6]


def test_what_is_missing_is_named_and_nothing_is_concluded():
    table = table_of({"1": 0.02, "2": 0.03, "10": 0.01})
    records = [record for record in table.records if (record.variant, record.seed) != ("sce", 1)]
    found = judgement_of(replace(table, records=records))
    assert found.missing == ["a: sce-1"] and found.finding == "incomplete"
    assert found.pooled.difference == pytest.approx(0.025)

    broken = {("sce", 0): {}, ("umurl", 1): {"2": {MAP: 0.5}, "10": {"clips": 1}}}
    records = []
    for record in table.records:
        people = broken.get((record.variant, record.seed), record.people)
        records.append(replace(record, people=people))
    found = judgement_of(replace(table, records=records))
    assert found.missing == [
        "a: sce-0 (no people are known)",
        f"a: umurl-1 (no {MAP} of person 10)",
    ]
    assert found.finding == "incomplete"

    nothing = judgement_of(replace(table, records=[]))
    assert nothing.pooled is None and nothing.by_data == [] and nothing.finding == "incomplete"
    assert len(nothing.missing) == 6
    assert verdict_cells(ASKED, "umurl", [nothing])[1] == [
        ["all", "mAP", "", "", "", "", "", "", "incomplete"]
    ]
    many = replace(nothing, missing=[f"sce-{seed}" for seed in range(12)])
    assert missing_text([many, many]).endswith("sce-6, sce-7 and 4 more")
    assert missing_text([many]).startswith("12 measurements are missing: sce-0, sce-1")


def test_each_data_set_has_a_row_and_all_together_the_verdict():
    a = {"1": 0.02, "2": 0.03, "10": 0.01}
    both = [table_of(a), table_of(a, "b", scale=2)]
    header, rows = verdict_cells(ASKED, "umurl", judge(ASKED, both))
    assert header[:6] == ["data", "figure", "people", "sce", "umurl", "random"]
    assert [row[0] for row in rows] == ["all", "a", "b"]
    assert [row[-1] for row in rows] == ["better", "", ""]
    assert [row[header.index("Δ")] for row in rows] == ["+3.0", "+2.0", "+4.0"]
    assert rows[1][header.index("95 %")].startswith("+1.")
    assert rows[0][header.index("random")] == "20.0"
    _, alone = verdict_cells(ASKED, "umurl", judge(ASKED, both[:1]))
    assert [(row[0], row[-1]) for row in alone] == [("a", "better")]
    parts = verdict_paragraphs(ASKED, judge(ASKED, both), ["a: planned"], level=1)
    assert parts[0] == "# Is sce better than umurl?" and parts[-1] == "a: planned"


def planned_table(**noise: float) -> Table:
    """A table with a plan that most of its records carry."""
    plan = Plan(**ASKED.model_dump(), seeds=list(SPLITS))
    records = []
    for record in table_of({"1": 0.02, "2": 0.03, "10": 0.01}).records:
        own = plan if record.seed else None
        records.append(replace(record, plan=own, experiment="a"))
    deviations = Noise("nw_ucla", "2026-11-28", noise) if noise else None
    return Table.of("a", records, ["umurl", "sce"], noise=deviations)


def test_a_table_with_a_plan_shows_its_verdicts(capsys):
    table = planned_table()
    assert len(table.plans) == 1 and table.planned(table.plans[0]) == 4
    text = markdown(table, "plot.png")
    assert "## Is sce better than umurl?\n\n| data |" in text
    assert (
        "\n\na: seeds 0, 1, 2. This comparison stood in the file of the table before 4 of 6 "
        in text
    )
    assert "| a | mAP | 3 |" in text and "| better |" in text
    print_table(table)
    assert "Is sce better than umurl?" in capsys.readouterr().out
    # A table without a plan looks as before, measured noise or not.
    plain = replace(table, plans=[])
    assert markdown(plain, "plot.png") in text.replace(
        text[text.index("## Is") : text.index("![")], ""
    )


def test_records_of_another_table_do_not_bring_its_plan():
    """A table of settings takes `sce` over from a table that plans a verdict on it."""
    theirs = planned_table().records
    own = [replace(record, variant="warmer", plan=None, experiment="b") for record in theirs[:1]]
    taken_over = Table.of("b", [*theirs, *own], ["umurl", "sce", "warmer"])
    assert taken_over.plans == []
    assert "Is sce better" not in markdown(taken_over, "plot.png")


def test_deviations_are_no_smaller_than_noise():
    quiet, noisy = planned_table(), planned_table(retrieval_map=0.1, linear_top1=0.02)

    def row(table: Table, variant: str) -> str:
        lines = markdown(table, "plot.png").splitlines()
        return next(line for line in lines if line.startswith(f"| {variant} | 3 |"))

    assert "| 51.0 ± 1.0 |" in row(quiet, "umurl") and "| 51.0 ± 10.0 |" in row(noisy, "umurl")
    assert "| 90.0 ± 2.0 |" in row(noisy, "sce") and "| +0.0 ± 2.8 |" in row(noisy, "sce")
    # Nothing is trained in the random row.
    assert "| 20.0 ± 10.0 |" in row(planned_table(retrieval_map=0.5), "random")
    assert "measured with `nw_ucla` on 2026-11-28 (mAP 10.0, linear 2.0;" in markdown(
        noisy, "p.png"
    )
    # Results for scripts are those of the seeds.
    assert noisy.rows == quiet.rows


def test_names_are_shown_as_text():
    for name in hostile.ALL:
        measured_of = table_of({"1": 0.02, "2": 0.03, "10": 0.01})
        table = with_plan(name, [0, 1, 2, 3], measured_of.records)
        text = "\n\n".join(verdict_paragraphs(ASKED, judge(ASKED, [table]), [name], level=2))
        assert len([line for line in text.splitlines() if line.startswith("|")]) == 3
        assert "<script" not in text
