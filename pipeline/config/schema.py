"""The configuration of a run: Hydra composes it from `conf/`, pydantic checks it as a whole, before anything starts."""

import difflib
import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.core import storage
from pipeline.core.errors import ConfigError
from pipeline.core.paths import CONF

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Immutable; an unknown key or a wrong type is an error, never ignored or converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Skeleton(Section):
    name: str
    joints: dict[str, str | None]
    centre: str
    left_shoulder: str
    right_shoulder: str
    mirror: list[list[str]]


class Synthetic(Section):
    """The synthetic recorder: how many actions, subjects and repetitions three cameras record."""

    actions: Count
    subjects: Count
    replications: Count
    cameras: Count
    noise: Weight


class Normalise(Section):
    centre: Literal["none", "first", "frame"]
    align: Literal["none", "first_frame", "mean_yaw"]


Terms = dict[str, list[int] | list[str]]


class Protocol(Section):
    """Two sides, each of clips with these values, or with any of several sets of values."""

    train: Terms | list[Terms]
    test: Terms | list[Terms] | Literal["rest"]


class PkuMmd(Section):
    """How PKU-MMD's videos become clips: is the last frame of an interval part of it, or are videos kept whole?"""

    end: Literal["included", "excluded"]
    untrimmed: bool


class Arrays(Section):
    """A folder of arrays: its table (a file name in it), which of the table's rows are meant, what the numbers are."""

    table: str
    select: dict[str, str | int]
    fps: Annotated[float, Field(gt=0)]
    axes: str


class Mapping(Section):
    """How clips of the layout `source` are read as clips of `target`: joint of the target -> joint of the source."""

    source: str
    target: Skeleton
    joints: dict[str, str]

    @model_validator(mode="after")
    def check(self):
        if self.joints.keys() != self.target.joints.keys():
            wrong = ", ".join(sorted(self.joints.keys() ^ self.target.joints.keys()))
            raise ValueError(
                f"joints: must name every joint of {self.target.name} and no other; differs in {wrong}"
            )
        return self


class PoolStore(Section):
    """A further clip store whose clips join pretraining: which of them, and the share of these that an epoch draws."""

    store: str
    clips: Terms
    weight: Annotated[float, Field(gt=0, le=1)]


class Data(Section):
    reader: Literal["ntu", "nw_ucla", "pku_mmd", "arrays", "pyskl", "ctrgcn_npz"]
    dataset: str
    raw: str | list[str] | None
    store: str | None
    names: str | None
    left_out: str | None
    persons: Count
    preparation: Literal["agcn", "ctrgcn", "recorded", "untrimmed"]
    files_per_shard: Count
    pku_mmd: PkuMmd | None
    arrays: Arrays | None
    classes: list[str] | None
    protocols: dict[str, Protocol]
    protocol: str
    normalise: Normalise
    synthetic: Synthetic | None
    skeleton: Skeleton
    mapping: Mapping | None
    pool: list[PoolStore]

    @model_validator(mode="after")
    def check(self):
        if self.protocol not in self.protocols:
            raise ValueError(f"protocol={self.protocol} is not one of {', '.join(self.protocols)}")
        for options in ("pku_mmd", "arrays"):
            if (self.reader == options) != (getattr(self, options) is not None):
                raise ValueError(
                    f"{options}: come with reader={options}, and only with it; here it is {self.reader}"
                )
        if (self.preparation == "untrimmed") != (
            self.pku_mmd is not None and self.pku_mmd.untrimmed
        ):
            raise ValueError("preparation=untrimmed and pku_mmd.untrimmed=true come together")
        return self

    @property
    def sources(self) -> list[str] | None:
        """`raw` as a list: a data set may come in several folders or zip files."""
        return [self.raw] if isinstance(self.raw, str) else self.raw

    @property
    def seen_skeleton(self) -> Skeleton:
        """The skeleton that models see: that of the recordings, or the one that they are read as."""
        mapped = self.mapping is not None and self.mapping.source == self.skeleton.name
        return self.mapping.target if mapped else self.skeleton


class Ingest(Section):
    max_rejected: Fraction


class Stream(Section):
    cache: Literal["auto", "device", "memory", "none"]
    window: Count
    pairs: Literal["none", "cameras"]

    @model_validator(mode="after")
    def check(self):
        if self.pairs == "cameras" and self.cache == "none":
            raise ValueError(
                "pairs=cameras takes clips from anywhere in the store: cache=none cannot, use memory or device"
            )
        return self


class Views(Section):
    crop: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    min_frames: Count
    corrupt_joints: Annotated[int, Field(ge=0)]
    corrupt_probability: Fraction
    shear: Weight
    rotation: Annotated[float, Field(ge=0, le=180)]
    scale: Annotated[float, Field(ge=0, lt=1)]
    mirror: Fraction

    @model_validator(mode="after")
    def check(self):
        if not 0 < self.crop[0] <= self.crop[1]:
            raise ValueError(f"crop={self.crop} must be [low, high] with 0 < low <= high <= 1")
        return self


class Model(Section):
    frames: Count
    width: Count
    layers: Count
    heads: Count
    feedforward: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    norm: Literal["post", "pre"]
    positions_temporal: Literal["none", "sinusoidal", "learned"]
    positions_spatial: Literal["none", "sinusoidal", "learned"]
    pooling: Literal["max", "mean"]
    # Defaults for the cards of encoders that were exported before these could be chosen.
    modalities: Annotated[list[Literal["joint", "bone", "motion"]], Field(min_length=1)] = [
        "joint",
        "bone",
        "motion",
    ]
    fusion: Literal["mean", "concatenation", "attention", "late"] = "mean"
    feature_norm: Literal["none", "batch"] = "none"

    @model_validator(mode="after")
    def check(self):
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")
        return self


class Decomposition(Section):
    weight: Weight
    module: Literal["identity", "linear", "mlp", "convolution", "attention"]
    parts: Annotated[list[Literal["temporal", "spatial", "whole"]], Field(min_length=1)]
    projectors: Literal["modality", "shared", "separate"]


class Prototypes(Section):
    count: Annotated[int, Field(ge=2)]
    temperature: Annotated[float, Field(gt=0)]
    epsilon: Annotated[float, Field(gt=0)]
    iterations: Count


class Composition(Section):
    weight: Weight
    module: Literal["mean", "weights", "mlp", "attention"]
    guidance: Literal["feature", "prototypes"]
    prototypes: Prototypes


class Term(Section):
    weight: Weight


class Alignment(Section):
    loss: Literal["infonce", "variance_covariance", "cosine"]
    temperature: Annotated[float, Field(gt=0)]
    invariance: Weight
    variance: Weight
    covariance: Weight
    stop_gradient: bool


class Projector(Section):
    hidden: Annotated[float, Field(gt=0)]
    output: Annotated[float, Field(gt=0)]
    layers: Count


class Objective(Section):
    name: str
    decomposition: Decomposition
    composition: Composition
    view: Term
    consistency: Term
    regularisation: Term
    alignment: Alignment
    projector: Projector


class Optimiser(Section):
    name: Literal["adam", "adamw", "sgd"]
    lr: Annotated[float, Field(gt=0)]
    weight_decay: Weight


class Schedule(Section):
    name: Literal["cosine", "step"]
    warmup_steps: Annotated[int, Field(ge=0)]
    milestones: list[Count]
    gamma: Annotated[float, Field(gt=0, le=1)]


class CheckpointPolicy(Section):
    every_epochs: Count | None
    every_steps: Count | None
    keep: Count


class Watch(Section):
    """Every so many epochs a checkpoint is measured beside training, on a share of the training side; null: never."""

    every_epochs: Count | None
    share: Annotated[float, Field(gt=0, lt=1)]
    max_clips: Annotated[int, Field(ge=2)]


class Train(Section):
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    optimiser: Optimiser
    schedule: Schedule
    clip_norm: Annotated[float, Field(gt=0)] | None
    accumulate: Count
    precision: Literal["float32", "bfloat16"]
    checkpoint: CheckpointPolicy
    watch: Watch
    max_failures: Annotated[int, Field(ge=0)]
    log_every: Count


class Linear(Section):
    optimiser: Literal["adamw", "sgd"]
    lr: Annotated[float, Field(gt=0)]
    weight_decay: Weight
    momentum: Fraction
    batch_size: Count
    epochs: Count
    milestones: list[Count]
    gamma: Annotated[float, Field(gt=0, le=1)]
    standardise: bool


class Knn(Section):
    k: Count


class Evaluate(Section):
    probe: str
    linear: Linear
    knn: Knn
    batch_size: Count


class Ablate(Section):
    """A table of cells: variants of the experiment, each a list of overrides, times seeds. A variant of null, in an
    experiment that begins with another's table, is not in it.

    results: where each finished cell leaves its figures; page: the Markdown file that shows them all. Both relative to
    the checkout.
    seeds, only: the cells that are run, of these variants alone; the table shows what there is of all.
    splits: protocols that take turns from seed to seed, so that means are over splits, too; None: all `data.protocol`.
    command, config_dir: what the run was asked for, which all variants share; set by `load`.
    """

    results: str
    page: str
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
    variants: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")], list[str]],
        Field(min_length=1),
    ]
    only: list[str] | None = None
    splits: Annotated[list[str], Field(min_length=1)] | None = None
    command: list[str] = []
    config_dir: str | None = None

    @field_validator("variants", mode="before")
    @classmethod
    def left(cls, variants):
        return (
            {k: v for k, v in variants.items() if v is not None}
            if isinstance(variants, dict)
            else variants
        )

    @model_validator(mode="after")
    def check(self):
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds}: each only once")
        if unknown := [name for name in self.only or [] if name not in self.variants]:
            raise ValueError(
                f"only: no variant {unknown[0]}; there are: {', '.join(self.variants)}"
            )
        if "random" in self.variants:
            raise ValueError(
                "variants.random: is the name of the encoders before training, which every table shows"
            )
        return self

    @property
    def reference(self) -> str:
        """The variant that the others are compared with: the first."""
        return next(iter(self.variants))


class Tracking(Section):
    uri: str | None
    experiment: str


class Cluster(Section):
    """What the run may use. None of it changes what is computed, beyond the order of floating-point sums."""

    address: str | None
    workers: Count
    cpus_per_worker: Annotated[float, Field(gt=0)]
    threads: Count
    gpu: bool
    wait_minutes: Weight
    storage_endpoint: str | None
    object_store_gb: Annotated[float, Field(gt=0)] | None
    quiet: bool


# In the order in which data flows; `protocols` and `inspect` only look, `ablate` is many runs.
Stage = Literal["protocols", "ingest", "pretrain", "evaluate", "report", "inspect", "ablate"]


class Config(Section):
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
    def check(self):
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
                "stages: ablate stands alone, and needs the variants of an experiment such as ablation_nw_ucla"
            )
        splits = (self.ablate and self.ablate.splits) or []
        if unknown := [name for name in splits if name not in self.data.protocols]:
            raise ValueError(
                f"ablate.splits: {unknown[0]} is not one of {', '.join(self.data.protocols)}"
            )
        joints = len(self.data.seen_skeleton.joints)
        if self.views.corrupt_joints > joints:
            raise ValueError(
                f"views.corrupt_joints={self.views.corrupt_joints} exceeds the {joints} joints of "
                f"{self.data.seen_skeleton.name}"
            )
        if self.stream.cache == "device" and not self.cluster.gpu:
            raise ValueError(
                "stream.cache=device needs cluster.gpu=true; on a CPU use memory or none"
            )
        if self.stream.pairs == "cameras" and not self.objective.view.weight:
            raise ValueError(
                "stream.pairs=cameras needs objective.view.weight above 0: it compares the two cameras"
            )
        if self.train.batch_size % self.train.accumulate:
            raise ValueError(
                f"train.accumulate={self.train.accumulate} must divide train.batch_size={self.train.batch_size}"
            )
        if self.train.batch_size // self.train.accumulate < 2 * self.cluster.workers:
            raise ValueError(
                f"train.batch_size={self.train.batch_size} in {self.train.accumulate} parts (train.accumulate) gives "
                f"{self.cluster.workers} workers (cluster.workers) fewer than 2 clips each"
            )
        return self

    @property
    def store(self) -> str:
        """Where the clip store lies: `data.store`, or beside the run's other results."""
        return self.data.store or storage.join(self.output, "store")

    @property
    def ordered_stages(self) -> list[str]:
        """The stages asked for, each once, in the order in which data flows."""
        return [stage for stage in get_args(Stage) if stage in self.stages]


# What may differ between a run and its continuation: places, resources and logging, never what is computed.
PLACES = (
    *(
        "stages",
        "output",
        "fresh",
        "data.raw",
        "data.store",
        "data.names",
        "ingest",
        "tracking",
        "cluster",
        "ablate",
    ),
    *("train.max_failures", "train.log_every", "train.checkpoint", "train.watch"),
)


def load(overrides: list[str], config_dir: str | None = None) -> Config:
    """Compose `conf/config.yaml` with the command line's overrides and check the whole.

    `config_dir`: a directory of the user's own choices, laid out as `conf/` (`data/mine.yaml`, `skeleton/mine.yaml`).
    Raises ConfigError with one line that names the key, the value and what is allowed.
    """
    own = Path(config_dir).resolve() if config_dir else None
    if own and not own.is_dir():
        raise ConfigError(f"--config-dir {config_dir}: not a directory")
    search = ["hydra.searchpath=[" + json.dumps(f"file://{own}") + "]"] if own else []
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="skelfuse"):
            composed = compose("config", [*search, *overrides])
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(_hydra_line(error, own)) from None
    if isinstance(values["ablate"], dict):
        values["ablate"] |= {"command": overrides, "config_dir": str(own) if own else None}
    return check(values)


def check(values: dict[str, Any]) -> Config:
    """The plain values as a Config; ConfigError names the first thing that is wrong."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_pydantic_line(error)) from None


def to_yaml(config: Config) -> str:
    return yaml.safe_dump(config.model_dump(), sort_keys=False, width=120)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} -> {'a.b': 1}; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def is_place(key: str) -> bool:
    """Whether a key is one of PLACES, or in one."""
    return any(key == place or key.startswith(f"{place}.") for place in PLACES)


def identity(config: Config) -> dict[str, Any]:
    """The flat settings that decide what a run computes: everything but PLACES."""
    flat = flatten(config.model_dump(mode="json"))
    # Where a pooled store lies does not matter: the run is tied to what it holds.
    flat["data.pool"] = [
        {"clips": pooled.clips, "weight": pooled.weight} for pooled in config.data.pool
    ]
    return {key: value for key, value in flat.items() if not is_place(key)}


def digest(config: Config) -> str:
    """Short hash of `identity`: equal for runs that compute the same."""
    return hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()[:16]


def experiments() -> list[str]:
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def groups(own: Path | None = None) -> dict[str, list[str]]:
    """The configuration groups and what can be chosen in each, in `conf/` and a directory of the user's."""
    found: dict[str, set[str]] = {}
    for path in [file for folder in (CONF, own) if folder for file in folder.glob("*/*.yaml")]:
        found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(found[group]) for group in sorted(found)}


def _hydra_line(error: Exception, own: Path | None) -> str:
    text = str(error)
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, choice = found.groups()
        known = groups(own).get(group, [])
        return f"{group}={choice}: unknown; {_near(choice, known)}available: {', '.join(known) or 'nothing'}"
    if found := re.search(r"Could not override '([^']+)'", text):
        key = found.group(1)
        known = list(flatten(yaml_keys()))
        return f"{key}: no such key; {_near(key, known)}see --cfg job for all keys"
    if found := re.search(
        r"(?:Error merging override|Error parsing override|mismatched|token recognition).*", text
    ):
        return f"cannot read the command line: {' '.join(text.split())}"
    return " ".join(text.split())


def yaml_keys() -> dict[str, Any]:
    """The default configuration as plain values, for suggestions."""
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="skelfuse"):
        return OmegaConf.to_container(compose("config"), resolve=False)


def _near(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}? " if close else ""


def _pydantic_line(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{key}: no such key; see --cfg job for all keys"
    if first["type"] == "missing":
        return f"{key}: missing"
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return message
    if first["type"] == "value_error":
        return f"{key}.{message}"
    return f"{key}={first['input']!r}: {message[0].lower()}{message[1:]}"
