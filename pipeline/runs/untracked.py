"""A tracker that records nothing, for a process beside the one that keeps the MLflow run."""

from typing import Any


class Untracked:
    """Stands in for a `Tracker` where another process tells MLflow what there is to tell."""

    def metrics(self, rows: list[dict[str, Any]]) -> None:
        """Take rows of metrics."""

    def late_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Take rows of metrics that come late."""

    def results(self, results: dict[str, Any]) -> None:
        """Take the results of a stage."""

    def dataset(self, store: Any, context: str) -> None:
        """Take a clip store."""

    def artifacts(self, uris: list[str], folder: str | None = None) -> None:
        """Take files."""
