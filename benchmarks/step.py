"""Speed of a training step at the reference size, beside the reference implementation of UmURL.

    python benchmarks/step.py [--reference PATH] [--quick]
    python benchmarks/step.py --objectives dc umurl sce ... [--quick]

PATH is a clone of https://github.com/HuiGuanLab/UmURL. Both take the same four views (making them
is not timed) through the same network, heads and loss, backwards, and an Adam step. The reference's
own training loop runs its side, from the same weights, and the first losses must agree. The rounds
are interleaved, so that whatever else the machine does meets all of them.

The last line printed is a JSON object: clips/s (median over the rounds) as `ours_fp32`,
`ours_bf16`, `reference_fp32`, their ratios `ratio_fp32` and `ratio_bf16`, and `scatter`,
(slowest - fastest) / median of the rounds. CPU only. `--quick` takes seconds: a narrow network, few
frames and one round, which show only that everything works.

With `--objectives` the steps of the named objectives are compared, as experiment=nw_ucla trains
them: views are drawn, and whole clips are encoded for soft targets. The JSON object has the
seconds of the processor for a step, `cpu_seconds`, which other programs change little, their
`ratio` to the first objective, and `scatter`.
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
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from models.choices import MODALITIES
from models.clips import ClipBatch
from models.framework import Framework
from pipeline.config.compose import load
from pipeline.config.root import Config
from pipeline.encoder.build import build_framework

LEARNING_RATE = 5e-4
WEIGHT_DECAY = 1e-5
# The first losses of two networks with the same weights differ by less than this share.
SAME_LOSS = 1e-4

# The configuration that is UmURL; its synthetic data have 25 joints and 2 persons, as NTU's have.
UMURL = ["model=umurl", "objective=umurl", "views=umurl"]
# Clips of a step of it.
BATCH = 32
# What `--quick` changes.
QUICK = ["model.frames=8", "model.width=16", "model.feedforward=16", "views.min_frames=4"]
QUICK_BATCH = 4
# The configuration in which objectives are compared.
COMPARED = ["experiment=nw_ucla", "data.raw=unread"]
QUICK_COMPARED = [*QUICK, "model.heads=2"]
# The frames of a clip there: the median of NW-UCLA.
CLIP_FRAMES = 31

STREAMS = ("temporal", "spatial")


def renamed() -> list[tuple[str, str]]:
    """Where the reference keeps what is ours: (its name, our name).

    They are applied to the names of the parameters in this order.
    """
    names = []
    for m in MODALITIES:
        for s in STREAMS:
            names.append((f"backbone.{m[0]}_emb.{s[0]}_embedding", f"{s}.embedding.{m}"))
    for s in STREAMS:
        names.append((f"backbone.mm_fusion.{s[0]}_fusion.0", f"{s}.fusion"))
        names.append((f"backbone.ma_encoder.{s[0]}_tr", s))
    for m in MODALITIES:
        names.append((f"{m[0]}_projector", f"objective.decomposition.projectors.whole.{m}"))
    names += [
        ("self_attn.in_proj_", "qkv."),
        ("self_attn.out_proj", "out"),
        ("linear1", "expand"),
        ("linear2", "contract"),
        ("norm1", "norm_attention"),
        ("norm2", "norm_feedforward"),
    ]
    for s in STREAMS:
        names.append((f"{s}.", f"backbone.{s}."))
    return names


def load_reference(path: Path) -> tuple[types.ModuleType, nn.Module]:
    """The reference's training script and model.

    What they import beyond torch, and do not need here, is replaced by nothing.
    """
    if not (path / "pretrain.py").is_file():
        sys.exit(
            f"--reference {path}: no pretrain.py there; it must be a clone of "
            "https://github.com/HuiGuanLab/UmURL"
        )
    sys.modules["torch.utils.tensorboard"] = types.SimpleNamespace(SummaryWriter=None)
    sys.modules["dataset"] = types.SimpleNamespace(get_pretraining_set=None)
    sys.path.insert(0, str(path))
    import pretrain
    from options.options_pretraining import encoder_arguments

    # In one process there is nothing to gather.
    pretrain.FullGatherLayer = types.SimpleNamespace(apply=lambda x: (x,))
    return pretrain, pretrain.UmURL(**encoder_arguments)


def copy_weights(reference: nn.Module, framework: Framework) -> None:
    """Raises RuntimeError where the two networks are not the same."""
    state = {}
    for name, value in reference.state_dict().items():
        if name.endswith(".pe"):
            continue
        for old, new in renamed():
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


def seconds(step: Callable[[], float], steps: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(steps):
        step()
    return (clock() - start) / steps


def random_views(config: Config, framework: Framework, batch: int) -> dict[str, Tensor]:
    """Random views, float32 [B, T, M, V, 3], under the names that the objective wants."""
    joints = framework.backbone.layout.num_joints
    shape = (batch, config.model.frames, config.data.persons, joints, 3)
    return {name: torch.randn(shape) for name in framework.objective.passes}


def random_clips(config: Config, framework: Framework, batch: int) -> ClipBatch:
    """Random clips of one length, each of a performance of its own."""
    joints = framework.backbone.layout.num_joints
    numbers = torch.arange(batch)
    return ClipBatch(
        frames=torch.randn(batch * CLIP_FRAMES, config.data.persons, joints, 3),
        offsets=CLIP_FRAMES * torch.arange(batch + 1),
        ids=numbers,
        labels=torch.full_like(numbers, -1),
        performances=numbers,
    )


def objective_step(name: str, batch: int | None, overrides: Sequence[str]) -> Callable[[], float]:
    """A whole step with the named objective; the batch is the experiment's, or another one."""
    config = load([*COMPARED, f"objective={name}", *overrides])
    framework = build_framework(config)
    optimiser = torch.optim.AdamW(framework.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    torch.manual_seed(0)
    clips = random_clips(config, framework, batch or config.train.batch_size)

    def step() -> float:
        optimiser.zero_grad()
        loss = framework(clips, seed=0, epoch=0)["loss"]
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def compare_objectives(options: argparse.Namespace) -> dict[str, object]:
    """Return the processor's seconds of a step with each objective, and ratios to the first."""
    overrides = QUICK_COMPARED if options.quick else []
    kinds = {}
    for name in options.objectives:
        kinds[name] = objective_step(name, options.batch, overrides)
        # The first step warms it up.
        kinds[name]()
    times = measure(kinds, options.rounds, options.steps, time.process_time)
    first = statistics.median(times[options.objectives[0]])
    result: dict[str, dict[str, float]] = {"cpu_seconds": {}, "ratio": {}, "scatter": {}}
    for name, values in times.items():
        middle = statistics.median(values)
        result["cpu_seconds"][name] = round(middle, 4)
        result["ratio"][name] = round(middle / first, 3)
        result["scatter"][name] = round((max(values) - min(values)) / middle, 3)
    return dict(result)


def require_same_loss(first: dict[str, float]) -> None:
    """End the benchmark where the first losses differ."""
    if abs(first["ours_fp32"] / first["reference_fp32"] - 1) > SAME_LOSS:
        sys.exit(
            "from equal weights the two losses differ: this is not the same network and objective"
        )


def measure(
    kinds: dict[str, Callable[[], float]],
    rounds: int,
    steps: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of a step of every kind, of each round."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds):
        shown = []
        for name, step in kinds.items():
            times[name].append(seconds(step, steps, clock))
            shown.append(f"{name} {times[name][-1]:.2f} s")
        print(f"round {number + 1}: " + ", ".join(shown), flush=True)
    return times


def figures(times: dict[str, list[float]], batch: int) -> dict[str, object]:
    """Return clips/s, ratios and scatter of what was measured."""
    middle = {name: statistics.median(values) for name, values in times.items()}
    result: dict[str, object] = {}
    for name, value in middle.items():
        result[name] = round(batch / value, 2)
    if "reference_fp32" in middle:
        for kind in ("fp32", "bf16"):
            result[f"ratio_{kind}"] = round(middle["reference_fp32"] / middle[f"ours_{kind}"], 3)
    scatter = {}
    for name, values in times.items():
        scatter[name] = round((max(values) - min(values)) / middle[name], 3)
    result["scatter"] = scatter
    return result


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--reference", type=Path, help="a clone of HuiGuanLab/UmURL; without it ours alone is timed"
    )
    parser.add_argument(
        "--objectives", nargs="+", metavar="NAME", help="compare the steps of these objectives"
    )
    parser.add_argument("--batch", type=int, help="clips; 32, or those of the experiment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps of each kind in a round")
    parser.add_argument("--threads", type=int, help="threads of torch; as many as it takes without")
    parser.add_argument("--quick", action="store_true", help="a tiny network, one round")
    options = parser.parse_args(arguments)
    if options.quick and options.reference is not None:
        parser.error("--quick has another network than the reference: leave one of them out")
    if options.objectives and options.reference is not None:
        parser.error("--objectives has another configuration than the reference: leave one out")
    if options.quick:
        options.rounds = 1
        options.batch = QUICK_BATCH
    return options


def compare_reference(options: argparse.Namespace) -> dict[str, object]:
    """Return the clips/s of UmURL's step, beside the reference's if it is there."""
    batch = options.batch or BATCH
    config = load(UMURL + QUICK if options.quick else UMURL)
    framework = build_framework(config)
    torch.manual_seed(0)
    views = random_views(config, framework, batch)

    kinds: dict[str, Callable[[], float]] = {}
    if options.reference is not None:
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning)
        pretrain, model = load_reference(options.reference)
        copy_weights(model, framework)
        kinds["reference_fp32"] = reference_step(pretrain, model, views)
    kinds["ours_fp32"] = our_step(framework, views, autocast=False)
    # The first step of each also warms it up.
    first = {name: step() for name, step in kinds.items()}
    print(f"loss of the first step: {first}", flush=True)
    if options.reference is not None:
        require_same_loss(first)
    kinds["ours_bf16"] = our_step(framework, views, autocast=True)
    kinds["ours_bf16"]()

    return figures(measure(kinds, options.rounds, options.steps), batch) | {"batch": batch}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the rounds and the JSON line."""
    options = parse_arguments(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    result = compare_objectives(options) if options.objectives else compare_reference(options)
    result |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
