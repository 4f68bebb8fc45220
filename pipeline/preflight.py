"""The checks of a request that need no torch, Ray or MLflow.

These three take seconds to import, so the quick checks come first, in this order: the
configuration, the places of files, the output directory, the data. The checks that need torch (do
the models fit together?) follow in `pipeline.runs.resolved.resolve`.
"""

from dataclasses import dataclass

from pipeline.cluster.job import in_submitted_job, require_named_cluster
from pipeline.cluster.local import require_local_room
from pipeline.cluster.temporary import settle_ray_directory
from pipeline.config.compose import Request
from pipeline.config.data import Synthetic
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError, UserError
from pipeline.ingest.clip_names import read_lines
from pipeline.ingest.formats import reader_for
from pipeline.ingest.quick_look import require_recordings
from pipeline.ingest.settings import require_same_recordings
from pipeline.ingest.synthetic.recorder import require_limits
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory, has_recordings, has_store, require_data
from pipeline.runs.inputs import require_same_stores
from pipeline.runs.owner import refuse_owned
from pipeline.runs.place_checks import require_pooled_stores, require_usable, require_writable
from pipeline.runs.relations import require_apart, require_nothing_else_moves
from pipeline.runs.servers import require_cluster, require_storage, require_tracking
from pipeline.runs.state import OWN_STORE
from pipeline.sweep.same import recall_stores, require_same_search
from pipeline.sweep.searchable import require_searchable

# The stages that can make a clip store.
INGESTING = ("ingest",)


@dataclass(frozen=True)
class Plan:
    """A request that passed the checks here.

    Attributes:
        config: the configuration, with absolute paths.
        request: the command line.
        directory: the output directory of the run, opened.
        todo: the stages to run, in order.
        state_written: when the state of the run was last written, None if it never was.
    """

    config: Config
    request: Request
    directory: RunDirectory
    todo: tuple[str, ...]
    state_written: int | None = None

    @property
    def is_done(self) -> bool:
        """True if no stage is left to run, and the summary holds all results."""
        return not self.todo and self.directory.state.summarised

    @property
    def ingests(self) -> bool:
        """True if a stage that can make a clip store is left to run."""
        return any(stage in INGESTING for stage in self.todo)

    @property
    def skipped(self) -> list[str]:
        """The stages that were asked for and are finished already, in order."""
        return [stage for stage in self.config.ordered_stages if stage not in self.todo]

    def require_unchanged(self) -> None:
        """Check that no other process has run in the output directory since the plan was made.

        Raises:
            ConfigError: one has. It has ended, but the plan is not up to date.
        """
        if _state_written(self.config) != self.state_written:
            raise ConfigError(
                f"output={self.config.output}: another process has just worked on it; "
                "start the same command again"
            )


def plan_run(config: Config, request: Request) -> Plan:
    """Make paths absolute, open the output directory, and find the stages to run.

    This writes nothing.

    Raises:
        ConfigError: the synthetic recorder refuses its settings, a path cannot work, the output
            directory holds something else, another process works on it, the run has no data, or
            its stores or recordings are not those that it began with.
    """
    try:
        return _plan(config, request)
    except UserError as error:
        # Nothing was started.
        raise ConfigError(str(error)) from error


def _plan(config: Config, request: Request) -> Plan:
    """See `plan_run`. A storage that does not answer is a UserError here."""
    require_recorder(config.data.synthetic)
    if "sweep" in config.stages and config.sweep is not None and config.sweep.is_search:
        require_searchable(config, request)
    settled = settle_places(config, in_job=in_submitted_job())
    require_storage(settled)
    require_usable(settled)
    require_apart(settled)
    # Before it is read: what is written afterwards is newer.
    state_written = _state_written(settled)
    directory = _open(settled, request.clips)
    require_same_search(settled)
    recall_stores(settled, directory)
    require_same_stores(settled, directory)
    todo = _stages_to_run(settled, directory)
    plan = Plan(settled, request, directory, todo, state_written)
    if todo:
        require_data(settled, ingesting=plan.ingests)
    if plan.ingests:
        _require_recordings(settled)
    if "ingest" not in todo and directory.results("ingest") is not None:
        _require_same_recordings(settled)
    summary = directory.path(files.SUMMARY)
    if directory.state.summarised and storage.read_object(summary) is None:
        # It is written again from the results of the stages.
        directory.state.summarised = False
    if todo:
        require_named_cluster(settled.cluster.address)
    if not plan.is_done:
        if settled.fresh:
            require_nothing_else_moves(settled)
        refuse_owned(settled.output, settled.fresh)
        _require_possible(plan)
    return plan


def _require_possible(plan: Plan) -> None:
    """Check that what is left to do can be done: servers answer, and places can be written.

    A finished run is shown without this.

    Raises:
        ConfigError: it cannot.
    """
    config = plan.config
    if plan.todo:
        require_pooled_stores(config)
    require_writable(config, writes_store=plan.ingests)
    require_tracking(config.tracking)
    if not plan.todo:
        return
    if config.cluster.address is not None:
        require_cluster(config.cluster.address)
    elif not in_submitted_job():
        require_local_room(config.cluster)
        settle_ray_directory(say)


def _state_written(config: Config) -> int | None:
    """Return when the state of the run was last written, None if it never was."""
    return storage.info(storage.join(config.output, files.STATE)).mtime_ns


def _open(config: Config, clips: str | None) -> RunDirectory:
    """Open the output directory.

    Args:
        config: the configuration, with absolute paths.
        clips: see `Request.clips`.

    Raises:
        ConfigError: another process works on it, or it holds something else.
    """
    try:
        directory = RunDirectory.open(config)
    except ConfigError:
        # The message about what it holds would advise to move it aside.
        refuse_owned(config.output, fresh=False)
        raise
    if clips is not None:
        # As if the run had begun with them: the stage that opens its store compares them.
        directory.state.stores.setdefault(OWN_STORE, clips)
    return directory


def _stages_to_run(config: Config, directory: RunDirectory) -> tuple[str, ...]:
    """Return the stages to run.

    A finished run whose clip store is gone, with the recordings that it could be made of, has
    nothing to run: it is shown as it is.
    """
    todo = tuple(directory.unfinished(config))
    finished = all(directory.results(stage) is not None for stage in config.ordered_stages)
    if todo and finished and not has_store(config.store) and not has_recordings(config):
        say(f"  {config.store}: no clip store there any more; what the run left is shown")
        return ()
    return todo


def require_recorder(synthetic: Synthetic | None) -> None:
    """Check the settings of the synthetic recorder.

    Raises:
        ConfigError: the recorder cannot make such recordings.
    """
    if synthetic is None:
        return
    # The recorder has no limit for the noise.
    try:
        require_limits(**synthetic.model_dump(exclude={"noise"}))
    except ValueError as error:
        raise ConfigError(f"data.{error}") from None


def _require_recordings(config: Config) -> None:
    """Check that the recordings and the list of clips to leave out can be read.

    Raises:
        ConfigError: they cannot.
    """
    data = config.data
    if data.left_out is not None:
        read_lines("data.left_out", data.left_out)
    if data.sources is not None:
        require_recordings(data.sources, reader_for(data.reader, data.classes))


def _require_same_recordings(config: Config) -> None:
    """Check that the recordings are the ones that a finished ingest read.

    Raises:
        ConfigError: they are other recordings.
    """
    data = config.data
    if data.sources is None or not has_store(config.store):
        return
    require_same_recordings(data.sources, config.store, reader_for(data.reader, data.classes))
