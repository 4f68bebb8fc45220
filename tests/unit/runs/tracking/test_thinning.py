"""Which rows of a trial's metrics go to MLflow."""

from pipeline.runs.tracking.thinning import MOST_ROWS, Thinning


def steps(rows: list[dict]) -> list[int]:
    return [row["step"] for row in rows]


def test_the_example_of_the_docstring():
    thinning = Thinning(3 * MOST_ROWS)
    assert thinning.every == 3
    rows = [{"step": step, "loss": 1.0} for step in range(1, 11)]
    rows[7]["held_out/linear_top1"] = 0.5
    passed = thinning.take(rows[:5]) + thinning.take(rows[5:])
    assert steps(passed) == [1, 3, 6, 8, 9]
    assert steps(thinning.rest()) == [10]
    assert thinning.rest() == []


def test_a_long_training_has_about_a_hundred_rows_whatever_is_logged():
    for log_every in (1, 7, 10, 50, 500):
        thinning = Thinning(100_000)
        rows = [{"step": step} for step in range(log_every, 100_001, log_every)]
        passed = thinning.take(rows)
        assert min(len(rows), MOST_ROWS) <= len(passed) <= MOST_ROWS + 1


def test_a_short_training_and_one_of_unknown_length_are_not_thinned():
    rows = [{"step": step} for step in range(1, 101)]
    for updates in (None, 1, 100):
        thinning = Thinning(updates)
        assert thinning.take(rows) == rows and thinning.rest() == []


def test_the_row_of_a_rung_is_logged_when_its_figures_come_late():
    thinning = Thinning(10 * MOST_ROWS)
    assert steps(thinning.take([{"step": 10}, {"step": 15}])) == [10]
    # Figures of an earlier step, which has its row or is gone.
    assert thinning.rest(10) == []
    assert steps(thinning.rest(15)) == [15]
    assert thinning.rest(15) == []
