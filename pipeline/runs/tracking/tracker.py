"""One MLflow run for one output directory: its parameters, metrics, results and files."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunStatus,
    RunTag,
)
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.config.compose import Request
from pipeline.config.identity import flatten
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.core.secrets import redact
from pipeline.runs.directory import RunDirectory
from pipeline.runs.metric_names import LOSS, STEP, TIME, in_mlflow
from pipeline.runs.metric_rows import is_number
from pipeline.runs.state import OWN_STORE
from pipeline.runs.tracking.contents import Contents, contents_of_run
from pipeline.runs.tracking.earlier import (
    KILLED,
    RUNNING,
    adopt_children,
    close_children,
    close_unused,
    state_in,
    why_lost,
)
from pipeline.runs.tracking.experiment import find_or_create
from pipeline.runs.tracking.store import Store
from pipeline.runs.tracking.tags import (
    FINGERPRINT,
    INCOMPLETE,
    OUTPUT,
    TAG_LENGTH,
    first_tags,
)
from pipeline.runs.tracking_uri import remembered

if TYPE_CHECKING:  # torch takes seconds to import.
    from pipeline.store.clip_store import ClipStore

# The limits of MLflow: entries in one request, and characters of a value.
PARAMS_A_REQUEST = 100
METRICS_A_REQUEST = 500
TAGS_A_REQUEST = 100
PARAM_LENGTH = 6000
DIGEST_LENGTH = 36


class Tracker:
    """One MLflow run for one output directory. If the run goes on later, it uses the same one.

    If that MLflow run is gone, a new one gets what the output directory holds.

    Args:
        config: the configuration of the run. It becomes the parameters of the MLflow run.
        directory: the output directory, which keeps the id of the MLflow run.
        parent: the id of the MLflow run of the sweep, if this run is a trial of one.
        request: the command line of the run, None if nobody typed one.
        tags: more tags.
        contents_of: what a directory holds that an MLflow run gets when it is made anew.

    Attributes:
        uri: the tracking store.
        store: the same, open.
        client: the client of MLflow. Tests ask it what was logged.
        run_id: the id of the MLflow run.
        last_step: the last training step that is logged, -1 if none is.

    Raises:
        UserError: the tracking store cannot be reached, or the experiment was deleted.
    """

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        parent: str | None = None,
        *,
        request: Request | None = None,
        tags: Mapping[str, str] | None = None,
        contents_of: Callable[[RunDirectory], Contents] = contents_of_run,
    ) -> None:
        self.uri = config.tracking.uri or ""
        self.store = Store(self.uri)
        self.client = self.store.client
        # What an earlier attempt left, which this one need not go on from.
        previous = state_in(directory.moved_aside or directory.uri)
        former = directory.state.mlflow_run_id
        lost = why_lost(self.store, config, directory)
        own_tags = dict(tags or {})
        if parent:
            own_tags[MLFLOW_PARENT_RUN_ID] = parent
        self.last_step = -1
        is_complete = False
        if former is None or lost is not None:
            created = first_tags(config, directory.uri, request) | own_tags
            self.run_id: str = self._create(config, created)
            self._remember(directory)
        else:
            self.run_id = former
            self.store.ask(self.client.update_run, self.run_id, status=RUNNING)
            # The directory may have been moved.
            self.set_tags({OUTPUT: directory.uri} | own_tags)
            self._remember(directory)
            self.last_step = self._last_step()
            is_complete = self._is_complete()
        if not is_complete:
            self._complete(config, directory, contents_of(directory))
        if lost is not None:
            say(f"MLflow run {former}: {lost}; made anew from {directory.uri} as {self.run_id}")
        close_unused(self.store, directory, previous)
        if config.sweep is not None:
            self._take_children(former)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Mark the MLflow run as finished, failed, or killed."""
        try:
            self.end(_status(kind))
        except UserError:
            # If the run failed already, raise that error and not this one.
            if kind is None:
                raise

    def metrics(self, rows: list[dict[str, Any]]) -> None:
        """Log training metrics, and skip steps that are logged already.

        So a caller may pass all rows again, for example after a restart, or after the server did
        not answer for a while.

        Args:
            rows: one for each logged step: the name of a metric -> its value, and the keys `step`
                and `time` (seconds since 1970).
        """
        new = [row for row in rows if row[STEP] > self.last_step]
        if not new:
            return
        self.late_metrics(new)
        self.last_step = new[-1][STEP]

    def late_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Log metrics that come later than the other metrics of their steps.

        Args:
            rows: see `metrics`.
        """
        metrics = []
        for row in rows:
            milliseconds = int(row[TIME] * 1000)
            for name, value in row.items():
                if name not in (STEP, TIME):
                    metrics.append(Metric(name, float(value), milliseconds, int(row[STEP])))
        self._log(metrics)

    def add_missing(self, rows: list[dict[str, Any]], prefix: str) -> None:
        """Log the metrics whose names begin with `prefix` as far as they are not logged.

        Args:
            rows: see `metrics`; those after `last_step` are left out.
            prefix: of the names.
        """
        logged: dict[str, set[int]] = {}
        for row in rows:
            if row[STEP] > self.last_step:
                break
            missing = {STEP: row[STEP], TIME: row[TIME]}
            for name in row:
                if not name.startswith(prefix):
                    continue
                if name not in logged:
                    logged[name] = self._logged_steps(name)
                if row[STEP] not in logged[name]:
                    missing[name] = row[name]
            self.late_metrics([missing])

    def results(self, results: Mapping[str, Any]) -> None:
        """Log the results of a stage: numbers become metrics, other values become tags."""
        milliseconds = int(time.time() * 1000)
        metrics = []
        tags = {}
        for name, value in results.items():
            if is_number(value):
                metrics.append(Metric(in_mlflow(name), float(value), milliseconds, 0))
            else:
                tags[name] = str(value)
        self._log(metrics)
        self.set_tags(tags)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the MLflow run."""
        entries = []
        for name, text in tags.items():
            entries.append(RunTag(name, redact(text)[:TAG_LENGTH]))
        for start in range(0, len(entries), TAGS_A_REQUEST):
            some = entries[start : start + TAGS_A_REQUEST]
            self.store.ask(self.client.log_batch, self.run_id, tags=some)

    def dataset(self, store: "ClipStore", context: str) -> None:
        """Log a clip store as an input of the run, by its name and fingerprint.

        Args:
            store: the clip store.
            context: its purpose, such as `pretraining`.
        """
        profile = {
            "clips": store.clips,
            "skeleton": store.layout_name,
            "persons": store.persons,
        }
        kind = "remote" if storage.is_remote(store.uri) else "local"
        dataset = Dataset(
            storage.name(store.uri),
            store.fingerprint[:DIGEST_LENGTH],
            kind,
            json.dumps({"uri": redact(store.uri)}),
            profile=json.dumps(profile),
        )
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
        self.store.ask(self.client.log_inputs, self.run_id, [entry])
        self.store.ask(self.client.set_tag, self.run_id, FINGERPRINT, store.fingerprint)

    def artifacts(self, uris: list[str], folder: str | None = None) -> None:
        """Copy files of the output directory into the artifacts of the MLflow run.

        Args:
            uris: the files.
            folder: the folder of the artifacts; None for the top folder.
        """
        # MLflow copies local files only, but the output may be on object storage.
        with tempfile.TemporaryDirectory() as scratch:
            for uri in uris:
                local = Path(scratch, storage.name(uri))
                local.write_bytes(storage.read_bytes(uri))
                self.store.ask(self.client.log_artifact, self.run_id, str(local), folder)

    def text(self, text: str, name: str) -> None:
        """Write a text as a file of the artifacts."""
        self.store.ask(self.client.log_text, self.run_id, text, name)

    def began(self) -> float:
        """Return when the MLflow run began, in seconds since 1970."""
        run: Run = self.store.ask(self.client.get_run, self.run_id)
        return run.info.start_time / 1000

    def end(self, status: str) -> None:
        """Give the MLflow run its last status, one of MLflow's words."""
        self.store.ask(self.client.set_terminated, self.run_id, status=status)

    def _log(self, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), METRICS_A_REQUEST):
            some = metrics[start : start + METRICS_A_REQUEST]
            self.store.ask(self.client.log_batch, self.run_id, metrics=some)

    def _create(self, config: Config, tags: dict[str, str]) -> str:
        """Create an MLflow run without parameters and metrics, and return its id."""
        experiment = find_or_create(self.store, config.tracking.experiment)
        created = self.store.ask(
            self.client.create_run,
            experiment,
            run_name=config.name,
            tags=tags,
        )
        return created.info.run_id

    def _remember(self, directory: RunDirectory) -> None:
        """Keep the id of the MLflow run, and where it is, in the state file."""
        state = directory.state
        uri = remembered(self.uri, directory.uri)
        if (state.mlflow_run_id, state.mlflow_uri) != (self.run_id, uri):
            state.mlflow_run_id = self.run_id
            state.mlflow_uri = uri
            directory.save()

    def _is_complete(self) -> bool:
        """True if the MLflow run got all that the directory held when the run was created."""
        run: Run = self.store.ask(self.client.get_run, self.run_id)
        return INCOMPLETE not in run.data.tags

    def _complete(self, config: Config, directory: RunDirectory, contents: Contents) -> None:
        """Log what the output directory holds.

        A tag says that the MLflow run lacks it. So a run that is killed here is completed at its
        next start.
        """
        self._log_parameters(config)
        self.metrics(contents.rows)
        for results in directory.state.stages.values():
            self.results(results)
        if OWN_STORE in directory.state.stores:
            self.set_tags({FINGERPRINT: directory.state.stores[OWN_STORE]})
        for folder, uris in contents.artifacts.items():
            self.artifacts(uris, folder)
        self.store.ask(self.client.delete_tag, self.run_id, INCOMPLETE)

    def _log_parameters(self, config: Config) -> None:
        params = []
        for key, value in flatten(config.model_dump()).items():
            params.append(Param(key, redact(str(value))[:PARAM_LENGTH]))
        for start in range(0, len(params), PARAMS_A_REQUEST):
            some = params[start : start + PARAMS_A_REQUEST]
            self.store.ask(self.client.log_batch, self.run_id, params=some)

    def _take_children(self, former: str | None) -> None:
        """Take the children of the MLflow run that this one replaces, and close open ones."""
        if former not in (None, self.run_id):
            adopt_children(self.store, former, self.run_id)
        close_children(self.store, self.run_id)

    def _last_step(self) -> int:
        """Return the last training step that is logged, -1 if none is."""
        return max(self._logged_steps(LOSS), default=-1)

    def _logged_steps(self, name: str) -> set[int]:
        """Return the steps for which a metric is logged."""
        history = self.store.ask(self.client.get_metric_history, self.run_id, name)
        return {metric.step for metric in history}


def _status(kind: type[BaseException] | None) -> str:
    """Return the status of an MLflow run that ended with an exception of some kind, or without."""
    if kind is None:
        return RunStatus.to_string(RunStatus.FINISHED)
    if issubclass(kind, Exception):
        return RunStatus.to_string(RunStatus.FAILED)
    # Ctrl-C, SIGTERM.
    return KILLED
