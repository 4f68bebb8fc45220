"""The section `data`: recordings, the clip store that is made of them, and its protocols."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.choices import Align, Centre
from pipeline.config.readers import PkuMmdReader, ReaderOptions
from pipeline.config.section import Count, Section, Weight
from pipeline.config.skeleton import Mapping, Skeleton

# Column -> values, of which a clip has one.
Terms = dict[str, list[int] | list[str]]


class Synthetic(Section):
    """The synthetic recorder.

    Attributes:
        actions, subjects, replications: how many of each are recorded.
        cameras: how many cameras see every performance.
        noise: standard deviation of a joint's error in metres.
    """

    actions: Count
    subjects: Count
    replications: Count
    cameras: Count
    noise: Weight


class Normalise(Section):
    """How clips are centred and aligned, on the device (see `models.normalise`)."""

    centre: Centre
    align: Align


class Protocol(Section):
    """Two sides, each of clips with these values, or with any of several sets of values."""

    train: Terms | list[Terms]
    test: Terms | list[Terms] | Literal["rest"]


class PoolStore(Section):
    """A further clip store whose clips join pretraining.

    Attributes:
        store: where it lies.
        clips: which of its clips are taken.
        weight: the share of these that every epoch draws.
    """

    store: str
    clips: Terms
    weight: Annotated[float, Field(gt=0, le=1)]


class Data(Section):
    """What is read, and how it becomes clips. `conf/base.yaml` says what each key means."""

    reader: ReaderOptions
    dataset: str
    raw: str | list[str] | None
    store: str | None
    names: str | None
    left_out: str | None
    persons: Count
    preparation: Literal["agcn", "ctrgcn", "recorded", "untrimmed"]
    files_per_shard: Count
    classes: list[str] | None
    protocols: dict[str, Protocol]
    protocol: str
    normalise: Normalise
    synthetic: Synthetic | None
    skeleton: Skeleton
    mapping: Mapping | None
    pool: list[PoolStore]

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

    @property
    def sources(self) -> list[str] | None:
        """`raw` as a list: a data set may come in several folders or zip files."""
        if isinstance(self.raw, str):
            return [self.raw]
        return self.raw

    @property
    def seen_skeleton(self) -> Skeleton:
        """The skeleton that models see: the recordings' own, or the one they are read as."""
        if self.mapping is not None and self.mapping.source == self.skeleton.name:
            return self.mapping.target
        return self.skeleton

    def protocol_values(self) -> dict[str, dict[str, object]]:
        """The protocols as plain values, as `pipeline.store.protocols` takes them."""
        return {name: protocol.model_dump() for name, protocol in self.protocols.items()}
