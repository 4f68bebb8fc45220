"""The configuration of a run as one checked value.

Hydra composes the values (`pipeline.config.compose`); here pydantic checks them as a whole, before
anything starts.
"""

from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from pipeline.config.ablate import Ablate
from pipeline.config.cluster import Cluster, Tracking
from pipeline.config.data import Data
from pipeline.config.evaluate import Evaluate
from pipeline.config.model import Model, Views
from pipeline.config.objective import Objective
from pipeline.config.section import Section
from pipeline.config.stream import Ingest, Stream
from pipeline.config.train import Train
from pipeline.config.upgrade import upgraded
from pipeline.core import storage
from pipeline.core.errors import ConfigError

# In the order in which data flows. `protocols` and `inspect` only look, `ablate` is many runs.
Stage = Literal["protocols", "ingest", "pretrain", "evaluate", "report", "inspect", "ablate"]
STAGES: tuple[Stage, ...] = get_args(Stage)
# Where the clip store lies in the output directory, unless `data.store` names another place.
STORE_FOLDER = "store"


class Config(Section):
    """Everything that a run is asked for. `conf/` says what each key means."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    stages: Annotated[list[Stage], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    output: str
    fresh: bool
    data: Data
    ingest: Ingest
    stream: Stream
    views: Views
    model: Model
    objective: Objective
    train: Train
    evaluate: Evaluate
    ablate: Ablate | None = None
    tracking: Tracking
    cluster: Cluster

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if "protocols" in self.stages and len(self.stages) > 1:
            raise ValueError(
                "stages: protocols stands alone: it counts names and leaves nothing behind"
            )
        if ("protocols" in self.stages) != (self.data.names is not None):
            raise ValueError(
                "data.names: the clip names that stages=[protocols] counts, and nothing else reads"
            )
        if "ablate" in self.stages and (len(self.stages) > 1 or self.ablate is None):
            raise ValueError(
                "stages: ablate stands alone, and needs the variants of an experiment "
                "such as ablation_nw_ucla"
            )
        return self

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        if self.ablate is None:
            return self
        for name in self.ablate.splits or []:
            if name not in self.data.protocols:
                known = ", ".join(self.data.protocols)
                raise ValueError(f"ablate.splits: {name} is not one of {known}")
        return self

    @model_validator(mode="after")
    def _check_views(self) -> Self:
        skeleton = self.data.seen_skeleton
        if self.views.corrupt_joints > len(skeleton.joints):
            raise ValueError(
                f"views.corrupt_joints={self.views.corrupt_joints} exceeds the "
                f"{len(skeleton.joints)} joints of {skeleton.name}"
            )
        return self

    @model_validator(mode="after")
    def _check_stream(self) -> Self:
        if self.stream.cache == "device" and not self.cluster.gpu:
            raise ValueError(
                "stream.cache=device needs cluster.gpu=true; on a CPU use memory or none"
            )
        if self.stream.pairs == "cameras" and not self.objective.view.weight:
            raise ValueError(
                "stream.pairs=cameras needs objective.view.weight above 0: "
                "it compares the two cameras"
            )
        return self

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        train = self.train
        if train.batch_size % train.accumulate:
            raise ValueError(
                f"train.accumulate={train.accumulate} must divide "
                f"train.batch_size={train.batch_size}"
            )
        if train.batch_size // train.accumulate < 2 * self.cluster.workers:
            raise ValueError(
                f"train.batch_size={train.batch_size} in {train.accumulate} parts "
                f"(train.accumulate) gives {self.cluster.workers} workers (cluster.workers) "
                "fewer than 2 clips each"
            )
        return self

    @property
    def store(self) -> str:
        """Where the clip store lies: `data.store`, or beside the run's other results."""
        return self.data.store or storage.join(self.output, STORE_FOLDER)

    @property
    def ordered_stages(self) -> list[str]:
        """The stages asked for, each once, in the order in which data flows."""
        return [stage for stage in STAGES if stage in self.stages]


def check(values: Any) -> Config:
    """Return plain values as a configuration.

    Values of the version before are read as well (see `pipeline.config.upgrade`).

    Raises:
        ConfigError: the first thing that is wrong, in one line.
    """
    try:
        return Config.model_validate(upgraded(values))
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from None


def to_yaml(config: Config) -> str:
    """Return the configuration as the YAML text that `config.yaml` holds."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, width=120)


def _first_problem(error: ValidationError) -> str:
    """Say in one line what pydantic found first: the key, its value, and what is allowed."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"{key}: no such key; see --cfg job for all keys"
    if first["type"] == "missing":
        return f"{key}: missing"
    if not key:
        return message
    if first["type"] == "value_error":
        return f"{key}.{message}"
    return f"{key}={first['input']!r}: {message[0].lower()}{message[1:]}"
