"""What the MLflow run of a sweep gets while its trials run: the best trial, and how busy it is."""

from collections.abc import Sequence

from mlflow.entities import Run

from pipeline.runs.metric_rows import Row
from pipeline.runs.tracking.earlier import children_of
from pipeline.runs.tracking.overview import NOTE, TRIALS, description, trials_file
from pipeline.runs.tracking.system_metrics import SystemMetrics
from pipeline.runs.tracking.tags import SWEEP_BEST, SWEEP_BEST_NAME
from pipeline.runs.tracking.tracker import Tracker


class SweepRun:
    """The MLflow run of a sweep. Only the thread that sends uses it.

    Args:
        tracker: of the sweep.

    Attributes:
        system: measures how busy this machine is.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.system = SystemMetrics(tracker.began())
        self._tracker = tracker
        self._samples: list[Row] = []
        self._has_sample = False
        self._best: tuple[str, str] | None = None

    def take_sample(self) -> None:
        """Measure how busy this machine is."""
        self._samples.append(self.system.sample())
        self._has_sample = True

    def send(self, best: tuple[str, str] | None) -> None:
        """Send what was measured, and which trial is the best.

        Args:
            best: the name of the best trial and the id of its MLflow run, None if nobody knows.

        Raises:
            UserError: MLflow does not answer, or refuses.
        """
        if self._samples:
            self._tracker.late_metrics(self._samples)
            self._samples = []
        if best is not None and best != self._best:
            self._tracker.set_tags({SWEEP_BEST_NAME: best[0], SWEEP_BEST: best[1]})
            self._best = best

    def trials(self) -> list[Run]:
        """Return the MLflow runs of the trials, those of earlier starts of the sweep, too."""
        return children_of(self._tracker.store, self._tracker.run_id)

    def conclude(self, best: Sequence[str]) -> None:
        """Write the file with all trials, and the description with links to them.

        Args:
            best: the names of trials, the best first; empty if they have no order.

        Raises:
            UserError: MLflow does not answer, or refuses.
        """
        if not self._has_sample:
            # The trials took only seconds.
            self._tracker.late_metrics([self.system.sample()])
        trials = self.trials()
        if best:
            for run in trials:
                if run.info.run_name == best[0]:
                    self.send((best[0], run.info.run_id))
        self._tracker.text(trials_file(trials), TRIALS)
        self._tracker.set_tags({NOTE: description(trials, best)})
