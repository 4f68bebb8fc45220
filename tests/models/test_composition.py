import pytest
import torch

from models.composition import Composition
from models.modalities import MODALITIES


def composition(module: str) -> Composition:
    torch.manual_seed(0)
    return Composition(module, MODALITIES, 4).double()


def features() -> dict[str, torch.Tensor]:
    return {m: torch.randn(5, 4, generator=torch.Generator().manual_seed(i)).double() for i, m in enumerate(MODALITIES)}


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
    torch.testing.assert_close(c(u), 0.5 * u["joint"] + 0.2 * u["bone"] + 0.3 * u["motion"], rtol=1e-6, atol=1e-6)


def test_gradient():
    c = composition("weights")

    def call(logits, *values):
        return torch.func.functional_call(c, {"logits": logits}, (dict(zip(MODALITIES, values, strict=True)),))

    inputs = [torch.randn(3, dtype=torch.float64, requires_grad=True)]
    inputs += [value.requires_grad_() for value in features().values()]
    assert torch.autograd.gradcheck(call, inputs)


def test_unknown_module():
    with pytest.raises(ValueError, match="mean, weights, mlp, attention"):
        composition("sum")
