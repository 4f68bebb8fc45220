"""Skeleton layouts, and the mapping of one layout to another."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.config.section import Name, Section


class Skeleton(Section):
    """A skeleton layout: a tree of joints.

    Attributes:
        name: of the layout.
        joints: joint -> its parent, in the order of the recordings. The root has the parent None.
        centre: the joint that normalisation moves to the origin.
        left_shoulder: with `right_shoulder`, it tells which way a body faces.
        right_shoulder: see `left_shoulder`.
        mirror: pairs of joints that change places in a mirrored body.
    """

    name: Name
    joints: Annotated[dict[str, str | None], Field(min_length=1, max_length=1024)]
    centre: str
    left_shoulder: str
    right_shoulder: str
    mirror: list[list[str]]


class Mapping(Section):
    """The joints of one layout that stand for the joints of another.

    Clips of the layout `source` can so be read as clips of the layout `target`.

    Attributes:
        source: the name of the recorded layout.
        target: the layout that models see.
        joints: joint of the target -> joint of the source.
    """

    source: Name
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
