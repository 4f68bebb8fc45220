"""Runs that are tracked in real databases of MLflow, for tests."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.places import database
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.runs.directory import RunDirectory
from pipeline.runs.tracking import Tracker, check_tracking
from pipeline.runs.tracking.store import Store

ROWS = [
    {"step": 1, "time": 1e9, "epoch": 0, "loss": 3.0},
    {"step": 2, "time": 1e9 + 1, "epoch": 0, "loss": 2.0, "watch/knn_top1": 0.5},
    {"step": 3, "time": 1e9 + 2, "epoch": 1, "loss": 1.0},
]
RESULTS = {
    "pretrain": {"loss": 1.0, "checkpoint": "/somewhere"},
    "evaluate": {"linear_top1": 0.75},
}
LEFT = ("encoder/config.json", "encoder/model.safetensors", "figures/curve.png", "report.html")


@dataclass
class Place:
    """A directory for the outputs and databases of a test.

    Attributes:
        path: of the directory.
        database: an MLflow database without runs, which a run would take seconds to make.
        config: the configuration that those of the runs are made of.
    """

    path: Path
    database: Path
    config: Config

    def uri(self, name: str) -> str:
        """The tracking store with the database `name`."""
        return f"sqlite:///{self.path / name}"

    def store(self, name: str = "mlflow.db") -> Store:
        """A tracking store that is open."""
        shutil.copy(self.database, self.path / name)
        return Store(self.uri(name))

    def settings(self, output: str = "run", uri: str | None = None, **changes) -> Config:
        """The configuration of a run in `output`, by default with the database `mlflow.db`."""
        tracking = self.config.tracking.model_copy(
            update={"uri": uri or self.uri("mlflow.db")} | changes.pop("tracking", {})
        )
        update = {"output": str(self.path / output), "tracking": tracking} | changes
        return self.config.model_copy(update=update)

    def start(self, config: Config) -> Tracker:
        """Start a run as the entry point does. Without `with` it is one that was killed."""
        directory = RunDirectory.open(config)
        check_tracking(config, directory)
        directory.begin(config)
        path = database(config.tracking.uri)
        if path is not None and not Path(path).exists():
            shutil.copy(self.database, path)
        return Tracker(config, directory)

    def finished(self, config: Config) -> str:
        """Leave an output with two finished stages, and return the id of its MLflow run."""
        with self.start(config) as tracker:
            directory = RunDirectory.open(config)
            tracker.metrics(ROWS)
        directory.state.mlflow_run_id = tracker.run_id
        directory.state.stages = RESULTS
        directory.state.stores = {"store": "abc"}
        directory.save()
        lines = "".join(json.dumps(row) + "\n" for row in ROWS)
        storage.write_bytes(directory.path("metrics.jsonl"), lines.encode())
        for name in LEFT:
            storage.write_bytes(directory.path(name), b"content")
        return tracker.run_id
