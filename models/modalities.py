"""The three modalities of a skeleton clip, all derived from the augmented view."""

from __future__ import annotations

import torch
from torch import Tensor

from models.skeleton import SkeletonLayout, index_tensor

MODALITIES = ("joint", "bone", "motion")


def modality(name: str, views: Tensor, layout: SkeletonLayout) -> Tensor:
    """One modality of views [..., T, M, V, 3], of the same shape.

    joint: the coordinates; bone: joint - its parent, zero at the root; motion: next frame - this one, zero in the last.
    Raises ValueError for an unknown name or another number of joints.
    """
    if views.shape[-2] != layout.num_joints:
        raise ValueError(
            f"views have {views.shape[-2]} joints, skeleton {layout.name} has {layout.num_joints}"
        )
    if name == "joint":
        return views
    if name == "bone":
        return views - views.index_select(-2, index_tensor(layout.parents, views.device))
    if name == "motion":
        steps = views.diff(dim=-4)
        return torch.cat([steps, torch.zeros_like(views.narrow(-4, 0, 1))], dim=-4)
    raise ValueError(f"modality must be one of {', '.join(MODALITIES)}, got {name}")
