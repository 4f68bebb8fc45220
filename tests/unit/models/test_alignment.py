import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.alignment import (
    InfoNCE,
    VarianceCovariance,
    build_alignment,
    covariance_penalty,
    variance_hinge,
)
from tests.helpers.examples import examples

COEFFICIENTS = {"temperature": 0.2, "invariance": 5.0, "variance": 3.0, "covariance": 2.0}
LOSSES = [
    build_alignment(loss=name, **COEFFICIENTS)
    for name in ("infonce", "variance_covariance", "cosine")
]


def pair(rows: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return a, a + torch.randn(rows, width, generator=generator, dtype=torch.float64)


def literal_cosine(x: list[float], y: list[float]) -> float:
    return sum(p * q for p, q in zip(x, y, strict=True)) / math.sqrt(
        sum(p * p for p in x) * sum(q * q for q in y)
    )


def literal_infonce(a: torch.Tensor, b: torch.Tensor, temperature: float) -> float:
    a, b = a.tolist(), b.tolist()
    total = 0.0
    for x, y in ((a, b), (b, a)):
        for i, row in enumerate(x):
            scores = [math.exp(literal_cosine(row, other) / temperature) for other in y]
            total -= math.log(scores[i] / sum(scores)) / len(a) / 2
    return total


def literal_regularisation(z: torch.Tensor, variance: float, covariance: float) -> float:
    rows, n, width = z.tolist(), len(z), z.shape[1]
    mean = [sum(row[d] for row in rows) / n for d in range(width)]

    def cov(d: int, e: int) -> float:
        return sum((row[d] - mean[d]) * (row[e] - mean[e]) for row in rows) / (n - 1)

    hinge = sum(max(0.0, 1 - math.sqrt(cov(d, d) + 1e-4)) for d in range(width)) / width
    off = sum(cov(d, e) ** 2 for d in range(width) for e in range(width) if d != e) / width
    return variance * hinge + covariance * off


@pytest.mark.parametrize(("rows", "width"), [(2, 3), (7, 4), (5, 9)])
def test_against_the_sums_written_out(rows, width):
    a, b = pair(rows, width)
    infonce, varcov, cosine = LOSSES
    assert infonce(a, b).item() == pytest.approx(literal_infonce(a, b, 0.2), rel=1e-10)
    squares = [
        (x - y) ** 2
        for p, q in zip(a.tolist(), b.tolist(), strict=True)
        for x, y in zip(p, q, strict=True)
    ]
    assert varcov(a, b).item() == pytest.approx(5 * sum(squares) / len(squares), rel=1e-10)
    cosines = [literal_cosine(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert cosine(a, b).item() == pytest.approx(5 * (1 - sum(cosines) / rows), rel=1e-10)
    z = 0.7 * a
    for loss in (varcov, cosine):
        assert loss.regularisation(z).item() == pytest.approx(
            literal_regularisation(z, 3, 2), rel=1e-10
        )


def test_cosine_closed_forms():
    cosine = LOSSES[2]
    same = torch.eye(4)
    assert cosine(same, 7 * same).item() == pytest.approx(0, abs=1e-6)
    assert cosine(same, -same).item() == pytest.approx(10)
    assert cosine(same, same.roll(1, 0)).item() == pytest.approx(5)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_infonce_of_orthogonal_clips_in_closed_form(temperature):
    same = torch.eye(6, dtype=torch.float64)
    expected = math.log(1 + 5 * math.exp(-1 / temperature))
    assert InfoNCE(temperature)(same, 3 * same).item() == pytest.approx(expected, rel=1e-9)


def test_infonce_limits_of_the_temperature():
    a, b = pair(8, 5)
    assert InfoNCE(1e6)(a, b).item() == pytest.approx(
        math.log(8), rel=1e-5
    )  # nothing is told apart
    assert InfoNCE(1e-3)(a, a).item() == pytest.approx(
        0, abs=1e-6
    )  # own counterpart nearest: perfect
    assert InfoNCE(0.1)(torch.ones(8, 5), torch.ones(8, 5)).item() == pytest.approx(
        math.log(8), rel=1e-6
    )


def test_regularisation_closed_forms():
    constant = torch.full((6, 4), 3.0)
    assert variance_hinge(constant).item() == pytest.approx(1 - 0.01)
    assert covariance_penalty(constant).item() == 0
    column = torch.tensor([1.0, -1.0, 1.0, -1.0])  # unbiased variance 4/3
    twins = torch.stack([column, column], dim=1)
    assert covariance_penalty(twins).item() == pytest.approx((4 / 3) ** 2)
    assert variance_hinge(2 * twins).item() == 0


@examples(25)
@given(rows=st.integers(2, 9), width=st.integers(1, 12), seed=st.integers(0, 99))
def test_properties(rows, width, seed):
    a, b = pair(rows, width, seed)
    infonce, varcov, cosine = LOSSES
    for loss in LOSSES:
        assert loss(a, b).item() == pytest.approx(loss(b, a).item(), rel=1e-10)
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
        assert loss(a[order], b[order]).item() == pytest.approx(loss(a, b).item(), rel=1e-10)
    assert infonce(a, b) >= 0
    for loss in (infonce, cosine):
        assert loss(4 * a, 0.1 * b).item() == pytest.approx(loss(a, b).item(), rel=1e-9)
    assert varcov(a, a).item() == 0
    # Whichever of the two products it squares: the same as with the covariance matrix.
    cov = torch.cov(a.T).reshape(width, width)
    off = (cov - cov.diag().diag()).square().sum() / width
    assert covariance_penalty(a).item() == pytest.approx(off.item(), rel=1e-8, abs=1e-12)


def test_gradients():
    a, b = (x.requires_grad_() for x in pair(5, 4))
    for loss in LOSSES:
        assert torch.autograd.gradcheck(loss, (a, b))
    for shape in ((5, 4), (4, 6)):
        z = (0.5 * pair(*shape)[0]).detach().requires_grad_()
        assert torch.autograd.gradcheck(LOSSES[1].regularisation, (z,))


def test_full_precision_under_autocast():
    a, b = (x.bfloat16() for x in pair(16, 32))
    varcov = LOSSES[1]
    exact = [loss(a.double(), b.double()) for loss in LOSSES] + [varcov.regularisation(a.double())]
    with torch.autocast("cpu", torch.bfloat16):
        values = [loss(a, b) for loss in LOSSES] + [varcov.regularisation(a)]
    for value, expected in zip(values, exact, strict=True):
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_bad_input():
    one = torch.ones(1, 4)
    for loss in LOSSES:
        with pytest.raises(ValueError, match="at least two"):
            loss(one, one)
        with pytest.raises(ValueError, match="must both be"):
            loss(torch.ones(3, 4), torch.ones(3, 5))
    with pytest.raises(ValueError, match="at least two"):
        LOSSES[1].regularisation(one)
    with pytest.raises(ValueError, match="temperature"):
        InfoNCE(0)
    with pytest.raises(ValueError, match="infonce, variance_covariance, cosine"):
        build_alignment(loss="euclidean", **COEFFICIENTS)
    assert isinstance(
        build_alignment(loss="variance_covariance", **COEFFICIENTS), VarianceCovariance
    )
