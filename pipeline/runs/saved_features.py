"""Reading the features and predictions that the stage `evaluate` wrote into `features/`."""

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load

from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.runs.files import ENCODERS, EVALUATION


@dataclass(frozen=True)
class SavedFeatures:
    """The features of the N test clips from one encoder, and the labels predicted from them.

    Attributes:
        ids: int64 [N], the rows of the clips in the store.
        labels: int64 [N], the true labels.
        features: float32 [N, D].
        linear: int64 [N], the labels that the linear probe predicts.
        knn: int64 [N], the labels that the nearest neighbours predict.
        average_precision: float64 [N], of retrieval. None in files of older versions.
    """

    ids: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    linear: np.ndarray
    knn: np.ndarray
    average_precision: np.ndarray | None

    @classmethod
    def read(cls, uri: str) -> "SavedFeatures":
        """Read the file `features/<encoder>.safetensors`.

        Raises:
            UserError: the file is missing or cannot be read.
        """
        try:
            arrays = load(storage.read_bytes(uri))
            return cls(
                ids=arrays["test/ids"],
                labels=arrays["test/labels"],
                features=arrays["test/features"],
                linear=arrays["test/linear"],
                knn=arrays["test/knn"],
                average_precision=arrays.get("test/average_precision"),
            )
        except (SafetensorError, KeyError) as error:
            raise damaged(uri, first_line(error)) from None


def read_curves(uri: str) -> dict[str, list[float]]:
    """Read the test accuracy after every epoch of the linear probe from `evaluation.json`.

    Returns:
        The name of an encoder -> its accuracies.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        content = _Curves.model_validate(storage.read_object(uri))
    except ValidationError as error:
        raise damaged(uri, first_line(error)) from None
    return {name: curve.test_top1 for name, curve in content.linear.items()}


def damaged(uri: str, reason: str) -> UserError:
    """Return the error of a file that the stage `evaluate` can write again."""
    return UserError(
        f"{uri}: damaged ({reason}); delete {EVALUATION} of this run, "
        "then stages=[evaluate,report] makes it again"
    )


class _Curve(BaseModel):
    test_top1: list[float] = Field(min_length=1)


class _Curves(BaseModel):
    """The content of `evaluation.json`."""

    linear: dict[str, _Curve]

    @model_validator(mode="after")
    def _has_both_encoders(self) -> "_Curves":
        for name in ENCODERS:
            if name not in self.linear:
                raise ValueError(f"no curve of {name}")
        return self
