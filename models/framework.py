"""The training module: a batch of clips to named losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from models.backbone import Backbone
from models.clips import ClipBatch
from models.distributed import gather_all, shares
from models.monitors import figures
from models.normalise import normalise
from models.objective import PASSES, LateObjective, Objective, objective_for
from models.skeleton import SkeletonLayout
from models.views import Views


class Framework(nn.Module):
    """Normalises the clips, draws an independent view for each pass, encodes all passes as one, compares.

    `backbone` is what pretraining is for (its `state_dict` stands alone); `objective` holds the heads, which end with
    pretraining.
    centre, align: see `models.normalise`.
    """

    def __init__(self, backbone: Backbone, objective: Objective | LateObjective, views: Views, centre: str, align: str):
        super().__init__()
        self.backbone, self.objective, self.views = backbone, objective, views
        self.centre, self.align = centre, align

    def forward(self, clips: ClipBatch, seed: int, epoch: int) -> dict[str, Tensor]:
        """Losses [] of this worker's share of a global batch: "loss" (the total), "loss/decomposition" and so on.

        (seed, epoch) and the clips' ids decide on the views. Raises ValueError for fewer than two clips over all
        workers.
        """
        return self.losses(self.draw(clips, seed, epoch, self.objective.passes))

    def draw(self, clips: ClipBatch, seed: int, epoch: int, names: Iterable[str]) -> dict[str, Tensor]:
        """One view of each clip for each of the named passes: name -> [B, T, M, V, 3]."""
        with torch.autocast(clips.frames.device.type, enabled=False):  # coordinates are float32 also under bfloat16
            clips = normalise(clips, self.backbone.layout, self.centre, self.align)
            return {name: self.views(clips, seed, epoch, PASSES.index(name)) for name in names}

    def losses(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same from views that are there already: name of a pass -> [B, T, M, V, 3]."""
        return self.objective(*self.backbone.encode_tokens(views))

    @torch.no_grad()
    def monitors(self, clips: ClipBatch, seed: int, epoch: int) -> dict[str, float]:
        """Figures of the global batch's features in evaluation mode, see `models.monitors`.

        Arguments and views are those of `forward`; nothing in the module changes. All workers have to call it, and get
        the same.
        """
        training = self.training
        self.eval()
        try:
            names = dict.fromkeys((*self.objective.passes, "fused", "fused_other"))
            features, tokens = self.backbone.encode_tokens(self.draw(clips, seed, epoch, names))
            pairs = self.objective.taken_apart(features, tokens)
        finally:
            self.train(training)
        local = [features["fused"], features["fused_other"], *(x for pair in pairs.values() for x in pair)]
        first, second, *others = gather_all(local, shares(len(local[0]), local[0].device))
        return figures(first, second, dict(zip(pairs, zip(others[::2], others[1::2], strict=True), strict=True)))


def build(
    layout: SkeletonLayout, persons: int, model: Mapping, objective: Mapping, views: Mapping, normalise: Mapping
) -> Framework:
    """The training module that the configuration sections `model`, `objective`, `views` and `data.normalise` describe.

    Raises ValueError for settings out of range or that do not fit together.
    """
    backbone = Backbone(layout, persons, **model)
    terms = {key: value for key, value in objective.items() if key != "name"}
    return Framework(
        backbone, objective_for(backbone, terms), Views(layout, frames=backbone.frames, **views), **normalise
    )
