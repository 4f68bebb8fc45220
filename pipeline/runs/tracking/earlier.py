"""The MLflow run of earlier attempts: whether it can go on, and its end if it cannot."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mlflow.entities import LifecycleStage, Run, RunStatus
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.config.identity import digest
from pipeline.config.places import database
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory
from pipeline.runs.state import RunState, read_state
from pipeline.runs.tracking.store import Store, TrackingError
from pipeline.runs.tracking.tags import CONFIG_DIGEST, INCOMPLETE, OUTPUT
from pipeline.runs.tracking_uri import located

RUNNING = RunStatus.to_string(RunStatus.RUNNING)
KILLED = RunStatus.to_string(RunStatus.KILLED)
# MLflow's reasons for not having a run. The second is that of an id that cannot be one.
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
# A server that a run has left may be gone: it is asked once, and not for long.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


def why_lost(store: Store, config: Config, directory: RunDirectory) -> str | None:
    """Return why the MLflow run in the state file cannot go on.

    Args:
        store: the tracking store of `config`, which need not be the one that holds the run.
        config: the configuration of the run.
        directory: its output directory.

    Returns:
        The reason in a few words, None if it can go on, or if there is none.

    Raises:
        TrackingError: the store does not answer.
    """
    state = directory.state
    run_id = state.mlflow_run_id
    if run_id is None:
        return None
    place = store.uri
    if state.mlflow_uri is not None:
        place = located(state.mlflow_uri, directory.uri)
    try:
        run: Run = store.ask(store.client.get_run, run_id)
    except TrackingError as error:
        if error.code not in UNKNOWN:
            raise
        if place != store.uri:
            return f"it is in {place}, not in {store.uri}"
        return f"{store.uri} does not hold it any more"
    if run.info.lifecycle_stage == LifecycleStage.DELETED:
        return "it was deleted"
    # The same store under another name, or one that has by chance a run of this id.
    if place != store.uri and run.data.tags.get(CONFIG_DIGEST) != digest(config):
        return f"it is in {place}, and {store.uri} holds another run of its id"
    return _why_of_another_output(run, directory)


def _why_of_another_output(run: Run, directory: RunDirectory) -> str | None:
    """Return that a run belongs to another output directory, None if it does not.

    A directory that was moved takes its run along. One that was copied must not write to the run
    of the original, which is still there.
    """
    # Runs of earlier versions lack the tag.
    output = run.data.tags.get(OUTPUT, directory.uri)
    if output == directory.uri:
        return None
    original = state_in(output)
    if original is None or original.mlflow_run_id != run.info.run_id:
        return None
    return f"it belongs to {output}, and this is a copy"


def state_in(output: str) -> RunState | None:
    """Return the state of the run in an output directory, None if there is none to read."""
    with suppress(UserError):
        return read_state(storage.join(output, files.STATE))
    return None


def close_unused(store: Store, directory: RunDirectory, previous: RunState | None) -> None:
    """Mark the MLflow run of an earlier attempt as killed if it is still called running.

    Nothing uses it any more: the earlier output was moved aside, or the run was made anew. A
    tracking store that does not answer is left as it is.

    Args:
        store: the tracking store that is used now.
        directory: the output directory of the run.
        previous: the state that the earlier attempt left.
    """
    if previous is None or previous.mlflow_run_id in (None, directory.state.mlflow_run_id):
        return
    uri = store.uri
    if previous.mlflow_uri is not None:
        uri = located(previous.mlflow_uri, directory.moved_aside or directory.uri)
    path = database(uri)
    if path is not None and not os.path.exists(path):
        return
    with suppress(UserError), _impatient():
        if uri != store.uri:
            store = Store(uri)
        run: Run = store.ask(store.client.get_run, previous.mlflow_run_id)
        # The output may be a copy: then the run is the original's.
        if run.data.tags.get(OUTPUT) == directory.uri:
            _close_if_running(store, run)


def close_children(store: Store, parent: str) -> None:
    """Mark the children of a run as killed that are still called running.

    No process is at work on them: it would be the one of their parent. A trial that goes on is
    called running again. If the process was killed before it noted the id of a child, nothing will
    go on with it, and it is deleted: its trial gets another one.
    """
    for child in children_of(store, parent):
        if _is_orphan(child):
            store.ask(store.client.delete_run, child.info.run_id)
        else:
            _close_if_running(store, child)


def _is_orphan(child: Run) -> bool:
    """True if a run was only begun, and its output directory does not know it."""
    if INCOMPLETE not in child.data.tags:
        return False
    state = state_in(child.data.tags.get(OUTPUT, ""))
    return state is not None and state.mlflow_run_id != child.info.run_id


def adopt_children(store: Store, former: str, parent: str) -> None:
    """Make the children of a run that was deleted the children of the one made anew."""
    for child in children_of(store, former, parent):
        store.ask(store.client.set_tag, child.info.run_id, MLFLOW_PARENT_RUN_ID, parent)


def children_of(store: Store, parent: str, relative: str | None = None) -> list[Run]:
    """Return the runs whose parent is `parent`, in the experiment of `relative` (or of it)."""
    family: Run = store.ask(store.client.get_run, relative or parent)
    experiments = [family.info.experiment_id]
    is_child = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"
    return list(store.pages(store.client.search_runs, experiments, is_child))


def _close_if_running(store: Store, run: Run) -> None:
    active = run.info.lifecycle_stage == LifecycleStage.ACTIVE
    if active and run.info.status == RUNNING:
        store.ask(store.client.set_terminated, run.info.run_id, status=KILLED)


@contextmanager
def _impatient() -> Iterator[None]:
    """Let MLflow wait only seconds for a server. It reads these variables at every request."""
    usual = {name: os.environ.get(name) for name in IMPATIENT}
    os.environ.update(IMPATIENT)
    try:
        yield
    finally:
        for name, value in usual.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
