"""The sections `ingest` and `stream`: writing a clip store, and reading it for training."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import Fraction, Section


class Ingest(Section):
    """The tolerance of an ingest.

    Attributes:
        max_rejected: the largest share of recordings that may be rejected. With more the run fails.
    """

    max_rejected: Fraction


class Stream(Section):
    """How a training worker gets its batches. `conf/stream/auto.yaml` explains the keys.

    Attributes:
        cache: where clips stay between epochs.
        window: the number of clips among which a worker shuffles. Only `cache=none` uses it.
        pairs: with `cameras`, a batch has two clips of each performance, from two cameras.
    """

    cache: Literal["auto", "device", "memory", "none"]
    window: Annotated[int, Field(ge=1, le=10**7)]
    pairs: Literal["none", "cameras"]

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.pairs == "cameras" and self.cache == "none":
            raise ValueError(
                "pairs=cameras reads clips from anywhere in the store, which cache=none cannot do; "
                "use memory or device"
            )
        return self
