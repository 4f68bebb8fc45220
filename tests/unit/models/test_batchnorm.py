import pytest
import torch
from torch import nn

from models.batchnorm import GlobalBatchNorm1d


def twins(
    features: int, dtype: torch.dtype = torch.float64
) -> tuple[GlobalBatchNorm1d, nn.BatchNorm1d]:
    torch.manual_seed(0)
    ours, reference = GlobalBatchNorm1d(features).to(dtype), nn.BatchNorm1d(features).to(dtype)
    with torch.no_grad():
        reference.weight.uniform_(0.5, 2)
        reference.bias.normal_()
    ours.load_state_dict(reference.state_dict())
    return ours, reference


def test_equals_batchnorm_over_several_steps_and_in_evaluation():
    ours, reference = twins(6)
    for rows in (2, 5, 9):
        x = 3 + 2 * torch.randn(rows, 6, dtype=torch.float64)
        mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        cotangent = torch.randn_like(x)
        (ours(mine) * cotangent).sum().backward()
        (reference(theirs) * cotangent).sum().backward()
        torch.testing.assert_close(ours(x), reference(x))
        torch.testing.assert_close(mine.grad, theirs.grad)
    for p, q in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    torch.testing.assert_close(ours.state_dict(), reference.state_dict())
    x = torch.randn(1, 6, dtype=torch.float64)
    torch.testing.assert_close(ours.eval()(x), reference.eval()(x))


def test_without_weights():
    ours, reference = GlobalBatchNorm1d(4, affine=False), nn.BatchNorm1d(4, affine=False)
    x = 5 + torch.randn(7, 4)
    torch.testing.assert_close(ours(x), reference(x))
    torch.testing.assert_close(ours.eval()(x), reference.eval()(x))
    assert not list(ours.parameters())


def test_groups_are_calls_one_after_the_other():
    ours, reference = twins(4)
    x = torch.randn(3, 5, 4, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.1])[:, None, None]
    torch.testing.assert_close(ours(x), torch.stack([reference(group) for group in x]))
    torch.testing.assert_close(ours.state_dict(), reference.state_dict())


def test_large_means_keep_their_variance():
    x = (1000 + torch.randn(64, 8, dtype=torch.float64)).float()
    ours, reference = GlobalBatchNorm1d(8), nn.BatchNorm1d(8).double()
    torch.testing.assert_close(ours(x).double(), reference(x.double()), atol=1e-3, rtol=0)


def test_statistics_of_half_precision_are_float32():
    ours, reference = twins(8, torch.float32)
    x = (20 + torch.randn(32, 8)).bfloat16()
    out = ours(x)
    assert out.dtype == torch.bfloat16
    assert ours.running_var.dtype == torch.float32
    torch.testing.assert_close(out, reference(x.float()).bfloat16())
    torch.testing.assert_close(ours.running_var, reference.running_var)


def test_gradient():
    ours, _ = twins(3)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours, (x,))


def test_bad_input():
    with pytest.raises(ValueError, match="at least two"):
        GlobalBatchNorm1d(3)(torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"expected \[n, 3\]"):
        GlobalBatchNorm1d(3)(torch.ones(4, 5))
