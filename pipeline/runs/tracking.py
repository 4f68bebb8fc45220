"""The record of a run in MLflow.

Only the driver talks to MLflow. Training workers send their metrics to the driver.
"""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from pipeline.config.identity import digest, flatten
from pipeline.config.places import SQLITE
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.runs.code_version import code_version
from pipeline.runs.directory import RunDirectory
from pipeline.runs.metric_names import LOSS, STEP, TIME, in_mlflow
from pipeline.store.clip_store import ClipStore

# Without this, both report every table that they create in a new database.
logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)

# The limits of MLflow: entries in one request, and characters of a value.
PARAMS_A_REQUEST = 100
METRICS_A_REQUEST = 500
PARAM_LENGTH = 6000
TAG_LENGTH = 5000
DIGEST_LENGTH = 36
# MLflow has pages for training and pages for language models. This selects those for training.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


class Tracker:
    """One MLflow run for one output directory. If the run goes on later, it uses the same one.

    Args:
        config: the configuration of the run. It becomes the parameters of the MLflow run.
        directory: the output directory, which keeps the id of the MLflow run.
        parent: the id of the MLflow run of the table, if this run is a cell of one.

    Attributes:
        uri: the tracking store.
        run_id: the id of the MLflow run.
        last_step: the last training step that is logged, -1 if none is.

    Raises:
        UserError: the tracking store cannot be reached.
    """

    def __init__(self, config: Config, directory: RunDirectory, parent: str | None = None) -> None:
        self.uri = config.tracking.uri
        with self._reached():
            self.client = MlflowClient(tracking_uri=self.uri)
            known = directory.state.mlflow_run_id
            self.run_id: str = known or self._create(config)
            self.client.update_run(self.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
            if parent:
                self.client.set_tag(self.run_id, MLFLOW_PARENT_RUN_ID, parent)
            self.last_step = self._last_step()
        if known != self.run_id:
            directory.state.mlflow_run_id = self.run_id
            directory.save()

    def child(self, config: Config, directory: RunDirectory) -> "Tracker":
        """Return the tracker of another run, whose MLflow run is a child of this one's."""
        return Tracker(config, directory, parent=self.run_id)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Mark the MLflow run as finished or failed."""
        failed = kind is not None
        status = RunStatus.to_string(RunStatus.FAILED if failed else RunStatus.FINISHED)
        try:
            with self._reached():
                self.client.set_terminated(self.run_id, status=status)
        except UserError:
            # If the run failed already, raise that error and not this one.
            if not failed:
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
        with self._reached():
            for start in range(0, len(metrics), METRICS_A_REQUEST):
                some = metrics[start : start + METRICS_A_REQUEST]
                self.client.log_batch(self.run_id, metrics=some)

    def results(self, results: dict[str, Any]) -> None:
        """Log the results of a stage: numbers become metrics, other values become tags."""
        with self._reached():
            for name, value in results.items():
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                if is_number:
                    self.client.log_metric(self.run_id, in_mlflow(name), float(value))
                else:
                    self.client.set_tag(self.run_id, name, str(value)[:TAG_LENGTH])

    def dataset(self, store: ClipStore, context: str) -> None:
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
            json.dumps({"uri": store.uri}),
            profile=json.dumps(profile),
        )
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
        with self._reached():
            self.client.log_inputs(self.run_id, [entry])
            self.client.set_tag(self.run_id, "store.fingerprint", store.fingerprint)

    def artifacts(self, uris: list[str], folder: str | None = None) -> None:
        """Copy files of the output directory into the artifacts of the MLflow run.

        Args:
            uris: the files.
            folder: the folder of the artifacts; None for the top folder.
        """
        # MLflow copies local files only, but the output may be on object storage.
        with tempfile.TemporaryDirectory() as scratch, self._reached():
            for uri in uris:
                local = Path(scratch, storage.name(uri))
                local.write_bytes(storage.read_bytes(uri))
                self.client.log_artifact(self.run_id, str(local), folder)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turn an error of MLflow into one line that names the tracking store."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise UserError(
                f"tracking.uri={self.uri}: cannot be used ({first_line(error)})"
            ) from error

    def _create(self, config: Config) -> str:
        """Create the MLflow run with the configuration as its parameters, and return its id."""
        experiment_id = self._experiment(config.tracking.experiment)
        created = self.client.create_run(experiment_id, run_name=config.name, tags=_tags(config))
        params = []
        for key, value in flatten(config.model_dump()).items():
            params.append(Param(key, str(value)[:PARAM_LENGTH]))
        for start in range(0, len(params), PARAMS_A_REQUEST):
            some = params[start : start + PARAMS_A_REQUEST]
            self.client.log_batch(created.info.run_id, params=some)
        return created.info.run_id

    def _experiment(self, name: str) -> str:
        """Return the id of an experiment. Create it if it does not exist."""
        experiment = self.client.get_experiment_by_name(name)
        if experiment:
            return experiment.experiment_id
        # With a local database the artifacts go beside it. A server has a place for them.
        artifacts = None
        if self.uri is not None and self.uri.startswith(SQLITE):
            database = Path(self.uri.removeprefix(SQLITE))
            artifacts = (database.parent / "mlartifacts").as_uri()
        return self.client.create_experiment(name, artifacts, EXPERIMENT_TAGS)

    def _last_step(self) -> int:
        """Return the last training step that is logged, -1 if none is."""
        history = self.client.get_metric_history(self.run_id, LOSS)
        return max((metric.step for metric in history), default=-1)


def _tags(config: Config) -> dict[str, str]:
    return {
        "code.version": code_version(),
        "config.digest": digest(config),
        "ray.version": ray.__version__,
        "torch.version": torch.__version__,
    }
