"""How far runs end apart that differ in nothing but rounding: what tables show of `noise.json`."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, Field, ValidationError

from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.runs.metric_names import KNN, LINEAR, RETRIEVAL_MAP

# `benchmarks/noise.py` writes it, beside the published tables.
NOISE = "noise.json"


@dataclass(frozen=True)
class Noise:
    """The deviation of figures from run to run of one configuration and one seed.

    Attributes:
        configuration: that was run.
        date: on which it was measured.
        deviations: figure -> sample deviation.
    """

    configuration: str
    date: str
    deviations: Mapping[str, float]


def read_noise(folder: str) -> Noise | None:
    """Return what was measured of noise, None if nothing was.

    Args:
        folder: of the published tables.

    Raises:
        UserError: the file holds something else.
    """
    uri = storage.join(folder, NOISE)
    if not storage.exists(uri):
        return None
    try:
        content = _File.model_validate(storage.read_json(uri))
    except ValidationError as error:
        raise UserError(
            f"{uri}: not what benchmarks/noise.py writes ({first_line(error)})"
        ) from None
    deviations = {
        LINEAR: content.linear_top1.rounding,
        KNN: content.knn_top1.rounding,
        RETRIEVAL_MAP: content.retrieval_map.rounding,
    }
    return Noise(content.configuration, content.date, deviations)


class _Deviations(BaseModel):
    rounding: float = Field(ge=0)


class _File(BaseModel):
    """What is read of the file."""

    configuration: str
    date: str
    linear_top1: _Deviations
    knn_top1: _Deviations
    retrieval_map: _Deviations
