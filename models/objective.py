"""From the features of a step's inputs to named losses: the heads and the terms of Decomposition and Composition.

UmURL's objective (ACM MM 2023) is made of the same pieces, see `conf/objective/umurl.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.alignment import alignment as build_alignment
from models.backbone import Backbone, Tokens
from models.composition import Composition
from models.decomposition import Decomposition
from models.distributed import gather_all, shares
from models.modalities import MODALITIES
from models.monitors import cosine
from models.precision import widen
from models.projector import projector as build_projector
from models.prototypes import Prototypes

# The inputs that a step may encode; the place of a name is the number of its draw, so that an objective that leaves
# some out sees the same views in the others.
PASSES = (*MODALITIES, "fused", "fused_other")


class Objective(nn.Module):
    """L = sum of weight * term, over the gathered batch of all workers. A term whose weight is 0 costs nothing.

    With u_m the feature of modality m alone, y and y' the fused features of two views, c the composition of the u_m:
    - decomposition: mean over parts and modalities of align(h_m D_m y, h_m u_m);
    - consistency: mean over parts and modalities of align(h_m u_m, mean of these over m) (UmURL's; needs
      decomposition);
    - composition: mean over y and y' of align(g y, k c) (y alone where the view term is off), or with prototypes as
      guidance of how well g y and k c predict each other's category;
    - view: align(g y, g y');
    - regularisation: mean over all projected tensors of what keeps them from collapsing.

    width: D of the backbone; modalities: what it takes.
    composition.guidance: "feature", or "prototypes", whose settings are composition.prototypes (see `Prototypes`).
    alignment.stop_gradient: the features that are targets (u_m in decomposition, c's parts in composition) are taken as
        given.
    projector: hidden and output sizes as multiples of the feature width 2*D, and the number of layers.

    Raises ValueError for settings that do not fit together, and in `forward`, on all workers alike, for fewer than two
    clips over all of them or none on one of them (its gradients would never come, and the others would wait for them).
    """

    def __init__(
        self,
        width: int,
        modalities: Sequence[str],
        decomposition: Mapping,
        composition: Mapping,
        view: Mapping,
        consistency: Mapping,
        regularisation: Mapping,
        alignment: Mapping,
        projector: Mapping,
    ):
        super().__init__()
        terms = {"decomposition": decomposition, "composition": composition, "view": view}
        terms |= {"consistency": consistency, "regularisation": regularisation}
        self.weights = {
            name: float(term["weight"]) for name, term in terms.items() if term["weight"] > 0
        }
        self.align = build_alignment(
            **{key: value for key, value in alignment.items() if key != "stop_gradient"}
        )
        self.stop_gradient = bool(alignment["stop_gradient"])
        self.modalities = tuple(modalities)
        self._check(terms)

        feature = 2 * width
        sizes = {key: round(projector[key] * feature) for key in ("hidden", "output")} | {
            "layers": projector["layers"]
        }
        if "decomposition" in self.weights:
            settings = {key: value for key, value in decomposition.items() if key != "weight"}
            self.decomposition = Decomposition(width, self.modalities, **settings, **sizes)
        if "composition" in self.weights:
            self.composition = Composition(composition["module"], self.modalities, feature)
            self.guide_projector = build_projector(feature, **sizes)
        if "composition" in self.weights or "view" in self.weights:
            self.fused_projector = build_projector(feature, **sizes)
        self.guide = self.align
        if "composition" in self.weights and composition["guidance"] == "prototypes":
            self.guide = Prototypes(sizes["output"], **composition["prototypes"])

    def _check(self, terms: Mapping[str, Mapping]) -> None:
        for name, term in terms.items():
            if term["weight"] < 0:
                raise ValueError(f"{name}.weight must be at least 0, got {term['weight']}")
        if not {"decomposition", "composition", "view"} & set(self.weights):
            raise ValueError(
                "at least one of decomposition, composition and view needs a weight above 0"
            )
        if "consistency" in self.weights and "decomposition" not in self.weights:
            raise ValueError(
                "consistency.weight needs decomposition.weight above 0: it compares its projections"
            )
        if ("regularisation" in self.weights) != self.align.regularises:
            raise ValueError(
                "regularisation.weight must be above 0 with variance_covariance and cosine, and 0 with infonce"
            )
        if {"decomposition", "composition"} & set(self.weights) and len(self.modalities) < 2:
            raise ValueError(
                "decomposition and composition need a network that takes several modalities: their weights must be 0 "
                "where model.modalities is one alone and with model.fusion=late"
            )
        if (guidance := terms["composition"]["guidance"]) not in ("feature", "prototypes"):
            raise ValueError(
                f"composition.guidance must be one of feature, prototypes, got {guidance}"
            )

    @property
    def passes(self) -> tuple[str, ...]:
        """The names of the inputs to encode: those that a term with a weight needs."""
        unimodal = self.modalities if {"decomposition", "composition"} & set(self.weights) else ()
        return (
            (*unimodal, "fused", "fused_other") if "view" in self.weights else (*unimodal, "fused")
        )

    def forward(
        self,
        features: Mapping[str, Tensor],
        tokens: Mapping[str, Tokens] | None = None,
        watch: bool = False,
    ) -> dict[str, Tensor]:
        """Named losses [] from features: name of a pass -> [n, 2*D], this worker's share of the global batch.

        tokens: name of a pass -> what its features were pooled from, which some decompositions look at.
        "loss" is the total, to be differentiated; "loss/<term>" are its terms before weighting, for the record.
        watch: also "decomposition/<modality>", the mean cosine of what was taken out of the fused feature and the true
            unimodal one, where there is decomposition.
        """
        counts = shares(len(features["fused"]), features["fused"].device)
        if sum(counts) < 2:
            raise ValueError(
                "the objective compares clips with each other: a batch needs at least two"
            )
        if min(counts) == 0:
            raise ValueError(
                f"a batch of {sum(counts)} clips leaves some of {len(counts)} workers without any"
            )
        projected = self._project(features, tokens)
        z = iter(gather_all([x for group in projected.values() for x in group], counts))
        gathered = {name: [next(z) for _ in group] for name, group in projected.items()}
        terms = self._terms(gathered)
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        losses = {"loss": total} | {f"loss/{name}": term.detach() for name, term in terms.items()}
        return losses | self._taken_apart(gathered) if watch else losses

    @torch.no_grad()
    def _taken_apart(self, z: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        if "decomposition" not in self.weights:
            return {}
        likeness = [
            cosine(p, t) for p, t in zip(z["predictions"], z["targets"], strict=True)
        ]  # part after part
        size = len(self.modalities)
        return {
            f"decomposition/{m}": _mean(likeness[i::size]) for i, m in enumerate(self.modalities)
        }

    def _project(
        self, features: Mapping[str, Tensor], tokens: Mapping[str, Tokens] | None
    ) -> dict[str, list[Tensor]]:
        """What the terms compare, each tensor [n, output] of this worker's clips."""
        unimodal = {m: features[m] for m in self.modalities if m in features}
        if self.stop_gradient:
            unimodal = {m: feature.detach() for m, feature in unimodal.items()}
        projected = {}
        if "decomposition" in self.weights:
            projected["targets"], projected["predictions"] = self.decomposition(
                unimodal, features["fused"], (tokens or {}).get("fused")
            )
        if "composition" in self.weights or "view" in self.weights:
            fused = [features[name] for name in self.passes if name not in MODALITIES]
            projected["fused"] = list(self.fused_projector(torch.stack(fused)))
        if "composition" in self.weights:
            projected["guide"] = [self.guide_projector(self.composition(unimodal))]
        return projected

    def _terms(self, z: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        """Term name -> [] of the global batch's projections, each [N, output]."""
        terms = {}
        if "decomposition" in self.weights:
            terms["decomposition"] = _mean(
                self.align(p, t) for p, t in zip(z["predictions"], z["targets"], strict=True)
            )
        if "consistency" in self.weights:
            size = len(self.modalities)
            parts = [z["targets"][i : i + size] for i in range(0, len(z["targets"]), size)]
            terms["consistency"] = _mean(self._to_mean(part) for part in parts)
        if "composition" in self.weights:
            terms["composition"] = _mean(self.guide(y, z["guide"][0]) for y in z["fused"])
        if "view" in self.weights:
            terms["view"] = self.align(*z["fused"])
        if "regularisation" in self.weights:
            terms["regularisation"] = _mean(
                self.align.regularisation(x) for group in z.values() for x in group
            )
        return terms

    def _to_mean(self, z: Sequence[Tensor]) -> Tensor:
        centre = torch.stack([widen(x) for x in z]).mean(0)
        return _mean(self.align(x, centre) for x in z)


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


class LateObjective(nn.Module):
    """An objective with heads of its own for each network of late fusion; its losses are the sums of theirs.

    So each network trains as it would alone. parts: what each adds to the feature (see `Backbone.parts`); terms: the
    settings of `Objective`, of which one modality allows the view term alone.
    """

    def __init__(self, width: int, parts: Mapping[str, slice], **terms):
        super().__init__()
        self.parts = dict(parts)
        self.objectives = nn.ModuleDict({name: Objective(width, [name], **terms) for name in parts})

    @property
    def passes(self) -> tuple[str, ...]:
        return next(iter(self.objectives.values())).passes

    def forward(
        self, features: Mapping[str, Tensor], tokens: Mapping[str, Tokens], watch: bool = False
    ) -> dict[str, Tensor]:
        """See `Objective.forward`; features are all networks' side by side, and there is nothing to take apart."""
        losses = [
            objective({name: feature[:, self.parts[network]] for name, feature in features.items()})
            for network, objective in self.objectives.items()
        ]
        return {name: torch.stack([each[name] for each in losses]).sum() for name in losses[0]}


def objective_for(backbone: Backbone, terms: Mapping) -> Objective | LateObjective:
    """The objective that the terms describe, for what the backbone takes."""
    if backbone.late:
        return LateObjective(backbone.width, backbone.parts, **terms)
    return Objective(backbone.width, backbone.modalities, **terms)
