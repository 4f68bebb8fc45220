"""The checks of a request that need no torch, Ray or MLflow.

These three take seconds to import, so the quick checks come first, in this order: the
configuration, the places of files, the output directory, the data. The checks that need torch (do
the models fit together?) follow in `pipeline.runs.resolved.resolve`.
"""

from dataclasses import dataclass

from pipeline.cluster.job import in_submitted_job
from pipeline.config.compose import Request
from pipeline.config.data import Synthetic
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.core.errors import ConfigError
from pipeline.ingest.formats import reader_for
from pipeline.ingest.settings import require_same_recordings
from pipeline.ingest.synthetic.recorder import require_limits
from pipeline.runs.directory import RunDirectory, require_data

# The stages that can make a clip store.
INGESTING = ("ingest", "ablate")


@dataclass(frozen=True)
class Plan:
    """A request that passed the checks here.

    Attributes:
        config: the configuration, with absolute paths.
        request: the command line.
        directory: the output directory of the run, opened.
        todo: the stages to run, in order.
    """

    config: Config
    request: Request
    directory: RunDirectory
    todo: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        """True if no stage is left to run, and the summary holds all results."""
        return not self.todo and self.directory.state.summarised

    @property
    def skipped(self) -> list[str]:
        """The stages that were asked for and are finished already, in order."""
        return [stage for stage in self.config.ordered_stages if stage not in self.todo]


def plan_run(config: Config, request: Request) -> Plan:
    """Make paths absolute, open the output directory, and find the stages to run.

    This writes nothing.

    Raises:
        ConfigError: the synthetic recorder refuses its settings, a path cannot work, the output
            directory holds something else, the run has no data, or its recordings changed.
    """
    require_recorder(config.data.synthetic)
    settled = settle_places(config, in_job=in_submitted_job())
    directory = RunDirectory.open(settled)
    todo = tuple(directory.unfinished(settled))
    require_data(settled, ingesting=any(stage in INGESTING for stage in todo))
    plan = Plan(settled, request, directory, todo)
    if "ingest" in plan.skipped:
        _require_same_recordings(settled)
    return plan


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


def _require_same_recordings(config: Config) -> None:
    """Check that the recordings are the ones that a finished ingest read.

    Raises:
        ConfigError: they are other recordings.
    """
    data = config.data
    if data.sources is not None:
        reader = reader_for(data.reader, data.classes)
        require_same_recordings(data.sources, config.store, reader)
