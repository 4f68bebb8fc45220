"""What an encoder and its pretraining cost: parameters, and floating-point operations counted by torch."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.backbone import Backbone
from models.framework import Framework


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in `call()`, two for each multiplication with
    its addition.

    On the CPU the counter sees nothing of fused attention, so attention runs as plain products here.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


def cost(backbone: Backbone) -> dict[str, float]:
    """The encoder's `parameters`, and for one clip `gflops` of inference (one pass, of every network with late fusion)
    and `gflops_late`, of late fusion of its modalities.

    Late fusion takes each modality through a network of its own of the same shape.
    """
    weight = next(backbone.parameters())
    view = weight.new_zeros(1, backbone.frames, backbone.persons, backbone.layout.num_joints, 3)
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            inference = flops(lambda: backbone.features(view))
            alone = dict.fromkeys(backbone.modalities, view)
            late = inference if backbone.late else flops(lambda: backbone.encode(alone))
    finally:
        backbone.train(training)
    return {
        "parameters": parameters(backbone),
        "gflops": inference / 1e9,
        "gflops_late": late / 1e9,
    }


def training_cost(framework: Framework, batch: int) -> dict[str, float]:
    """What pretraining costs in steps of `batch` clips: all `training_parameters`, heads included, and
    `training_gflops_step` of a step, forward and backward, of all passes, heads and losses; `training_gflops` a clip.

    Counted on shapes alone, without the memory and the time of a step.
    """
    framework = copy.deepcopy(framework).to("meta").train()
    backbone = framework.backbone
    shape = (batch, backbone.frames, backbone.persons, backbone.layout.num_joints, 3)
    views = {name: torch.zeros(shape, device="meta") for name in framework.objective.passes}
    step = flops(lambda: framework.losses(views)["loss"].backward())
    return {
        "training_parameters": parameters(framework),
        "training_gflops_step": step / 1e9,
        "training_gflops": step / batch / 1e9,
    }
