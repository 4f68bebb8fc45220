"""The configuration of a run as one checked value.

Hydra composes the values (`pipeline.config.compose`). This module checks them with pydantic: each
section checks its own keys, and `Config` checks what depends on several sections.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pipeline.config.cluster import Cluster, Tracking
from pipeline.config.compare import Compare, without_unread
from pipeline.config.data import Data
from pipeline.config.evaluate import Evaluate
from pipeline.config.model import Model, Views
from pipeline.config.objective import Objective
from pipeline.config.section import Place, Section
from pipeline.config.stream import Ingest, Stream
from pipeline.config.sweep import Sweep
from pipeline.config.train import Train
from pipeline.config.upgrade import upgraded
from pipeline.core import storage
from pipeline.core.errors import ConfigError

# In the order in which data flows. `protocols` counts clips of a list of names, `inspect` makes the
# data card, `sweep` runs other stages for each of its trials, and `compare` reads MLflow.
Stage = Literal[
    "protocols", "ingest", "pretrain", "evaluate", "report", "inspect", "sweep", "compare"
]
STAGES: tuple[Stage, ...] = get_args(Stage)
# The folder of the clip store in the output directory, if `data.store` names no other place.
STORE_FOLDER = "store"
# A wrong value is shown up to this length.
SHOWN = 200


class Config(Section):
    """All settings of a run. The files in `conf/` explain the keys."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    stages: Annotated[list[Stage], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    output: Place
    fresh: bool
    data: Data
    ingest: Ingest
    stream: Stream
    views: Views
    model: Model
    objective: Objective
    train: Train
    evaluate: Evaluate
    sweep: Sweep | None = None
    compare: Compare | None = None
    tracking: Tracking
    cluster: Cluster

    @model_validator(mode="before")
    @classmethod
    def _leave_out_compare(cls, values: Any) -> Any:
        return without_unread(values)

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if "protocols" in self.stages and len(self.stages) > 1:
            raise ValueError(
                "stages: protocols must be the only stage: it counts names and writes no files"
            )
        if ("protocols" in self.stages) != (self.data.names is not None):
            raise ValueError("data.names: stages=[protocols] needs it, and no other stage reads it")
        if "compare" in self.stages and len(self.stages) > 1:
            raise ValueError(
                "stages: compare must be the only stage: it reads MLflow; a sweep leaves a "
                "comparison of its trials in any case"
            )
        if "sweep" in self.stages and self.sweep is None:
            raise ValueError("stages: sweep needs sweep=NAME, such as sweep=loss_weights")
        if "sweep" in self.stages and "pretrain" not in self.stages:
            for stage in ("evaluate", "report"):
                if stage in self.stages:
                    raise ValueError(
                        f"stages: {stage} beside sweep would be of a run that is not pretrained, "
                        "and of no trial; leave it out"
                    )
        return self

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        if self.sweep is None:
            return self
        for name in self.sweep.splits or []:
            if name not in self.data.protocols:
                known = ", ".join(self.data.protocols)
                raise ValueError(f"sweep.splits: {name} is not one of {known}")
        if self.sweep.criterion is None or self.sweep.criterion.protocol is None:
            return self
        name = self.sweep.criterion.protocol
        if name not in self.data.protocols:
            known = ", ".join(self.data.protocols)
            raise ValueError(f"sweep.criterion.protocol={name} is not one of {known}")
        return self

    @model_validator(mode="after")
    def _check_sweep(self) -> Self:
        if self.sweep is None:
            return self
        has_gpu = self.cluster.gpu and self.cluster.workers == 1
        if self.sweep.gpu_share < 1 and not has_gpu:
            raise ValueError(
                f"sweep.gpu_share={self.sweep.gpu_share} is for trials of one worker with a GPU "
                "(cluster.workers=1 cluster.gpu=true); leave it out"
            )
        first_stop = self.sweep.first_stop
        if first_stop is not None and first_stop >= self.train.epochs:
            raise ValueError(
                f"sweep.scheduler.grace_epochs: the first trial could be stopped after epoch "
                f"{first_stop}, and train.epochs={self.train.epochs} is not more; lower it "
                "and sweep.criterion.every_epochs, or take sweep.scheduler=null"
            )
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
    def _check_average(self) -> Self:
        average = self.train.average
        targets = self.objective.targets
        composition = self.objective.composition
        has_relations = composition.weight > 0 and composition.guidance == "relations"
        # With the whole share for the clip itself, only relations look at the targets.
        has_targets = targets.kind != "one_hot" and (targets.own_share < 1 or has_relations)
        makes_targets = has_targets and targets.encoder == "average"
        if average.decay is None and makes_targets:
            raise ValueError(
                "objective.targets.encoder=average needs the average of the weights; "
                "give train.average.decay, such as 0.99"
            )
        if average.decay is not None and not (average.export or makes_targets):
            raise ValueError(
                f"train.average.decay={average.decay} makes an average that nothing uses; "
                "take train.average.export=true or objective.targets.encoder=average, or null"
            )
        return self

    @model_validator(mode="after")
    def _check_perplexity(self) -> Self:
        perplexity = self.objective.targets.perplexity
        others = self.train.batch_size // self.train.accumulate - 1
        if perplexity is not None and perplexity >= others:
            raise ValueError(
                f"objective.targets.perplexity={perplexity:g} must be below the {others} other "
                "clips of a batch (train.batch_size, train.accumulate)"
            )
        return self

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        train = self.train
        # A step computes its loss over `accumulate` micro-batches of equal size.
        if train.batch_size % train.accumulate:
            raise ValueError(
                f"train.accumulate={train.accumulate} must divide "
                f"train.batch_size={train.batch_size}"
            )
        # Batch norm and the contrastive losses need 2 clips at least.
        if train.batch_size // train.accumulate < 2 * self.cluster.workers:
            raise ValueError(
                f"train.batch_size={train.batch_size} in {train.accumulate} parts "
                f"(train.accumulate) gives {self.cluster.workers} workers (cluster.workers) "
                "fewer than 2 clips each"
            )
        return self

    @property
    def store(self) -> str:
        """The path of the clip store: `data.store`, or a folder of the output directory."""
        return self.data.store or storage.join(self.output, STORE_FOLDER)

    @property
    def ordered_stages(self) -> list[str]:
        """The stages of the request, each once, in the order in which data flows."""
        return [stage for stage in STAGES if stage in self.stages]


def check(values: Any) -> Config:
    """Check plain values, and return them as a configuration.

    Args:
        values: nested mappings. They may be from an older version (see `pipeline.config.upgrade`).

    Raises:
        ConfigError: the first problem, in one line.
    """
    try:
        return Config.model_validate(upgraded(values))
    except ValidationError as error:
        raise ConfigError(_first_problem(error, values)) from None


def to_yaml(config: Config) -> str:
    """Return the configuration as YAML, the text of `config.yaml`."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, width=120)


def _first_problem(error: ValidationError, values: Any) -> str:
    """Return the first problem of pydantic in one line: the key, its value, and what is allowed."""
    first = error.errors()[0]
    key = _location(first, values)
    # A value that may be one thing or a list of them has a problem with each. The one of an item
    # says more.
    for other in error.errors()[1:]:
        inner = _location(other, values)
        if inner.startswith(f"{key}."):
            first, key = other, inner
            break
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"{key}: no such key; see --cfg job for all keys"
    if first["type"] == "missing":
        return f"{key}: missing"
    # The messages of this project's own checks begin with the rest of the key:
    # "heads=3 must divide width=256" in the section `model` becomes "model.heads=3 must ...".
    if not key:
        return message
    if first["type"] == "value_error":
        return f"{key}.{message}"
    return f"{key}={_shown(first['input'])}: {message[0].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    """Return a value as text, a long one shortened."""
    try:
        text = repr(value)
    except ValueError:
        # Python writes no integer of more than some thousand digits.
        return "(a very long number)"
    if len(text) > SHOWN:
        return f"{text[:SHOWN]}..."
    return text


def _location(problem: ErrorDetails, values: Any) -> str:
    """Return the key that a problem is at, as a user writes it.

    Pydantic puts the names of types into a location, where a value may have several:

        ("data", "reader", "arrays", "table")  ->  data.reader.table
        ("data", "raw", "list[str]", 1)        ->  data.raw.1
    """
    parts = []
    location = problem["loc"]
    for number, part in enumerate(location):
        inside = isinstance(values, dict) and part in values
        if isinstance(values, list) and isinstance(part, int) and part < len(values):
            inside = True
        if inside:
            values = values[part]
        elif isinstance(part, str) and "." in part:
            # A key of `sweep.space`, which is written as nested keys.
            inside, values = _nested(values, part.split("."))
        is_missing = problem["type"] == "missing" and number == len(location) - 1
        if inside or is_missing:
            parts.append(str(part))
    return ".".join(parts)


def _nested(values: Any, keys: Sequence[str]) -> tuple[bool, Any]:
    """Return whether nested keys are in values, and what is there; `values` if they are not."""
    inner = values
    for key in keys:
        if not isinstance(inner, dict) or key not in inner:
            return False, values
        inner = inner[key]
    return True, inner
