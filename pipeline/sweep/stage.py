"""The stage `sweep`: many ordinary runs, of a table of variants or of a search.

Each trial is an ordinary run in `output/<group>-<seed>`. What it measured stands in its record
(`pipeline.sweep.trial`), and a sweep that is started again believes these records.
"""

from typing import TYPE_CHECKING, Any

from pipeline.config.sweep import Sweep
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.runs.resolved import ResolvedRun
from pipeline.runs.tracking.children import Children
from pipeline.sweep.child_runs import catch_up
from pipeline.sweep.choosing import choosing_overrides
from pipeline.sweep.compose import settings_of
from pipeline.sweep.confirmation import Confirmation
from pipeline.sweep.outcome import Outcome
from pipeline.sweep.points import Point
from pipeline.sweep.search import Search
from pipeline.sweep.trial import trial_records
from pipeline.sweep.tuner import run_trials
from pipeline.sweep.variant_table import VariantTable
from pipeline.sweep.winner import write_best

if TYPE_CHECKING:  # MLflow takes more than a second to import.
    from pipeline.runs.tracking import Tracker


def sweep(run: ResolvedRun, tracker: "Tracker") -> dict[str, Any]:
    """Run what is missing of a sweep, and show what came out.

    Args:
        run: of the sweep, whose clip store is there.
        tracker: its tracked run, the parent of those of the trials.

    Returns:
        Flat results for the summary: of a table see `VariantTable.finish`, of a search see
        `Outcome.summary` and `Confirmation.finish`.

    Raises:
        ConfigError: the variants or the space are wrong.
        UserError: the sweep cannot go on.
    """
    # Before the trials: it opens the store, and verifies it once for all of them.
    say(f"  {run.store.clips:,} clips in {run.store.uri}")
    settings = settings_of(run.config)
    if settings.is_search:
        return _search(run, settings, tracker)
    return _table(run, settings, tracker)


def _table(run: ResolvedRun, settings: Sweep, tracker: "Tracker") -> dict[str, Any]:
    """Run the trials of a table that have no current record, and write the table."""
    table = VariantTable(run)
    if table.total:
        with Children(tracker) as children:
            catch_up(children, run, trial_records(run.directory.uri))
            run_trials(run, settings, table, children, total=table.total)
    return table.finish(tracker)


def _search(run: ResolvedRun, settings: Sweep, tracker: "Tracker") -> dict[str, Any]:
    """Run the trials of a search that are left, choose the winner, and confirm it if asked."""
    assert settings.criterion is not None
    if settings.confirm:
        _require_measurable(run, settings)
    choosing = choosing_overrides(run, settings.criterion)
    records = trial_records(run.directory.uri)
    search = Search(run, choosing, records)
    # Fewer trials may be asked for than were begun.
    total = max(settings.points, len(search.points)) * len(settings.seeds)
    # Without those that confirm a winner.
    begun = [record for point in search.points for record in point.records.values()]
    with Children(tracker) as children:
        catch_up(children, run, records)
        run_trials(run, settings, search, children, total=total, records=begun)
        outcome = Outcome.of(run, settings, trial_records(run.directory.uri))
        children.best(outcome.best_first)
        outcome.show(tracker)
        winner = outcome.winner
        say(f"  the winner as a run: {write_best(run, winner)}")
        results = outcome.summary()
        if settings.confirm:
            results |= _confirm(run, settings, winner, choosing, children)
    return results


def _require_measurable(run: ResolvedRun, settings: Sweep) -> None:
    """Refuse before hours of search what the evaluation of the winner would refuse.

    A search with a criterion that needs no labels would find this out at its end.
    """
    try:
        _ = run.split
    except UserError as error:
        raise UserError(
            f"sweep.confirm={settings.confirm}: the winner cannot be measured ({error}); "
            "leave sweep.confirm out"
        ) from None


def _confirm(
    run: ResolvedRun,
    settings: Sweep,
    winner: Point,
    choosing: list[str],
    children: Children,
) -> dict[str, Any]:
    """Run the winner and the settings without a search with other seeds."""
    confirmation = Confirmation(run, winner, choosing, trial_records(run.directory.uri))
    if confirmation.total:
        # Nothing is chosen any more: all trials come to their end.
        plain = settings.model_copy(update={"criterion": None, "scheduler": None})
        run_trials(run, plain, confirmation, children, total=confirmation.total)
    return confirmation.finish()
