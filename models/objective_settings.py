"""What an objective is built from, and which settings do not fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.choices import (
    FEATURE_PARTS,
    GUIDANCES,
    RELATIONS_OF,
    FeaturePart,
    require_choice,
    require_different,
)
from models.soft_targets import TargetSettings


@dataclass(frozen=True)
class ObjectiveSettings:
    """What an objective is built from: the section `objective` of the configuration.

    Each term holds its `weight`; a term whose weight is 0 costs nothing.

    Args:
        part_weights: part of the feature -> its weight in the means over parts.
        decomposition: `weight`, `module`, `parts`, `projectors`, see `Decomposition`.
        composition: `weight`, `module` (see `Composition`), `parts`, `guidance` ("feature",
            "prototypes" or "relations"), `prototypes` (see `Prototypes`) and `relations` (`of`:
            "projection" or "feature", what `Relations` compares).
        view: `weight` and `parts`.
        consistency: `weight`.
        regularisation: `weight`.
        alignment: `stop_gradient`, `mask_performances`, and the arguments of `build_alignment`.
            With `stop_gradient` the features that are targets (u_m in decomposition, what c is made
            of in composition) pass no gradient on. With `mask_performances` clips of one
            performance are no wrong answers to each other.
        targets: see `TargetSettings`.
        projector: `hidden` and `output` sizes as multiples of 2*D, and the number of `layers`.
    """

    part_weights: Mapping[str, float]
    decomposition: Mapping[str, Any]
    composition: Mapping[str, Any]
    view: Mapping[str, Any]
    consistency: Mapping[str, Any]
    regularisation: Mapping[str, Any]
    alignment: Mapping[str, Any]
    targets: Mapping[str, Any]
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

    @property
    def has_relations(self) -> bool:
        """Whether composition guides by relations."""
        return bool(self.composition["weight"]) and self.composition["guidance"] == "relations"

    @property
    def has_relations_of_features(self) -> bool:
        """Whether composition guides by relations of the fused feature, without a projection."""
        return self.has_relations and self.composition["relations"]["of"] == "feature"

    @property
    def projects(self) -> bool:
        """Whether any term compares projections."""
        weights = self.weights()
        composes = weights["composition"] > 0 and not self.has_relations_of_features
        return weights["decomposition"] > 0 or composes or weights["view"] > 0

    @property
    def compares_pairs(self) -> bool:
        """Whether any term compares a clip with the other clips of the batch."""
        if self.has_relations:
            return True
        if self.alignment["loss"] != "infonce":
            return False
        weights = self.weights()
        composes = weights["composition"] > 0 and self.composition["guidance"] == "feature"
        return weights["decomposition"] > 0 or composes or weights["view"] > 0

    @property
    def soft_targets(self) -> TargetSettings:
        """The section `targets`, checked."""
        return TargetSettings(**self.targets)


def require_sound(settings: ObjectiveSettings, modalities: Sequence[str]) -> None:
    """Check the settings of an objective.

    Args:
        settings: see `ObjectiveSettings`.
        modalities: what the backbone takes.

    Raises:
        ValueError: Settings are out of range or do not fit together.
    """
    _require_terms(settings, modalities)
    _require_parts(settings)
    _require_targets(settings, modalities)


def _require_terms(settings: ObjectiveSettings, modalities: Sequence[str]) -> None:
    """Check the weights of the terms."""
    weights = settings.weights()
    for name, weight in weights.items():
        if weight < 0:
            raise ValueError(f"{name}.weight must be at least 0, got {weight}")
    if not (weights["decomposition"] or weights["composition"] or weights["view"]):
        raise ValueError(
            "at least one of decomposition, composition and view needs a weight above 0"
        )
    if weights["consistency"] and not weights["decomposition"]:
        raise ValueError(
            "consistency.weight needs decomposition.weight above 0: it compares its projections"
        )
    if (weights["regularisation"] > 0) != (settings.alignment["loss"] != "infonce"):
        raise ValueError(
            "regularisation.weight must be above 0 with variance_covariance and cosine, "
            "and 0 with infonce"
        )
    if weights["regularisation"] and not settings.projects:
        raise ValueError(
            "regularisation.weight needs projections: decomposition.weight or view.weight above 0, "
            "or composition.relations.of=projection"
        )
    if (weights["decomposition"] or weights["composition"]) and len(modalities) < 2:
        raise ValueError(
            "decomposition and composition need a network that takes several modalities: "
            "their weights must be 0 where model.modalities is one alone "
            "and with model.fusion=late"
        )
    require_choice("composition.guidance", settings.composition["guidance"], GUIDANCES)
    require_choice(
        "composition.relations.of", settings.composition["relations"]["of"], RELATIONS_OF
    )


def _require_parts(settings: ObjectiveSettings) -> None:
    """Check the parts of the terms that no module of their own checks, and their weights."""
    require_different("composition.parts", settings.composition["parts"], FEATURE_PARTS)
    require_different("view.parts", settings.view["parts"], FEATURE_PARTS)
    for part in FEATURE_PARTS:
        weight = settings.part_weights[part]
        if weight <= 0:
            raise ValueError(
                f"part_weights.{part} must be above 0, got {weight}; to leave a part out, take it "
                "out of the parts of the terms"
            )


def _require_targets(settings: ObjectiveSettings, modalities: Sequence[str]) -> None:
    """Check that something compares all pairs of clips where settings are about such pairs."""
    kind = settings.soft_targets.kind
    such_a_term = (
        "a term that compares a clip with other clips: decomposition, view or "
        "composition.guidance=feature with alignment.loss=infonce, or "
        "composition.guidance=relations"
    )
    if kind != "one_hot" and not settings.compares_pairs:
        raise ValueError(f"targets.kind={kind} needs {such_a_term}")
    if settings.alignment["mask_performances"] and not settings.compares_pairs:
        raise ValueError(f"alignment.mask_performances needs {such_a_term}")
    if settings.has_relations and kind == "one_hot":
        raise ValueError(
            "composition.guidance=relations needs targets.kind=composed or self: "
            "with one_hot a clip has relations to no other clip"
        )
    if kind == "composed" and len(modalities) < 2:
        raise ValueError(
            "targets.kind=composed needs a network that takes several modalities: "
            "with one alone, take self; with model.fusion=late, one_hot"
        )


def fused_parts(settings: ObjectiveSettings) -> list[FeaturePart]:
    """Return the parts of the fused feature that are projected for composition and view."""
    parts: list[FeaturePart] = []
    if settings.composition["weight"] and not settings.has_relations_of_features:
        parts.extend(settings.composition["parts"])
    if settings.view["weight"]:
        for part in settings.view["parts"]:
            if part not in parts:
                parts.append(part)
    return parts
