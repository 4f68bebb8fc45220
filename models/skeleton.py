"""What a skeleton is: joints, the tree of bones, and which joints are left and right of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class SkeletonLayout:
    """Joints are numbered from 0 in the order of the recordings.

    parents: the joint at the other end of each joint's bone; the root is its own parent.
    centre: the joint that normalisation moves to the origin.
    left_shoulder, right_shoulder: the joints whose line says which way a person faces.
    mirror: pairs of a left and a right joint; a joint in no pair lies on the body's axis.

    Raises ValueError where these do not describe one tree over the joints, symmetric under disjoint pairs.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    centre: int
    left_shoulder: int
    right_shoulder: int
    mirror: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        count = len(self.joints)
        if count == 0 or len(set(self.joints)) != count:
            raise ValueError(
                f"skeleton {self.name}: needs at least one joint, and different names for different joints"
            )
        if len(self.parents) != count:
            raise ValueError(
                f"skeleton {self.name}: {count} joints but {len(self.parents)} parents"
            )
        paired = [joint for pair in self.mirror for joint in pair]
        for joint in (*self.parents, self.centre, self.left_shoulder, self.right_shoulder, *paired):
            if not 0 <= joint < count:
                raise ValueError(
                    f"skeleton {self.name}: joint number {joint} is not one of 0 to {count - 1}"
                )
        roots = [self.joints[joint] for joint, parent in enumerate(self.parents) if joint == parent]
        if len(roots) > 1:
            raise ValueError(
                f"skeleton {self.name}: one joint must be the root, but {' and '.join(roots)} have no parent"
            )
        self._check_tree()
        if self.left_shoulder == self.right_shoulder:
            raise ValueError(f"skeleton {self.name}: left and right shoulder are the same joint")
        for joint in paired:
            if paired.count(joint) > 1:
                raise ValueError(
                    f"skeleton {self.name}: {self.joints[joint]} is in more than one place of the mirror pairs"
                )
        self._check_symmetry()

    def _check_symmetry(self) -> None:
        """A mirror that took bones to what are no bones would make other skeletons, not mirrored ones."""
        other = self.mirror_permutation
        for left, right in self.mirror:
            up = self.joints[self.parents[right]]
            if other[self.parents[left]] != self.parents[right]:
                raise ValueError(
                    f"skeleton {self.name}: {self.joints[left]} and {self.joints[right]} are a mirror pair, but their "
                    f"bones are not: they go to {self.joints[self.parents[left]]} and {up}"
                )
        if self.mirror and other[self.left_shoulder] != self.right_shoulder:
            raise ValueError(f"skeleton {self.name}: left and right shoulder are no mirror pair")

    def _check_tree(self) -> None:
        for joint in range(self.num_joints):
            seen, at = {joint}, joint
            while (up := self.parents[at]) != at:
                if up in seen:
                    raise ValueError(
                        f"skeleton {self.name}: the bones from {self.joints[up]} upwards form a cycle"
                    )
                seen.add(up)
                at = up

    @classmethod
    def build(
        cls,
        name: str,
        joints: Mapping[str, str | None],
        centre: str,
        left_shoulder: str,
        right_shoulder: str,
        mirror: Sequence[Sequence[str]],
    ) -> SkeletonLayout:
        """The layout that `conf/skeleton/*.yaml` describes by names.

        joints: joint -> parent, in the order of the recordings; the root's parent is None.
        Raises ValueError for an unknown name, more or less than one root, a cycle, a joint in two mirror pairs.
        """
        number = {joint: i for i, joint in enumerate(joints)}

        def find(joint: str, where: str) -> int:
            if joint not in number:
                raise ValueError(f"skeleton {name}: {where} names the unknown joint {joint}")
            return number[joint]

        for pair in mirror:
            if len(pair) != 2:
                raise ValueError(
                    f"skeleton {name}: a mirror pair is a left and a right joint, got {list(pair)}"
                )
        return cls(
            name=name,
            joints=tuple(joints),
            parents=tuple(
                number[joint] if parent is None else find(parent, f"the parent of {joint}")
                for joint, parent in joints.items()
            ),
            centre=find(centre, "centre"),
            left_shoulder=find(left_shoulder, "left_shoulder"),
            right_shoulder=find(right_shoulder, "right_shoulder"),
            mirror=tuple((find(left, "mirror"), find(right, "mirror")) for left, right in mirror),
        )

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @property
    def root(self) -> int:
        return next(joint for joint, parent in enumerate(self.parents) if joint == parent)

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(joint, its parent) of every bone, V - 1 in all, in the order of the joints."""
        pairs = enumerate(self.parents)
        return tuple((joint, parent) for joint, parent in pairs if joint != parent)

    @property
    def mirror_permutation(self) -> tuple[int, ...]:
        """For each joint the one that takes its place in a mirror; its own inverse."""
        order = list(range(self.num_joints))
        for left, right in self.mirror:
            order[left], order[right] = right, left
        return tuple(order)


@lru_cache(maxsize=64)
def index_tensor(indices: tuple[int, ...], device: torch.device) -> Tensor:
    """The indices as an int64 tensor on `device`, made once: copying them in every step would make the host wait."""
    with torch.inference_mode(
        False
    ):  # a tensor born in inference mode could not be used in training afterwards
        return torch.tensor(indices, device=device)
