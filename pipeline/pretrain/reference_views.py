"""Reference views: two views of clips by which encoders of different trainings are compared.

The alignment of an encoder is how near it brings two views of a clip. Mild views make it small, so
an encoder is not judged by the views that it was trained with: a search over the strength of views
would choose those that show nothing. All trials of a search see the same views of the same clips.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone import Backbone
from models.clips import ClipBatch
from models.normalise import normalise
from models.skeleton import SkeletonLayout
from models.views import Views
from pipeline.pretrain.kept_clips import KeptClips

# What a view shows stays the same action: at least half of the clip, seen by a camera that is moved
# a little, with some joints wrong in half of the views.
_CROP = (0.5, 1.0)
_MIN_FRAMES = 8
_SHARE_OF_JOINTS = 0.25
_CORRUPT_PROBABILITY = 0.5
_SHEAR = 0.2
_ROTATION = 30.0
_SCALE = 0.1
# The views are drawn from these: the same ones at every rung of every trial.
_SEED = 0
_EPOCH = 0


def reference_views(layout: SkeletonLayout, frames: int) -> Views:
    """Return what draws reference views of a length of `frames`."""
    return Views(
        layout,
        frames=frames,
        crop=_CROP,
        min_frames=_MIN_FRAMES,
        corrupt_joints=round(_SHARE_OF_JOINTS * layout.num_joints),
        shear=_SHEAR,
        corrupt_probability=_CORRUPT_PROBABILITY,
        rotation=_ROTATION,
        scale=_SCALE,
        mirror=0.0,
    )


@dataclass(frozen=True)
class ReferencePairs:
    """Clips of which an encoder sees two reference views each.

    Attributes:
        clips: the clips.
        centre: how they are centred, see `models.normalise`.
        align: how they are turned.
        batch_size: clips that are encoded at a time.
    """

    clips: KeptClips
    centre: str
    align: str
    batch_size: int

    def encode(self, backbone: Backbone, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the features of the first and of the second views, each [N, D]."""
        views = reference_views(backbone.layout, backbone.frames)

        def encode_both(clips: ClipBatch) -> Tensor:
            """Return [B, 2 * D]: both views of a clip in one row."""
            centred = normalise(clips.to(device), backbone.layout, self.centre, self.align)
            both = []
            for draw in (0, 1):
                both.append(backbone.features(views(centred, _SEED, _EPOCH, draw)))
            return torch.cat(both, dim=1)

        first, second = self.clips.encode(encode_both, self.batch_size).chunk(2, dim=1)
        return first, second
