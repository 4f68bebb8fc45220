"""The section `data`: the recordings, the clip store that is made of them, and its protocols."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.choices import Align, Centre
from pipeline.config.coordinates import CANONICAL, Coordinates
from pipeline.config.readers import PkuMmdReader, Pyskl2dReader, ReaderOptions
from pipeline.config.section import Few, Name, Place, Section
from pipeline.config.skeleton import Mapping, Skeleton

# Column -> allowed values. A clip passes if each of these columns has an allowed value.
# Numbers in the columns of a store are 32-bit integers.
Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Filter = dict[str, list[Int32] | list[str]]
# So many synthetic recordings take hours.
MOST_RECORDINGS = 100_000


class Synthetic(Section):
    """The settings of the synthetic recorder.

    Attributes:
        actions: the number of actions.
        subjects: the number of people. Each performs every action.
        replications: how often a person performs an action.
        cameras: the number of cameras. Each sees every performance.
        noise: the standard deviation of a joint's error, in metres.
    """

    actions: Few
    subjects: Few
    replications: Few
    cameras: Few
    noise: Annotated[float, Field(ge=0, le=10)]

    @model_validator(mode="after")
    def _check_number(self) -> Self:
        number = self.actions * self.subjects * self.replications * self.cameras
        if number > MOST_RECORDINGS:
            raise ValueError(
                f"actions={self.actions}, subjects, replications and cameras give {number:,} "
                f"recordings; at most {MOST_RECORDINGS:,} are made"
            )
        return self


class Normalise(Section):
    """How clips are centred and aligned (see `models.normalise`).

    The store keeps the recorded coordinates; training and evaluation normalise what they read.
    """

    centre: Centre
    align: Align


class Protocol(Section):
    """The clips to train on and the clips to test on.

    A clip is on a side if it passes the filter, or one of several filters. `rest` is every clip
    that is not on the other side.
    """

    train: Filter | list[Filter]
    test: Filter | list[Filter] | Literal["rest"]


class PoolStore(Section):
    """A further clip store whose clips join pretraining.

    Attributes:
        store: the path or URI of the store.
        clips: a filter for the clips to use. An empty filter selects all clips.
        weight: the share of these clips that every epoch draws, above 0 and at most 1.
    """

    store: Place
    clips: Filter
    weight: Annotated[float, Field(gt=0, le=1)]


class Data(Section):
    """The recordings, and how they become clips.

    `conf/base.yaml` and `conf/data/synthetic.yaml` explain the keys.
    """

    reader: ReaderOptions
    dataset: Name
    raw: Place | Annotated[list[Place], Field(min_length=1)] | None = None
    store: Place | None = None
    names: Place | None = None
    left_out: Place | None = None
    coordinates: Coordinates = CANONICAL
    persons: Annotated[int, Field(ge=1, le=32)]
    preparation: Literal["agcn", "ctrgcn", "recorded", "untrimmed"]
    files_per_shard: Annotated[int, Field(ge=1, le=10**6)]
    classes: Annotated[list[str], Field(min_length=1, max_length=65536)] | None = None
    protocols: dict[str, Protocol]
    protocol: str
    normalise: Normalise
    synthetic: Synthetic | None = None
    skeleton: Skeleton
    mapping: Mapping | None = None
    pool: list[PoolStore] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        if self.protocol not in self.protocols:
            known = ", ".join(self.protocols)
            raise ValueError(f"protocol={self.protocol} is not one of {known}")
        return self

    @model_validator(mode="after")
    def _check_untrimmed(self) -> Self:
        whole_videos = isinstance(self.reader, PkuMmdReader) and self.reader.untrimmed
        if (self.preparation == "untrimmed") != whole_videos:
            raise ValueError(
                "preparation=untrimmed and reader.untrimmed=true of pku_mmd come together"
            )
        return self

    @model_validator(mode="after")
    def _check_image(self) -> Self:
        if isinstance(self.reader, Pyskl2dReader) and self.normalise.align != "none":
            raise ValueError(
                f"normalise.align={self.normalise.align} turns bodies in space, and 2-D key points "
                "(reader.format=pyskl_2d) have no depth; it must be none"
            )
        if isinstance(self.reader, Pyskl2dReader) and self.coordinates != CANONICAL:
            raise ValueError(
                "coordinates: 2-D key points (reader.format=pyskl_2d) have neither a depth nor a "
                "unit; leave it as it is"
            )
        return self

    @property
    def sources(self) -> list[str] | None:
        """The value of `raw` as a list. A data set may come in several folders or zip files."""
        if isinstance(self.raw, str):
            return [self.raw]
        return self.raw

    @property
    def seen_skeleton(self) -> Skeleton:
        """The skeleton that models see: the recorded one, or the target of `mapping`."""
        if self.mapping is not None and self.mapping.source == self.skeleton.name:
            return self.mapping.target
        return self.skeleton

    def protocol_values(self) -> dict[str, dict[str, object]]:
        """Return the protocols as plain values, which `pipeline.store.protocols` parses."""
        return {name: protocol.model_dump() for name, protocol in self.protocols.items()}
