"""`from_run=RUN_ID`: the run that MLflow has recorded, again, as an ordinary request."""

import re
from collections.abc import Sequence

from pipeline.config.compare import RUN_ID
from pipeline.config.compose import FROM_RUN, Request, key_of, load
from pipeline.config.places import settle_places
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs.servers import require_tracked_runs


def without_from_run(request: Request, quiet: bool = False) -> Request:
    """Return a request in which `from_run=RUN_ID` is replaced by the command of that run.

    A request without it is returned as it is.

    Args:
        request: the command line.
        quiet: whether the differences to the recorded run are left unsaid.

    Raises:
        ConfigError: there is no such run, it has no configuration, its output or its clips are not
            as they must be, or the settings of the request contradict it.
    """
    named = [word for word in request.overrides if key_of(word) == FROM_RUN]
    if not named:
        return request
    run_id = _run_id(named)
    own = [word for word in request.overrides if word not in named]
    for word in own:
        if key_of(word) == "experiment":
            raise ConfigError(f"{word}: {FROM_RUN} brings its own; leave one of the two out")
    uri = _tracking_uri(own, request.config_dir)
    # This imports MLflow, which takes a second.
    from pipeline.runs.again import Repetition
    from pipeline.runs.tracking.search import recorded_run

    try:
        record = recorded_run(uri, run_id)
        return Repetition(record, own, request.config_dir).request(quiet)
    except ConfigError:
        raise
    except UserError as error:
        # Nothing was started.
        raise ConfigError(str(error)) from error


def _run_id(named: Sequence[str]) -> str:
    """Return the id in the settings that name a run."""
    if len(named) > 1:
        raise ConfigError(f"{FROM_RUN}: is given {len(named)} times; give one run")
    run_id = named[0].partition("=")[2].strip("'\"")
    if not re.fullmatch(RUN_ID, run_id):
        raise ConfigError(
            f"{FROM_RUN}={run_id[:80]}: not the id of an MLflow run; its page in MLflow shows it"
        )
    return run_id


def _tracking_uri(own: Sequence[str], config_dir: str | None) -> str:
    """Return the tracking store that a request names, after a look whether it is there."""
    tracking = [word for word in own if key_of(word).split(".")[0] == "tracking"]
    # Of the whole configuration only this section is meant.
    config = load(tracking, config_dir)
    if config.tracking.uri is None:
        raise ConfigError(f"tracking.uri: {FROM_RUN} needs it: the MLflow that holds the run")
    settled = settle_places(config, in_job=False).tracking
    require_tracked_runs(settled)
    return str(settled.uri)
