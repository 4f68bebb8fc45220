import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.hashing import uniform
from tests.helpers.examples import examples

MASK = (1 << 64) - 1


class SplitMix64:
    """The generator as published, in Python's unbounded integers."""

    def __init__(self, state: int) -> None:
        self.state = state & MASK

    def next(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)


def slow_uniform(seed: int, epoch: int, clip: int, draw: int, count: int) -> list[float]:
    state = 0
    for word in (seed, epoch, draw, clip):
        state = SplitMix64(state + word).next()
    generator = SplitMix64(state)
    return [(generator.next() >> 40) / 2**24 for _ in range(count)]


def test_the_reference_is_splitmix64():
    generator = SplitMix64(1234567)  # the published test vector
    assert [generator.next() for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


words = st.integers(-(2**63), 2**63 - 1)


@examples(100)
@given(
    st.integers(-(2**70), 2**70),
    words,
    st.lists(words, min_size=1, max_size=4),
    words,
    st.integers(1, 60),
)
def test_numbers_are_those_of_the_reference_bit_for_bit(seed, epoch, clips, draw, count):
    numbers = uniform(seed, epoch, torch.tensor(clips), draw, count)
    assert numbers.dtype == torch.float32
    assert numbers.tolist() == [slow_uniform(seed, epoch, clip, draw, count) for clip in clips]


def test_numbers_are_uniform_for_every_place():
    numbers = uniform(3, 5, torch.arange(40_000), 1, 30).double().numpy()
    assert numbers.min() >= 0 and numbers.max() < 1
    for place in numbers.T:
        assert stats.kstest(place, "uniform").pvalue > 1e-5
    assert (
        stats.chisquare(np.bincount((numbers * 4096).astype(int).ravel(), minlength=4096)).pvalue
        > 1e-5
    )


def test_all_24_bits_are_used_and_fair():
    bits = (uniform(0, 0, torch.arange(20_000), 0, 1)[:, 0].double() * 2**24).long()
    shares = torch.stack([(bits >> bit & 1).double().mean() for bit in range(24)])
    assert (shares - 0.5).abs().max() < 5 * 0.5 / 20_000**0.5


def test_places_of_a_clip_are_independent():
    numbers = uniform(1, 0, torch.arange(40_000), 0, 20).double()
    correlation = torch.corrcoef(numbers.T) - torch.eye(20, dtype=torch.float64)
    assert correlation.abs().max() < 5 / 40_000**0.5


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 8},
        {"epoch": 1},
        {"draw": 1},
        {"shift": 1},  # the next clip
        {"seed": 0, "epoch": 7},  # what a sum of the words would take for the same
        {"epoch": 7, "seed": 7, "draw": 0},
        {"seed": 6, "shift": 1},
        {"seed": 1 << 40},
    ],
)
def test_any_other_purpose_gives_independent_numbers(other):
    ids = torch.arange(50_000)
    purpose = {"seed": 7, "epoch": 0, "draw": 0, "shift": 0}

    def draw(seed, epoch, draw, shift):
        return uniform(seed, epoch, ids + shift, draw, 2)

    one, two = draw(**purpose).double(), draw(**(purpose | other)).double()
    # every place against every place, so that a shift by one place would show as well
    correlation = torch.corrcoef(torch.cat([one, two], dim=1).T)[:2, 2:]
    assert correlation.abs().max() < 5 / 50_000**0.5
    cells = (one[:, 0] * 16).long() * 16 + (two[:, 0] * 16).long()
    assert stats.chisquare(torch.bincount(cells, minlength=256).numpy()).pvalue > 1e-5


def test_more_numbers_do_not_change_the_first_ones():
    ids = torch.tensor([5, 9, 2**40])
    assert torch.equal(uniform(1, 2, ids, 3, 50)[:, :7], uniform(1, 2, ids, 3, 7))


def test_ids_must_be_whole_numbers():
    with pytest.raises(ValueError, match="ids must be int64"):
        uniform(0, 0, torch.zeros(3), 0, 1)
