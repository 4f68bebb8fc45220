"""The stage `compare`: finds runs in MLflow, and writes what they have in common and differ in.

It reads no recordings and no clips, and needs neither Ray nor torch.
"""

import re
from typing import Any

from pipeline.cluster.job import in_submitted_job
from pipeline.compare.found import compared_runs, stages_of
from pipeline.config.compare import Compare
from pipeline.config.compose import Request
from pipeline.config.former_words import ABLATE
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs import files
from pipeline.runs.aside import foreign_names
from pipeline.runs.directory import RunDirectory, saved_config
from pipeline.runs.election import is_record
from pipeline.runs.owner import refuse_owned, take
from pipeline.runs.place_checks import require_usable, require_writable
from pipeline.runs.servers import require_storage, require_tracked_runs
from pipeline.runs.state import RunState, read_state
from pipeline.runs.tracking import Tracker, check_tracking
from pipeline.runs.tracking.search import FoundRun, find_runs
from pipeline.tables.compared import ComparedRun, by_group, differing, figure_names
from pipeline.tables.comparison import print_comparison, write_comparison

STAGE = "compare"
# Runs of these stages have no figures of their own.
WITHOUT_FIGURES = ("compare", "sweep", ABLATE)


def compare(config: Config, request: Request) -> None:
    """Compare the runs that `config.compare` names, and write the comparison into `output`.

    Args:
        config: with the only stage `compare`.
        request: what the user typed.

    Raises:
        ConfigError: the request is wrong, or no run meets it. Nothing was written.
        UserError: the tracking store does not answer any more, or the output cannot be written.
    """
    wanted = config.compare or Compare()
    try:
        settled = _checked(config)
    except UserError as error:
        # Nothing was started.
        raise ConfigError(str(error)) from error
    runs = _runs(settled, wanted)
    if wanted.figure is not None and wanted.figure not in figure_names(runs):
        known = ", ".join(figure_names(runs)) or "none"
        raise ConfigError(f"compare.figure={wanted.figure}: no run has it; they have {known}")
    directory = _open(settled)
    check_tracking(settled, directory)
    with take(directory.uri) as owner:
        directory.begin(settled, owner)
        with Tracker(settled, directory, request=request) as tracker:
            uris = _write(settled, wanted, runs, directory)
            results = _results(runs)
            tracker.results(results)
            tracker.artifacts(uris)
        directory.finish(STAGE, results)
    print_comparison(runs, settled.name, wanted.figure)
    for uri in uris:
        say(f"  {uri}")


def _checked(config: Config) -> Config:
    """Return the configuration with absolute places, which were looked at."""
    if config.tracking.uri is None:
        # The default is a new database in the output.
        raise ConfigError(
            "tracking.uri: compare needs it, because the runs are there; give the address of an "
            "MLflow server, or sqlite:///PATH/mlflow.db"
        )
    settled = _named(settle_places(config, in_job=in_submitted_job()))
    require_storage(settled)
    require_usable(settled)
    require_tracked_runs(settled.tracking)
    refuse_owned(settled.output, settled.fresh)
    require_writable(settled, writes_store=False)
    return settled


def _named(config: Config) -> Config:
    """Return the configuration with the name of its output: `name` may be that of a data set."""
    folder = storage.name(config.output)
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", folder):
        return config.model_copy(update={"name": folder})
    return config


def _runs(config: Config, wanted: Compare) -> list[ComparedRun]:
    """Return the runs to compare.

    Raises:
        ConfigError: none meets the conditions, or one has nothing that could be compared.
    """
    uri = config.tracking.uri or ""
    experiment = wanted.experiment
    if experiment is None and not wanted.runs and wanted.sweep is None:
        experiment = config.tracking.experiment
    found = find_runs(
        uri,
        experiment=experiment,
        filter=wanted.filter,
        run_ids=wanted.runs,
        parent=wanted.sweep,
        curves=wanted.curves,
    )
    kept = [run for run in found if not _is_without_figures(run)]
    left_out = len(found) - len(kept)
    if wanted.runs and left_out:
        refused = next(run for run in found if _is_without_figures(run))
        raise ConfigError(
            f"compare.runs: {refused.run_id} is a sweep or a comparison, and has no figures of its "
            "own; compare.sweep=ID compares the trials of a sweep"
        )
    if not kept:
        raise ConfigError(
            f"compare: {left_out} runs are found, all of them sweeps or comparisons, which have no "
            "figures of their own; compare.sweep=ID compares the trials of a sweep"
        )
    if left_out:
        say(f"  {left_out} sweeps and comparisons left out: they have no figures of their own")
    return compared_runs(kept, uri=uri, place=config.output)


def _is_without_figures(run: FoundRun) -> bool:
    return run.is_ours and any(stage in WITHOUT_FIGURES for stage in stages_of(run))


def _open(config: Config) -> RunDirectory:
    """Open an empty directory, or that of an earlier comparison, which is written anew.

    Raises:
        ConfigError: something else lies there.
    """
    if config.fresh:
        return RunDirectory.open(config)
    directory = RunDirectory(config.output)
    if storage.exists(directory.path(files.CONFIG)):
        if saved_config(directory.uri).stages != [STAGE]:
            raise ConfigError(
                f"output={directory.uri}: holds a run; choose another for the comparison"
            )
        directory.state = read_state(directory.path(files.STATE)) or RunState()
    elif any(not is_record(name) for name in foreign_names(directory.uri)):
        raise ConfigError(f"output={directory.uri}: holds files but no comparison; choose another")
    return directory


def _write(
    config: Config, wanted: Compare, runs: list[ComparedRun], directory: RunDirectory
) -> list[str]:
    about = f"{len(runs)} runs of {config.tracking.uri}"
    if wanted.filter is not None:
        about += f" with {wanted.filter}"
    return write_comparison(
        runs,
        directory.uri,
        config.name,
        about=f"{about}.",
        figure=wanted.figure,
        forms=wanted.files,
    )


def _results(runs: list[ComparedRun]) -> dict[str, Any]:
    return {
        "compared_runs": len(runs),
        "compared_groups": len(by_group(runs)),
        "differing_parameters": len(differing(runs)),
    }
