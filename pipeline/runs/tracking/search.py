"""Finding MLflow runs of any origin, as plain values: to compare them, and to run one again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

# A curve has at most so many points. Its first and last ones are among them.
MOST_POINTS = 200


@dataclass(frozen=True)
class FoundRun:
    """A run that MLflow holds. Its texts may be anybody's: nothing of it was checked.

    Attributes:
        run_id: its id.
        name: its name; the id where it has none.
        experiment: the name of its experiment.
        experiment_id: the id of its experiment.
        status: MLflow's word for its state, such as `FINISHED`.
        parent: the id of its parent, None if it has none.
        started: when it began, in seconds since 1970.
        seconds: how long it took, None if it has not ended.
        is_ours: whether this program wrote it. Other programs may share the experiment.
        params: its parameters, as texts.
        metrics: the last value of each metric. Those that are no numbers are left out.
        tags: its tags without MLflow's own.
        curves: the metrics that were asked for, as far as it has them: the name of a metric ->
            (step, value) in the order of steps, at most MOST_POINTS.
        artifacts: the paths of the files in its top folder and in `figures`.
        artifact_uri: where its artifacts lie.
    """

    run_id: str
    name: str
    experiment: str
    experiment_id: str
    status: str
    parent: str | None
    started: float
    seconds: float | None
    is_ours: bool
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)
    artifact_uri: str = ""


@dataclass(frozen=True)
class RecordedRun:
    """What MLflow holds of one run that is to be run again.

    Attributes:
        run_id: its id.
        name: its name.
        status: MLflow's word for its state.
        config: the text of its `config.yaml`. Anybody may have written it: read it as plain data.
        tags: its tags: `code.version`, `ray.version`, `torch.version`, `store.fingerprint`,
            `run.output`, `config.digest` and others.
        command: the overrides that were typed, None if the run is older than this tag.
        config_dir: the `--config-dir` that was typed, None if there was none.
        metrics: the last value of each metric.
    """

    run_id: str
    name: str
    status: str
    config: str
    tags: dict[str, str]
    command: tuple[str, ...] | None
    config_dir: str | None
    metrics: dict[str, float]


def find_runs(
    uri: str,
    *,
    experiment: str | None = None,
    filter: str | None = None,
    run_ids: Sequence[str] = (),
    parent: str | None = None,
    curves: Sequence[str] = (),
) -> list[FoundRun]:
    """Find the runs that meet all conditions that are given, the oldest first.

    Args:
        uri: the tracking store.
        experiment: the name of the experiment; None for all, which takes longer.
        filter: a filter of MLflow's, such as `params.seed = '0' and metrics.loss < 1`.
        run_ids: the runs of these ids, in this order.
        parent: the id of the run of a sweep: its trials.
        curves: the names of the metrics whose values over time are wanted.

    Raises:
        ConfigError: the store does not answer, the experiment or an id is unknown, the filter
            cannot be read, or nothing meets the conditions.
    """
    raise NotImplementedError


def recorded_run(uri: str, run_id: str) -> RecordedRun:
    """Return what MLflow holds of a run of ours.

    Args:
        uri: the tracking store.
        run_id: the id of the run.

    Raises:
        ConfigError: the store does not answer, the id is unknown, another program wrote the run, or
            it has no configuration.
    """
    raise NotImplementedError
