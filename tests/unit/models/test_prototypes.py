import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.prototypes import Prototypes, balanced
from tests.helpers.examples import examples


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def prototypes(count: int = 5, width: int = 4, **changes) -> Prototypes:
    torch.manual_seed(0)
    return Prototypes(
        width, count, **({"temperature": 0.3, "epsilon": 0.1, "iterations": 3} | changes)
    ).double()


def literal_sinkhorn(scores: torch.Tensor, epsilon: float, iterations: int) -> torch.Tensor:
    """SwAV's, an entry at a time: rows are prototypes there, columns clips."""
    clips, count = scores.shape
    q = [[math.exp(s / epsilon) for s in row] for row in scores.T.tolist()]
    for _ in range(iterations):
        q = [[v / sum(row) / count for v in row] for row in q]
        sums = [sum(row[i] for row in q) for i in range(clips)]
        q = [[v / total / clips for v, total in zip(row, sums, strict=True)] for row in q]
    return clips * torch.tensor(q, dtype=torch.float64).T


def literal_loss(net: Prototypes, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    def unit(x):
        return x / x.square().sum(1, keepdim=True).sqrt()

    of_a, of_b = (unit(x) @ unit(net.prototypes).T for x in (a, b))
    total = 0
    for predicting, predicted in ((of_a, of_b), (of_b, of_a)):
        q = literal_sinkhorn(predicted.detach(), net.epsilon, net.iterations)
        p = (predicting / net.temperature).exp()
        total = total - (q * (p / p.sum(1, keepdim=True)).log()).sum() / len(a) / 2
    return total


@pytest.mark.parametrize(("clips", "count", "iterations"), [(2, 3, 1), (6, 4, 3), (3, 9, 10)])
def test_assignments_are_those_of_swav(clips, count, iterations):
    scores = random(clips, count).tanh()
    expected = literal_sinkhorn(scores, 0.2, iterations)
    torch.testing.assert_close(balanced(scores, 0.2, iterations), expected)


@examples(25)
@given(clips=st.integers(2, 12), count=st.integers(2, 12), seed=st.integers(0, 99))
def test_assignments_are_balanced(clips, count, seed):
    scores = random(clips, count, seed=seed).tanh()
    q = balanced(scores, 0.5, 200)
    torch.testing.assert_close(q.sum(1), torch.ones(clips, dtype=torch.float64))
    torch.testing.assert_close(
        q.sum(0), torch.full((count,), clips / count, dtype=torch.float64), rtol=1e-3, atol=0
    )
    order = torch.randperm(clips, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(balanced(scores[order], 0.5, 200), q[order])
    torch.testing.assert_close(balanced(scores + 3, 0.5, 200), q)


def test_a_small_epsilon_does_not_overflow():
    scores = torch.eye(4) * 2 - 1
    torch.testing.assert_close(balanced(scores, 1e-3, 3), torch.eye(4))


def test_the_loss_and_its_gradients_against_a_reference():
    net, a, b = prototypes(), random(6, 4).requires_grad_(), random(6, 4, seed=1).requires_grad_()
    inputs = (a, b, net.prototypes)
    value, expected = net(a, b), literal_loss(net, a, b)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value, inputs), torch.autograd.grad(expected, inputs)
    )


def test_closed_forms():
    """Each clip at a prototype of its own: categories are certain, predictions softmax of one hit
    and K - 1 misses.
    """
    net = prototypes(4, 4, epsilon=0.01, temperature=0.5)
    with torch.no_grad():
        net.prototypes.copy_(3 * torch.eye(4))
    clips = torch.eye(4, dtype=torch.float64)
    assert net(clips, 2 * clips).item() == pytest.approx(math.log(1 + 3 * math.exp(-2)))
    # All clips alike: every category is as likely, and no better guess than the prediction's own
    # entropy.
    alike = torch.ones(6, 4, dtype=torch.float64)
    assert net(alike, alike).item() == pytest.approx(math.log(4))
    assert prototypes(temperature=1e6)(random(6, 4), random(6, 4, seed=1)).item() == pytest.approx(
        math.log(5), rel=1e-5
    )


def test_symmetry_order_and_scale_of_clips():
    net, a, b = prototypes(), random(7, 4), random(7, 4, seed=1)
    value = net(a, b)
    torch.testing.assert_close(net(b, a), value)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(a[order], b[order]), value)
    torch.testing.assert_close(net(5 * a, 0.1 * b), value)


def test_full_precision_under_autocast():
    net, a, b = prototypes(), random(8, 4).bfloat16(), random(8, 4, seed=1).bfloat16()
    exact = net(a.double(), b.double())
    with torch.autocast("cpu", torch.bfloat16):
        value = net.float()(a, b)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [{"count": 1}, {"temperature": 0.0}, {"epsilon": -0.1}, {"iterations": 0}],
    ids=lambda change: next(iter(change)),
)
def test_bad_settings(change):
    with pytest.raises(ValueError, match=r"two prototypes|must be positive"):
        prototypes(**change)


def test_a_batch_of_one_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        prototypes()(random(1, 4), random(1, 4))
