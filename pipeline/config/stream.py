"""The sections `ingest` and `stream`: what is let into a store, and how clips come out of it."""

from typing import Literal, Self

from pydantic import model_validator

from pipeline.config.section import Count, Fraction, Section


class Ingest(Section):
    """What an ingest puts up with.

    Attributes:
        max_rejected: the share of the recordings that may be set aside.
    """

    max_rejected: Fraction


class Stream(Section):
    """How a training worker gets its batches.

    Attributes:
        cache: where clips are kept between epochs.
        window: with `cache=none`, the clips within which a worker shuffles.
        pairs: `cameras`: a batch brings with every clip another camera's clip of it.
    """

    cache: Literal["auto", "device", "memory", "none"]
    window: Count
    pairs: Literal["none", "cameras"]

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.pairs == "cameras" and self.cache == "none":
            raise ValueError(
                "pairs=cameras takes clips from anywhere in the store: cache=none cannot, "
                "use memory or device"
            )
        return self
