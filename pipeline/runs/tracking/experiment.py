"""The MLflow experiment that runs belong to."""

import shlex

from mlflow.entities import Experiment, LifecycleStage

from pipeline.config.places import database
from pipeline.core.errors import UserError
from pipeline.runs.tracking.database import artifact_root
from pipeline.runs.tracking.store import Store, TrackingError

# MLflow has pages for training and pages for language models. This selects those for training.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
EXISTS = "RESOURCE_ALREADY_EXISTS"


def require_experiment(store: Store, name: str) -> str | None:
    """Return the id of an experiment, None if it does not exist.

    Raises:
        UserError: it was deleted.
    """
    experiment: Experiment | None = store.ask(store.client.get_experiment_by_name, name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        number = experiment.experiment_id
        raise UserError(
            f"tracking.experiment={name}: deleted in MLflow; restore it (MLFLOW_TRACKING_URI="
            f"{shlex.quote(store.uri)} mlflow experiments restore --experiment-id {number}), "
            "or choose another tracking.experiment"
        )
    return experiment.experiment_id


def find_or_create(store: Store, name: str) -> str:
    """Return the id of an experiment. Create it if it does not exist.

    Raises:
        UserError: it was deleted.
    """
    existing = require_experiment(store, name)
    if existing is not None:
        return existing
    # With a local database the artifacts go beside it. A server has a place for them.
    path = database(store.uri)
    artifacts = None
    if path is not None:
        artifacts = artifact_root(path)
    try:
        return store.ask(store.client.create_experiment, name, artifacts, EXPERIMENT_TAGS)
    except TrackingError as error:
        if error.code != EXISTS:
            raise
        # Another run has created it meanwhile.
        existing = require_experiment(store, name)
        if existing is None:
            raise
        return existing
