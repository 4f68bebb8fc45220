"""The training module: a batch of clips to named losses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from models.backbone import Backbone, Tokens
from models.clips import ClipBatch
from models.distributed import gather_all, shares
from models.monitors import figures, worst
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

    def __init__(
        self,
        backbone: Backbone,
        objective: Objective | LateObjective,
        views: Views,
        centre: str,
        align: str,
    ):
        super().__init__()
        self.backbone, self.objective, self.views = backbone, objective, views
        self.centre, self.align = centre, align

    def forward(
        self, clips: ClipBatch, seed: int, epoch: int, watch: bool = False
    ) -> dict[str, Tensor]:
        """Losses [] of this worker's share of a global batch: "loss" (the total), "loss/decomposition" and so on.

        (seed, epoch) and the clips' ids decide on the views. watch: also figures of the same features, of the whole
        global batch and equal on all workers, see `models.monitors.figures` and `Objective.forward`; the losses and
        their gradients stay what they are.
        Raises ValueError for fewer than two clips over all workers.
        """
        return self.losses(self.draw(clips, seed, epoch, self.objective.passes), watch)

    def draw(
        self, clips: ClipBatch, seed: int, epoch: int, names: Collection[str]
    ) -> dict[str, Tensor]:
        """One view of each clip for each of the named passes: name -> [B, T, M, V, 3].

        The second fused view is of what `clips.other` holds, where it is given.
        """
        with torch.autocast(
            clips.frames.device.type, enabled=False
        ):  # coordinates are float32 also under bfloat16
            other = own = normalise(clips, self.backbone.layout, self.centre, self.align)
            if clips.other is not None and "fused_other" in names:
                other = normalise(clips.other, self.backbone.layout, self.centre, self.align)
                # Views hang on the clip that they are drawn for: a clip that is the other of two is seen in two ways.
                other = replace(other, ids=clips.ids)
            sources = {name: other if name == "fused_other" else own for name in names}
            return {
                name: self.views(x, seed, epoch, PASSES.index(name)) for name, x in sources.items()
            }

    def losses(self, views: Mapping[str, Tensor], watch: bool = False) -> dict[str, Tensor]:
        """The same from views that are there already: name of a pass -> [B, T, M, V, 3]."""
        features, tokens = self.backbone.encode_tokens(views)
        losses = self.objective(features, tokens, watch)
        return losses | self._figures(tokens) if watch else losses

    @torch.no_grad()
    def _figures(self, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
        """Of features before their norm, which would hide a collapse; with late fusion the worst of the networks'."""
        local = [
            self.backbone.pooled(tokens[name])
            for name in ("fused", "fused_other")
            if name in tokens
        ]
        views = gather_all(local, shares(len(local[0]), local[0].device))
        return worst(
            [figures(*(view[:, part] for view in views)) for part in self.backbone.parts.values()]
        )


def build(
    layout: SkeletonLayout,
    persons: int,
    model: Mapping,
    objective: Mapping,
    views: Mapping,
    normalise: Mapping,
) -> Framework:
    """The training module that the configuration sections `model`, `objective`, `views` and `data.normalise` describe.

    Raises ValueError for settings out of range or that do not fit together.
    """
    backbone = Backbone(layout, persons, **model)
    terms = {key: value for key, value in objective.items() if key != "name"}
    return Framework(
        backbone,
        objective_for(backbone, terms),
        Views(layout, frames=backbone.frames, **views),
        **normalise,
    )
