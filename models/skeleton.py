"""The skeleton layout: joints, the tree of bones, and the pairs of joints that a mirror swaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class SkeletonLayout:
    """A skeleton of V joints, numbered from 0 in the order of the recordings.

    Args:
        name: of the skeleton.
        joints: names of the joints.
        parents: the joint at the other end of each joint's bone; the root is its own parent.
        centre: the joint that normalisation moves to the origin.
        left_shoulder: the line to the right shoulder says which way a person faces.
        right_shoulder: see `left_shoulder`.
        mirror: pairs of a left and a right joint; a joint in no pair lies on the body's axis.

    Raises:
        ValueError: These do not describe one tree over the joints, symmetric under disjoint pairs.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    centre: int
    left_shoulder: int
    right_shoulder: int
    mirror: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_tree()
        if self.left_shoulder == self.right_shoulder:
            raise self._error("left and right shoulder are the same joint")
        self._check_pairs()
        self._check_symmetry()

    def _error(self, problem: str) -> ValueError:
        return ValueError(f"skeleton {self.name}: {problem}")

    @property
    def _paired(self) -> list[int]:
        """The joints of all mirror pairs, one after the other."""
        joints: list[int] = []
        for pair in self.mirror:
            joints.extend(pair)
        return joints

    def _check_numbers(self) -> None:
        """Every joint has a name of its own and a parent, and every number names a joint."""
        count = len(self.joints)
        if count == 0 or len(set(self.joints)) != count:
            raise self._error("needs at least one joint, and different names for different joints")
        if len(self.parents) != count:
            raise self._error(f"{count} joints but {len(self.parents)} parents")
        named = (self.centre, self.left_shoulder, self.right_shoulder)
        for joint in (*self.parents, *named, *self._paired):
            if not 0 <= joint < count:
                raise self._error(f"joint number {joint} is not one of 0 to {count - 1}")

    def _check_tree(self) -> None:
        """At most one joint is a root, and the way up from every joint ends at a root."""
        roots = []
        for joint, parent in enumerate(self.parents):
            if joint == parent:
                roots.append(self.joints[joint])
        if len(roots) > 1:
            raise self._error(
                f"one joint must be the root, but {' and '.join(roots)} have no parent"
            )
        for joint in range(self.num_joints):
            self._check_way_up(joint)

    def _check_way_up(self, joint: int) -> None:
        """Following the parents from a joint never comes back to a joint."""
        seen = {joint}
        parent = self.parents[joint]
        while parent != joint:
            if parent in seen:
                raise self._error(f"the bones from {self.joints[parent]} upwards form a cycle")
            seen.add(parent)
            joint = parent
            parent = self.parents[joint]

    def _check_pairs(self) -> None:
        paired = self._paired
        for joint in paired:
            if paired.count(joint) > 1:
                raise self._error(
                    f"{self.joints[joint]} is in more than one place of the mirror pairs"
                )

    def _check_symmetry(self) -> None:
        """The mirror takes every bone to a bone, so that a mirrored body has the same bones."""
        other = self.mirror_permutation
        for left, right in self.mirror:
            left_parent = self.parents[left]
            right_parent = self.parents[right]
            if other[left_parent] != right_parent:
                raise self._error(
                    f"{self.joints[left]} and {self.joints[right]} are a mirror pair, but their "
                    f"bones are not: they go to {self.joints[left_parent]} "
                    f"and {self.joints[right_parent]}"
                )
        if self.mirror and other[self.left_shoulder] != self.right_shoulder:
            raise self._error("left and right shoulder are no mirror pair")

    @classmethod
    def build(
        cls,
        *,
        name: str,
        joints: Mapping[str, str | None],
        centre: str,
        left_shoulder: str,
        right_shoulder: str,
        mirror: Sequence[Sequence[str]],
    ) -> SkeletonLayout:
        """Build the layout that `conf/skeleton/*.yaml` describes by the names of joints.

        Args:
            name: of the skeleton.
            joints: joint -> parent, in the order of the recordings; the root's parent is None.
            centre: see the class, as the three that follow.
            left_shoulder: see the class.
            right_shoulder: see the class.
            mirror: see the class.

        Raises:
            ValueError: A name is unknown, the joints do not form a tree with one root, or a joint
                is in two mirror pairs.
        """
        number_of = {joint: number for number, joint in enumerate(joints)}

        def find(joint: str, key: str) -> int:
            if joint not in number_of:
                raise ValueError(f"skeleton {name}: {key} names the unknown joint {joint}")
            return number_of[joint]

        for pair in mirror:
            if len(pair) != 2:
                raise ValueError(
                    f"skeleton {name}: a mirror pair is a left and a right joint, got {list(pair)}"
                )
        parents = []
        for joint, parent in joints.items():
            # The root is its own parent.
            above = joint if parent is None else parent
            parents.append(find(above, f"the parent of {joint}"))
        return cls(
            name=name,
            joints=tuple(joints),
            parents=tuple(parents),
            centre=find(centre, "centre"),
            left_shoulder=find(left_shoulder, "left_shoulder"),
            right_shoulder=find(right_shoulder, "right_shoulder"),
            mirror=tuple((find(left, "mirror"), find(right, "mirror")) for left, right in mirror),
        )

    @property
    def num_joints(self) -> int:
        """The number of joints, V."""
        return len(self.joints)

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """The V - 1 bones in the order of the joints, each as (joint, its parent)."""
        pairs = []
        for joint, parent in enumerate(self.parents):
            if joint != parent:
                pairs.append((joint, parent))
        return tuple(pairs)

    @property
    def mirror_permutation(self) -> tuple[int, ...]:
        """For each joint the joint that replaces it in a mirrored body. It is its own inverse."""
        order = list(range(self.num_joints))
        for left, right in self.mirror:
            order[left] = right
            order[right] = left
        return tuple(order)


@lru_cache(maxsize=64)
def index_tensor(indices: tuple[int, ...], device: torch.device) -> Tensor:
    """Return indices as an int64 tensor on `device`.

    The tensor is made once, because copying it in every step would make the host wait.
    """
    # A tensor that is made in inference mode could not be used in training afterwards.
    with torch.inference_mode(False):
        return torch.tensor(indices, device=device)
