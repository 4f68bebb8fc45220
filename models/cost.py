"""The cost of an encoder and of its pretraining: parameters and floating-point operations."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.backbone import Backbone
from models.framework import Framework


def parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def flops(call: Callable[[], object]) -> int:
    """Count the floating-point operations of the matrix products and convolutions in `call()`.

    A multiplication with its addition counts as two. On the CPU the counter sees nothing of fused
    attention, so attention runs as plain products here.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


def cost(backbone: Backbone) -> dict[str, float]:
    """Count the cost of an encoder.

    Returns:
        `parameters`, and `gflops` of the inference for one clip. With late fusion both are the sum
        over all networks.
    """
    weight = next(backbone.parameters())
    view = weight.new_zeros(_view_shape(backbone, clips=1))
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            inference = flops(lambda: backbone.features(view))
    finally:
        backbone.train(training)
    return {"parameters": parameters(backbone), "gflops": inference / 1e9}


def training_cost(framework: Framework, batch: int) -> dict[str, float]:
    """Count the cost of pretraining in steps of `batch` clips.

    The count uses shapes alone (the device "meta"), not the memory and the time of a step.

    Returns:
        `training_parameters`, those that get a gradient, heads included; `training_gflops_step` of
        one step, forward and backward, with all passes, heads and losses; and `training_gflops`,
        the same for each clip.
    """
    framework = copy.deepcopy(framework).to("meta").train()
    shape = _view_shape(framework.backbone, clips=batch)
    views: dict[str, Tensor] = {}
    for name in framework.passes:
        views[name] = torch.zeros(shape, device="meta")
    step = flops(lambda: framework.losses(views)["loss"].backward())
    # An average of the encoder's weights gets none.
    trained = [weight for weight in framework.parameters() if weight.requires_grad]
    return {
        "training_parameters": sum(weight.numel() for weight in trained),
        "training_gflops_step": step / 1e9,
        "training_gflops": step / batch / 1e9,
    }


def _view_shape(backbone: Backbone, clips: int) -> tuple[int, ...]:
    """The shape of the views of some clips, [B, T, M, V, 3]."""
    return (clips, backbone.frames, backbone.persons, backbone.layout.num_joints, 3)
