"""The loss: the terms of Decomposition and Composition, computed from the features of a step.

UmURL's objective (ACM MM 2023) is made of the same pieces, see `conf/objective/umurl.yaml`.
`docs/method.md` has the equations. Shapes: n clips of this worker, N clips of the global batch, D
the width of the backbone; a feature is 2*D wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.alignment import InfoNCE, VarianceCovariance, build_alignment
from models.backbone import Tokens
from models.choices import MODALITIES
from models.composition import Composition
from models.decomposition import Decomposition
from models.distributed import shares
from models.monitors import cosine
from models.objective_settings import ObjectiveSettings, fused_parts, require_sound
from models.parts import STREAMS, OfPart, mean_over_parts, part_of
from models.precision import widen
from models.projections import Projections
from models.projector import ProjectorSizes, build_projector
from models.prototypes import Prototypes
from models.relations import Relations
from models.soft_targets import SoftTargets, TargetInputs, Targets

# Where a version that had these modules for the whole feature alone kept them -> where they are.
_FORMER_NAMES = {
    "guide_projector.": "guide_projectors.whole.",
    "fused_projector.": "fused_projectors.whole.",
    "guide.": "prototypes.whole.",
}


class Objective(nn.Module):
    """L = sum of weight * term, over the gathered batch of all workers.

    With u_m the feature of modality m alone, y and y' the fused features of two views, c the
    composition of the u_m, and h, g, k projectors, the terms are:

    - decomposition: mean over modalities of align(h_m D_m y, h_m u_m);
    - consistency: mean over modalities of align(h_m u_m, mean of these over m) (UmURL's; it needs
      decomposition);
    - composition: mean over y and y' of align(g y, k c), over y alone where the view term is off;
      with prototypes as guidance, how well g y and k c predict each other's category; with
      relations, how well g y (or y) tells which clips resemble a clip;
    - view: align(g y, g y');
    - regularisation: mean over all projected tensors of `VarianceCovariance.regularisation`.

    Each is also a mean over the parts of the feature that the term is about, weighted by
    `part_weights`; each part has projectors of its own.

    Args:
        width: D of the backbone.
        modalities: what the backbone takes.
        settings: the terms and their weights.

    Raises:
        ValueError: Settings are out of range or do not fit together.
    """

    def __init__(self, width: int, modalities: Sequence[str], settings: ObjectiveSettings) -> None:
        super().__init__()
        require_sound(settings, modalities)
        self.weights = {name: weight for name, weight in settings.weights().items() if weight > 0}
        self.modalities = tuple(modalities)
        self.part_weights = dict(settings.part_weights)
        self.composition_parts = tuple(settings.composition["parts"])
        self.view_parts = tuple(settings.view["parts"])
        self.stop_gradient = bool(settings.alignment["stop_gradient"])
        self.align = build_alignment(
            **_without(settings.alignment, "stop_gradient", "mask_performances")
        )
        self.soft_targets = SoftTargets(
            settings.soft_targets,
            mask_performances=settings.alignment["mask_performances"],
            has_relations=settings.has_relations,
        )
        self._build_heads(width, settings)
        self.register_load_state_dict_pre_hook(_rename_former)

    def _build_heads(self, width: int, settings: ObjectiveSettings) -> None:
        """Build the modules of the terms that have a weight; the order decides on their draws."""
        sizes = ProjectorSizes(
            hidden=round(settings.projector["hidden"] * 2 * width),
            output=round(settings.projector["output"] * 2 * width),
            layers=settings.projector["layers"],
        )
        if "decomposition" in self.weights:
            self.decomposition = Decomposition(
                width=width,
                modalities=self.modalities,
                sizes=sizes,
                **_without(settings.decomposition, "weight"),
            )
        self.guidance = settings.composition["guidance"]
        self.relations_of = settings.composition["relations"]["of"]
        if self._has_guide:
            module = settings.composition["module"]
            self.composition = Composition(module, self.modalities, 2 * width)
            self.guide_projectors = _build_projectors(width, self.composition_parts, sizes)
        self.fused_projectors = _build_projectors(width, fused_parts(settings), sizes)
        if self._has_guide and self.guidance == "prototypes":
            self.prototypes = nn.ModuleDict()
            for part in self.composition_parts:
                categories = settings.composition["prototypes"]
                self.prototypes[part] = Prototypes(sizes.output, **categories)
        if settings.has_relations:
            self.relations = Relations(settings.alignment["temperature"])

    @property
    def _has_guide(self) -> bool:
        """Whether composition compares with the composed feature c."""
        return "composition" in self.weights and self.guidance != "relations"

    @property
    def _has_relations_of_features(self) -> bool:
        """Whether composition compares relations of the features, not of their projections."""
        has_relations = "composition" in self.weights and self.guidance == "relations"
        return has_relations and self.relations_of == "feature"

    @property
    def passes(self) -> tuple[str, ...]:
        """The names of the inputs to encode: those that a term with a weight needs."""
        names: list[str] = []
        if "decomposition" in self.weights or self._has_guide:
            names.extend(self.modalities)
        names.append("fused")
        if "view" in self.weights:
            names.append("fused_other")
        return tuple(names)

    @property
    def target_passes(self) -> tuple[str, ...]:
        """The names of the inputs of whole clips to encode, for soft targets."""
        return self.soft_targets.passes(self.modalities)

    @property
    def targets_of_average(self) -> bool:
        """Whether soft targets are made by the average of the encoder's weights."""
        return bool(self.target_passes) and self.soft_targets.settings.encoder == "average"

    @property
    def masks_performances(self) -> bool:
        """Whether other clips of a performance are no wrong answers."""
        return self.soft_targets.mask_performances

    def forward(
        self,
        features: Mapping[str, Tensor],
        tokens: Mapping[str, Tokens] | None = None,
        watch: bool = False,
        inputs: TargetInputs | None = None,
    ) -> dict[str, Tensor]:
        """Compare the features of a step.

        Args:
            features: name of a pass -> [n, 2*D], this worker's share of the global batch.
            tokens: name of a pass -> what its features were pooled from; some decompositions look
                at it.
            watch: whether to add "decomposition/<modality>", the mean cosine of what was taken out
                of the fused feature and the true unimodal one, where there is decomposition; and
                with soft targets `Targets.figures`.
            inputs: of the targets; None: nothing is known of the clips.

        Returns:
            Named losses []: "loss" is the total, to be differentiated; "loss/<term>" are its terms
            before weighting, for the record.

        Raises:
            ValueError: There are fewer than two clips over all workers, or none on one of them (its
                gradients would never come, and the others would wait for them). All workers raise
                alike. Or soft targets are asked for without their inputs.
        """
        counts = shares(len(features["fused"]), features["fused"].device)
        _check_shares(counts)
        # Each worker projects its own clips; the terms then compare the clips of all workers.
        projections = self._project(features, tokens).gathered(counts)
        known = inputs or TargetInputs()
        targets = self.soft_targets(known, counts)
        terms = self._terms(projections, targets)
        weighted = []
        for name, term in terms.items():
            weighted.append(self.weights[name] * term)
        losses = {"loss": torch.stack(weighted).sum()}
        for name, term in terms.items():
            losses[f"loss/{name}"] = term.detach()
        if watch:
            losses |= self._likeness(projections) | targets.figures(known.labels, counts)
        return losses

    def _project(
        self, features: Mapping[str, Tensor], tokens: Mapping[str, Tokens] | None
    ) -> Projections:
        """The projections of this worker's clips."""
        unimodal = {}
        fused = []
        for name in self.passes:
            feature = features[name]
            if name not in MODALITIES:
                fused.append(feature)
            elif self.stop_gradient:
                unimodal[name] = feature.detach()
            else:
                unimodal[name] = feature
        result = Projections()
        if "decomposition" in self.weights:
            fused_tokens = tokens.get("fused") if tokens else None
            targets, predictions = self.decomposition(unimodal, features["fused"], fused_tokens)
            result.targets = targets
            result.predictions = predictions
        for part, projector in self.fused_projectors.items():
            # One pass for both views: a projector takes groups [G, n, ...] and keeps them apart.
            result.fused[part] = list(projector(torch.stack([part_of(y, part) for y in fused])))
        if self._has_guide:
            guide = self.composition(unimodal)
            for part, projector in self.guide_projectors.items():
                result.guide[part] = [projector(part_of(guide, part))]
        if self._has_relations_of_features:
            for part in self.composition_parts:
                result.features[part] = [part_of(y, part) for y in fused]
        return result

    def _terms(self, z: Projections, targets: Targets) -> dict[str, Tensor]:
        """Term name -> [], of the gathered projections."""
        terms: dict[str, list[OfPart]] = {}
        if "decomposition" in self.weights:
            terms["decomposition"] = self._decomposed(z, targets)
        if "consistency" in self.weights:
            consistency = []
            for part, tensors in z.targets.items():
                consistency.append((part, self._to_mean(tensors, targets)))
            terms["consistency"] = consistency
        if "composition" in self.weights:
            terms["composition"] = self._guided(z, targets)
        if "view" in self.weights:
            view = []
            for part in self.view_parts:
                first, second = z.fused[part]
                view.append((part, self._compare(first, second, targets)))
            terms["view"] = view
        # `require_sound` makes sure that the term has a weight exactly with this class.
        if isinstance(self.align, VarianceCovariance):
            regularisation = []
            for part, tensor in z.projected():
                regularisation.append((part, self.align.regularisation(tensor)))
            terms["regularisation"] = regularisation
        return {name: mean_over_parts(values, self.part_weights) for name, values in terms.items()}

    def _compare(self, a: Tensor, b: Tensor, targets: Targets) -> Tensor:
        """Align two projections of the global batch, []."""
        if isinstance(self.align, InfoNCE):
            return self.align(a, b, targets)
        return self.align(a, b)

    def _decomposed(self, z: Projections, targets: Targets) -> list[OfPart]:
        """What decomposition compares: each modality of each part."""
        values = []
        for part, predictions in z.predictions.items():
            for prediction, target in zip(predictions, z.targets[part], strict=True):
                values.append((part, self._compare(prediction, target, targets)))
        return values

    def _guided(self, z: Projections, targets: Targets) -> list[OfPart]:
        """What composition compares: each fused view of each part with its guidance."""
        values = []
        for part in self.composition_parts:
            if self.guidance == "relations":
                views = z.features[part] if self._has_relations_of_features else z.fused[part]
                for y in views:
                    values.append((part, self.relations(y, targets)))
                continue
            (guide,) = z.guide[part]
            for y in z.fused[part]:
                if self.guidance == "prototypes":
                    values.append((part, self.prototypes[part](y, guide)))
                else:
                    values.append((part, self._compare(y, guide, targets)))
        return values

    def _to_mean(self, z: Sequence[Tensor], targets: Targets) -> Tensor:
        """Mean alignment [] of the modalities' projections with their mean."""
        centre = torch.stack([widen(x) for x in z]).mean(0)
        return torch.stack([self._compare(x, centre, targets) for x in z]).mean()

    @torch.no_grad()
    def _likeness(self, z: Projections) -> dict[str, Tensor]:
        """Name "decomposition/<modality>" -> mean cosine over the parts; see `forward`."""
        cosines: dict[str, list[Tensor]] = {}
        for part, predictions in z.predictions.items():
            pairs = zip(predictions, z.targets[part], strict=True)
            for name, (prediction, target) in zip(self.modalities, pairs, strict=True):
                cosines.setdefault(f"decomposition/{name}", []).append(cosine(prediction, target))
        return {name: torch.stack(values).mean() for name, values in cosines.items()}


def _build_projectors(width: int, parts: Iterable[str], sizes: ProjectorSizes) -> nn.ModuleDict:
    """Build a projector for each part of a feature."""
    projectors = nn.ModuleDict()
    for part in parts:
        projectors[part] = build_projector(len(STREAMS[part]) * width, sizes)
    return projectors


def _rename_former(module: nn.Module, state: dict[str, Any], prefix: str, *_others: object) -> None:
    """Give the weights of a checkpoint of an older version the names of today."""
    for former, name in _FORMER_NAMES.items():
        for key in [key for key in state if key.startswith(prefix + former)]:
            state[prefix + name + key.removeprefix(prefix + former)] = state.pop(key)


def _check_shares(counts: Sequence[int]) -> None:
    """Raise ValueError unless there are two clips, and one on every worker."""
    if sum(counts) < 2:
        raise ValueError("the objective compares clips with each other: a batch needs at least two")
    if min(counts) == 0:
        raise ValueError(
            f"a batch of {sum(counts)} clips leaves some of {len(counts)} workers without any"
        )


def _without(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in names}
