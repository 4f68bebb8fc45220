"""The training module: a batch of clips to named losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.backbone import Backbone
from models.clips import ClipBatch
from models.normalise import normalise
from models.objective import PASSES, Objective
from models.skeleton import SkeletonLayout
from models.views import Views


class Framework(nn.Module):
    """Normalises the clips, draws an independent view for each pass, encodes all passes as one, compares.

    `backbone` is what pretraining is for (its `state_dict` stands alone); `objective` holds the heads, which end with
    pretraining.
    centre, align: see `models.normalise`.
    """

    def __init__(self, backbone: Backbone, objective: Objective, views: Views, centre: str, align: str):
        super().__init__()
        self.backbone, self.objective, self.views = backbone, objective, views
        self.centre, self.align = centre, align

    def forward(self, clips: ClipBatch, seed: int, epoch: int) -> dict[str, Tensor]:
        """Losses [] of this worker's share of a global batch: "loss" (the total), "loss/decomposition" and so on.

        (seed, epoch) and the clips' ids decide on the views. Raises ValueError for fewer than two clips over all
        workers.
        """
        with torch.autocast(clips.frames.device.type, enabled=False):  # coordinates are float32 also under bfloat16
            clips = normalise(clips, self.backbone.layout, self.centre, self.align)
            views = {name: self.views(clips, seed, epoch, PASSES.index(name)) for name in self.objective.passes}
        return self.losses(views)

    def losses(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same from views that are there already: name of a pass -> [B, T, M, V, 3]."""
        return self.objective(self.backbone.encode(views))


def build(
    layout: SkeletonLayout, persons: int, model: Mapping, objective: Mapping, views: Mapping, normalise: Mapping
) -> Framework:
    """The training module that the configuration sections `model`, `objective`, `views` and `data.normalise` describe.

    Raises ValueError for settings out of range or that do not fit together.
    """
    backbone = Backbone(layout, persons, **model)
    terms = {key: value for key, value in objective.items() if key != "name"}
    return Framework(
        backbone, Objective(backbone.width, **terms), Views(layout, frames=backbone.frames, **views), **normalise
    )
