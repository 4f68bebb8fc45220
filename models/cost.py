"""What an encoder costs: parameters, and floating-point operations counted by torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.backbone import Backbone
from models.modalities import MODALITIES


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products in `call()`, two for each multiplication with its addition.

    On the CPU the counter sees nothing of fused attention, so attention runs as plain products here.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


def cost(backbone: Backbone) -> dict[str, float]:
    """The encoder's `parameters`, and for one clip `gflops` of inference (one fused pass) and `gflops_late`, of late
    fusion.

    Late fusion takes each modality through a network of its own of the same shape.
    """
    weight = next(backbone.parameters())
    view = weight.new_zeros(1, backbone.frames, backbone.persons, backbone.layout.num_joints, 3)
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            fused = flops(lambda: backbone.features(view))
            late = flops(lambda: backbone.encode(dict.fromkeys(MODALITIES, view)))
    finally:
        backbone.train(training)
    return {"parameters": parameters(backbone), "gflops": fused / 1e9, "gflops_late": late / 1e9}
