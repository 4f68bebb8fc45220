"""Speed of a training step at the reference size, beside the reference implementation of UmURL in the same run.

    python benchmarks/step.py [--reference PATH]     PATH: a clone of https://github.com/HuiGuanLab/UmURL

Both take the same four views (making them is not timed) through the same network, heads and loss, backwards, and an
Adam step; the reference's own training loop runs its side, from the same weights, and the first losses must agree. The
rounds are interleaved, so that whatever else the machine does meets all of them.

The last line printed is a JSON object: clips/s (median over the rounds) as `ours_fp32`, `ours_bf16`, `reference_fp32`,
their ratios `ratio_fp32` and `ratio_bf16`, and `scatter`, (slowest - fastest) / median of the rounds. CPU only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from models.framework import Framework, build
from models.modalities import MODALITIES
from models.skeleton import SkeletonLayout

CONF = Path(__file__).resolve().parent.parent / "conf"
PERSONS = 2
LEARNING_RATE, WEIGHT_DECAY = 5e-4, 1e-5

STREAMS = ("temporal", "spatial")
# Where the reference keeps what is ours, as (its name, our name), applied to the parameter names in this order.
NAMES = [
    *(
        (f"backbone.{m[0]}_emb.{s[0]}_embedding", f"{s}.embedding.{m}")
        for m in MODALITIES
        for s in STREAMS
    ),
    *((f"backbone.mm_fusion.{s[0]}_fusion.0", f"{s}.fusion") for s in STREAMS),
    *((f"backbone.ma_encoder.{s[0]}_tr", s) for s in STREAMS),
    *((f"{m[0]}_projector", f"objective.decomposition.projectors.whole.{m}") for m in MODALITIES),
    ("self_attn.in_proj_", "qkv."),
    ("self_attn.out_proj", "out"),
    ("linear1", "expand"),
    ("linear2", "contract"),
    ("norm1", "norm_attention"),
    ("norm2", "norm_feedforward"),
    *((f"{s}.", f"backbone.{s}.") for s in STREAMS),
]


def ours() -> Framework:
    """The `umurl` configuration."""

    def read(name: str) -> dict:
        settings = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        for parent in settings.pop("defaults", []):
            if parent != "_self_":
                settings = _merge(read(f"{Path(name).parent}/{parent}"), settings)
        return settings

    layout = SkeletonLayout.build(**read("skeleton/kinect_v2"))
    normalise = {"centre": "frame", "align": "first_frame"}
    return build(
        layout,
        PERSONS,
        read("model/umurl"),
        read("objective/umurl"),
        read("views/umurl"),
        normalise,
    )


def _merge(below: dict, above: dict) -> dict:
    deeper = {
        key: _merge(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and key in below
    }
    return below | above | deeper


def load_reference(path: Path) -> tuple[types.ModuleType, nn.Module]:
    """The reference's training script and model. What they import beyond torch, and do not need here, is replaced by
    nothing.
    """
    if not (path / "pretrain.py").is_file():
        sys.exit(
            f"--reference {path}: no pretrain.py there; it must be a clone of https://github.com/HuiGuanLab/UmURL"
        )
    sys.modules["torch.utils.tensorboard"] = types.SimpleNamespace(SummaryWriter=None)
    sys.modules["dataset"] = types.SimpleNamespace(get_pretraining_set=None)
    sys.path.insert(0, str(path))
    import pretrain
    from options.options_pretraining import encoder_arguments

    pretrain.FullGatherLayer = types.SimpleNamespace(
        apply=lambda x: (x,)
    )  # one process: nothing to gather
    return pretrain, pretrain.UmURL(**encoder_arguments)


def copy_weights(reference: nn.Module, framework: Framework) -> None:
    """Raises RuntimeError where the two networks are not the same."""
    state = {}
    for name, value in reference.state_dict().items():
        if name.endswith(".pe"):
            continue
        for old, new in NAMES:
            name = name.replace(old, new)
        state[name] = value
    framework.load_state_dict(state)


def our_step(framework: Framework, views: dict[str, Tensor], autocast: bool) -> Callable[[], float]:
    optimiser = torch.optim.Adam(
        framework.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )

    def step() -> float:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = framework.losses(views)["loss"]
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def reference_step(
    pretrain: types.ModuleType, model: nn.Module, views: dict[str, Tensor]
) -> Callable[[], float]:
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    arguments = argparse.Namespace(gpu=None, print_freq=1)
    batch = [view.permute(0, 4, 1, 3, 2).contiguous() for view in views.values()]  # N, C, T, V, M

    def step() -> float:
        with contextlib.redirect_stdout(None):
            return pretrain.train(
                None, scaler, [batch], model, nn.MSELoss(), optimiser, 0, arguments
            ).avg

    return step


def seconds(step: Callable[[], float], steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--reference", type=Path, help="a clone of HuiGuanLab/UmURL; without it ours alone is timed"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps of each kind in a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    framework = ours()
    shape = (
        options.batch,
        framework.backbone.frames,
        PERSONS,
        framework.backbone.layout.num_joints,
        3,
    )
    views = {name: torch.randn(shape) for name in framework.objective.passes}
    kinds: dict[str, Callable[[], float]] = {}
    if options.reference:
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning)
        pretrain, model = load_reference(options.reference)
        copy_weights(model, framework)
        kinds["reference_fp32"] = reference_step(pretrain, model, views)
    kinds["ours_fp32"] = our_step(framework, views, autocast=False)
    first = {
        name: step() for name, step in kinds.items()
    }  # the first step of each also warms it up
    print(f"loss of the first step: {first}", flush=True)
    if options.reference and abs(first["ours_fp32"] / first["reference_fp32"] - 1) > 1e-4:
        sys.exit(
            "from equal weights the two losses differ: this is not the same network and objective"
        )
    kinds["ours_bf16"] = our_step(framework, views, autocast=True)
    kinds["ours_bf16"]()

    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(options.rounds):
        for name, step in kinds.items():
            times[name].append(seconds(step, options.steps))
        print(
            f"round {number + 1}: " + ", ".join(f"{n} {t[-1]:.2f} s" for n, t in times.items()),
            flush=True,
        )

    middle = {name: statistics.median(values) for name, values in times.items()}
    result = {name: round(options.batch / value, 2) for name, value in middle.items()}
    if options.reference:
        for kind in ("fp32", "bf16"):
            result[f"ratio_{kind}"] = round(middle["reference_fp32"] / middle[f"ours_{kind}"], 3)
    result["scatter"] = {
        name: round((max(v) - min(v)) / middle[name], 3) for name, v in times.items()
    }
    result |= {"batch": options.batch, "threads": options.threads, "torch": torch.__version__}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
