"""The check of the tracking store before a run writes anything."""

import os

from pipeline.config.places import database
from pipeline.config.root import Config
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs.directory import RunDirectory
from pipeline.runs.relations import is_within
from pipeline.runs.tracking.earlier import why_lost
from pipeline.runs.tracking.experiment import require_experiment
from pipeline.runs.tracking.store import Store


def check_tracking(config: Config, directory: RunDirectory) -> None:
    """Check that the run can be tracked. This writes nothing.

    Args:
        config: the configuration of the run.
        directory: its output directory, opened and not yet begun.

    Raises:
        ConfigError: the tracking store does not answer, or the experiment was deleted.
    """
    uri = config.tracking.uri or ""
    if _is_new(uri, config):
        return
    try:
        store = Store(uri)
        goes_on = directory.state.mlflow_run_id is not None
        # An MLflow run that goes on stays in the experiment that it is in.
        if not goes_on or why_lost(store, config, directory) is not None:
            require_experiment(store, config.tracking.experiment)
    except UserError as error:
        raise ConfigError(str(error)) from error


def _is_new(uri: str, config: Config) -> bool:
    """True if the run is going to make its database. Then there is nothing to check."""
    path = database(uri)
    if path is None:
        return False
    # With `fresh` a database in the output is moved aside. MLflow keeps databases that it has
    # opened, so this must not open it.
    moved = config.fresh and is_within(os.path.dirname(path), config.output)
    return moved or not os.path.exists(path)
