"""Which trials a search tries, and that an interruption changes nothing about it."""

import random

import pytest

from pipeline.config.sweep import Sweep
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs.directory import RunDirectory
from pipeline.sweep import search as search_module
from pipeline.sweep.search import Search, require_buildable
from tests.helpers.searches import (
    GRID,
    NO_SPACE,
    TWO_KEYS,
    compose_quickly,
    goodness,
    record_of,
    search_run,
)

TRIALS = 16


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return search_run(tmp_path_factory.mktemp("sweep"), *TWO_KEYS, f"sweep.trials={TRIALS}")


@pytest.fixture(autouse=True)
def quickly(request, monkeypatch):
    """Compose and build only where the configuration of a trial is looked at."""
    if "composed" not in request.fixturenames:
        monkeypatch.setattr(search_module, "compose_trial", compose_quickly)
        monkeypatch.setattr(search_module, "resolve", lambda *_: None)


@pytest.fixture
def composed():
    """Marks a test in which trials are composed."""


def with_settings(run, **changes):
    """The same run with other settings of its sweep; composing it again would take longer."""
    values = run.config.sweep.model_dump() | changes
    settings = Sweep.model_validate(values)
    config = run.config.model_copy(update={"sweep": settings})
    return run.__class__(**{**vars(run), "config": config})


def outcome(trial):
    """How a trial ends: it follows from its values alone."""
    value = goodness(trial)
    if trial.name.startswith("point005"):
        return record_of(trial, "failed", reason="its process was lost")
    if value < 0.8:
        return record_of(trial, "stopped", [value / 2], reason="asha")
    return record_of(trial, "finished", [value / 2, value])


def run_all(search, known=None, slots=2):
    """Run a search to its end, so many trials at a time; return the trials in their order."""
    trials = []
    running = []
    while True:
        while len(running) < slots:
            trial = search.next_trial()
            if trial is None:
                break
            running.append(trial)
            trials.append(trial)
        if not running:
            return trials
        record = outcome(running.pop(0))
        if known is not None:
            known[record.name] = record
        search.ended(record)


def shown(trials):
    return [(trial.name, trial.params) for trial in trials]


def test_a_trial_is_an_ordinary_run_of_a_point(sweep, composed):
    trial = Search(sweep, ["data.protocol=xsub"], []).next_trial()
    assert (trial.name, trial.group, trial.config.seed) == ("point000-0", "point000", 0)
    assert trial.config.output == f"{sweep.config.output}/point000-0"
    assert trial.config.stages == ["pretrain"]
    assert trial.config.data.protocol == "xsub"
    assert trial.config.sweep is None
    assert trial.config.views.shear == trial.params["views.shear"]
    assert trial.config.train.optimiser.weight_decay == trial.params["train.optimiser.weight_decay"]
    decay, shear = trial.params.values()
    assert trial.overrides == [
        "data.protocol=xsub",
        f"train.optimiser.weight_decay={decay!r}",
        f"views.shear={shear}",
    ]


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_the_same_search_tries_the_same_points(sweep, kind):
    sweep = with_settings(sweep, search=kind)
    first = shown(run_all(Search(sweep, [], [])))
    assert len(first) == TRIALS
    assert len({str(params) for _, params in first}) == TRIALS
    assert first == shown(run_all(Search(sweep, [], [])))
    other = sweep.config.model_copy(update={"seed": 1})
    moved = sweep.__class__(**{**vars(sweep), "config": other})
    assert shown(run_all(Search(moved, [], [])))[0][1] != first[0][1]


def test_a_trial_that_failed_is_tried_again_after_a_restart(sweep):
    """If a disk was full, all trials have failed."""
    sweep = with_settings(sweep, trials=4, seeds=[0, 1])
    search = Search(sweep, [], [])
    first, second = search.next_trial(), search.next_trial()
    assert (first.name, second.name) == ("point000-0", "point001-0")
    known = [record_of(first, "failed", reason="full"), record_of(second, "finished", [0.1, 0.5])]
    for record in known:
        search.ended(record)
    # Not at once: it was tried often enough.
    assert search.next_trial().name == "point001-1"
    again = Search(sweep, [], known)
    assert again.points[0].state == "open"
    tried = again.next_trial()
    assert (tried.name, tried.params) == (first.name, first.params)
    again.ended(record_of(tried, "finished", [0.2, 0.6]))
    assert [again.next_trial().name, again.next_trial().name] == ["point000-1", "point001-1"]


def test_the_first_seed_of_a_point_may_be_what_is_missing(sweep):
    """Somebody has deleted the directory of its trial."""
    sweep = with_settings(sweep, trials=2, seeds=[0, 1])
    search = Search(sweep, [], [])
    first = search.next_trial()
    search.ended(record_of(first, "finished", [0.1, 0.5]))
    second = record_of(search.next_trial(), "finished", [0.1, 0.5])
    again = Search(sweep, [], [second])
    assert again.next_trial().name == "point000-0"
    assert again.next_trial() is None


@pytest.mark.parametrize("interrupted_after", range(0, TRIALS + 1, 3))
def test_an_interrupted_search_tries_what_it_would_have_tried(sweep, interrupted_after):
    whole = shown(run_all(Search(sweep, [], [])))
    search = Search(sweep, [], [])
    records = {}
    running = []
    begun = []
    # Two slots, and then the driver is killed: its trials are open.
    while len(begun) < TRIALS:
        trial = search.next_trial()
        begun.append(trial)
        records[trial.name] = record_of(trial, "open", [0.1])
        running.append(trial)
        if len(begun) > interrupted_after:
            break
        if len(running) == 2:
            record = outcome(running.pop(0))
            records[record.name] = record
            search.ended(record)
    shuffled = list(records.values())
    random.Random(0).shuffle(shuffled)
    again = run_all(Search(sweep, [], shuffled))
    # First what was open, then what had failed, and nothing that had ended.
    failed = [trial for trial in begun if records[trial.name].state == "failed"]
    first = [*running, *failed]
    assert shown(again[: len(first)]) == shown(first)
    assert shown(begun) + shown(again[len(first) :]) == whole


def test_tpe_draws_where_earlier_points_were_good(sweep):
    means = {}
    for kind in ("tpe", "random"):
        trials = run_all(Search(with_settings(sweep, trials=60, search=kind), [], []))
        late = trials[-20:]
        means[kind] = sum(goodness(trial) for trial in late) / len(late)
    assert means["tpe"] > means["random"] + 0.05


def test_a_small_figure_is_good_if_the_criterion_says_so(tmp_path):
    """TPE looks for the largest alignment loss if it takes it for an accuracy."""
    run = search_run(tmp_path, *TWO_KEYS, f"sweep.trials={TRIALS}")
    criterion = run.config.sweep.criterion.model_copy(update={"metric": "alignment"})
    run = with_settings(run, criterion=criterion.model_dump())
    search = Search(run, [], [])
    shears = []
    for trial in iter(search.next_trial, None):
        shears.append(trial.params["views.shear"])
        record = record_of(trial, "finished", [0.0])
        record.rungs[0].figures["alignment"] = shears[-1]
        search.ended(record)
    late = shears[search_module.STARTUP_POINTS :]
    assert sum(late) / len(late) < 0.3


def test_a_grid_is_run_with_every_seed(tmp_path):
    trials = run_all(Search(search_run(tmp_path, *GRID, "sweep.seeds=[3,1]"), [], []), slots=1)
    # Those of which a trial failed or was stopped are not run with other seeds.
    names = [trial.name for trial in trials]
    assert names[:4] == ["point000-3", "point000-1", "point001-3", "point001-1"]
    assert "point005-3" in names and "point005-1" not in names
    assert trials[2].params == {"views.shear": 0.0, "views.mirror": 0.5}


def test_more_trials_go_on_with_an_ended_search(sweep):
    records = {}
    fewer = with_settings(sweep, trials=4)
    run_all(Search(fewer, [], []), records)
    more = run_all(Search(sweep, [], list(records.values())))
    assert [trial.name for trial in more] == [f"point{number:03d}-0" for number in range(4, 16)]


def test_a_seed_that_is_missing_comes_before_a_new_point(sweep):
    sweep = with_settings(sweep, seeds=[0, 1])
    trial = Search(sweep, [], []).next_trial()
    search = Search(sweep, [], [record_of(trial, "finished", [0.5])])
    assert [search.next_trial().name for _ in range(2)] == ["point000-1", "point001-0"]


def test_other_seeds_wait_until_the_scheduler_has_let_the_first_come_to_its_end(sweep):
    sweep = with_settings(sweep, seeds=[0, 1])
    search = Search(sweep, [], [])
    one, other = search.next_trial(), search.next_trial()
    assert [one.name, other.name] == ["point000-0", "point001-0"]
    search.ended(record_of(other, "finished", [0.5]))
    assert search.next_trial().name == "point001-1"


def test_without_a_scheduler_the_seeds_of_a_point_follow_each_other(sweep):
    sweep = with_settings(sweep, seeds=[0, 1], scheduler=None)
    search = Search(sweep, [], [])
    assert [search.next_trial().name for _ in range(2)] == ["point000-0", "point000-1"]


def test_a_stopped_point_is_not_run_with_other_seeds(sweep):
    sweep = with_settings(sweep, seeds=[0, 1])
    trial = Search(sweep, [], []).next_trial()
    search = Search(sweep, [], [record_of(trial, "stopped", [0.5])])
    assert search.next_trial().name == "point001-0"


def test_the_mean_over_seeds_is_what_counts(sweep):
    sweep = with_settings(sweep, seeds=[0, 1])
    search = Search(sweep, [], [])
    one = search.next_trial()
    search.ended(record_of(one, "finished", [0.2, 0.4]))
    two = search.next_trial()
    (point,) = search.points
    assert (point.state, point.value("linear_top1")) == ("open", None)
    search.ended(record_of(two, "finished", [0.4, 0.8]))
    assert (point.state, point.value("linear_top1")) == ("finished", pytest.approx(0.6))
    search.ended(record_of(two, "stopped", [0.4]))
    assert point.state == "stopped"
    assert point.curve("linear_top1") == {4: pytest.approx(0.3)}


def test_a_hole_in_the_records_is_filled(sweep):
    """The driver died between the draw of a point and its record."""
    search = Search(sweep, [], [])
    trials = [search.next_trial() for _ in range(3)]
    known = [record_of(trials[0], "open"), record_of(trials[2], "open")]
    again = Search(sweep, [], known)
    assert [again.next_trial().name for _ in range(4)] == [
        "point000-0",
        "point002-0",
        "point001-0",
        "point003-0",
    ]


def test_records_of_other_runs_do_not_count(sweep):
    trial = Search(sweep, [], []).next_trial()
    others = [
        record_of(trial, "finished", [0.5], group="best", name="best-0"),
        record_of(trial, "finished", [0.5], seed=7, name="point000-7"),
    ]
    assert Search(sweep, [], others).points == []


def test_a_record_of_another_space_is_refused(sweep):
    trial = Search(sweep, [], []).next_trial()
    record = record_of(trial, params={"views.shear": 5.0})
    with pytest.raises(UserError, match=r"point000-0: its trial\.json has values that are not in"):
        Search(sweep, [], [record])


def test_a_trial_that_was_finished_without_the_criterion_is_named(sweep):
    search = Search(sweep, [], [])
    trial = search.next_trial()
    record = record_of(trial, "finished", [0.5])
    del record.rungs[0].figures["linear_top1"]
    record.rungs[0].figures["knn_top1"] = 0.5
    with pytest.raises(UserError, match="metric=linear_top1: point000-0 was finished without it"):
        search.ended(record)
    with pytest.raises(UserError, match="it has knn_top1"):
        Search(sweep, [], [record])


def test_a_choice_whose_file_was_changed_is_refused(tmp_path, composed):
    """Half of the trials would be of one file, and half of the other."""
    sweep = search_run(tmp_path, *GRID, "+sweep.space.train.choice=[adamw_cosine,umurl]")
    trial = Search(sweep, [], []).next_trial()
    directory = RunDirectory(trial.config.output)
    directory.begin(trial.config)
    record = record_of(trial, "finished", [0.5])
    assert Search(sweep, [], [record]).next_trial().name == "point001-0"
    train = trial.config.train.model_copy(update={"clip_norm": 0.25})
    directory.begin(trial.config.model_copy(update={"train": train}))
    with pytest.raises(UserError, match=r"sweep\.space\.train: adamw_cosine meant something else"):
        Search(sweep, [], [record])


def test_no_point_of_a_small_space_is_tried_twice(tmp_path):
    for kind in ("random", "tpe"):
        words = (*GRID, f"sweep.search={kind}", "sweep.trials=6")
        trials = run_all(Search(search_run(tmp_path, *words), [], []))
        assert len({str(trial.params) for trial in trials}) == 6


def test_a_point_that_no_run_accepts_is_left_out(tmp_path, capsys, composed):
    """Cosine needs a regulariser, and infonce takes none. No corner shows it: a is the first."""
    words = (
        *NO_SPACE,
        "+sweep.space.objective.alignment.loss.choice=[infonce,cosine]",
        "+sweep.space.objective.regularisation.weight.choice=[0.0,1.0]",
    )
    gridded = search_run(tmp_path, *words, "sweep.search=grid", "sweep.trials=null")
    names = [trial.name for trial in run_all(Search(gridded, [], []))]
    assert names == ["point000-0", "point003-0"]
    assert capsys.readouterr().out.count("is left out: ") == 2
    drawn = search_run(tmp_path, *words, "sweep.search=random", "sweep.trials=4")
    assert len(run_all(Search(drawn, [], []))) == 2


def test_a_space_that_no_run_accepts_ends_the_search(sweep, monkeypatch):
    def refuse(*_):
        raise ConfigError("views.shear: never")

    monkeypatch.setattr(search_module, "resolve", refuse)
    monkeypatch.setattr(search_module, "MOST_DRAWS", 3)
    with pytest.raises(UserError, match=r"sweep.space: 3 points were drawn .* views.shear: never"):
        Search(sweep, [], []).next_trial()


def test_what_no_model_can_be_built_of_is_found_before_the_start(tmp_path, composed):
    words = (*NO_SPACE, "+sweep.space.objective.alignment.loss.choice=[infonce,cosine]")
    run = search_run(tmp_path, *words, "sweep.search=random", "sweep.trials=2")
    with pytest.raises(ConfigError, match=r"^sweep\.space\.objective\.alignment\.loss=cosine: "):
        require_buildable(run)
