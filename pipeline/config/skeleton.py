"""Skeleton layouts, and how clips of one layout are read as clips of another."""

from typing import Self

from pydantic import model_validator

from pipeline.config.section import Section


class Skeleton(Section):
    """A skeleton layout: a tree of joints.

    Attributes:
        name: of the layout.
        joints: joint -> its parent, in the order of the recordings. The root has none.
        centre: the joint at which clips are centred.
        left_shoulder, right_shoulder: the joints that say which way a body faces.
        mirror: pairs of joints that are each other's mirror image.
    """

    name: str
    joints: dict[str, str | None]
    centre: str
    left_shoulder: str
    right_shoulder: str
    mirror: list[list[str]]


class Mapping(Section):
    """How clips of the layout `source` are read as clips of `target`.

    Attributes:
        source: the name of the layout that clips were recorded in.
        target: the layout that models see.
        joints: joint of the target -> joint of the source.
    """

    source: str
    target: Skeleton
    joints: dict[str, str]

    @model_validator(mode="after")
    def _check_joints(self) -> Self:
        if self.joints.keys() != self.target.joints.keys():
            wrong = ", ".join(sorted(self.joints.keys() ^ self.target.joints.keys()))
            raise ValueError(
                f"joints: must name every joint of {self.target.name} and no other; "
                f"differs in {wrong}"
            )
        return self
