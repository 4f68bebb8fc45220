"""A run's configuration and everything that follows from it, worked out once for all stages."""

from dataclasses import dataclass
from functools import cached_property

import torch

from models.framework import Framework
from models.probes import LinearProbe
from models.skeleton import SkeletonLayout
from pipeline.config.compose import Request
from pipeline.config.evaluate import Linear
from pipeline.config.root import Config
from pipeline.core.errors import ConfigError
from pipeline.encoder.build import build_framework, layout_of
from pipeline.runs.cost import cost_of
from pipeline.runs.directory import RunDirectory
from pipeline.runs.pool import open_pool
from pipeline.runs.state import OWN_STORE
from pipeline.runs.stores import open_store
from pipeline.store.clip_store import ClipStore
from pipeline.store.coordinate_check import require_declared
from pipeline.store.index import StoreIndex
from pipeline.store.protocols import Side, parse, parse_filter, sides_of
from pipeline.store.splits import Split
from pipeline.stream.selection import Part


@dataclass(frozen=True)
class ResolvedRun:
    """A run's configuration, and everything that follows from it.

    The stage `ingest` may only just make the clip store. So the properties that need the store
    open it at the first use, and keep it.

    Attributes:
        config: the configuration, with absolute paths.
        request: the command line.
        directory: the output directory.
        recorded_layout: the skeleton layout of the recordings and of their store.
        layout: the skeleton layout that models see.
        sides: the sides `train` and `test` of the configured protocol.
        blueprint: the training module without memory: its tensors have shapes and no values.
    """

    config: Config
    request: Request
    directory: RunDirectory
    recorded_layout: SkeletonLayout
    layout: SkeletonLayout
    sides: dict[str, Side]
    blueprint: Framework

    @property
    def parts(self) -> dict[str, slice]:
        """The columns of a feature that each network makes (see `Backbone.parts`)."""
        return self.blueprint.backbone.parts

    @cached_property
    def cost(self) -> dict[str, float]:
        """What the accuracies cost.

        `parameters` of the encoder, `gflops` of its inference for one clip,
        `pretraining_parameters` with all projectors, and `pretraining_gflops` of a training step
        for one clip, forward and backward. Counting takes a second, so it waits until it is asked
        for.
        """
        return cost_of(self.config, self.blueprint)

    @cached_property
    def recorded_store(self) -> ClipStore:
        """The run's clip store, its clips as they were recorded.

        Raises:
            UserError: the store is missing, damaged, of another skeleton, made with other
                coordinates, or changed since the run began.
        """
        store = open_store(self.config.store, OWN_STORE, self.directory, self.recorded_layout)
        require_declared(store.uri, store.manifest, self.config.data.coordinates)
        return store

    @cached_property
    def store(self) -> ClipStore:
        """The run's clip store, its clips as models see them. Raises as `recorded_store`."""
        data = self.config.data
        return self.recorded_store.read_as(self.layout, data.persons, data.mapping)

    @cached_property
    def index(self) -> StoreIndex:
        """The columns of all clips but their frames. Raises as `recorded_store`."""
        return self.recorded_store.index()

    @cached_property
    def split(self) -> Split:
        """The clips of both sides of the protocol. Raises as `Split.of`."""
        return Split.of(self.store, self.sides, self.index)

    @cached_property
    def pool(self) -> list[Part]:
        """The clips of pretraining. Raises as `open_pool`."""
        data = self.config.data
        return open_pool(self.store, self.index, self.layout, self.sides, data, self.directory)


def resolve(config: Config, request: Request, directory: RunDirectory) -> ResolvedRun:
    """Work out what follows from a configuration, and check that its parts fit together.

    Args:
        config: the configuration, with absolute paths.
        request: the command line.
        directory: the output directory.

    Raises:
        ConfigError: models, probes or protocols refuse a setting.
    """
    # `parse` and `parse_filter` are called for their checks alone.
    parse(config.data.protocol_values())
    for number, pooled in enumerate(config.data.pool):
        parse_filter(f"data.pool.{number}.clips", pooled.clips)
    _require_probe(config.evaluate.linear)
    recorded_layout = layout_of(config.data.skeleton)
    layout = layout_of(config.data.seen_skeleton)
    # On this device tensors have shapes but no memory: enough to check and count.
    with torch.device("meta"):
        blueprint = build_framework(config)
    return ResolvedRun(
        config=config,
        request=request,
        directory=directory,
        recorded_layout=recorded_layout,
        layout=layout,
        sides=sides_of(config.data.protocols, config.data.protocol),
        blueprint=blueprint,
    )


def _require_probe(linear: Linear) -> None:
    """Raise ConfigError for a linear probe whose settings contradict each other."""
    try:
        LinearProbe(**linear.model_dump())
    except ValueError as error:
        raise ConfigError(f"evaluate.linear: {error}") from None
