"""The objective of late fusion: one for each network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.backbone import Backbone, Tokens
from models.objective import Objective
from models.objective_settings import ObjectiveSettings
from models.soft_targets import TargetInputs


class LateObjective(nn.Module):
    """An objective with heads of its own for each network of late fusion; it sums their losses.

    So each network trains as it would alone.

    Args:
        width: D of each network.
        parts: the columns of the feature that each network makes, see `Backbone.parts`.
        settings: of each objective; one modality allows the view term alone.

    Raises:
        ValueError: See `Objective`; or targets are soft: the networks have no features in common.
    """

    # The same for all of the objectives, see `Objective.passes`.
    passes: tuple[str, ...]
    # See `Objective.target_passes`.
    target_passes: tuple[str, ...] = ()
    targets_of_average = False

    def __init__(self, width: int, parts: Mapping[str, slice], settings: ObjectiveSettings) -> None:
        super().__init__()
        if settings.soft_targets.kind == "self":
            raise ValueError(
                "targets.kind must be one_hot with model.fusion=late: its networks have no feature "
                "in common that targets could be made of"
            )
        self.parts = dict(parts)
        self.masks_performances = bool(settings.alignment["mask_performances"])
        self.objectives = nn.ModuleDict()
        for name in parts:
            objective = Objective(width, [name], settings)
            self.objectives[name] = objective
            self.passes = objective.passes

    def forward(
        self,
        features: Mapping[str, Tensor],
        tokens: Mapping[str, Tokens] | None = None,
        watch: bool = False,
        inputs: TargetInputs | None = None,
    ) -> dict[str, Tensor]:
        """Compare as `Objective.forward` does.

        Args:
            features: name of a pass -> all networks' features side by side.
            tokens: not looked at, because there is nothing to take apart.
            watch: of no effect, for the same reason.
            inputs: what is known of the clips.
        """
        totals: dict[str, list[Tensor]] = {}
        for network, objective in self.objectives.items():
            columns = self.parts[network]
            own = {name: feature[:, columns] for name, feature in features.items()}
            for name, loss in objective(own, inputs=inputs).items():
                totals.setdefault(name, []).append(loss)
        return {name: torch.stack(losses).sum() for name, losses in totals.items()}


def build_objective(backbone: Backbone, settings: ObjectiveSettings) -> Objective | LateObjective:
    """Build the objective for what the backbone takes: one, or one for each late network.

    Raises:
        ValueError: See `Objective` and `LateObjective`.
    """
    if backbone.late:
        return LateObjective(backbone.width, backbone.parts, settings)
    return Objective(backbone.width, backbone.modalities, settings)
