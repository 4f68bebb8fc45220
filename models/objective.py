"""From the features of a step's inputs to named losses: the heads and the terms of Decomposition and Composition.

UmURL's objective (ACM MM 2023) is made of the same pieces, see `conf/objective/umurl.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.alignment import alignment as build_alignment
from models.composition import Composition
from models.decomposition import Decomposition
from models.distributed import gather, shares
from models.modalities import MODALITIES
from models.precision import widen
from models.projector import projector as build_projector

# The inputs that a step may encode; the place of a name is the number of its draw, so that an objective that leaves
# some out sees the same views in the others.
PASSES = (*MODALITIES, "fused", "fused_other")


class Objective(nn.Module):
    """L = sum of weight * term, over the gathered batch of all workers. A term whose weight is 0 costs nothing.

    With u_m the feature of modality m alone, y and y' the fused features of two views, c the composition of the u_m:
    - decomposition: mean over parts and modalities of align(h_m D_m y, h_m u_m);
    - consistency: mean over parts and modalities of align(h_m u_m, mean of these over m) (UmURL's; needs
      decomposition);
    - composition: mean over y and y' of align(g y, k c) (y alone where the view term is off);
    - view: align(g y, g y');
    - regularisation: mean over all projected tensors of what keeps them from collapsing.

    width: D of the backbone. `projector`: hidden and output sizes as multiples of the feature width 2*D, and the number
    of layers.
    alignment.stop_gradient: the features that are targets (u_m in decomposition, c's parts in composition) are taken as
    given.

    Raises ValueError for settings that do not fit together, and in `forward`, on all workers alike, for fewer than two
    clips over all of them or none on one of them (its gradients would never come, and the others would wait for them).
    """

    def __init__(
        self,
        width: int,
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
        self.weights = {name: float(term["weight"]) for name, term in terms.items() if term["weight"] > 0}
        self.align = build_alignment(**{key: value for key, value in alignment.items() if key != "stop_gradient"})
        self.stop_gradient = bool(alignment["stop_gradient"])
        self._check(terms)

        feature = 2 * width
        sizes = {key: round(projector[key] * feature) for key in ("hidden", "output")} | {"layers": projector["layers"]}
        if "decomposition" in self.weights:
            self.decomposition = Decomposition(width, decomposition["module"], decomposition["parts"], **sizes)
        if "composition" in self.weights:
            self.composition = Composition(composition["module"])
            self.guide_projector = build_projector(feature, **sizes)
        if "composition" in self.weights or "view" in self.weights:
            self.fused_projector = build_projector(feature, **sizes)

    def _check(self, terms: Mapping[str, Mapping]) -> None:
        for name, term in terms.items():
            if term["weight"] < 0:
                raise ValueError(f"{name}.weight must be at least 0, got {term['weight']}")
        if not {"decomposition", "composition", "view"} & set(self.weights):
            raise ValueError("at least one of decomposition, composition and view needs a weight above 0")
        if "consistency" in self.weights and "decomposition" not in self.weights:
            raise ValueError("consistency.weight needs decomposition.weight above 0: it compares its projections")
        if ("regularisation" in self.weights) != self.align.regularises:
            raise ValueError("regularisation.weight must be above 0 with variance_covariance and 0 with infonce")

    @property
    def passes(self) -> tuple[str, ...]:
        """The names of the inputs to encode: those that a term with a weight needs."""
        unimodal = MODALITIES if {"decomposition", "composition"} & set(self.weights) else ()
        return (*unimodal, "fused", "fused_other") if "view" in self.weights else (*unimodal, "fused")

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Named losses [] from features: name of a pass -> [n, 2*D], this worker's share of the global batch.

        "loss" is the total, to be differentiated; "loss/<term>" are its terms before weighting, for the record.
        """
        counts = shares(len(features["fused"]), features["fused"].device)
        if sum(counts) < 2:
            raise ValueError("the objective compares clips with each other: a batch needs at least two")
        if min(counts) == 0:
            raise ValueError(f"a batch of {sum(counts)} clips leaves some of {len(counts)} workers without any")
        projected = self._project(features)
        z = iter(_gather_all([x for group in projected.values() for x in group], counts))
        terms = self._terms({name: [next(z) for _ in group] for name, group in projected.items()})
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": total} | {f"loss/{name}": term.detach() for name, term in terms.items()}

    def _project(self, features: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """What the terms compare, each tensor [n, output] of this worker's clips."""
        unimodal = {m: features[m] for m in MODALITIES if m in features}
        if self.stop_gradient:
            unimodal = {m: feature.detach() for m, feature in unimodal.items()}
        projected = {}
        if "decomposition" in self.weights:
            projected["targets"], projected["predictions"] = self.decomposition(unimodal, features["fused"])
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
            size = len(MODALITIES)
            parts = [z["targets"][i : i + size] for i in range(0, len(z["targets"]), size)]
            terms["consistency"] = _mean(self._to_mean(part) for part in parts)
        if "composition" in self.weights:
            terms["composition"] = _mean(self.align(y, z["guide"][0]) for y in z["fused"])
        if "view" in self.weights:
            terms["view"] = self.align(*z["fused"])
        if "regularisation" in self.weights:
            terms["regularisation"] = _mean(self.align.regularisation(x) for group in z.values() for x in group)
        return terms

    def _to_mean(self, z: Sequence[Tensor]) -> Tensor:
        centre = torch.stack([widen(x) for x in z]).mean(0)
        return _mean(self.align(x, centre) for x in z)


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def _gather_all(tensors: list[Tensor], counts: Sequence[int]) -> list[Tensor]:
    """Each [n, d] gathered over the workers to [N, d], all in one exchange."""
    if len(counts) == 1:
        return tensors
    return list(gather(torch.cat(tensors, dim=1), counts).split([x.shape[1] for x in tensors], dim=1))
