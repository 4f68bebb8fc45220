import pytest
import torch

from models.decomposition import Decomposition
from models.modalities import MODALITIES

SIZES = {"modalities": MODALITIES, "projectors": "modality", "width": 4, "hidden": 6, "output": 5, "layers": 2}


def features() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {m: torch.randn(7, 8, generator=generator) for m in MODALITIES}, torch.randn(7, 8, generator=generator)


@pytest.mark.parametrize("module", ["identity", "linear", "mlp"])
def test_each_part_and_modality_is_its_own_pair(module):
    torch.manual_seed(0)
    parts = ("whole", "spatial", "temporal")
    decomposition = Decomposition(module=module, parts=parts, **SIZES)
    unimodal, fused = features()
    targets, predictions = decomposition(unimodal, fused)
    halves = {"whole": slice(0, 8), "temporal": slice(0, 4), "spatial": slice(4, 8)}
    place = 0
    for part in parts:
        for m in MODALITIES:
            project = decomposition.projectors[part][m]
            apart = decomposition.apart[part][m](fused[:, halves[part]])
            torch.testing.assert_close(targets[place], project(unimodal[m][:, halves[part]]))
            torch.testing.assert_close(predictions[place], project(apart))
            place += 1
    assert place == len(targets) == len(predictions)
    if module == "identity":
        assert not list(decomposition.apart.parameters())
    else:
        assert not torch.equal(apart, fused[:, halves[part]])


def test_equal_features_have_equal_projections():
    decomposition = Decomposition(module="identity", parts=["whole"], **SIZES)
    _, fused = features()
    for target, prediction in zip(*decomposition(dict.fromkeys(MODALITIES, fused), fused), strict=True):
        torch.testing.assert_close(target, prediction)


def test_a_stream_part_sees_its_stream_only():
    decomposition = Decomposition(module="mlp", parts=["temporal"], **SIZES)
    unimodal, fused = features()
    fused.requires_grad_()
    sum(x.sum() for x in decomposition(unimodal, fused)[1]).backward()
    assert fused.grad[:, 4:].abs().max() == 0
    decomposition.zero_grad()


@pytest.mark.parametrize(
    "change", [{"module": "conv"}, {"parts": []}, {"parts": ["whole", "whole"]}, {"parts": ["arm"]}]
)
def test_bad_settings(change):
    with pytest.raises(ValueError, match="must be"):
        Decomposition(**({"module": "linear", "parts": ["whole"]} | SIZES | change))


def test_bad_projector():
    with pytest.raises(ValueError, match="at least 1"):
        Decomposition(module="linear", parts=["whole"], **(SIZES | {"layers": 0}))
