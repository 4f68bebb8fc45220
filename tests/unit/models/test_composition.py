import pytest
import torch

from models.choices import MODALITIES
from models.composition import Composition


def composition(module: str) -> Composition:
    torch.manual_seed(0)
    return Composition(module, MODALITIES, 4).double()


def features() -> dict[str, torch.Tensor]:
    return {
        m: torch.randn(5, 4, generator=torch.Generator().manual_seed(i)).double()
        for i, m in enumerate(MODALITIES)
    }


def test_learned_weights_begin_at_the_mean():
    u = features()
    expected = (u["joint"] + u["bone"] + u["motion"]) / 3
    torch.testing.assert_close(composition("mean")(u), expected)
    torch.testing.assert_close(composition("weights")(u), expected)
    assert not list(composition("mean").parameters())


def test_weights_are_a_softmax():
    u, c = features(), composition("weights")
    with torch.no_grad():
        c.logits.copy_(torch.tensor([0.5, 0.2, 0.3]).log() + 7)
    torch.testing.assert_close(
        c(u), 0.5 * u["joint"] + 0.2 * u["bone"] + 0.3 * u["motion"], rtol=1e-6, atol=1e-6
    )


def test_mlp_of_the_concatenation():
    u, c = features(), composition("mlp")
    first, _, second = c.mlp
    for n in range(5):
        hidden = first.bias + sum(
            first.weight[:, 4 * i : 4 * i + 4] @ u[m][n] for i, m in enumerate(MODALITIES)
        )
        torch.testing.assert_close(c(u)[n], second.weight @ hidden.clamp(min=0) + second.bias)


def test_attention_over_the_modalities():
    u, c = features(), composition("attention")
    with torch.no_grad():
        c.attention.queries.mul_(100)
        c.table.mul_(50)
    (query,), value = c.attention.queries, c.attention.value
    for n in range(5):
        tokens = [u[m][n] + c.table[i] for i, m in enumerate(MODALITIES)]
        weights = torch.stack([query @ token / 2 for token in tokens]).exp()
        mean = sum(w * token for w, token in zip(weights / weights.sum(), tokens, strict=True))
        torch.testing.assert_close(c(u)[n], value.weight @ mean + value.bias)
    swapped = {"joint": u["bone"], "bone": u["joint"], "motion": u["motion"]}
    assert not torch.allclose(c(swapped), c(u))  # it knows which is which


def test_gradient():
    c = composition("weights")

    def call(logits, *values):
        return torch.func.functional_call(
            c, {"logits": logits}, (dict(zip(MODALITIES, values, strict=True)),)
        )

    inputs = [torch.randn(3, dtype=torch.float64, requires_grad=True)]
    inputs += [value.requires_grad_() for value in features().values()]
    assert torch.autograd.gradcheck(call, inputs)


def test_unknown_module():
    with pytest.raises(ValueError, match="mean, weights, mlp, attention"):
        composition("sum")
