"""Everything that is refused before anything starts, as far as it needs no torch, Ray or MLflow.

These three take seconds to import. A request that is wrong for a simpler reason is refused first,
in this order: the configuration, where things lie, the output directory, the data.
What needs torch (do the models fit together?) follows in `pipeline.runs.resolved.resolve`.
"""

from dataclasses import dataclass

from pipeline.cluster.job import in_submitted_job
from pipeline.config.compose import Request
from pipeline.config.data import Synthetic
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.core.errors import ConfigError
from pipeline.ingest.synthetic.recorder import require_limits
from pipeline.runs.directory import RunDirectory, require_data

# Stages that can make what is missing of a clip store.
INGESTING = ("ingest", "ablate")


@dataclass(frozen=True)
class Plan:
    """A request that passed.

    Attributes:
        config: with absolute places.
        request: what was typed.
        directory: the run's, opened.
        todo: the stages that are to run.
    """

    config: Config
    request: Request
    directory: RunDirectory
    todo: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        """True where nothing is to run, and the summary holds everything."""
        return not self.todo and self.directory.state.summarised

    @property
    def skips_ingest(self) -> bool:
        """True where an ingest was asked for and was done before."""
        return "ingest" in self.config.stages and "ingest" not in self.todo


def plan_run(config: Config, request: Request) -> Plan:
    """Settle where things lie, open the output directory, and find out what is to do.

    Changes nothing.

    Raises:
        ConfigError: the recorder cannot do what it is asked for, a place would be lost or cannot
            work, the directory holds something else, or there are no data.
    """
    require_recorder(config.data.synthetic)
    settled = settle_places(config, in_job=in_submitted_job())
    directory = RunDirectory.open(settled)
    todo = tuple(directory.unfinished(settled))
    require_data(settled, ingesting=any(stage in INGESTING for stage in todo))
    return Plan(settled, request, directory, todo)


def require_recorder(synthetic: Synthetic | None) -> None:
    """Raise ConfigError for synthetic recordings that the recorder cannot make."""
    if synthetic is None:
        return
    try:
        require_limits(**synthetic.model_dump(exclude={"noise"}))
    except ValueError as error:
        raise ConfigError(f"data.{error}") from None
