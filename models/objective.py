"""The loss: the terms of Decomposition and Composition, computed from the features of a step.

UmURL's objective (ACM MM 2023) is made of the same pieces, see `conf/objective/umurl.yaml`.
`docs/method.md` has the equations. Shapes: n clips of this worker, N clips of the global batch, D
the width of the backbone; a feature is 2*D wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from models.alignment import VarianceCovariance, build_alignment
from models.backbone import Backbone, Tokens
from models.choices import GUIDANCES, MODALITIES, require_choice
from models.composition import Composition
from models.decomposition import Decomposition
from models.distributed import gather_all, shares
from models.monitors import cosine
from models.precision import widen
from models.projector import ProjectorSizes, build_projector
from models.prototypes import Prototypes


@dataclass(frozen=True)
class ObjectiveSettings:
    """What an objective is built from: the section `objective` of the configuration.

    Each term holds its `weight`; a term whose weight is 0 costs nothing.

    Args:
        decomposition: `weight`, `module`, `parts`, `projectors`, see `Decomposition`.
        composition: `weight`, `module` (see `Composition`), `guidance` ("feature" or "prototypes")
            and `prototypes` (see `Prototypes`).
        view: `weight`.
        consistency: `weight`.
        regularisation: `weight`.
        alignment: `stop_gradient`, and the arguments of `build_alignment`. With `stop_gradient` the
            features that are targets (u_m in decomposition, what c is made of in composition) pass
            no gradient on.
        projector: `hidden` and `output` sizes as multiples of 2*D, and the number of `layers`.
    """

    decomposition: Mapping[str, Any]
    composition: Mapping[str, Any]
    view: Mapping[str, Any]
    consistency: Mapping[str, Any]
    regularisation: Mapping[str, Any]
    alignment: Mapping[str, Any]
    projector: Mapping[str, Any]

    def weights(self) -> dict[str, float]:
        """Return the weights of all terms, zeros included."""
        terms = {
            "decomposition": self.decomposition,
            "composition": self.composition,
            "view": self.view,
            "consistency": self.consistency,
            "regularisation": self.regularisation,
        }
        return {name: float(term["weight"]) for name, term in terms.items()}


@dataclass
class Projections:
    """The projections that the terms compare: each a list of [n, output], or gathered [N, output].

    Args:
        targets: h_m u_m, part after part, in each part the modalities in their order.
        predictions: h_m D_m y, in the same order.
        fused: g y, and g y' where there is a second view.
        guide: k c, where there is composition.
    """

    targets: list[Tensor] = field(default_factory=list)
    predictions: list[Tensor] = field(default_factory=list)
    fused: list[Tensor] = field(default_factory=list)
    guide: list[Tensor] = field(default_factory=list)

    def all(self) -> list[Tensor]:
        """Return all tensors, group after group."""
        return [*self.targets, *self.predictions, *self.fused, *self.guide]

    def gathered(self, counts: Sequence[int]) -> Projections:
        """Return the projections of the clips of all workers, exchanged at once.

        Args:
            counts: how many clips each worker holds.
        """
        rows = gather_all(self.all(), counts)
        result = Projections()
        first = 0
        for group in fields(self):
            size = len(getattr(self, group.name))
            setattr(result, group.name, rows[first : first + size])
            first += size
        return result


class Objective(nn.Module):
    """L = sum of weight * term, over the gathered batch of all workers.

    With u_m the feature of modality m alone, y and y' the fused features of two views, c the
    composition of the u_m, and h, g, k projectors, the terms are:

    - decomposition: mean over parts and modalities of align(h_m D_m y, h_m u_m);
    - consistency: mean over parts and modalities of align(h_m u_m, mean of these over m) (UmURL's;
      it needs decomposition);
    - composition: mean over y and y' of align(g y, k c), over y alone where the view term is off;
      with prototypes as guidance, how well g y and k c predict each other's category;
    - view: align(g y, g y');
    - regularisation: mean over all projected tensors of `VarianceCovariance.regularisation`.

    Args:
        width: D of the backbone.
        modalities: what the backbone takes.
        settings: the terms and their weights.

    Raises:
        ValueError: Settings are out of range or do not fit together.
    """

    def __init__(self, width: int, modalities: Sequence[str], settings: ObjectiveSettings) -> None:
        super().__init__()
        weights = settings.weights()
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        self.modalities = tuple(modalities)
        self.stop_gradient = bool(settings.alignment["stop_gradient"])
        self.align = build_alignment(**_without(settings.alignment, "stop_gradient"))
        self._check(weights, settings.composition["guidance"])
        self._build_heads(width, settings)

    def _build_heads(self, width: int, settings: ObjectiveSettings) -> None:
        """Build the modules of the terms that have a weight; the order decides on their draws."""
        feature = 2 * width
        sizes = ProjectorSizes(
            hidden=round(settings.projector["hidden"] * feature),
            output=round(settings.projector["output"] * feature),
            layers=settings.projector["layers"],
        )
        composition = settings.composition
        if "decomposition" in self.weights:
            self.decomposition = Decomposition(
                width=width,
                modalities=self.modalities,
                sizes=sizes,
                **_without(settings.decomposition, "weight"),
            )
        if "composition" in self.weights:
            self.composition = Composition(composition["module"], self.modalities, feature)
            self.guide_projector = build_projector(feature, sizes)
        if self._has_any("composition", "view"):
            self.fused_projector = build_projector(feature, sizes)
        self.guide: nn.Module = self.align
        if "composition" in self.weights and composition["guidance"] == "prototypes":
            self.guide = Prototypes(sizes.output, **composition["prototypes"])

    def _check(self, weights: Mapping[str, float], guidance: str) -> None:
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"{name}.weight must be at least 0, got {weight}")
        if not self._has_any("decomposition", "composition", "view"):
            raise ValueError(
                "at least one of decomposition, composition and view needs a weight above 0"
            )
        if "consistency" in self.weights and "decomposition" not in self.weights:
            raise ValueError(
                "consistency.weight needs decomposition.weight above 0: it compares its projections"
            )
        regularises = isinstance(self.align, VarianceCovariance)
        if ("regularisation" in self.weights) != regularises:
            raise ValueError(
                "regularisation.weight must be above 0 with variance_covariance and cosine, "
                "and 0 with infonce"
            )
        if self._has_any("decomposition", "composition") and len(self.modalities) < 2:
            raise ValueError(
                "decomposition and composition need a network that takes several modalities: "
                "their weights must be 0 where model.modalities is one alone "
                "and with model.fusion=late"
            )
        require_choice("composition.guidance", guidance, GUIDANCES)

    def _has_any(self, *terms: str) -> bool:
        """Whether at least one of the terms has a weight."""
        return any(term in self.weights for term in terms)

    @property
    def passes(self) -> tuple[str, ...]:
        """The names of the inputs to encode: those that a term with a weight needs."""
        names: list[str] = []
        if self._has_any("decomposition", "composition"):
            names.extend(self.modalities)
        names.append("fused")
        if "view" in self.weights:
            names.append("fused_other")
        return tuple(names)

    def forward(
        self,
        features: Mapping[str, Tensor],
        tokens: Mapping[str, Tokens] | None = None,
        watch: bool = False,
    ) -> dict[str, Tensor]:
        """Compare the features of a step.

        Args:
            features: name of a pass -> [n, 2*D], this worker's share of the global batch.
            tokens: name of a pass -> what its features were pooled from; some decompositions look
                at it.
            watch: whether to add "decomposition/<modality>", the mean cosine of what was taken out
                of the fused feature and the true unimodal one, where there is decomposition.

        Returns:
            Named losses []: "loss" is the total, to be differentiated; "loss/<term>" are its terms
            before weighting, for the record.

        Raises:
            ValueError: There are fewer than two clips over all workers, or none on one of them (its
                gradients would never come, and the others would wait for them). All workers raise
                alike.
        """
        counts = shares(len(features["fused"]), features["fused"].device)
        _check_shares(counts)
        # Each worker projects its own clips; the terms then compare the clips of all workers.
        projections = self._project(features, tokens).gathered(counts)
        terms = self._terms(projections)
        weighted = []
        for name, term in terms.items():
            weighted.append(self.weights[name] * term)
        losses = {"loss": torch.stack(weighted).sum()}
        for name, term in terms.items():
            losses[f"loss/{name}"] = term.detach()
        if watch:
            losses |= self._likeness(projections)
        return losses

    def _project(
        self, features: Mapping[str, Tensor], tokens: Mapping[str, Tokens] | None
    ) -> Projections:
        """The projections of this worker's clips."""
        unimodal = {}
        for name in self.modalities:
            if name in features:
                feature = features[name]
                unimodal[name] = feature.detach() if self.stop_gradient else feature
        result = Projections()
        if "decomposition" in self.weights:
            fused_tokens = tokens.get("fused") if tokens else None
            targets, predictions = self.decomposition(unimodal, features["fused"], fused_tokens)
            result.targets = targets
            result.predictions = predictions
        if self._has_any("composition", "view"):
            fused = []
            for name in self.passes:
                if name not in MODALITIES:
                    fused.append(features[name])
            result.fused = list(self.fused_projector(torch.stack(fused)))
        if "composition" in self.weights:
            result.guide = [self.guide_projector(self.composition(unimodal))]
        return result

    def _terms(self, z: Projections) -> dict[str, Tensor]:
        """Term name -> [], of the gathered projections."""
        terms = {}
        if "decomposition" in self.weights:
            pairs = zip(z.predictions, z.targets, strict=True)
            terms["decomposition"] = _mean(self.align(p, t) for p, t in pairs)
        if "consistency" in self.weights:
            terms["consistency"] = _mean(self._to_mean(part) for part in self._by_part(z.targets))
        if "composition" in self.weights:
            terms["composition"] = _mean(self.guide(y, z.guide[0]) for y in z.fused)
        if "view" in self.weights:
            terms["view"] = self.align(*z.fused)
        # `_check` makes sure that the term has a weight exactly with this class.
        if isinstance(self.align, VarianceCovariance):
            terms["regularisation"] = _mean(self.align.regularisation(x) for x in z.all())
        return terms

    def _by_part(self, projections: list[Tensor]) -> list[list[Tensor]]:
        """Cut a list of targets or predictions into one list for each part of the feature."""
        size = len(self.modalities)
        parts = []
        for start in range(0, len(projections), size):
            parts.append(projections[start : start + size])
        return parts

    def _to_mean(self, z: Sequence[Tensor]) -> Tensor:
        """Mean alignment [] of the modalities' projections with their mean."""
        centre = torch.stack([widen(x) for x in z]).mean(0)
        return _mean(self.align(x, centre) for x in z)

    @torch.no_grad()
    def _likeness(self, z: Projections) -> dict[str, Tensor]:
        """Name "decomposition/<modality>" -> mean cosine over the parts; see `forward`."""
        if "decomposition" not in self.weights:
            return {}
        cosines = []
        for prediction, target in zip(z.predictions, z.targets, strict=True):
            cosines.append(cosine(prediction, target))
        size = len(self.modalities)
        result = {}
        for number, name in enumerate(self.modalities):
            # The list goes part after part, so every `size`-th cosine is of this modality.
            result[f"decomposition/{name}"] = _mean(cosines[number::size])
        return result


def _check_shares(counts: Sequence[int]) -> None:
    """Raise ValueError unless there are two clips, and one on every worker."""
    if sum(counts) < 2:
        raise ValueError("the objective compares clips with each other: a batch needs at least two")
    if min(counts) == 0:
        raise ValueError(
            f"a batch of {sum(counts)} clips leaves some of {len(counts)} workers without any"
        )


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def _without(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != name}


class LateObjective(nn.Module):
    """An objective with heads of its own for each network of late fusion; it sums their losses.

    So each network trains as it would alone.

    Args:
        width: D of each network.
        parts: the columns of the feature that each network makes, see `Backbone.parts`.
        settings: of each objective; one modality allows the view term alone.

    Raises:
        ValueError: See `Objective`.
    """

    # The same for all of the objectives, see `Objective.passes`.
    passes: tuple[str, ...]

    def __init__(self, width: int, parts: Mapping[str, slice], settings: ObjectiveSettings) -> None:
        super().__init__()
        self.parts = dict(parts)
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
    ) -> dict[str, Tensor]:
        """Compare as `Objective.forward` does.

        Args:
            features: name of a pass -> all networks' features side by side.
            tokens: not looked at, because there is nothing to take apart.
            watch: of no effect, for the same reason.
        """
        totals: dict[str, list[Tensor]] = {}
        for network, objective in self.objectives.items():
            columns = self.parts[network]
            own = {name: feature[:, columns] for name, feature in features.items()}
            for name, loss in objective(own).items():
                totals.setdefault(name, []).append(loss)
        return {name: torch.stack(losses).sum() for name, losses in totals.items()}


def build_objective(backbone: Backbone, settings: ObjectiveSettings) -> Objective | LateObjective:
    """Build the objective for what the backbone takes: one, or one for each late network.

    Raises:
        ValueError: See `Objective`.
    """
    if backbone.late:
        return LateObjective(backbone.width, backbone.parts, settings)
    return Objective(backbone.width, backbone.modalities, settings)
