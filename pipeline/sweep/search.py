"""A search: the trials of points in a space. The only module that knows Optuna.

A search keeps no state of its own. What to try next follows from the records of the trials, and
every draw has its own random numbers. So a search that was interrupted goes on with the points that
it would have come to.
"""

import hashlib
import itertools
import json
import warnings
from collections import deque
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.identity import differences, named
from pipeline.config.sweep import Criterion, Range, Sweep
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory, saved_config
from pipeline.runs.metric_names import CRITERIA
from pipeline.runs.resolved import ResolvedRun, resolve
from pipeline.sweep.compose import PRETRAINED, compose_trial, settings_of
from pipeline.sweep.points import Point, final_value, points_of
from pipeline.sweep.searchable import corner_runs, named_problem
from pipeline.sweep.space import Params, grid, overrides_of, rounded, same
from pipeline.sweep.trial import Trial, TrialRecord, trial_name

# Points that TPE draws at random, before it models which of them are good.
STARTUP_POINTS = 10
# So often a point is drawn anew, if no run accepts it or if it was tried before.
MOST_DRAWS = 100
# What a point is for Optuna. It takes no notice of points that failed.
STATES = {
    "open": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Search:
    """The source of the trials of a search.

    Args:
        sweep: the run of the sweep.
        overrides: what all trials have besides (see `pipeline.sweep.choosing`).
        records: of the trials that were begun earlier.

    Raises:
        UserError: a record does not belong to this search.
    """

    def __init__(
        self, sweep: ResolvedRun, overrides: Sequence[str], records: Sequence[TrialRecord]
    ) -> None:
        settings = settings_of(sweep.config)
        assert settings.space is not None
        assert settings.criterion is not None
        self._sweep = sweep
        self._settings: Sweep = settings
        self._criterion: Criterion = settings.criterion
        self._space: dict[str, Range] = settings.space
        self._overrides = list(overrides)
        self._points = points_of(records, self._space, self._settings.seeds)
        # Numbers of a grid whose point no run accepts.
        self._refused: set[int] = set()
        self._composed: Trial | None = None
        self._open: deque[tuple[Point, int]] = deque()
        failed = []
        for point in self._points.values():
            self._require_measured(point)
            for seed in point.begun:
                state = point.records[seed].state
                if state == "open":
                    self._open.append((point, seed))
                elif state == "failed":
                    # Whoever starts a search again may have removed the reason: a disk was full.
                    failed.append((point, seed))
                    del point.records[seed]
        self._open.extend(failed)
        self._require_same_files()

    def next_trial(self) -> Trial | None:
        """Return the next trial to run: interrupted before, failed before, or never begun.

        Returns:
            The trial, which counts as begun. None if there is nothing to begin now: more may come
            when a trial ends.

        Raises:
            UserError: no run accepts what was drawn.
        """
        if self._open:
            point, seed = self._open.popleft()
            return self._compose(point, seed)
        for point in self._points.values():
            if point.missing and self._may_go_on(point):
                return self._begin(point, point.missing[0])
        new = self._new_point()
        if new is None:
            return None
        self._points[new.number] = new
        return self._begin(new, new.seeds[0])

    def _may_go_on(self, point: Point) -> bool:
        """True if the other seeds of a begun point are due.

        A scheduler looks at the trials with the first seed alone, or it would stop the worse of two
        seeds of a good point. The others wait until that one has come to its end.
        """
        scheduler = self._settings.scheduler
        if scheduler is None or scheduler.name == "none":
            return True
        if point.missing[0] == self._settings.seeds[0]:
            # Somebody has deleted it.
            return True
        first = point.records.get(self._settings.seeds[0])
        return first is not None and first.state == "finished"

    def ended(self, record: TrialRecord) -> None:
        """Take note of what a trial came to.

        Raises:
            UserError: it was finished without the criterion.
        """
        for point in self._points.values():
            if point.name == record.group and record.seed in point.begun:
                point.records[record.seed] = record
                self._require_measured(point)

    @property
    def points(self) -> list[Point]:
        """The points that were begun, by number."""
        return [self._points[number] for number in sorted(self._points)]

    def _require_same_files(self) -> None:
        """Check that the files that a group has choices from are those of earlier trials.

        Raises:
            UserError: somebody has changed one.
        """
        # Keys without a dot are groups. One trial of each choice is enough.
        checked = set()
        for key in [key for key in self._space if "." not in key]:
            for point in self.points:
                choice = (key, point.params[key])
                output = storage.join(
                    self._sweep.config.output, trial_name(point.name, point.begun[0])
                )
                if choice in checked or not storage.exists(storage.join(output, files.CONFIG)):
                    continue
                checked.add(choice)
                trial = self._compose(point, point.begun[0])
                differing = differences(saved_config(output), trial.config)
                if differing:
                    raise UserError(
                        f"sweep.space.{key}: {point.params[key]} meant something else when "
                        f"{trial.name} was begun: {named(differing)}; choose another output"
                    )

    def _require_measured(self, point: Point) -> None:
        for record in point.records.values():
            if record.state == "finished":
                final_value(record, self._criterion.metric)

    def _begin(self, point: Point, seed: int) -> Trial:
        trial = self._compose(point, seed)
        point.begun.append(seed)
        return trial

    def _compose(self, point: Point, seed: int) -> Trial:
        newest = self._composed
        name = trial_name(point.name, seed)
        # Composing takes a tenth of a second. A new point was just composed to check it.
        if newest is not None and newest.name == name and same(newest.params, point.params):
            return newest
        self._composed = compose_trial(
            self._sweep,
            point.name,
            seed,
            [*self._overrides, *overrides_of(point.params)],
            params=point.params,
            stages=PRETRAINED,
        )
        return self._composed

    def _problem(self, point: Point) -> str | None:
        """Return why no run accepts a point, None if one does."""
        try:
            trial = self._compose(point, point.seeds[0])
            resolve(trial.config, trial.request, RunDirectory(trial.config.output))
        except ConfigError as error:
            return str(error)
        return None

    def _new_point(self) -> Point | None:
        """Return a point that was not begun, None if there is none left."""
        for number in range(self._settings.points):
            if number in self._points or number in self._refused:
                continue
            if self._settings.search == "grid":
                point = self._grid_point(number)
            else:
                point = self._drawn_point(number)
            if point is not None:
                return point
            self._refused.add(number)
        return None

    def _grid_point(self, number: int) -> Point | None:
        """Return a point of the grid, None if no run accepts it."""
        params = next(itertools.islice(grid(self._space), number, None))
        point = Point(number, params, self._settings.seeds)
        problem = self._problem(point)
        if problem is not None:
            say(f"  {point.name} ({_named(params)}) is left out: {problem}")
            return None
        return point

    def _drawn_point(self, number: int) -> Point | None:
        """Draw a point, None if all points were tried that a run accepts."""
        problem = None
        for attempt in range(MOST_DRAWS):
            point = Point(number, self._draw(number, attempt), self._settings.seeds)
            if self._is_known(point):
                continue
            problem = self._problem(point)
            if problem is None:
                return point
        if self._settings.combinations is None:
            raise UserError(
                f"sweep.space: {MOST_DRAWS} points were drawn for {point.name}, and no run "
                f"accepts any; the last one: {problem}"
            )
        # Nearly all points were tried. The others are soon found one by one.
        for params in grid(self._space):
            point = Point(number, params, self._settings.seeds)
            if not self._is_known(point) and self._problem(point) is None:
                return point
        return None

    def _is_known(self, point: Point) -> bool:
        return any(same(known.params, point.params) for known in self._points.values())

    def _draw(self, number: int, attempt: int) -> Params:
        """Ask Optuna for a point, with all that is known of the others."""
        seed = _seed(self._sweep.config.seed, number, attempt)
        with warnings.catch_warnings():
            # Of settings that Optuna may still change.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self._settings.search == "random":
                sampler: Any = optuna.samplers.RandomSampler(seed=seed)
            else:
                sampler = optuna.samplers.TPESampler(
                    n_startup_trials=STARTUP_POINTS,
                    multivariate=True,
                    # Points that are still open count as bad: slots do not all try the same.
                    constant_liar=True,
                    seed=seed,
                )
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = optuna.create_study(sampler=sampler, direction=self._direction)
            for point in self.points:
                study.add_trial(self._told(point))
            distributions = {}
            for key, values in self._space.items():
                distributions[key] = _distribution(values)
            drawn = study.ask(distributions).params
        finally:
            optuna.logging.set_verbosity(level)
        return {key: _from_optuna(drawn[key], values) for key, values in self._space.items()}

    @property
    def _direction(self) -> StudyDirection:
        if CRITERIA[self._criterion.metric].mode == "max":
            return StudyDirection.MAXIMIZE
        return StudyDirection.MINIMIZE

    def _told(self, point: Point) -> FrozenTrial:
        """Return what Optuna is told of a point."""
        curve = {}
        if point.state == "stopped":
            # From it TPE knows how bad the point was, although it never came to its end.
            curve = point.curve(self._criterion.metric)
        params = {}
        distributions = {}
        for key, values in self._space.items():
            params[key] = _to_optuna(point.params[key], values)
            distributions[key] = _distribution(values)
        return optuna.trial.create_trial(
            state=STATES[point.state],
            value=point.value(self._criterion.metric),
            params=params,
            distributions=distributions,
            intermediate_values=curve,
        )


def require_buildable(sweep: ResolvedRun) -> None:
    """Make sure that models can be built at the corners of a space, before anything starts.

    A table has no space.

    Raises:
        ConfigError: they cannot be; the message names the key and the value.
    """
    space = settings_of(sweep.config).space
    if space is None:
        return
    for key, params, config in corner_runs(space, sweep.request):
        try:
            resolve(config, sweep.request, RunDirectory(config.output))
        except ConfigError as error:
            if key is None:
                raise ConfigError(f"sweep.space: with {_named(params)}: {error}") from None
            raise ConfigError(named_problem(key, params[key], str(error))) from None


def _distribution(values: Range) -> BaseDistribution:
    if values.choice is not None:
        # Optuna knows no lists: it chooses among the positions.
        return CategoricalDistribution(range(len(values.choice)))
    if values.integer is not None:
        low, high = values.integer
        return IntDistribution(low, high)
    low_end, high_end = values.ends
    return FloatDistribution(low_end, high_end, log=values.log_uniform is not None)


def _to_optuna(value: Any, values: Range) -> Any:
    if values.choice is not None:
        return [json.dumps(choice) for choice in values.choice].index(json.dumps(value))
    return value


def _from_optuna(value: Any, values: Range) -> Any:
    if values.choice is not None:
        return values.choice[value]
    if values.integer is not None:
        return value
    return rounded(value, values)


def _seed(seed: int, number: int, attempt: int) -> int:
    """Return the seed of a draw. It depends on the point, and not on what was drawn before."""
    text = f"{seed} {number} {attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _named(params: Params) -> str:
    return ", ".join(overrides_of(params))
