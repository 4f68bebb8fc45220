"""The trials of a table, variants times seeds, and what is made of them.

What a finished trial measured is a record (`pipeline.sweep.records`). Trials whose record is in the
table's own output or among the published ones, and current, are not run again. So a table can be
built up over days and on several machines.
"""

import time
from collections import deque
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pipeline.config.identity import digest
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.runs import files
from pipeline.runs.code_version import UNKNOWN
from pipeline.runs.metric_names import LINEAR
from pipeline.runs.resolved import ResolvedRun
from pipeline.runs.state import OWN_STORE, RunState, pool_key, read_state
from pipeline.sweep.comparison import of_table
from pipeline.sweep.compose import settings_of
from pipeline.sweep.measured import Measured
from pipeline.sweep.records import CODE_SEPARATOR, RECORDED, Record, read_people
from pipeline.sweep.trial import Trial, TrialRecord, read_record, trial_name
from pipeline.sweep.variants import compose_variant, plan_of, shared_command, variants_by_name
from pipeline.tables.comparison import write_comparison
from pipeline.tables.page import print_table, write_markdown, write_plot
from pipeline.tables.rows import Table, flat
from pipeline.tables.text import description
from pipeline.tables.verdicts import Plan

if TYPE_CHECKING:  # MLflow takes more than a second to import.
    from pipeline.runs.tracking import Tracker

VERSIONS = ("torch", "ray", "numpy")


class VariantTable:
    """The source of the trials of a table: those without a current record, one after another.

    They come seed by seed, so that after the first seed there is a whole table.

    Args:
        sweep: the run of the table. It knows the fingerprint of its clip store already.

    Attributes:
        total: how many trials had no current record when this was made.

    Raises:
        ConfigError: the overrides of a variant are wrong.
        UserError: a pooled store is not there, or a file of records is damaged.
    """

    def __init__(self, sweep: ResolvedRun) -> None:
        self._sweep = sweep
        self._settings = settings_of(sweep.config)
        self._measured = Measured(
            name=sweep.config.name,
            output=sweep.directory.uri,
            published_uris=self._settings.published,
            variants=variants_by_name(sweep, sweep.directory.state.stores[OWN_STORE]),
            plan=plan_of(sweep.config, sweep.request),
        )
        self._measured.read()
        wanted = self._wanted()
        self._asked_for = len(wanted)
        current = self._measured.missing(list(wanted))
        self._missing = deque((name, *wanted[name]) for name in current)
        self.total = len(self._missing)
        if self.total < len(wanted):
            say(f"  {len(wanted) - self.total} of {len(wanted)} trials were measured before")
        # The trials that are running, and why others have no record.
        self._running: dict[str, Trial] = {}
        self._unmeasured: dict[str, str] = {}

    def next_trial(self) -> Trial | None:
        """Return the next trial to run, None if there is none left.

        Raises:
            UserError: a file of published records, or the record of the trial, is damaged.
        """
        while self._missing:
            name, variant, seed = self._missing.popleft()
            # Others may be at work on the same table.
            self._measured.read_published()
            if name in self._measured.current():
                say(f"  {name}: measured elsewhere meanwhile, skipped")
                continue
            composed = compose_variant(self._sweep, variant, seed)
            trial = replace(composed, plan=self._measured.plan)
            reason = _why_stopped(trial)
            if reason is not None:
                say(f"  {name}: stopped before, skipped ({reason})")
                self._unmeasured[name] = reason
                continue
            self._running[name] = trial
            return trial
        return None

    def ended(self, record: TrialRecord) -> None:
        """Take over what a trial measured, once its directory holds all of it."""
        trial = self._running.pop(record.name)
        if record.state != "finished":
            self._unmeasured[record.name] = f"{record.state}: {record.reason}"
            return
        state = read_state(storage.join(trial.config.output, files.STATE))
        if state is None:
            raise UserError(f"{trial.config.output}: {files.STATE} is damaged; run the trial again")
        measured = self._record_of(trial, record, state)
        self._measured.add(measured)
        if record.name not in self._measured.current():
            # A run that was finished before: on a store that has changed since, or by an older
            # version.
            reason = self._measured.why_stale(measured)
            self._unmeasured[record.name] = f"{reason}; move its directory away, to run it"
            return
        # Only the text: the plot and the page take longer, and nobody looks at them yet.
        write_markdown(self._measured.table(), self._sweep.directory.uri)

    def finish(self, tracker: "Tracker") -> dict[str, Any]:
        """Write and show the table.

        Leaves in `output` the records of its trials, the table as Markdown and as a plot, and the
        page of all its trials.

        Args:
            tracker: the tracked run of the table.

        Returns:
            How many trials were asked for, how many of these have no record, means and deviations
            over seeds (see `flat`), and verdicts.

        Raises:
            UserError: no trial of the table has a record.
        """
        for name, reason in self._unmeasured.items():
            say(f"  {name}: not in the table ({reason})")
        # The table may show records of others, and so more than this run was asked for.
        self._measured.complete()
        if not self._measured.current():
            raise UserError(f"{self._sweep.config.name}: no trial was finished; see their reasons")
        table = self._measured.table()
        output = self._sweep.directory.uri
        markdown = write_markdown(table, output)
        plot = write_plot(table, output)
        about = description(table)
        compared = of_table(output, self._measured.current().values())
        page, *data = write_comparison(
            compared,
            output,
            table.name,
            about=about,
            figure=LINEAR,
            reference=self._settings.reference,
        )
        tracker.artifacts([markdown, plot, page, *data])
        print_table(table)
        say(f"  the table: {markdown}, its plot: {plot}, all trials: {page}")
        counts = {"trials": self._asked_for, "trials_unmeasured": len(self._unmeasured)}
        return counts | flat(table.rows) | _findings(table, self._measured.plan)

    def _wanted(self) -> dict[str, tuple[str, int]]:
        """Return the trials that are asked for: name -> variant and seed."""
        only = self._settings.only
        wanted = {}
        for seed in self._settings.seeds:
            for variant in self._settings.variants or {}:
                if not only or variant in only:
                    wanted[trial_name(variant, seed)] = (variant, seed)
        return wanted

    def _record_of(self, trial: Trial, record: TrialRecord, state: RunState) -> Record:
        """Return what the table keeps of a finished trial."""
        config = trial.config
        figures = {}
        for key, value in record.figures.items():
            if key in RECORDED:
                figures[key] = value
        return Record(
            experiment=self._sweep.config.name,
            variant=trial.group,
            seed=config.seed,
            overrides=(self._settings.variants or {})[trial.group],
            command=shared_command(self._sweep.config, self._sweep.request),
            hash=digest(config),
            figures=figures,
            versions={name: version(name) for name in VERSIONS},
            workers=config.cluster.workers,
            gpu=config.cluster.gpu,
            date=time.strftime("%Y-%m-%d"),
            seconds=round(sum(state.seconds.values())),
            code=_code(state),
            stores=_stores(state, pooled=len(config.data.pool)),
            people=read_people(storage.join(config.output, files.EVALUATION)),
            plan=record.plan,
        )


def _findings(table: Table, plan: Plan | None) -> dict[str, Any]:
    """Return the verdicts of the plan in a table's file: `<variant>_over_<against>_<figure>`.

    With `_difference` at its end, the mean over people; with `_low` and `_high`, the ends of its
    interval.
    """
    results: dict[str, Any] = {}
    if plan is None:
        return results
    for judgement in table.judgements(plan):
        key = f"{plan.variant}_over_{judgement.against}_{judgement.metric}"
        results[key] = judgement.finding
        if judgement.pooled is None:
            continue
        results[f"{key}_difference"] = judgement.pooled.difference
        if judgement.pooled.interval is not None:
            results[f"{key}_low"] = judgement.pooled.interval.low
            results[f"{key}_high"] = judgement.pooled.interval.high
    return results


def _why_stopped(trial: Trial) -> str | None:
    """Return why an earlier attempt at a trial was stopped, None if it may be run.

    Run again it would come to the same end: it computes the same.
    """
    record = read_record(trial.config.output)
    if record is None or record.state != "stopped" or record.hash != digest(trial.config):
        return None
    return record.reason or "stopped"


def _code(state: RunState) -> str:
    """Return the versions of the code that finished a run's stages, each version once.

    A trial that was finished earlier, and whose record is only written now, was measured by the
    code of that time.
    """
    versions = []
    for stage in state.stages:
        code = state.code.get(stage, UNKNOWN)
        if code not in versions:
            versions.append(code)
    return CODE_SEPARATOR.join(versions)


def _stores(state: RunState, pooled: int) -> list[str]:
    """Return the fingerprints of a run's clip store and of those that it pools."""
    stores = [state.stores[OWN_STORE]]
    for number in range(pooled):
        stores.append(state.stores[pool_key(number)])
    return stores
