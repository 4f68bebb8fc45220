import math
from dataclasses import replace

import pytest
import torch

from models.choices import MODALITIES
from models.clips import ClipBatch
from models.framework import Framework, build
from models.monitors import collapsed, deviation
from models.skeleton import SkeletonLayout
from pipeline.config.compose import load

JOINTS = ("a", "b", "c", "d")
LAYOUT = SkeletonLayout(
    "arm", JOINTS, (0, 0, 1, 1), centre=0, left_shoulder=2, right_shoulder=3, mirror=()
)
MODEL = {
    "frames": 6,
    "width": 8,
    "layers": 1,
    "heads": 1,
    "feedforward": 8,
    "dropout": 0.0,
    "norm": "post",
}
MODEL |= {"positions_temporal": "sinusoidal", "positions_spatial": "none", "pooling": "max"}
MODEL |= {"modalities": MODALITIES, "fusion": "mean", "feature_norm": "none"}
VIEWS = {
    "crop": [0.3, 1.0],
    "min_frames": 4,
    "corrupt_joints": 2,
    "corrupt_probability": 0.5,
    "shear": 1.0,
}
VIEWS |= {"rotation": 0.0, "scale": 0.0, "mirror": 0.0}
NORMALISE = {"centre": "frame", "align": "first_frame"}
# As they are shipped; the projectors of the features of width 16 are 16-16-32 wide.
UMURL, DC = (load([f"objective={name}"]).objective.model_dump() for name in ("umurl", "dc"))
CONVOLUTION = DC | {
    "decomposition": DC["decomposition"] | {"module": "convolution", "parts": ["whole", "spatial"]}
}
CONVOLUTION |= {
    "composition": DC["composition"] | {"module": "attention", "guidance": "prototypes"}
}
ATTENTION = UMURL | {
    "decomposition": UMURL["decomposition"] | {"module": "attention", "projectors": "shared"}
}
ATTENTION |= {"composition": UMURL["composition"] | {"weight": 1.0, "module": "mlp"}}
ATTENTION |= {"alignment": UMURL["alignment"] | {"loss": "cosine"}}


def framework(objective: dict, **model) -> Framework:
    torch.manual_seed(0)
    return build(
        LAYOUT, 2, model=MODEL | model, objective=objective, views=VIEWS, normalise=NORMALISE
    )


def clips() -> ClipBatch:
    generator = torch.Generator().manual_seed(2)
    frames = torch.randn(40, 2, 4, 3, generator=generator)
    return ClipBatch(
        frames, torch.tensor([0, 9, 14, 25, 40]), torch.tensor([3, 8, 5, 0]), torch.full((4,), -1)
    )


def literal_umurl(net: Framework, views: dict[str, torch.Tensor]) -> float:  # noqa: C901
    """The equations one clip, one token, one dimension at a time.

    Nothing is shared with the code under test but the weights.
    """
    p = {name: value.detach() for name, value in net.state_dict().items()}

    def linear(x, name):
        return p[f"{name}.weight"] @ x + p.get(f"{name}.bias", 0)

    def layernorm(x, name):
        return (x - x.mean()) / ((x - x.mean()).square().mean() + 1e-5).sqrt() * p[
            f"{name}.weight"
        ] + p[f"{name}.bias"]

    def modality(clip, m):  # [T, M, V, 3]
        out = torch.zeros_like(clip)
        for t in range(len(clip)):
            for v, parent in enumerate(LAYOUT.parents):
                if m == "joint":
                    out[t, :, v] = clip[t, :, v]
                elif m == "bone":
                    out[t, :, v] = clip[t, :, v] - clip[t, :, parent]
                elif t + 1 < len(clip):
                    out[t, :, v] = clip[t + 1, :, v] - clip[t, :, v]
        return out

    def tokens(x, stream):
        if stream == "temporal":
            return [x[t].flatten() for t in range(len(x))]
        return [x[:, m, v].flatten() for m in range(2) for v in range(4)]

    def embed(x, stream, m):
        name = f"backbone.{stream}.embedding.{m}"
        hidden = [
            layernorm(linear(token, f"{name}.0"), f"{name}.1").clamp(min=0)
            for token in tokens(x, stream)
        ]
        return [linear(token, f"{name}.3") for token in hidden]

    def transform(x, stream):
        name, width = f"backbone.{stream}.layers.0", MODEL["width"]
        if stream == "temporal":
            for t, token in enumerate(x):
                angle = [t / 10000 ** (2 * (i // 2) / width) for i in range(width)]
                x[t] = token + torch.tensor(
                    [math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angle)]
                )
        qkv = [linear(token, f"{name}.qkv").split(width) for token in x]
        encoded = []
        for (query, _, _), token in zip(qkv, x, strict=True):
            scores = torch.stack([query @ key / math.sqrt(width) for _, key, _ in qkv]).exp()
            mixed = sum(
                s * value for s, (_, _, value) in zip(scores / scores.sum(), qkv, strict=True)
            )
            token = layernorm(token + linear(mixed, f"{name}.out"), f"{name}.norm_attention")
            inner = linear(linear(token, f"{name}.expand").clamp(min=0), f"{name}.contract")
            encoded.append(layernorm(token + inner, f"{name}.norm_feedforward"))
        return torch.stack(encoded).max(0).values

    def encode(clip, names):
        feature = []
        for stream in ("temporal", "spatial"):
            embedded = [embed(modality(clip, m), stream, m) for m in names]
            x = embedded[0]
            if len(names) == 3:
                x = [
                    linear(sum(parts) / 3, f"backbone.{stream}.fusion")
                    for parts in zip(*embedded, strict=True)
                ]
            feature.append(transform(x, stream))
        return torch.cat(feature)

    def project(x, m):
        name = f"objective.decomposition.projectors.whole.{m}"
        for number in (0, 3):
            x = torch.stack([linear(row, f"{name}.{number}") for row in x])
            x = (x - x.mean(0)) / ((x - x.mean(0)).square().mean(0) + 1e-5).sqrt()
            x = (x * p[f"{name}.{number + 1}.weight"] + p[f"{name}.{number + 1}.bias"]).clamp(min=0)
        return torch.stack([linear(row, f"{name}.6") for row in x])

    def regulariser(z):
        cov = torch.cov(z.T)
        hinge = (1 - (cov.diag() + 1e-4).sqrt()).clamp(min=0).mean()
        return 5 * hinge + (cov.square().sum() - cov.diag().square().sum()) / z.shape[1]

    y = torch.stack([encode(clip, MODALITIES) for clip in views["fused"]])
    z = {m: project(torch.stack([encode(clip, [m]) for clip in views[m]]), m) for m in MODALITIES}
    zf = {m: project(y, m) for m in MODALITIES}
    mean = (z["joint"] + z["bone"] + z["motion"]) / 3
    intra = sum((z[m] - zf[m]).square().mean() for m in MODALITIES)
    inter = sum((z[m] - mean).square().mean() for m in MODALITIES)
    return (5 * (intra + inter) + sum(map(regulariser, (*z.values(), *zf.values())))).item()


def test_umurl_is_the_published_objective():
    net = framework(UMURL).double()
    with torch.no_grad():
        for (
            name,
            parameter,
        ) in net.named_parameters():  # norms and biases that begin at ones and zeros prove nothing
            if parameter.ndim == 1:
                parameter.add_(
                    0.1
                    * torch.randn(
                        parameter.shape, generator=torch.Generator().manual_seed(len(name))
                    )
                )
    assert net.objective.passes == (*MODALITIES, "fused")
    generator = torch.Generator().manual_seed(1)
    views = {
        name: torch.randn(4, 6, 2, 4, 3, generator=generator).double()
        for name in net.objective.passes
    }
    assert net.losses(views)["loss"].item() == pytest.approx(literal_umurl(net, views), rel=1e-6)


@pytest.mark.parametrize(("objective", "count"), [(DC, 5), (UMURL, 4)])
def test_a_step_draws_an_independent_view_for_each_pass(objective, count, monkeypatch):
    net = framework(objective)
    seen = {}
    monkeypatch.setattr(
        net, "losses", lambda views, *_: seen.update(views) or {"loss": torch.zeros(())}
    )
    net(clips(), seed=1, epoch=2)
    assert len(seen) == count
    assert all(view.shape == (4, 6, 2, 4, 3) for view in seen.values())
    drawn = list(seen.values())
    assert not any(torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


def test_objectives_see_the_same_views_in_the_passes_they_share(monkeypatch):
    seen = []
    for objective in (DC, UMURL):
        net = framework(objective)
        monkeypatch.setattr(
            net, "losses", lambda views, *_: seen.append(views) or {"loss": torch.zeros(())}
        )
        net(clips(), seed=1, epoch=2)
    assert all(torch.equal(seen[0][name], view) for name, view in seen[1].items())


def test_seed_and_epoch_decide():
    net = framework(DC)
    losses = [
        net(clips(), seed, epoch)["loss"].item() for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


@pytest.mark.parametrize(
    ("objective", "fusion"),
    [(DC, "mean"), (UMURL, "concatenation"), (CONVOLUTION, "attention"), (ATTENTION, "attention")],
)
def test_bfloat16_keeps_the_views_and_the_losses_in_float32(objective, fusion, monkeypatch):
    net = framework(objective, fusion=fusion)
    exact = net(clips(), seed=0, epoch=0)["loss"].item()
    losses, views = net.losses, {}
    monkeypatch.setattr(net, "losses", lambda drawn, *_: views.update(drawn) or losses(drawn))
    with torch.autocast("cpu", torch.bfloat16):
        result = net(clips(), seed=0, epoch=0)
    assert all(view.dtype == torch.float32 for view in views.values())
    assert all(value.dtype == torch.float32 for value in result.values())
    assert result["loss"].item() == pytest.approx(exact, rel=0.05)
    result["loss"].backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters())


def test_training_lowers_the_loss():
    net = framework(DC)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    history = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = net(clips(), seed=0, epoch=0)["loss"]
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert history[-1] < 0.5 * history[0]


def test_one_clip_is_refused():
    whole = clips()
    one = ClipBatch(whole.frames[:9], whole.offsets[:2], whole.ids[:1], whole.labels[:1])
    with pytest.raises(ValueError, match="at least two"):
        framework(DC)(one, seed=0, epoch=0)


# -- monitors


def many(count: int = 9) -> ClipBatch:
    frames = torch.randn(7 * count, 2, 4, 3, generator=torch.Generator().manual_seed(2))
    return ClipBatch(
        frames, 7 * torch.arange(count + 1), torch.arange(count), torch.full((count,), -1)
    )


def test_watching_changes_neither_losses_nor_gradients():
    found = []
    for watch in (False, True):
        net = framework(DC)
        losses = net(many(), seed=0, epoch=0, watch=watch)
        losses["loss"].backward()
        found.append((losses, [p.grad for p in net.parameters()], net.state_dict()))
    (plain, *others), (watched, *same) = found
    assert {n for n in watched if n not in plain} > {"collapse/deviation", "decomposition/joint"}
    torch.testing.assert_close(
        [{n: watched[n] for n in plain}, *same], [plain, *others], rtol=0, atol=0
    )
    assert all(
        value.isfinite() and not value.requires_grad
        for name, value in watched.items()
        if name != "loss"
    )


def test_monitors_are_of_the_features_and_of_what_decomposition_compares():
    net, clips_ = framework(DC).eval(), many()
    figures = net(clips_, seed=3, epoch=4, watch=True)
    views = net.draw(clips_, 3, 4, net.objective.passes)
    features = {name: net.backbone.encode({name: view})[name] for name, view in views.items()}
    assert figures["collapse/deviation"] == pytest.approx(
        deviation(features["fused"]).item(), rel=1e-5
    )
    between = torch.cosine_similarity(features["fused"], features["fused_other"]).mean().item()
    assert figures["collapse/alignment"].item() == pytest.approx(2 - 2 * between, rel=1e-4)
    targets, predictions = net.objective.decomposition(features, features["fused"])
    size = len(MODALITIES)
    for i, m in enumerate(MODALITIES):
        each = [
            torch.cosine_similarity(p, t)
            for p, t in zip(predictions["whole"][i::size], targets["whole"][i::size], strict=True)
        ]
        assert figures[f"decomposition/{m}"].item() == pytest.approx(
            torch.stack(each).mean().item(), rel=1e-4
        )


def test_monitors_look_at_features_before_their_norm():
    """After it every dimension has the same spread, whatever became of it."""
    plain, normed = (
        framework(DC, feature_norm=kind)(many(), seed=0, epoch=0, watch=True)
        for kind in ("none", "batch")
    )
    names = [name for name in plain if name.startswith("collapse/")]
    assert [normed[name] for name in names] == [plain[name] for name in names]
    assert normed["loss"] != plain["loss"]


def test_late_fusion_is_as_collapsed_as_the_worst_of_its_networks(monkeypatch):
    late = load(["objective=late"])
    net = framework(late.objective.model_dump(), fusion="late").eval()
    pooled, parts, clips_ = net.backbone.pooled, net.backbone.parts, many()
    drawn = net.draw(clips_, 0, 0, net.objective.passes)
    features = net.backbone.encode({"fused": drawn["fused"]})["fused"]
    found = net(clips_, seed=0, epoch=0, watch=True)
    each = [deviation(features[:, part]).item() for part in parts.values()]
    assert len(each) == 3 and found["collapse/deviation"] == pytest.approx(min(each), rel=1e-5)
    assert collapsed({name: value.item() for name, value in found.items()}) is None

    def dead(tokens):
        values = pooled(tokens).clone()
        values[..., parts["bone"]] = 1
        return values

    monkeypatch.setattr(net.backbone, "pooled", dead)
    found = net(clips_, seed=0, epoch=0, watch=True)
    assert collapsed({name: value.item() for name, value in found.items()})


def test_an_objective_of_one_fused_view_has_no_alignment():
    names = set(framework(UMURL)(many(), seed=0, epoch=0, watch=True))
    assert "collapse/uniformity" in names and "collapse/alignment" not in names


def test_few_clips_are_not_judged():
    assert not [
        n for n in framework(DC)(clips(), seed=0, epoch=0, watch=True) if n.startswith("collapse/")
    ]


# -- pairs of cameras


def test_the_second_fused_view_is_of_the_other_clip_and_nothing_else_changes():
    net, own = framework(DC), clips()
    order = [2, 0, 3, 3]
    frames = [own.frames[own.offsets[i] : own.offsets[i + 1]] for i in order]
    offsets = torch.tensor([0, *map(len, frames)]).cumsum(0)
    other = ClipBatch(torch.cat(frames), offsets, own.ids[order], own.labels)
    passes = net.objective.passes
    plain, paired = net.draw(own, 1, 2, passes), net.draw(replace(own, other=other), 1, 2, passes)
    assert all(torch.equal(paired[name], plain[name]) for name in passes if name != "fused_other")
    expected = net.draw(replace(other, ids=own.ids), 1, 2, ["fused_other"])["fused_other"]
    assert torch.equal(paired["fused_other"], expected)
    assert not torch.equal(
        paired["fused_other"][2], paired["fused_other"][3]
    )  # of one clip, in two ways
    itself = net.draw(replace(own, other=own), 1, 2, passes)
    assert all(torch.equal(itself[name], plain[name]) for name in passes)
    with pytest.raises(ValueError, match="a clip for each of 4"):
        replace(own, other=many())
