"""The section `ablate`: a table of runs, variants times seeds."""

from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Place, Section

Seed = Annotated[int, Field(ge=0, lt=2**31)]
VariantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]


class Ablate(Section):
    """A table of cells. A cell is one variant of the experiment with one seed.

    Attributes:
        published: files of published records, relative to the checkout. The run reads them and
            never writes them. A cell with a current record in one of them is not run again. The
            first file belongs to this table.
        seeds: the seeds of the cells to run.
        variants: name -> the overrides of a variant. An experiment that builds on another one
            removes a variant of that one by setting it to null.
        only: the variants whose cells are run, None for all. The table still shows the records of
            all variants.
        splits: protocols that take turns from seed to seed, so that a mean is also over splits.
            With None all cells use `data.protocol`.

            seeds: [0, 1, 2, 3], splits: [a, b]  ->  seed 0: a, 1: b, 2: a, 3: b
    """

    published: list[Place] = Field(default_factory=list)
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
            raise ValueError(f"seeds={self.seeds}: each seed only once")
        for name in self.only or []:
            if name not in self.variants:
                known = ", ".join(self.variants)
                raise ValueError(f"only: no variant {name}; the variants are: {known}")
        if "random" in self.variants:
            raise ValueError(
                "variants.random: this name is taken by the encoders before training, "
                "which every table shows"
            )
        return self

    @property
    def reference(self) -> str:
        """The variant that the others are compared with: the first."""
        return next(iter(self.variants))
