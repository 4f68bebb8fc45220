"""The section `sweep.verdict`: which variant of a table is judged, against which, and by what."""

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from pipeline.config.section import Section


class Verdict(Section):
    """What a table is to tell. It is written into the file of the table before its trials run.

    Attributes:
        variant: that is judged.
        against: the variants that it is compared with.
        metrics: by what: names in `pipeline.runs.metric_names.PEOPLE_FIGURES`.
    """

    variant: str
    against: Annotated[list[str], Field(min_length=1)]
    metrics: Annotated[list[str], Field(min_length=1)]

    def require_variants(self, variants: Collection[str]) -> None:
        """Check the names of variants.

        Args:
            variants: those of the table.

        Raises:
            ValueError: a name is not one of them, or is given twice.
        """
        known = ", ".join(variants)
        for name in (self.variant, *self.against):
            if name not in variants:
                raise ValueError(f"verdict: no variant {name}; the variants are: {known}")
        if self.variant in self.against:
            raise ValueError(f"verdict.against: {self.variant} is the variant that is judged")
        for key, names in (("against", self.against), ("metrics", self.metrics)):
            if len(set(names)) < len(names):
                raise ValueError(f"verdict.{key}={names}: each name only once")
