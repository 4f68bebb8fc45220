"""The section `sweep.verdict`: which variant of a table is judged, against which, and by what."""

from collections.abc import Collection, Sequence
from typing import Annotated

from pydantic import Field

from pipeline.config.section import Section


class Verdict(Section):
    """What a table is to tell. It is written into the file of the table before its trials run.

    Attributes:
        variant: that is judged.
        against: the variants that it is compared with.
        metrics: by what: names in `pipeline.runs.metric_names.PEOPLE_FIGURES`.
        except_people: numbers of people who are not judged, although the table tests them: those on
            whom its settings were chosen.
    """

    variant: str
    against: Annotated[list[str], Field(min_length=1)]
    metrics: Annotated[list[str], Field(min_length=1)]
    except_people: list[int] = Field(default_factory=list)

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
        lists: dict[str, Sequence[object]] = {
            "against": self.against,
            "metrics": self.metrics,
            "except_people": self.except_people,
        }
        for key, values in lists.items():
            if len(set(values)) < len(values):
                raise ValueError(f"verdict.{key}={values}: name each only once")
