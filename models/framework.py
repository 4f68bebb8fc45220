"""The training module: a batch of clips to named losses.

Shapes: B clips, T frames of a view, M persons, V joints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from models.average import average_of, update_average
from models.backbone import Backbone, BackboneSettings, Tokens
from models.batchnorm import without_traces
from models.choices import PASSES
from models.clips import ClipBatch, whole
from models.distributed import gather_all, shares
from models.late_objective import LateObjective, build_objective
from models.monitors import figures, worst
from models.normalise import normalise
from models.objective import Objective
from models.objective_settings import ObjectiveSettings
from models.skeleton import SkeletonLayout
from models.soft_targets import TargetInputs
from models.views import Views

# The name of the view that shows the whole clip as evaluation sees it: soft targets are made of it.
UNAUGMENTED = "unaugmented"


class Framework(nn.Module):
    """Pretraining: normalise clips, draw a view for each pass, encode all views, compare features.

    Args:
        backbone: the encoder. Only its weights are kept after pretraining.
        objective: the losses, with the projectors that only pretraining needs.
        views: how views are drawn.
        centre: see `models.normalise.normalise`.
        align: see `models.normalise.normalise`.
        average: whether to keep an average of the encoder's weights, see `update_average`.
        export_average: whether that average is the encoder which pretraining is for.

    Attributes:
        average: the average, None without.

    Raises:
        ValueError: The average is to be exported, or to make the targets, and there is none.
    """

    def __init__(
        self,
        backbone: Backbone,
        objective: Objective | LateObjective,
        views: Views,
        *,
        centre: str,
        align: str,
        average: bool = False,
        export_average: bool = False,
    ) -> None:
        super().__init__()
        if export_average and not average:
            raise ValueError("export_average needs average")
        if objective.targets_of_average and not average:
            raise ValueError(
                "objective.targets.encoder=average needs an average (train.average.decay)"
            )
        self.backbone = backbone
        self.average = average_of(backbone) if average else None
        self._export_average = export_average
        self.objective = objective
        self.views = views
        self.centre = centre
        self.align = align

    @property
    def exported(self) -> Backbone:
        """The encoder which pretraining is for: the backbone, or the average of its weights."""
        if self.average is not None and self._export_average:
            return self.average
        return self.backbone

    def update_average(self, decay: float) -> None:
        """Move the average towards the backbone, after every update of its weights.

        All workers have equal weights, so that their averages stay equal, too.

        Args:
            decay: the share of the average that stays.

        Raises:
            ValueError: No average is kept.
        """
        if self.average is None:
            raise ValueError("this framework keeps no average")
        update_average(self.average, self.backbone, decay)

    @property
    def passes(self) -> tuple[str, ...]:
        """The names of all views that a step needs: see `Objective.passes`, and UNAUGMENTED."""
        if self.objective.target_passes:
            return (*self.objective.passes, UNAUGMENTED)
        return self.objective.passes

    def forward(
        self, clips: ClipBatch, seed: int, epoch: int, watch: bool = False
    ) -> dict[str, Tensor]:
        """Compute the losses of this worker's share of a global batch.

        Args:
            clips: B clips.
            seed: decides on the views, together with the epoch and the clips' ids.
            epoch: see `seed`.
            watch: whether to add figures of the same features, of the whole global batch and equal
                on all workers; see `models.monitors.figures` and `Objective.forward`. The losses
                and their gradients stay the same.

        Returns:
            "loss" (the total), "loss/decomposition" and so on, each [].

        Raises:
            ValueError: There are fewer than two clips over all workers.
        """
        views = self.draw(clips, seed, epoch, self.passes)
        return self.losses(views, watch, clips)

    def draw(
        self, clips: ClipBatch, seed: int, epoch: int, names: Collection[str]
    ) -> dict[str, Tensor]:
        """Draw one view of each clip for each of the named passes.

        If the batch has `clips.other`, the second fused view shows those clips. The view
        UNAUGMENTED is not drawn: it is the whole clip.

        Args:
            clips: B clips.
            seed: see `forward`.
            epoch: see `forward`.
            names: of passes, see `passes`.

        Returns:
            Name -> [B, T, M, V, 3].
        """
        # Coordinates are float32 also under bfloat16.
        with torch.autocast(clips.frames.device.type, enabled=False):
            own = self._normalised(clips)
            other = own
            if clips.other is not None and "fused_other" in names:
                # A view depends on the id of its clip. With the ids of `clips`, a clip that is the
                # other one of two clips gets two different views.
                other = replace(self._normalised(clips.other), ids=clips.ids)
            views = {}
            for name in names:
                if name == UNAUGMENTED:
                    views[name] = whole(own, self.backbone.frames)
                    continue
                source = other if name == "fused_other" else own
                views[name] = self.views(source, seed, epoch, draw=PASSES.index(name))
        return views

    def _normalised(self, clips: ClipBatch) -> ClipBatch:
        return normalise(clips, self.backbone.layout, centre=self.centre, align=self.align)

    def losses(
        self, views: Mapping[str, Tensor], watch: bool = False, clips: ClipBatch | None = None
    ) -> dict[str, Tensor]:
        """Compute the losses from views that were drawn already.

        Args:
            views: name of a pass -> [B, T, M, V, 3].
            watch: see `forward`.
            clips: what the views show. Their performances and labels are looked at. None: each clip
                is of a performance of its own, and no label is known.

        Returns:
            See `forward`.
        """
        compared = {name: view for name, view in views.items() if name != UNAUGMENTED}
        features, tokens = self.backbone.encode_tokens(compared)
        losses = self.objective(features, tokens, watch, self._target_inputs(views, clips))
        if watch:
            losses |= self._figures(tokens)
        return losses

    def _target_inputs(self, views: Mapping[str, Tensor], clips: ClipBatch | None) -> TargetInputs:
        """What soft targets, and the mask of performances, are made of."""
        features: dict[str, Tensor] = {}
        if self.objective.target_passes:
            features = self._whole_features(views[UNAUGMENTED])
        if clips is None:
            return TargetInputs(features)
        if self.objective.masks_performances and clips.performances is None:
            raise ValueError("alignment.mask_performances needs the performances of the clips")
        return TargetInputs(features, clips.performances, clips.labels)

    @torch.no_grad()
    def _whole_features(self, view: Tensor) -> dict[str, Tensor]:
        """The features of whole clips [B, T, M, V, 3], without gradient or any other effect.

        Norms use the statistics of this batch, as in the passes that are compared.
        """
        encoder = self.backbone
        if self.objective.targets_of_average and self.average is not None:
            encoder = self.average
        with without_traces(encoder):
            return encoder.encode(dict.fromkeys(self.objective.target_passes, view))

    @torch.no_grad()
    def _figures(self, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
        """The figures of features before their norm, which would hide a collapse.

        With late fusion they are the worst of all networks.
        """
        local = []
        for name in ("fused", "fused_other"):
            if name in tokens:
                local.append(self.backbone.pooled(tokens[name]))
        views = gather_all(local, shares(len(local[0]), local[0].device))
        networks = []
        for columns in self.backbone.parts.values():
            of_network = [view[:, columns] for view in views]
            networks.append(figures(*of_network))
        return worst(networks)


def build(
    layout: SkeletonLayout,
    persons: int,
    *,
    model: Mapping[str, Any],
    objective: Mapping[str, Any],
    views: Mapping[str, Any],
    normalise: Mapping[str, Any],
    average: bool = False,
    export_average: bool = False,
) -> Framework:
    """Build the training module from sections of the configuration.

    Args:
        layout: the skeleton.
        persons: M.
        model: the section `model`, see `BackboneSettings`.
        objective: the section `objective`, see `ObjectiveSettings`; its name is ignored.
        views: the section `views`, see `Views`.
        normalise: the section `data.normalise`, see `models.normalise.normalise`.
        average: see `Framework`.
        export_average: see `Framework`.

    Raises:
        ValueError: Settings are out of range or do not fit together.
    """
    backbone = Backbone(layout, persons, BackboneSettings(**model))
    terms = {key: value for key, value in objective.items() if key != "name"}
    return Framework(
        backbone,
        build_objective(backbone, ObjectiveSettings(**terms)),
        Views(layout, frames=backbone.frames, **views),
        **normalise,
        average=average,
        export_average=export_average,
    )
