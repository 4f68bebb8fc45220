"""The section `ablate`: a table of runs, variants times seeds."""

from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section

Seed = Annotated[int, Field(ge=0, lt=2**31)]
VariantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]


class Ablate(Section):
    """A table of cells: variants of the experiment times seeds.

    Attributes:
        published: files of published records, relative to the checkout. A cell whose record is in
            one of them and current is not run again. They are read and never written; the first
            is the table's own.
        seeds: of the cells that are run.
        variants: name -> the overrides in which a variant differs. One that is null, in an
            experiment that begins with another's table, is not in it.
        only: the variants whose cells are run; None all. The table shows what there is of all.
        splits: protocols that take turns from seed to seed, so that means are over splits, too.
            None: all cells have `data.protocol`.
    """

    published: list[str] = Field(default_factory=list)
    seeds: Annotated[list[Seed], Field(min_length=1)]
    variants: Annotated[dict[VariantName, list[str]], Field(min_length=1)]
    only: list[str] | None = None
    splits: Annotated[list[str], Field(min_length=1)] | None = None

    @field_validator("variants", mode="before")
    @classmethod
    def _leave_out_null(cls, variants: Any) -> Any:
        if not isinstance(variants, dict):
            return variants
        return {name: overrides for name, overrides in variants.items() if overrides is not None}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds}: each only once")
        for name in self.only or []:
            if name not in self.variants:
                known = ", ".join(self.variants)
                raise ValueError(f"only: no variant {name}; there are: {known}")
        if "random" in self.variants:
            raise ValueError(
                "variants.random: is the name of the encoders before training, "
                "which every table shows"
            )
        return self

    @property
    def reference(self) -> str:
        """The variant that the others are compared with: the first."""
        return next(iter(self.variants))
