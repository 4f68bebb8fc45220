"""MLflow, from the driver alone: workers send their metrics to it and never open a run of their own."""

import hashlib
import json
import logging
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from pipeline.config.schema import Config, digest, flatten
from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.core.paths import ROOT
from pipeline.runs.rundir import RunDir
from pipeline.store.clip_store import ClipStore

# Creating its tables is not news.
logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)

# MLflow takes at most so many in one request.
PARAMS_A_REQUEST = 100
METRICS_A_REQUEST = 500
# What decides what a run computes; results that lie in the checkout do not.
CODE = ("pipeline", "models", "conf")


class Tracker:
    """One MLflow run for one output directory, created once and taken up again by every continuation."""

    def __init__(self, config: Config, run: RunDir, parent: str | None = None):
        """Open or create the run, a child of the run with the id `parent`.

        Raises UserError where the tracking store cannot be reached.
        """
        self.uri = config.tracking.uri
        with self._reached():
            self.client = MlflowClient(tracking_uri=self.uri)
            self.run_id = run.state.get("mlflow_run_id") or self._create(config)
            self.client.update_run(self.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
            if parent:
                self.client.set_tag(self.run_id, MLFLOW_PARENT_RUN_ID, parent)
            self.last_step = self._last_step()
        if run.state.get("mlflow_run_id") != self.run_id:
            run.state["mlflow_run_id"] = self.run_id
            run.save()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the run as finished or failed; a tracking store that is gone by now hides no earlier error."""
        status = RunStatus.to_string(RunStatus.FINISHED if kind is None else RunStatus.FAILED)
        with suppress(UserError) if kind else nullcontext(), self._reached():
            self.client.set_terminated(self.run_id, status=status)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise UserError(
                f"tracking.uri={self.uri}: cannot be used ({first_line(error)})"
            ) from error

    def _create(self, config: Config) -> str:
        experiment = self.client.get_experiment_by_name(config.tracking.experiment)
        if experiment:
            experiment_id = experiment.experiment_id
        else:
            # Beside a local database lie its artifacts; a server decides for itself.
            place = None
            if self.uri.startswith("sqlite:///"):
                place = (Path(self.uri.removeprefix("sqlite:///")).parent / "mlartifacts").as_uri()
            # The kind of experiment decides which of its faces MLflow shows: training, not conversations.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            experiment_id = self.client.create_experiment(config.tracking.experiment, place, tags)
        created = self.client.create_run(experiment_id, run_name=config.name, tags=_tags(config))
        params = [
            Param(key, str(value)[:6000]) for key, value in flatten(config.model_dump()).items()
        ]
        for start in range(0, len(params), PARAMS_A_REQUEST):
            self.client.log_batch(
                created.info.run_id, params=params[start : start + PARAMS_A_REQUEST]
            )
        return created.info.run_id

    def _last_step(self) -> int:
        history = self.client.get_metric_history(self.run_id, "loss")
        return max((metric.step for metric in history), default=-1)

    def metrics(self, rows: list[dict[str, float]]) -> None:
        """Log training metrics, one row a logged step with the keys `step` and `time` (seconds since 1970).

        Steps that are logged already, by a killed run say, are not logged twice: giving all rows again is cheap, and
        brings what a server that was away has missed.
        """
        new = [row for row in rows if row["step"] > self.last_step]
        self.late_metrics(new)
        if new:
            self.last_step = new[-1]["step"]

    def late_metrics(self, rows: list[dict[str, float]]) -> None:
        """Log metrics of steps whose other metrics may be logged already; rows as of `metrics`."""
        metrics = [
            Metric(key, float(value), int(row["time"] * 1000), int(row["step"]))
            for row in rows
            for key, value in row.items()
            if key not in ("step", "time")
        ]
        with self._reached():
            for start in range(0, len(metrics), METRICS_A_REQUEST):
                self.client.log_batch(
                    self.run_id, metrics=metrics[start : start + METRICS_A_REQUEST]
                )

    def results(self, results: dict[str, Any]) -> None:
        """Log a stage's numbers as metrics, under the names of `summary.json`; other values become tags."""
        with self._reached():
            for key, value in results.items():
                if isinstance(value, bool) or not isinstance(value, int | float):
                    self.client.set_tag(self.run_id, key, str(value)[:5000])
                else:
                    self.client.log_metric(self.run_id, key.replace("_top1", "/top1"), float(value))

    def dataset(self, store: ClipStore, context: str) -> None:
        """Log the clip store as the run's input, by name and fingerprint."""
        profile = json.dumps(
            {"clips": store.clips, "skeleton": store.layout_name, "persons": store.persons}
        )
        source = json.dumps({"uri": store.uri})
        kind = "remote" if storage.is_remote(store.uri) else "local"
        entity = Dataset(
            storage.name(store.uri), store.fingerprint[:36], kind, source, profile=profile
        )
        entry = DatasetInput(entity, [InputTag("mlflow.data.context", context)])
        with self._reached():
            self.client.log_inputs(self.run_id, [entry])
            self.client.set_tag(self.run_id, "store.fingerprint", store.fingerprint)

    def artifacts(self, uris: list[str], folder: str | None = None) -> None:
        """Copy files of the output directory into the run's artifacts."""
        with tempfile.TemporaryDirectory() as scratch, self._reached():
            for uri in uris:
                local = Path(scratch, storage.name(uri))
                local.write_bytes(storage.read_bytes(uri))
                self.client.log_artifact(self.run_id, str(local), folder)


def _tags(config: Config) -> dict[str, str]:
    import ray
    import torch

    return {
        "code.version": code_version(),
        "config.digest": digest(config),
        "ray.version": ray.__version__,
        "torch.version": torch.__version__,
    }


def code_version() -> str:
    """The git commit, `+dirty` where code or configuration differ from it; without git a hash over CODE."""
    try:
        git = ["git", "-C", str(ROOT)]
        top = subprocess.run(
            [*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True
        )
        if Path(top.stdout.strip()).resolve() != ROOT:
            raise FileNotFoundError("installed inside somebody else's repository")
        commit = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        status = subprocess.run(
            [*git, "status", "--porcelain", "--", *CODE], capture_output=True, text=True, check=True
        )
        return commit.stdout.strip() + ("+dirty" if status.stdout.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        digested = hashlib.sha256()
        for folder in CODE:
            for path in sorted((ROOT / folder).rglob("*")):
                if path.suffix in (".py", ".yaml"):
                    digested.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
        return "sha256:" + digested.hexdigest()[:16]
