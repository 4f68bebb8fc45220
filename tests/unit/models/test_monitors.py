import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import monitors
from models.monitors import (
    LEAST_CLIPS,
    LEAST_DEVIATION,
    LEAST_RANK,
    collapsed,
    deviation,
    effective_rank,
    figures,
    quality,
    uniformity,
)
from tests.helpers.examples import examples


def random(clips: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(
        clips, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def values(tensors: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: tensor.item() for name, tensor in tensors.items()}


@examples(25)
@given(clips=st.integers(LEAST_CLIPS, 20), width=st.integers(2, 20), seed=st.integers(0, 99))
def test_against_definitions_written_out(clips, width, seed):
    a, b = random(clips, width, seed), random(clips, width, seed + 100)
    found = values(figures(a, b))
    unit_a, unit_b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    apart = [
        (unit_a[i] - unit_a[j]).square().sum().item()
        for i in range(clips)
        for j in range(clips)
        if i != j
    ]
    shares = torch.linalg.svdvals(a - a.mean(0))
    shares = [s / shares.sum().item() for s in shares.tolist() if s > 1e-12]
    expected = {
        # of all pairs half the mean squared distance is the variance
        "collapse/deviation": math.sqrt(sum(apart) / clips**2 / 2),
        "collapse/effective_rank": math.exp(-sum(s * math.log(s) for s in shares)),
        "collapse/uniformity": math.log(sum(math.exp(-2 * d) for d in apart) / len(apart)),
        "collapse/alignment": (unit_a - unit_b).square().sum(1).mean().item(),
    }
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    # Whichever of the two Gram matrices it takes, the size of features does not matter, nor the
    # order of clips.
    order = torch.randperm(clips, generator=torch.Generator().manual_seed(seed))
    assert values(figures(7 * a[order], b[order])) == pytest.approx(found, rel=1e-5, abs=1e-6)
    assert figures(a).keys() == found.keys() - {"collapse/alignment"}


def test_closed_forms():
    axes = torch.cat([torch.eye(5), -torch.eye(5)])  # evenly spread
    assert deviation(axes).item() == pytest.approx(1)
    assert effective_rank(axes).item() == pytest.approx(5)
    assert uniformity(axes).item() == pytest.approx(
        math.log((8 * math.exp(-4) + math.exp(-8)) / 9), rel=1e-5
    )
    line = torch.arange(10.0)[:, None] * torch.tensor([[1.0, 2.0, 0.0]]) + 3
    assert effective_rank(line).item() == pytest.approx(1, abs=1e-3)
    one = torch.full((10, 4), 2.0)
    assert deviation(one).item() == pytest.approx(0, abs=1e-6)
    assert uniformity(one).item() == pytest.approx(0, abs=1e-5)
    assert effective_rank(axes + 100).item() == pytest.approx(
        5, rel=1e-4
    )  # a shared mean does not count


def test_spread_features_pass_and_collapsed_ones_do_not():
    spread = random(64, 32)
    assert collapsed(values(figures(spread, spread))) is None
    shared = torch.ones(32, dtype=torch.float64)
    assert "nearly the same feature" in collapsed(values(figures(spread * 0.01 + shared, spread)))
    assert "nearly the same feature" in collapsed(values(figures(shared.expand(64, -1), spread)))
    assert "nearly the same feature" in collapsed(values(figures(torch.zeros(64, 32), spread)))
    line = random(64, 1) * shared + 1e-4 * spread
    assert "one direction" in collapsed(values(figures(line, spread)))
    # Two classes, each a point, are one direction; three are two, and no collapse.
    points = random(3, 32)
    assert "one direction" in collapsed(values(figures(points[torch.arange(64) % 2], spread)))
    assert effective_rank(points[torch.arange(64) % 3]) > 1.8


def test_thresholds():
    fine = {
        "collapse/deviation": LEAST_DEVIATION,
        "collapse/effective_rank": LEAST_RANK,
        "collapse/alignment": 0.0,
    }
    assert collapsed(fine) is None
    assert "deviation 0.079" in collapsed(fine | {"collapse/deviation": 0.079})
    assert "effective rank 1.99" in collapsed(fine | {"collapse/effective_rank": 1.99})


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_named_and_no_error(bad):
    a = random(16, 4)
    a[3, 2] = bad
    assert collapsed(values(figures(a, random(16, 4)))) == "collapse/deviation is not finite"
    assert collapsed(values(figures(random(16, 4), a))) == "collapse/alignment is not finite"


def test_too_few_clips_have_no_figures():
    few = random(LEAST_CLIPS - 1, 4)
    assert figures(few, few) == {}
    assert collapsed({}) is None


def test_full_precision_under_autocast():
    a, b = random(32, 16).bfloat16(), random(32, 16, seed=1).bfloat16()
    exact = values(figures(a.double(), b.double()))
    with torch.autocast("cpu", torch.bfloat16):
        found = values(figures(a, b))
    assert found == pytest.approx(exact, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("rows", [1, 4, 7, 19, 20])
def test_uniformity_of_blocks_is_that_of_all_pairs_at_once(monkeypatch, rows):
    features = random(20, 6)
    expected = uniformity(features).item()
    monkeypatch.setattr(monitors, "_CLIPS_OF_A_BLOCK", rows)
    assert uniformity(features).item() == pytest.approx(expected, rel=1e-12)


def test_quality_is_that_of_the_worst_network():
    good, first = random(40, 8), random(30, 8, seed=1)
    near, far = first + 0.01 * random(30, 8, seed=2), first + 2 * random(30, 8, seed=3)
    narrow = random(40, 1) * torch.ones(8, dtype=torch.float64) + 0.1 * random(40, 8, seed=4)
    alone = values(quality(good, (first, near), (slice(None),)))
    expected = values(figures(good))
    assert alone["effective_rank"] == pytest.approx(expected["collapse/effective_rank"])
    assert alone["uniformity"] == pytest.approx(expected["collapse/uniformity"])
    assert alone["alignment"] == pytest.approx(values(figures(first, near))["collapse/alignment"])

    views = (torch.cat([first, first], 1), torch.cat([near, far], 1))
    parts = (slice(0, 8), slice(8, 16))
    both = values(quality(torch.cat([narrow, good], 1), views, parts))
    narrow_alone = values(figures(narrow))
    assert both["effective_rank"] == pytest.approx(narrow_alone["collapse/effective_rank"])
    assert both["uniformity"] == pytest.approx(narrow_alone["collapse/uniformity"])
    assert both["alignment"] == pytest.approx(values(figures(first, far))["collapse/alignment"])
