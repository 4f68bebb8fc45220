"""The winner of a search: the files that make it an experiment.

    output/best/experiment/best.yaml    output/best/data/best.yaml    ...

`skelfuse --config-dir output/best experiment=best` is the run of the winner on `data.protocol`,
with the seed of the search. The files hold all settings, so it stays that run if `conf/` changes.
"""

import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pipeline.config.as_experiment import experiment_files
from pipeline.config.command_line import shell_command
from pipeline.config.compose import Request, load
from pipeline.config.identity import differences
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs.code_version import code_version
from pipeline.runs.metric_names import CRITERIA
from pipeline.runs.resolved import ResolvedRun
from pipeline.sweep.compose import settings_of
from pipeline.sweep.points import Point, shown
from pipeline.sweep.space import overrides_of

# The experiment, the name of its run, and the folder in the output of the search.
BEST = "best"
# The folder in it for the run of the winner.
RUN = "run"
STAGES = ("pretrain", "evaluate", "report")


def write_best(sweep: ResolvedRun, point: Point) -> str:
    """Write the winner as an experiment, after composing it and comparing it with what it must be.

    Args:
        sweep: the run of the search.
        point: the winner, whose trials are finished.

    Returns:
        The command that runs it, quoted for bash and zsh.

    Raises:
        UserError: the files do not compose to the winner. This is an error of the program.
    """
    wanted = winner_config(sweep, point)
    comments = _comments(sweep, point)
    written = experiment_files(wanted, BEST, stages=STAGES, comments=comments)
    overrides = _overrides(sweep)
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in written.items():
            place = Path(scratch, name)
            place.parent.mkdir(exist_ok=True)
            place.write_text(text, encoding="utf-8")
        _require_same(wanted, overrides, scratch)
    # The experiment, which names the others, comes last.
    for name in reversed(written):
        storage.write_bytes(storage.join(_folder(sweep), name), written[name].encode())
    return _command(sweep)


def winner_config(sweep: ResolvedRun, point: Point) -> Config:
    """Return the configuration of the winner's run.

    It is composed as the trials were, but on `data.protocol`, and without what trials are measured
    by while they train.
    """
    stages = ",".join(STAGES)
    own = [f"name={BEST}", f"seed={sweep.config.seed}", f"stages=[{stages}]", "fresh=false"]
    own += [f"output={_output(sweep)}", f"data.store={sweep.config.store}"]
    overrides = [*sweep.request.overrides, *overrides_of(point.params), *own]
    config = load(overrides, sweep.request.config_dir)
    update = {"sweep": None, "tracking": sweep.config.tracking}
    return settle_places(config.model_copy(update=update), in_job=False)


def _folder(sweep: ResolvedRun) -> str:
    return storage.join(sweep.config.output, BEST)


def _output(sweep: ResolvedRun) -> str:
    return storage.join(_folder(sweep), RUN)


def _command(sweep: ResolvedRun) -> str:
    folder = _folder(sweep)
    overrides = tuple(_overrides(sweep))
    if storage.is_remote(folder):
        # Hydra reads files of this machine alone.
        copied = shell_command(Request(overrides, BEST))
        return f"{copied}   (with a copy of {folder} in ./{BEST})"
    return shell_command(Request(overrides, folder))


def _overrides(sweep: ResolvedRun) -> list[str]:
    """Return the settings of the command that runs the winner: what the files leave open."""
    config = sweep.config
    overrides = [
        f"experiment={BEST}",
        f"data.store={config.store}",
        f"output={_output(sweep)}",
        f"tracking.uri={config.tracking.uri}",
    ]
    if config.cluster.address is not None:
        overrides.append(f"cluster.address={config.cluster.address}")
    if config.cluster.storage_endpoint is not None:
        overrides.append(f"cluster.storage_endpoint={config.cluster.storage_endpoint}")
    return overrides


def _require_same(wanted: Config, overrides: Sequence[str], config_dir: str) -> None:
    """Raise UserError if a command does not compose to a configuration."""
    try:
        found = settle_places(load(overrides, config_dir), in_job=False)
    except ConfigError as error:
        raise UserError(f"{BEST}.yaml: the winner cannot be written as a file ({error})") from None
    differing = list(differences(wanted, found))
    for key in ("stages", "output", "store", "tracking", "cluster"):
        if getattr(wanted, key) != getattr(found, key):
            differing.append(key)
    if differing:
        raise UserError(
            f"{BEST}.yaml: the winner cannot be written as a file: {differing[0]} would differ"
        )


def _comments(sweep: ResolvedRun, point: Point) -> list[str]:
    """Return what the experiment says about where it comes from."""
    criterion = settings_of(sweep.config).criterion
    assert criterion is not None
    metric = criterion.metric
    runs = ", ".join(record.name for record in point.records.values())
    comments = [
        f"The winner of the search {sweep.config.name} in {sweep.config.output}.",
        f"It is {point.name} ({runs}):",
    ]
    comments += [f"  {override}" for override in overrides_of(point.params)]
    value = point.value(metric)
    if value is not None:
        seeds = "1 seed" if len(point.seeds) == 1 else f"the mean of {len(point.seeds)} seeds"
        comments.append(f"{CRITERIA[metric].label}: {shown(metric, value)}, {seeds}.")
        comments.append("The best of many is lucky, too: a run with other seeds may be worse.")
    run_id = sweep.directory.state.mlflow_run_id
    comments.append(f"{date.today().isoformat()}, code {code_version()}, MLflow run {run_id}.")
    comments.append("The files beside this one, in folders such as data/, belong to it.")
    comments.append(f"  {_command(sweep)}")
    return comments
