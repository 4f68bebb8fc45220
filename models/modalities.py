"""The three modalities of a skeleton clip, all derived from the augmented view."""

from __future__ import annotations

import torch
from torch import Tensor

from models.choices import MODALITIES, require_choice
from models.skeleton import SkeletonLayout, index_tensor


def modality(name: str, views: Tensor, layout: SkeletonLayout) -> Tensor:
    """Derive one modality from views.

    Args:
        name: "joint", the coordinates; "bone", each joint less its parent, zero at the root; or
            "motion", the next frame less this one, zero in the last.
        views: [..., T, M, V, 3].
        layout: the skeleton, which knows the parents.

    Returns:
        [..., T, M, V, 3].

    Raises:
        ValueError: The name is unknown, or the views have another number of joints.
    """
    require_choice("modality", name, MODALITIES)
    if views.shape[-2] != layout.num_joints:
        raise ValueError(
            f"views have {views.shape[-2]} joints, skeleton {layout.name} has {layout.num_joints}"
        )
    if name == "bone":
        return views - views.index_select(-2, index_tensor(layout.parents, views.device))
    if name == "motion":
        steps = views.diff(dim=-4)
        last = torch.zeros_like(views.narrow(-4, 0, 1))
        return torch.cat([steps, last], dim=-4)
    return views
