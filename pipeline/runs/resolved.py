"""One run, resolved once: what every stage receives."""

from dataclasses import dataclass
from functools import cached_property

import torch

from models.cost import cost, training_cost
from models.framework import Framework
from models.probes import LinearProbe
from models.skeleton import SkeletonLayout
from pipeline.config.compose import Request
from pipeline.config.root import Config
from pipeline.core.errors import ConfigError
from pipeline.encoder.build import build_framework, layout_of
from pipeline.runs.directory import RunDirectory
from pipeline.runs.pool import open_pool
from pipeline.runs.state import OWN_STORE
from pipeline.store.clip_store import ClipStore
from pipeline.store.index import StoreIndex
from pipeline.store.protocols import Side, parse, parse_terms, sides_of
from pipeline.store.splits import Split
from pipeline.stream.selection import Part


@dataclass(frozen=True)
class ResolvedRun:
    """A run's configuration, and everything that follows from it.

    The clip store may not be there before the run has made it: what depends on it is opened at
    the first use, and kept.

    Attributes:
        config: what is to be computed.
        request: what was typed for it.
        directory: where everything that the run leaves lies.
        recorded_layout: the skeleton layout of the recordings and of their store.
        layout: the skeleton layout that models see.
        sides: the sides `train` and `test` of the configured protocol.
        parts: what each network of the encoder adds to its features (see `Backbone.parts`).
        cost: what the accuracies cost: `parameters` of the encoder, `gflops` of its inference for
            one clip, `pretraining_parameters` with all heads, and `pretraining_gflops` of a
            training step for one clip, forward and backward.
    """

    config: Config
    request: Request
    directory: RunDirectory
    recorded_layout: SkeletonLayout
    layout: SkeletonLayout
    sides: dict[str, Side]
    parts: dict[str, slice]
    cost: dict[str, float]

    @cached_property
    def recorded_store(self) -> ClipStore:
        """The run's clip store, its clips as they were recorded.

        Raises:
            UserError: there is none, it is damaged, of another skeleton, or not the one that the
                run was begun with.
        """
        store = ClipStore.open(self.config.store, self.recorded_layout)
        self.directory.claim(OWN_STORE, store.fingerprint, store.uri)
        return store

    @cached_property
    def store(self) -> ClipStore:
        """The run's clip store, its clips as models see them. Raises as `recorded_store`."""
        data = self.config.data
        return self.recorded_store.read_as(self.layout, data.persons, data.mapping)

    @cached_property
    def index(self) -> StoreIndex:
        """The small columns of all clips."""
        return self.recorded_store.index()

    @cached_property
    def split(self) -> Split:
        """The clips of both sides of the protocol. Raises as `Split.of`."""
        return Split.of(self.store, self.sides, self.index)

    @cached_property
    def pool(self) -> list[Part]:
        """What pretrains. Raises as `open_pool`."""
        data = self.config.data
        return open_pool(self.store, self.index, self.layout, self.sides, data, self.directory)


def resolve(config: Config, request: Request, directory: RunDirectory) -> ResolvedRun:
    """Work out what follows from a configuration, and check that its parts fit together.

    The framework is built without memory, to be checked and measured.

    Raises:
        ConfigError: settings that models, probes or protocols refuse.
    """
    parse(config.data.protocol_values())
    for number, pooled in enumerate(config.data.pool):
        parse_terms(f"data.pool[{number}].clips", pooled.clips)
    _require_probe(config)
    recorded_layout = layout_of(config.data.skeleton)
    layout = layout_of(config.data.seen_skeleton)
    with torch.device("meta"):
        framework = build_framework(config)
    micro_batch = config.train.batch_size // config.train.accumulate
    return ResolvedRun(
        config=config,
        request=request,
        directory=directory,
        recorded_layout=recorded_layout,
        layout=layout,
        sides=sides_of(config.data.protocols, config.data.protocol),
        parts=framework.backbone.parts,
        cost=cost_card(framework, micro_batch),
    )


def cost_card(framework: Framework, batch: int) -> dict[str, float]:
    """Return the `ResolvedRun.cost` of a framework that trains in steps of `batch` clips."""
    inference = cost(framework.backbone)
    step = training_cost(framework, batch)
    return {
        "parameters": inference["parameters"],
        "gflops": inference["gflops"],
        "pretraining_parameters": step["training_parameters"],
        "pretraining_gflops": step["training_gflops"],
    }


def _require_probe(config: Config) -> None:
    """Raise ConfigError for a linear probe whose settings contradict each other."""
    try:
        LinearProbe(**config.evaluate.linear.model_dump())
    except ValueError as error:
        raise ConfigError(f"evaluate.linear: {error}") from None
