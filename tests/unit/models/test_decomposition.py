import pytest
import torch

from models.choices import MODALITIES
from models.decomposition import Decomposition
from models.projector import ProjectorSizes

SIZES = {
    "modalities": MODALITIES,
    "projectors": "modality",
    "width": 4,
    "sizes": ProjectorSizes(hidden=6, output=5, layers=2),
}


def features() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {m: torch.randn(7, 8, generator=generator) for m in MODALITIES}, torch.randn(
        7, 8, generator=generator
    )


@pytest.mark.parametrize("module", ["identity", "linear", "mlp"])
def test_each_part_and_modality_is_its_own_pair(module):
    torch.manual_seed(0)
    parts = ("whole", "spatial", "temporal")
    decomposition = Decomposition(module=module, parts=parts, **SIZES)
    unimodal, fused = features()
    targets, predictions = decomposition(unimodal, fused)
    halves = {"whole": slice(0, 8), "temporal": slice(0, 4), "spatial": slice(4, 8)}
    assert list(targets) == list(predictions) == list(parts)
    for part in parts:
        assert len(targets[part]) == len(predictions[part]) == len(MODALITIES)
        for i, m in enumerate(MODALITIES):
            project = decomposition.projectors[part][m]
            apart = decomposition.apart[part][m](fused[:, halves[part]])
            torch.testing.assert_close(targets[part][i], project(unimodal[m][:, halves[part]]))
            torch.testing.assert_close(predictions[part][i], project(apart))
    if module == "identity":
        assert not list(decomposition.apart.parameters())
    else:
        assert not torch.equal(apart, fused[:, halves[part]])


def tokens(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(7, count, 4, generator=generator).to(dtype) for count in (5, 6))


def literal_convolution(module, streams: list[torch.Tensor]) -> torch.Tensor:
    """One clip, one token and its two neighbours at a time; zeros beyond both ends."""
    pooled = []
    for conv, x in zip(module.streams, streams, strict=True):
        outside = torch.zeros_like(x[:1])
        padded = torch.cat([outside, x, outside])
        values = [
            sum(conv.weight[:, :, k] @ padded[t + k] for k in range(3)) + conv.bias
            for t in range(len(x))
        ]
        pooled.append(torch.stack(values).clamp(min=0).max(0).values)
    return module.out(torch.cat(pooled))


def literal_attention(module, streams: list[torch.Tensor], number: int) -> torch.Tensor:
    """The queries of modality `number`, one after the other."""
    x = torch.cat(streams)
    own = module.queries[number * len(streams) : (number + 1) * len(streams)]
    return torch.cat(
        [module.value((x * (x @ query / 2).softmax(0)[:, None]).sum(0)) for query in own]
    )


@pytest.mark.parametrize("module", ["convolution", "attention"])
def test_modules_of_tokens_against_one_clip_at_a_time(module):
    torch.manual_seed(0)
    parts = ("whole", "spatial", "temporal")
    decomposition = Decomposition(module=module, parts=parts, **SIZES).double()
    if module == "attention":
        with torch.no_grad():
            [apart.queries.mul_(100) for apart in decomposition.apart.values()]
    of_y = tokens(torch.float64)
    chosen = {"whole": (0, 1), "temporal": (0,), "spatial": (1,)}
    for part in parts:
        apart, streams = decomposition.apart[part], [of_y[i] for i in chosen[part]]
        for number, (m, found) in enumerate(zip(MODALITIES, apart(streams), strict=True)):
            for clip in range(7):
                own = [x[clip] for x in streams]
                expected = (
                    literal_convolution(apart[m], own)
                    if module == "convolution"
                    else literal_attention(apart, own, number)
                )
                torch.testing.assert_close(found[clip], expected)
    unimodal, fused = features()
    unimodal = {m: u.double() for m, u in unimodal.items()}
    targets, predictions = decomposition(unimodal, fused.double(), of_y)
    for part in parts:
        taken = decomposition.apart[part]([of_y[s] for s in chosen[part]])
        for j, m in enumerate(MODALITIES):
            torch.testing.assert_close(
                predictions[part][j], decomposition.projectors[part][m](taken[j])
            )
    # The pooled feature itself is not looked at.
    again = decomposition(unimodal, torch.zeros_like(fused).double(), of_y)
    torch.testing.assert_close(again, (targets, predictions))


@pytest.mark.parametrize("kind", ["modality", "shared", "separate"])
def test_projectors(kind):
    torch.manual_seed(0)
    decomposition = Decomposition(
        module="linear", parts=["whole", "spatial"], **(SIZES | {"projectors": kind})
    )
    unimodal, fused = features()
    targets, predictions = decomposition(unimodal, fused)
    halves = {"whole": slice(0, 8), "spatial": slice(4, 8)}
    for part in halves:
        heads = decomposition.projectors[part]
        assert len(heads) == (1 if kind == "shared" else 3)
        for j, m in enumerate(MODALITIES):
            head = heads["all" if kind == "shared" else m]
            other = decomposition.fused_projectors[part][m] if kind == "separate" else head
            taken = decomposition.apart[part][m](fused[:, halves[part]])
            torch.testing.assert_close(targets[part][j], head(unimodal[m][:, halves[part]]))
            torch.testing.assert_close(predictions[part][j], other(taken))
    sizes = {"modality": 3, "shared": 1, "separate": 6}
    count = sum(p.numel() for name, p in decomposition.named_parameters() if "projectors" in name)
    one = sum(
        p.numel() for name, p in decomposition.named_parameters() if name.startswith("projectors.")
    ) / len(heads)
    assert count == sizes[kind] * one


def test_equal_features_have_equal_projections():
    decomposition = Decomposition(module="identity", parts=["whole"], **SIZES)
    _, fused = features()
    targets, predictions = decomposition(dict.fromkeys(MODALITIES, fused), fused)
    for target, prediction in zip(targets["whole"], predictions["whole"], strict=True):
        torch.testing.assert_close(target, prediction)


def test_a_stream_part_sees_its_stream_only():
    decomposition = Decomposition(module="mlp", parts=["temporal"], **SIZES)
    unimodal, fused = features()
    fused.requires_grad_()
    sum(x.sum() for x in decomposition(unimodal, fused)[1]["temporal"]).backward()
    assert fused.grad[:, 4:].abs().max() == 0
    decomposition.zero_grad()


@pytest.mark.parametrize(
    "change",
    [
        {"module": "conv"},
        {"parts": []},
        {"parts": ["whole", "whole"]},
        {"parts": ["arm"]},
        {"projectors": "both"},
    ],
)
def test_bad_settings(change):
    with pytest.raises(ValueError, match="must be"):
        Decomposition(**({"module": "linear", "parts": ["whole"]} | SIZES | change))


def test_bad_projector():
    with pytest.raises(ValueError, match="at least 1"):
        Decomposition(
            module="linear",
            parts=["whole"],
            **(SIZES | {"sizes": ProjectorSizes(hidden=6, output=5, layers=0)}),
        )
