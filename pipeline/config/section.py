"""The base class of all sections of the configuration, and the kinds of values in them.

Every number has an upper bound. It lies far beyond what anyone needs, and below what would never
end or would fill the memory: a slip of the finger is refused and not obeyed.
"""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

# The longest path of a file on Linux, in bytes.
PATH_MAX = 4096
# Control characters, lone surrogates (bytes that are no UTF-8), and separators of lines.
NOT_IN_PLACES = ("Cc", "Cs", "Zl", "Zp")


def _require_place(text: str) -> str:
    """Raise PydanticCustomError if a text cannot be a path, a URI or an address."""
    problem = None
    if not text.strip():
        problem = "is empty; an unset variable? Give a value, or leave the key out"
    elif any(unicodedata.category(letter) in NOT_IN_PLACES for letter in text):
        problem = "has a character that a path cannot have here (a control character, or no UTF-8)"
    elif len(text.encode()) > PATH_MAX:
        problem = f"is longer than {PATH_MAX} bytes"
    if problem is not None:
        # A ValueError would be shown without the value.
        raise PydanticCustomError("place", "{problem}", {"problem": problem})
    return text


Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
# It divides cosines before a softmax, which overflows far below.
Temperature = Annotated[float, Field(ge=1e-4, le=1e6)]
Count = Annotated[int, Field(ge=1, le=10**9)]
# Joints, layers, persons, threads and the like: a module, an object or a process for each.
Few = Annotated[int, Field(ge=1, le=1024)]
# The side of a matrix, or a number of frames.
Width = Annotated[int, Field(ge=1, le=65536)]
# Clips that lie in memory together.
BatchSize = Annotated[int, Field(ge=1, le=10**6)]
# Rounds of a loop; at most one a second for days.
Rounds = Annotated[int, Field(ge=1, le=10**6)]
# A path, a URI or an address: see `pipeline.config.places`.
Place = Annotated[str, AfterValidator(_require_place)]
# A name that is shown, and that files or columns carry.
Name = Annotated[str, Field(min_length=1, max_length=255)]


class Section(BaseModel):
    """A section of the configuration. It cannot be changed after it was checked.

    An unknown key is an error and not ignored. A wrong type is an error and not converted. A number
    is finite.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
