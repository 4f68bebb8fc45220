"""The allowed names of all settings that are a choice.

Models check their settings against the tuples; the configuration types its keys with the `Literal`
types. This module does not import torch, so that the configuration can be checked without it.
Messages and documents list the names in the order given here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

# -- what an encoder takes and how it is built (models.backbone)

# `joint` holds the coordinates, `bone` a joint less its parent, `motion` the next frame less this.
Modality = Literal["joint", "bone", "motion"]
# How the embeddings of several modalities become one input; "late" keeps a network for each.
Fusion = Literal["mean", "concatenation", "attention", "late"]
# When a transformer layer normalises: after each residual sum (UmURL) or before each block.
Norm = Literal["post", "pre"]
# What tells the tokens of a stream apart.
Positions = Literal["none", "sinusoidal", "learned"]
# How the tokens of a stream become one vector.
Pooling = Literal["max", "mean"]
# What normalises the pooled features.
FeatureNorm = Literal["none", "batch"]

# -- where a body stands and which way it faces (models.normalise)

Centre = Literal["none", "first", "frame"]
Align = Literal["none", "first_frame", "mean_yaw"]

# -- what pretraining compares (models.objective)

# The inputs that a step may encode: each modality alone, and two views of all of them fused.
Pass = Literal["joint", "bone", "motion", "fused", "fused_other"]
# How the fused feature is taken apart.
DecompositionModule = Literal["identity", "linear", "mlp", "convolution", "attention"]
# The halves of a feature [temporal; spatial], and the whole of it.
FeaturePart = Literal["temporal", "spatial", "whole"]
# Which tensors share a projector.
Projectors = Literal["modality", "shared", "separate"]
# How the unimodal features are put together.
CompositionModule = Literal["mean", "weights", "mlp", "attention"]
# What the fused feature predicts: the composed feature itself, or its category, without labels; or
# which clips resemble a clip, as soft targets say.
Guidance = Literal["feature", "prototypes", "relations"]
# What relations are compared of: the projection of the fused feature, or the feature itself.
RelationsOf = Literal["projection", "feature"]
# What a contrastive loss takes for right: the clip itself alone, or also clips whose unimodal
# features ("composed") or fused features ("self") are like its own.
TargetKind = Literal["one_hot", "composed", "self"]
# The encoder of the soft targets: the one in training, or the average of its weights.
TargetEncoder = Literal["current", "average"]
# The loss that compares two features.
AlignmentLoss = Literal["infonce", "variance_covariance", "cosine"]

# -- how frozen features are measured (models.probes)

ProbeOptimiser = Literal["adamw", "sgd"]

MODALITIES: tuple[Modality, ...] = get_args(Modality)
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
NORMS: tuple[Norm, ...] = get_args(Norm)
POSITIONS: tuple[Positions, ...] = get_args(Positions)
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
FEATURE_NORMS: tuple[FeatureNorm, ...] = get_args(FeatureNorm)
CENTRES: tuple[Centre, ...] = get_args(Centre)
ALIGNS: tuple[Align, ...] = get_args(Align)
# The index of a name is the number of its random draw. So an objective that needs only some of
# the passes sees the same views in them as an objective that needs all.
PASSES: tuple[Pass, ...] = get_args(Pass)
DECOMPOSITION_MODULES: tuple[DecompositionModule, ...] = get_args(DecompositionModule)
FEATURE_PARTS: tuple[FeaturePart, ...] = get_args(FeaturePart)
PROJECTORS: tuple[Projectors, ...] = get_args(Projectors)
COMPOSITION_MODULES: tuple[CompositionModule, ...] = get_args(CompositionModule)
GUIDANCES: tuple[Guidance, ...] = get_args(Guidance)
RELATIONS_OF: tuple[RelationsOf, ...] = get_args(RelationsOf)
TARGETS: tuple[TargetKind, ...] = get_args(TargetKind)
TARGET_ENCODERS: tuple[TargetEncoder, ...] = get_args(TargetEncoder)
ALIGNMENT_LOSSES: tuple[AlignmentLoss, ...] = get_args(AlignmentLoss)
PROBE_OPTIMISERS: tuple[ProbeOptimiser, ...] = get_args(ProbeOptimiser)


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Check the value of a setting against the names that are allowed.

    Args:
        name: of the setting, for the message.
        value: what it was set to.
        allowed: one of the tuples of this module.

    Raises:
        ValueError: The value is not one of them.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value}")


def require_different(name: str, values: Sequence[str], allowed: tuple[str, ...]) -> None:
    """Check a setting that is a list of names: at least one of them, and none twice.

    Args:
        name: of the setting, for the message.
        values: what it was set to.
        allowed: one of the tuples of this module.

    Raises:
        ValueError: The list is empty, repeats a name, or holds one that is not allowed.
    """
    repeats = len(set(values)) != len(values)
    unknown = not set(values) <= set(allowed)
    if not values or repeats or unknown:
        raise ValueError(
            f"{name} must be different ones of {', '.join(allowed)}, got {list(values)}"
        )
