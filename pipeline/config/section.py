"""The base class of all sections of the configuration, and the kinds of numbers in them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of the configuration. It cannot be changed after it was checked.

    An unknown key is an error and not ignored. A wrong type is an error and not converted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
