import math

import pytest
import torch
from torch import nn

from models.backbone import Backbone, BackboneSettings
from models.choices import MODALITIES
from models.modalities import modality
from models.skeleton import SkeletonLayout
from models.transformer import Layer, sinusoids

LAYOUT = SkeletonLayout(
    "arm", ("a", "b", "c"), (0, 0, 1), centre=0, left_shoulder=1, right_shoulder=2, mirror=()
)
SETTINGS = {
    "frames": 5,
    "width": 8,
    "layers": 2,
    "heads": 2,
    "feedforward": 12,
    "dropout": 0.0,
}
SETTINGS |= {
    "norm": "post",
    "positions_temporal": "sinusoidal",
    "positions_spatial": "learned",
    "pooling": "max",
}
SETTINGS |= {"modalities": MODALITIES, "fusion": "mean", "feature_norm": "none"}
PASSES = (*MODALITIES, "fused", "fused_other")


def backbone(**changes) -> Backbone:
    torch.manual_seed(0)
    return Backbone(LAYOUT, 2, BackboneSettings(**(SETTINGS | changes))).double()


def views(names=PASSES, rows: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(rows, 5, 2, 3, 3, generator=generator, dtype=torch.float64)
        for name in names
    }


VARIANTS = [
    {},
    {"norm": "pre", "pooling": "mean", "positions_temporal": "learned", "fusion": "concatenation"},
]
VARIANTS += [{"fusion": "attention"}]


@pytest.mark.parametrize("changes", VARIANTS)
def test_one_batched_pass_equals_separate_passes(changes):
    net, inputs = backbone(**changes), views()
    together = net.encode(inputs)
    assert set(together) == set(PASSES)
    for name, view in inputs.items():
        assert together[name].shape == (4, net.feature_width)
        torch.testing.assert_close(together[name], net.encode({name: view})[name])
    torch.testing.assert_close(together["fused"], net.features(inputs["fused"]))


def test_gradients_of_one_batched_pass_equal_those_of_separate_passes():
    net, inputs = backbone(), views()
    weights = views(rows=16)["joint"].flatten()[: 4 * net.feature_width].view(4, -1)
    sum((feature * weights).sum() for feature in net.encode(inputs).values()).backward()
    together = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    for name, view in inputs.items():
        (net.encode({name: view})[name] * weights).sum().backward()
    torch.testing.assert_close(together, [p.grad for p in net.parameters()])


@pytest.mark.parametrize(
    "changes", [*VARIANTS, {"fusion": "late"}, {"modalities": ["bone"]}, {"feature_norm": "batch"}]
)
def test_features_do_not_depend_on_the_neighbours(changes):
    net = backbone(dropout=0.5, **changes).eval()
    batch = views(["fused"], rows=6)["fused"]
    whole = net.features(batch)
    torch.testing.assert_close(torch.cat([net.features(clip[None]) for clip in batch]), whole)
    torch.testing.assert_close(net.features(batch.flip(0)).flip(0), whole)


def test_dropout_acts_in_training_only():
    net, view = backbone(dropout=0.5), views(["fused"])["fused"]
    assert not torch.equal(net.features(view), net.features(view))
    net.eval()
    assert torch.equal(net.features(view), net.features(view))


def test_tokens_of_the_two_streams():
    """Against plain indexing: frame t as one token of all M*V*3 values, joint (m, v) as one token
    of its T*3 values.
    """
    net, view = backbone(layers=1), views(["bone"])["bone"]
    bones = modality("bone", view, LAYOUT)
    by_frame = torch.stack(
        [torch.stack([bones[b, t].reshape(-1) for t in range(5)]) for b in range(4)]
    )
    by_joint = torch.stack(
        [
            torch.stack([bones[b, :, m, v].reshape(-1) for m in range(2) for v in range(3)])
            for b in range(4)
        ]
    )
    expected = []
    for stream, tokens in ((net.temporal, by_frame), (net.spatial, by_joint)):
        expected.append(stream.transform(stream.embedding["bone"](tokens)).max(dim=1).values)
    torch.testing.assert_close(net.encode({"bone": view})["bone"], torch.cat(expected, dim=1))


@pytest.mark.parametrize("changes", [{}, {"pooling": "mean", "norm": "pre"}])
def test_features_are_their_tokens_pooled(changes):
    net, inputs = backbone(**changes), views()
    features, tokens = net.encode_tokens(inputs)
    for name in PASSES:
        temporal, spatial = tokens[name]
        assert temporal.shape == (4, 5, 8)
        assert spatial.shape == (4, 6, 8)
        pooled = [x.mean(1) if changes else x.max(1).values for x in (temporal, spatial)]
        torch.testing.assert_close(features[name], torch.cat(pooled, dim=1))


@pytest.mark.parametrize("changes", [{}, {"fusion": "late"}, {"modalities": ["bone"]}])
def test_normalised_features(changes):
    """In training by the batch of each input, in evaluation by what the fused inputs, or that
    modality's, had been.
    """
    plain, net = backbone(**changes), backbone(feature_norm="batch", **changes)
    net.load_state_dict(plain.state_dict(), strict=False)
    inputs = views(
        ["fused", "fused_other"] if "fusion" in changes else ["bone", "fused", "fused_other"]
    )
    raw, found = plain.encode(inputs), net.encode(inputs)
    kinds = {"bone": "bone"} if changes == {} else {}
    references = {}
    for name in inputs:
        kind = kinds.get(name, "fused")
        reference = references.setdefault(
            kind, nn.BatchNorm1d(net.feature_width, affine=False).double()
        )
        torch.testing.assert_close(found[name], reference(raw[name]))
    assert not {name for name, _ in net.named_parameters()} - {
        name for name, _ in plain.named_parameters()
    }
    net.eval(), plain.eval()
    raw, found = plain.encode(inputs), net.encode(inputs)
    for name in inputs:
        torch.testing.assert_close(
            found[name], references[kinds.get(name, "fused")].eval()(raw[name])
        )


# -- which modalities, and networks of their own


@pytest.mark.parametrize("fusion", ["mean", "concatenation", "attention"])
def test_an_encoder_takes_what_it_is_told_to(fusion):
    """What one modality is made of does not reach an encoder of the others."""
    net, view = backbone(modalities=["motion", "joint"], fusion=fusion), views(["fused"])["fused"]
    assert net.modalities == ("joint", "motion")
    assert net.features(view).shape == (4, net.feature_width)
    with pytest.raises(ValueError, match="no features of bone alone"):
        net.encode({"bone": view})
    still = view[:, :1].expand_as(view)  # without motion
    static = backbone(modalities=["motion"], fusion=fusion)
    torch.testing.assert_close(static.features(still), static.features(2 * still))
    assert not torch.allclose(static.features(view), static.features(2 * view))


def test_fused_input_of_one_modality_is_that_modality():
    net, view = backbone(modalities=["bone"]), views(["fused"])["fused"]
    assert torch.equal(net.features(view), net.encode({"bone": view})["bone"])
    assert not any("fusion" in name for name in net.state_dict())
    assert net.parts == {"fused": slice(0, 16)}


def test_late_fusion_is_a_network_a_modality_side_by_side():
    late, view = backbone(fusion="late", modalities=["joint", "motion"]), views(["fused", "other"])
    assert late.feature_width == 32
    found = late.encode(view)
    for number, name in enumerate(("joint", "motion")):
        alone = backbone(modalities=[name])
        alone.load_state_dict(
            {
                f"{stream}.{key.removeprefix(f'{stream}.{name}.')}": value
                for stream in ("temporal", "spatial")
                for key, value in late.state_dict().items()
                if key.startswith(f"{stream}.{name}.")
            }
        )
        place = late.parts[name]
        assert place == slice(16 * number, 16 * number + 16)
        for key, features in alone.encode(view).items():
            torch.testing.assert_close(found[key][:, place], features)
    with pytest.raises(ValueError, match="no features of joint alone"):
        late.encode({"joint": view["fused"]})


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("heads", [1, 4])
def test_layer_equals_torchs(norm, heads):
    torch.manual_seed(0)
    reference = nn.TransformerEncoderLayer(
        8, heads, 12, dropout=0.0, batch_first=True, norm_first=norm == "pre", dtype=torch.float64
    )
    ours = Layer(width=8, heads=heads, feedforward=12, dropout=0.0, norm=norm).double()
    names = {
        "self_attn.in_proj_": "qkv.",
        "self_attn.out_proj": "out",
        "linear1": "expand",
        "linear2": "contract",
    }
    names |= {"norm1": "norm_attention", "norm2": "norm_feedforward"}
    state = reference.state_dict()
    for old, new in names.items():
        state = {name.replace(old, new): value for name, value in state.items()}
    ours.load_state_dict(state)
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(x), reference(x))


def test_layers_begin_like_torchs():
    """The same distributions: bounds of the uniform ones, and zeros."""
    torch.manual_seed(0)
    ours = Layer(width=256, heads=1, feedforward=512, dropout=0.0, norm="post")
    reference = nn.TransformerEncoderLayer(256, 1, 512)
    pairs = [
        (ours.qkv.weight, reference.self_attn.in_proj_weight),
        (ours.out.weight, reference.self_attn.out_proj.weight),
    ]
    pairs += [
        (ours.expand.weight, reference.linear1.weight),
        (ours.contract.bias, reference.linear2.bias),
    ]
    for mine, theirs in pairs:
        assert mine.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.05)
    assert not ours.qkv.bias.any()
    assert not ours.out.bias.any()


def test_sinusoids():
    table = sinusoids(7, 6)
    for t in range(7):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            assert table[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_without_positions_a_stream_does_not_know_the_order():
    view = views(["joint"])["joint"]
    turned = view.flip(1)  # the joint modality's frame tokens in reverse order
    for kind, same in (("none", True), ("sinusoidal", False), ("learned", False)):
        net = backbone(positions_temporal=kind)
        temporal = [net.encode({"joint": x})["joint"][:, : net.width] for x in (view, turned)]
        assert torch.allclose(*temporal) == same


def test_weights_alone_can_be_saved_and_loaded():
    net, view = backbone(), views(["fused"])["fused"]
    other = Backbone(LAYOUT, 2, BackboneSettings(**SETTINGS)).double()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.features(view), net.features(view))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "heads=3"),
        ({"norm": "batch"}, "post, pre"),
        ({"pooling": "sum"}, "max, mean"),
        ({"positions_spatial": "rotary"}, "none, sinusoidal, learned"),
        ({"width": 9, "heads": 1}, "even width"),
        ({"modalities": []}, "different ones of joint, bone, motion"),
        ({"modalities": ["joint", "joint"]}, "different ones"),
        ({"modalities": ["angle"]}, "different ones"),
        ({"fusion": "sum"}, "mean, concatenation, attention, late"),
        ({"feature_norm": "layer"}, "none, batch"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        backbone(**change)


def test_views_of_another_shape():
    with pytest.raises(ValueError, match=r"views must be \[B, 5, 2, 3, 3\]"):
        backbone().features(torch.zeros(2, 6, 2, 3, 3, dtype=torch.float64))
