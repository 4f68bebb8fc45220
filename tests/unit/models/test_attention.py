import math

import pytest
import torch

from models.attention import QueryAttention
from models.fusion import EARLY_FUSIONS, build_fusion


def attention(queries: int = 2) -> QueryAttention:
    torch.manual_seed(0)
    net = QueryAttention(4, queries).double()
    with torch.no_grad():
        net.queries.mul_(100)  # away from the mean that they begin at
    return net


def tokens(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def literal(net: QueryAttention, x: torch.Tensor) -> torch.Tensor:
    """[L, D] to [Q, D], a token and a dimension at a time."""
    rows = []
    for query in net.queries.tolist():
        weights = [
            math.exp(sum(q * v for q, v in zip(query, token, strict=True)) / 2)
            for token in x.tolist()
        ]
        mean = [
            sum(w * t[d] for w, t in zip(weights, x.tolist(), strict=True)) / sum(weights)
            for d in range(4)
        ]
        rows.append(net.value.weight @ torch.tensor(mean, dtype=torch.float64) + net.value.bias)
    return torch.stack(rows)


def test_against_sums_written_out():
    net, x = attention(), tokens(3, 5)
    torch.testing.assert_close(net(x), torch.stack([literal(net, clip) for clip in x]))
    torch.testing.assert_close(net(x.flip(1)), net(x))
    assert not torch.allclose(net(x)[:, 0], net(x)[:, 1])


def test_it_begins_near_the_mean():
    torch.manual_seed(0)
    net, x = QueryAttention(64, 1), torch.randn(2, 30, 64)
    torch.testing.assert_close(net(x)[:, 0], net.value(x.mean(1)), rtol=0, atol=0.05)


def test_gradients():
    net = attention()

    def call(x, queries):
        return torch.func.functional_call(net, {"queries": queries}, (x,))

    inputs = tokens(2, 3).requires_grad_(), net.queries.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(call, inputs)


# -- fusion of embeddings


@pytest.mark.parametrize("count", [2, 3])
def test_fusions_against_one_token_at_a_time(count):
    embedded = list(tokens(count, 2, 3).unbind())
    for kind in EARLY_FUSIONS:
        torch.manual_seed(0)
        net = build_fusion(kind, count, 4).double()
        fused = net(embedded)
        assert fused.shape == (2, 3, 4)
        for n in range(2):
            for t in range(3):
                own = [x[n, t] for x in embedded]
                if kind == "mean":
                    expected = net.weight @ (sum(own) / count)
                elif kind == "concatenation":
                    expected = sum(net.weight[:, 4 * i : 4 * i + 4] @ x for i, x in enumerate(own))
                else:
                    expected = literal(net, torch.stack(own))[0]
                torch.testing.assert_close(fused[n, t], expected)


def test_one_modality_is_not_fused():
    x = tokens(2, 3)
    for kind in EARLY_FUSIONS:
        net = build_fusion(kind, 1, 4)
        assert net([x]) is x
        assert not list(net.parameters())
