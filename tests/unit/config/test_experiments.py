"""The experiments of the paper on its own data sets.

Each is complete, and takes a step on made-up clips with a small model.
"""

import hydra
import pytest
import torch

from models.clips import ClipBatch
from pipeline.config.compose import load
from pipeline.core.paths import CONF
from pipeline.encoder.build import build_framework
from pipeline.pretrain.optimiser import OPTIMISERS
from tests.helpers.composed import compose_once
from tests.helpers.runs import resolved, resolved_from

PAPER = {
    "ntu60_xsub": (512, "subject"),
    "ntu60_xview": (1024, "camera"),
    "ntu120_xsub": (512, "subject"),
    "ntu120_xset": (1024, "setup"),
    "pku2_xsub": (512, "split"),
}
SMALL = ["model.width=16", "model.feedforward=16", "data.raw=somewhere"]


def clips(count: int) -> ClipBatch:
    """Recordings of 20 to 90 frames, of two persons or one, 25 joints."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(20, 91, (count,), generator=generator)
    frames = torch.randn(int(lengths.sum()), 2, 25, 3, generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    frames[: offsets[1], 1] = 0  # the first clip has one person
    return ClipBatch(frames, offsets, torch.arange(count), torch.full((count,), -1))


@pytest.mark.parametrize("name", PAPER)
def test_an_experiment_of_the_paper_has_its_budget(name):
    config = load([f"experiment={name}", "data.raw=somewhere"])
    batch, column = PAPER[name]
    assert (config.train.batch_size, config.train.epochs, config.train.schedule.milestones) == (
        batch,
        451,
        [351],
    )
    assert (
        config.train.optimiser.name,
        config.train.optimiser.lr,
        config.train.optimiser.weight_decay,
    ) == (
        *("adam", 5e-4),
        1e-5,
    )
    assert (config.model.frames, config.model.width, config.model.layers) == (64, 1024, 2)
    assert config.objective.name == "dc" and config.evaluate.probe == "umurl"
    assert column in config.data.protocols[config.data.protocol].train
    card, said = resolved(config).cost, (CONF / "experiment" / f"{name}.yaml").read_text()
    assert f"Computation: {card['pretraining_gflops']:.1f} GFLOPs a clip in a step" in said
    assert f"({card['pretraining_parameters'] / 1e6:.0f} M parameters x 16 bytes)" in said


def test_the_reference_model_is_that_of_the_reference():
    card = resolved_from("data=ntu60", "model=umurl", "data.raw=somewhere").cost
    assert (round(card["parameters"] / 1e6, 2), round(card["gflops"], 2)) == (22.07, 2.54)


@pytest.mark.parametrize("name", PAPER)
def test_an_experiment_of_the_paper_takes_a_step(name):
    config = load([f"experiment={name}", *SMALL])
    framework = build_framework(config).train()
    settings = config.train.optimiser
    optimiser = OPTIMISERS[settings.name](
        framework.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    before = {key: value.clone() for key, value in framework.named_parameters()}
    with torch.autocast("cpu", torch.bfloat16, enabled=config.train.precision == "bfloat16"):
        losses = framework(clips(8), config.seed, 0)
    losses["loss"].backward()
    optimiser.step()
    assert losses.keys() == {"loss", "loss/decomposition", "loss/composition", "loss/view"}
    assert all(value.isfinite() for value in losses.values())
    after = dict(framework.named_parameters())
    assert all(value.isfinite().all() for value in after.values())
    still = [key for key, value in after.items() if torch.equal(value, before[key])]
    assert not still, still


@pytest.mark.parametrize("name", ["nw_ucla", "ntu60_xsub"])
def test_the_tests_compose_as_hydra_does(name):
    words = [f"experiment={name}", "train.epochs=3", "objective=umurl", "data.pool=[]", "seed=4"]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name="skelfuse"):
        assert compose_once("config", words) == hydra.compose("config", words)
