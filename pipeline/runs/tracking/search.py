"""Finding MLflow runs of any origin, as plain values: to compare them, and to run one again."""

import difflib
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from mlflow.entities import Experiment, Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.config.places import database
from pipeline.core.errors import ConfigError, first_line
from pipeline.runs import files
from pipeline.runs.tracking.curves import curve
from pipeline.runs.tracking.earlier import UNKNOWN
from pipeline.runs.tracking.lookup import artifact_text, existing_run, refusing
from pipeline.runs.tracking.store import Store, TrackingError
from pipeline.runs.tracking.tags import COMMAND, CONFIG_DIGEST, CONFIG_DIR

# A page with more runs could not be read, nor be opened.
MOST_RUNS = 2000
# A message names so many experiments.
NAMED_EXPERIMENTS = 8
# Requests to a server at the same time.
REQUESTS = 8
# How the names of MLflow's own tags begin.
MLFLOWS = "mlflow."


@dataclass(frozen=True)
class FoundRun:
    """A run that MLflow holds. Its texts may be anybody's: nothing of it was checked.

    Attributes:
        run_id: its id.
        name: its name; the id where it has none.
        experiment_id: the id of its experiment.
        status: MLflow's word for its state, such as `FINISHED`.
        parent: the id of its parent, None if it has none.
        seconds: how long it took, None if it has not ended.
        is_ours: whether this program wrote it. Other programs may share the experiment.
        params: its parameters, as texts.
        metrics: the last value of each metric. Those that are no numbers are left out.
        tags: its tags without MLflow's own.
        curves: the metrics that were asked for, as far as it has them: the name of a metric ->
            (step, value) in the order of steps, at most 200 (`pipeline.runs.tracking.curves`).
        artifacts: the names of the files and folders in the top folder of its artifacts; empty if
            their place does not answer.
    """

    run_id: str
    name: str
    experiment_id: str
    status: str
    parent: str | None
    seconds: float | None
    is_ours: bool
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)


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
    """

    run_id: str
    name: str
    status: str
    config: str
    tags: dict[str, str]
    command: tuple[str, ...] | None
    config_dir: str | None


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
        uri: the tracking store, which is there (`pipeline.runs.servers.require_tracked_runs`).
        experiment: the name of the experiment; None for all, which takes longer.
        filter: a filter of MLflow's, such as `params.seed = '0' and metrics.loss < 1`.
        run_ids: the runs of these ids, in this order.
        parent: the id of the run of a sweep: its trials.
        curves: the names of the metrics whose values over time are wanted.

    Raises:
        ConfigError: the store does not answer, the experiment or an id is unknown, the filter
            cannot be read, or nothing meets the conditions.
    """
    with refusing():
        store = Store(uri)
        experiments = _experiments(store, experiment)
        conditions = _conditions(store, filter, run_ids, parent)
        runs = _search(store, experiments, conditions)
        if not runs:
            raise ConfigError(_nothing(uri, experiment, filter, run_ids, parent))
        if run_ids:
            order = list(run_ids)
            runs.sort(key=lambda run: order.index(run.info.run_id))
        found = [_found(run) for run in runs]
        return _with_files_and_curves(store, found, curves)


def recorded_run(uri: str, run_id: str) -> RecordedRun:
    """Return what MLflow holds of a run of ours.

    Args:
        uri: the tracking store, which is there (`pipeline.runs.servers.require_tracked_runs`).
        run_id: the id of the run.

    Raises:
        ConfigError: the store does not answer, the id is unknown, another program wrote the run, or
            it has no configuration.
    """
    with refusing():
        store = Store(uri)
        run = existing_run(store, "from_run", run_id)
        tags = run.data.tags
        if CONFIG_DIGEST not in tags:
            raise ConfigError(f"from_run={run_id}: another program wrote this run of {uri}")
        return RecordedRun(
            run_id=run_id,
            name=run.info.run_name or run_id,
            status=run.info.status,
            config=artifact_text(store, run, "from_run", files.CONFIG),
            tags=dict(tags),
            command=_command(tags.get(COMMAND)),
            config_dir=tags.get(CONFIG_DIR),
        )


def _experiments(store: Store, name: str | None) -> list[str]:
    """Return the ids of the experiments of a name; without one those of all experiments."""
    experiments: Iterator[Experiment] = store.pages(store.client.search_experiments)
    known = {experiment.experiment_id: experiment.name for experiment in experiments}
    if name is None:
        return list(known)
    chosen = [number for number in known if known[number] == name]
    if not chosen:
        near = difflib.get_close_matches(name, known.values(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        some = ", ".join(sorted(known.values())[:NAMED_EXPERIMENTS])
        raise ConfigError(
            f"compare.experiment={name}: no such experiment in {store.uri}; {hint}there are {some}"
        )
    return chosen


def _conditions(
    store: Store, filter: str | None, run_ids: Sequence[str], parent: str | None
) -> str:
    """Return all conditions as one filter of MLflow's, each of them checked."""
    conditions = []
    if filter:
        _require_filter(store, filter)
        conditions.append(filter)
    if parent is not None:
        existing_run(store, "compare.sweep", parent)
        conditions.append(f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'")
    if run_ids:
        for run_id in run_ids:
            existing_run(store, "compare.runs", run_id)
        quoted = ", ".join(f"'{run_id}'" for run_id in run_ids)
        conditions.append(f"attributes.run_id IN ({quoted})")
    return " and ".join(conditions)


def _require_filter(store: Store, filter: str) -> None:
    """Raise ConfigError for a filter that MLflow cannot read."""
    try:
        store.ask(store.client.search_runs, ["0"], filter, max_results=1)
    except TrackingError as error:
        if error.code not in UNKNOWN:
            raise
        reason = first_line(error.__cause__ or error)
        raise ConfigError(f"compare.filter={filter}: MLflow cannot read it ({reason})") from None


def _search(store: Store, experiments: list[str], conditions: str) -> list[Run]:
    """Return the runs that meet conditions, the oldest first."""
    search = partial(store.client.search_runs, order_by=["attributes.start_time ASC"])
    runs: list[Run] = []
    for run in store.pages(search, experiments, conditions):
        runs.append(run)
        if len(runs) > MOST_RUNS:
            raise ConfigError(
                f"compare: more than {MOST_RUNS} runs of {store.uri} are meant; "
                "narrow them down with compare.experiment, compare.filter or compare.runs"
            )
    return runs


def _nothing(
    uri: str,
    experiment: str | None,
    filter: str | None,
    run_ids: Sequence[str],
    parent: str | None,
) -> str:
    """Return the message for conditions that no run meets."""
    given = []
    if experiment is not None:
        given.append(f"compare.experiment={experiment}")
    if run_ids:
        given.append(f"compare.runs=[{','.join(run_ids)}]")
    if parent is not None:
        given.append(f"compare.sweep={parent}")
    if filter:
        given.append(f"compare.filter={filter}")
    if not given:
        return f"tracking.uri={uri}: has no runs"
    return f"{' '.join(given)}: no run of {uri} is meant by it"


def _found(run: Run) -> FoundRun:
    """Return a run as plain values, without files and curves."""
    tags = run.data.tags
    seconds = None
    if run.info.end_time is not None:
        seconds = (run.info.end_time - run.info.start_time) / 1000
    return FoundRun(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        experiment_id=run.info.experiment_id,
        status=run.info.status,
        parent=tags.get(MLFLOW_PARENT_RUN_ID),
        seconds=seconds,
        is_ours=CONFIG_DIGEST in tags,
        params=dict(run.data.params),
        metrics=_finite(run.data.metrics),
        tags={name: tags[name] for name in tags if not name.startswith(MLFLOWS)},
    )


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _with_files_and_curves(
    store: Store, runs: list[FoundRun], curves: Sequence[str]
) -> list[FoundRun]:
    """Return runs with the names of their files, and the curves that they have."""
    # A server answers many requests at once. A database has one reader at a time.
    threads = 1
    if database(store.uri) is None:
        threads = REQUESTS

    def complete(run: FoundRun) -> FoundRun:
        values = {}
        for name in curves:
            # The last value is known, so a metric that a run lacks costs no request.
            if name in run.metrics:
                values[name] = curve(store, run.run_id, name, is_ours=run.is_ours)
        return replace(run, curves=values, artifacts=_top_files(store, run.run_id))

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(complete, runs))


def _top_files(store: Store, run_id: str) -> list[str]:
    """Return the names of the files and folders in the top folder of a run's artifacts."""
    try:
        return sorted(entry.path for entry in store.client.list_artifacts(run_id))
    except Exception:
        # Artifacts may lie anywhere, and each kind of storage has errors of its own. A table can be
        # drawn without them.
        return []


def _command(text: str | None) -> tuple[str, ...] | None:
    """Return the overrides in a tag, None if there are none or somebody changed the tag."""
    try:
        overrides = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
        return None
    return tuple(overrides)
