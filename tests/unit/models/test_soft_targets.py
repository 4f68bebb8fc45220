import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.alignment import InfoNCE
from models.choices import MODALITIES
from models.relations import Relations
from models.soft_targets import (
    SoftTargets,
    TargetInputs,
    Targets,
    TargetSettings,
    similarities,
)
from tests.helpers.examples import examples

SETTINGS = {
    "kind": "composed",
    "own_share": 0.3,
    "temperature": 0.2,
    "perplexity": None,
    "encoder": "current",
}
# Clips 0, 2 and 5 show one performance, and 1 and 4 another.
PERFORMANCES = torch.tensor([7, 3, 7, 9, 3, 7, 1])


def settings(**changes) -> TargetSettings:
    return TargetSettings(**(SETTINGS | changes))


def maker(mask: bool = False, relations: bool = False, **changes) -> SoftTargets:
    return SoftTargets(settings(**changes), mask_performances=mask, has_relations=relations)


def random(rows: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64)


def features(rows: int = 7) -> dict[str, torch.Tensor]:
    return {m: random(rows, 5, seed) for seed, m in enumerate(MODALITIES)}


def cosine(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(x @ y / (x.norm() * y.norm()))


def allowed(i: int, j: int, performances: torch.Tensor | None) -> bool:
    """Whether clip j may be like clip i, or be a wrong answer to it."""
    if i == j:
        return False
    return performances is None or bool(performances[i] != performances[j])


def literal_similar(each, temperature, performances=None) -> list[list[float]]:
    """P, one pair of clips at a time."""
    count = len(each[0])
    rows = []
    for i in range(count):
        others = [j for j in range(count) if allowed(i, j, performances)]
        row = [0.0] * count
        if not others:
            row[i] = 1.0
        for t in each:
            values = {j: math.exp(cosine(t[i], t[j]) / temperature) for j in others}
            for j in others:
                row[j] += values[j] / sum(values.values()) / len(each)
        rows.append(row)
    return rows


def literal_answers(similar: list[list[float]], own_share: float) -> list[list[float]]:
    """W."""
    rows = []
    for i, row in enumerate(similar):
        rows.append([own_share * (i == j) + (1 - own_share) * share for j, share in enumerate(row)])
    return rows


def literal_loss(a, b, answers, temperature, performances=None) -> float:
    """l(a, b), one pair of clips at a time."""
    total = 0.0
    count = len(a)
    for x, y in ((a, b), (b, a)):
        for i in range(count):
            columns = [j for j in range(count) if i == j or allowed(i, j, performances)]
            scores = {j: math.exp(cosine(x[i], y[j]) / temperature) for j in columns}
            for j in columns:
                total -= answers[i][j] * math.log(scores[j] / sum(scores.values())) / count / 2
    return total


def literal_relations(x, similar, temperature, performances=None) -> float:
    """The relational loss, one pair of clips at a time."""
    total = 0.0
    for i in range(len(x)):
        others = [j for j in range(len(x)) if allowed(i, j, performances)]
        scores = {j: math.exp(cosine(x[i], x[j]) / temperature) for j in others}
        for j in others:
            total -= similar[i][j] * math.log(scores[j] / sum(scores.values())) / len(x)
    return total


@pytest.mark.parametrize("own_share", [0.0, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_targets_and_losses_against_loops_over_pairs(own_share, masked):
    performances = PERFORMANCES if masked else None
    targets = maker(masked, own_share=own_share)(TargetInputs(features(), PERFORMANCES), [7])
    similar = literal_similar(list(features().values()), 0.2, performances)
    torch.testing.assert_close(targets.similar, torch.tensor(similar, dtype=torch.float64))
    answers = literal_answers(similar, own_share)
    torch.testing.assert_close(targets.answers, torch.tensor(answers, dtype=torch.float64))
    assert (targets.twins is not None) == masked
    a, b = random(7, 4, 10), random(7, 4, 11)
    expected = literal_loss(a, b, answers, 0.5, performances)
    assert InfoNCE(0.5)(a, b, targets).item() == pytest.approx(expected, rel=1e-10)
    expected = literal_relations(a, similar, 0.5, performances)
    assert Relations(0.5)(a, targets).item() == pytest.approx(expected, rel=1e-10)


def test_one_feature_with_no_share_of_its_own_is_plain_sce():
    """SCE (Denize et al., 2023) with lambda 0: the cross-entropy of two softmaxes."""
    z = random(9, 5, 0)
    targets = maker(kind="self", own_share=0.0)(TargetInputs({"fused": z}), [9])
    a, b = random(9, 4, 1), random(9, 4, 2)
    unit = z / z.norm(dim=1, keepdim=True)
    weights = (unit @ unit.T / 0.2).exp().fill_diagonal_(0)
    weights = weights / weights.sum(1, keepdim=True)
    expected = 0
    for x, y in ((a, b), (b, a)):
        scores = torch.cosine_similarity(x[:, None], y[None], dim=2) / 0.1
        shares = scores.exp() / scores.exp().sum(1, keepdim=True)
        expected = expected - (weights * shares.log()).sum(1).mean() / 2
    torch.testing.assert_close(InfoNCE(0.1)(a, b, targets), expected)


def test_the_mask_of_one_hot_targets_against_a_loop_over_pairs():
    """Clips of the anchor's performance are no wrong answers, in rows and in columns."""
    targets = maker(mask=True, kind="one_hot")(TargetInputs({}, PERFORMANCES), [7])
    assert targets.similar is None
    assert targets.answers is None
    a, b = random(7, 4, 10), random(7, 4, 11)
    own = [[float(i == j) for j in range(7)] for i in range(7)]
    expected = literal_loss(a, b, own, 0.5, PERFORMANCES)
    assert InfoNCE(0.5)(a, b, targets).item() == pytest.approx(expected, rel=1e-10)
    assert InfoNCE(0.5)(a, b).item() > expected
    unique = maker(mask=True, kind="one_hot")(TargetInputs({}, torch.arange(7)), [7])
    assert torch.equal(InfoNCE(0.5)(a, b, unique), InfoNCE(0.5)(a, b))


@pytest.mark.parametrize("relations", [False, True])
def test_a_batch_of_one_performance_has_finite_losses(relations):
    """No clip has another one to be like: each is its own answer."""
    targets = maker(mask=True, relations=relations)(
        TargetInputs(features(), torch.zeros(7, dtype=torch.int64)), [7]
    )
    assert torch.equal(targets.similar, torch.eye(7, dtype=torch.float64))
    x = random(7, 4, 1).requires_grad_()
    for loss in (InfoNCE(0.1)(x, random(7, 4, 2), targets), Relations(0.1)(x, targets)):
        (gradient,) = torch.autograd.grad(loss, x)
        assert loss.item() == pytest.approx(0, abs=1e-12)
        assert not gradient.any()


def test_gradients_agree_with_finite_differences():
    loss = InfoNCE(0.5)
    relations = Relations(0.5)
    a, b = random(7, 4, 3).requires_grad_(), random(7, 4, 4).requires_grad_()
    for mask in (False, True):
        targets = maker(mask)(TargetInputs(features(), PERFORMANCES), [7])
        assert torch.autograd.gradcheck(lambda x, y, t=targets: loss(x, y, t), (a, b))
        assert torch.autograd.gradcheck(lambda x, t=targets: relations(x, t), (a,))


def test_no_gradient_reaches_the_targets():
    given = {name: value.requires_grad_() for name, value in features().items()}
    targets = maker(perplexity=2.0, temperature=None)(TargetInputs(given), [7])
    assert not targets.similar.requires_grad
    assert not targets.answers.requires_grad


# -- perplexity


@examples(20)
@given(rows=st.integers(3, 12), seed=st.integers(0, 99), share=st.floats(0.05, 0.95))
def test_each_row_of_each_feature_has_the_perplexity(rows, seed, share):
    """Between one clip and all others; the mean over the features is of such rows."""
    perplexity = 1.01 + share * (rows - 2.02)
    neighbours = ~torch.eye(rows, dtype=torch.bool)
    each = []
    for number in range(2):
        t = random(rows, 6, seed + number)
        shares = similarities([t], neighbours, temperature=None, perplexity=perplexity)
        assert not shares.diagonal().any()
        torch.testing.assert_close(shares.sum(1), torch.ones(rows, dtype=torch.float64))
        found = torch.special.entr(shares).sum(1).exp()
        torch.testing.assert_close(found, torch.full_like(found, perplexity), rtol=1e-5, atol=0)
        each.append((t, shares))
    both = similarities([t for t, _ in each], neighbours, temperature=None, perplexity=perplexity)
    torch.testing.assert_close(both, (each[0][1] + each[1][1]) / 2)


def test_the_rows_of_a_perplexity_are_softmaxes_of_the_cosines():
    """log P differs from row to row by a temperature of its own, and by a constant."""
    t = random(8, 6, 0)
    neighbours = ~torch.eye(8, dtype=torch.bool)
    shares = similarities([t], neighbours, temperature=None, perplexity=3.0)
    for i in range(8):
        others = [j for j in range(8) if j != i]
        cosines = torch.tensor([cosine(t[i], t[j]) for j in others], dtype=torch.float64)
        logs = shares[i, others].log()
        slopes = logs.diff() / cosines.diff()
        torch.testing.assert_close(slopes, slopes[0].expand_as(slopes))
        assert slopes[0] > 0


def test_a_perplexity_out_of_reach_is_as_near_as_a_row_allows():
    t = random(6, 5, 0)
    neighbours = ~torch.eye(6, dtype=torch.bool)
    even = similarities([t], neighbours, temperature=None, perplexity=40.0)
    torch.testing.assert_close(even, neighbours / 5.0, rtol=0, atol=1e-3, check_dtype=False)
    # All clips are equally near: no temperature prefers one of them.
    same = torch.ones(6, 5, dtype=torch.float64)
    alike = similarities([same], neighbours, temperature=None, perplexity=2.0)
    torch.testing.assert_close(alike, neighbours / 5.0, check_dtype=False)


# -- what is needed, and what is said


@pytest.mark.parametrize(
    ("changes", "relations", "passes"),
    [
        ({}, False, ("joint", "motion")),
        ({"kind": "self"}, False, ("fused",)),
        ({"own_share": 1.0}, False, ()),
        ({"own_share": 1.0}, True, ("joint", "motion")),
        ({"kind": "one_hot"}, False, ()),
    ],
)
def test_whole_clips_are_encoded_only_where_they_matter(changes, relations, passes):
    targets = maker(relations=relations, **changes)
    assert targets.passes(("joint", "motion")) == passes
    if passes:
        with pytest.raises(ValueError, match="features of whole clips"):
            targets(TargetInputs(), [7])
    else:
        made = targets(TargetInputs(), [7])
        assert made.similar is None and made.answers is None and made.twins is None


def test_with_the_whole_share_for_itself_relations_alone_are_soft():
    targets = maker(relations=True, own_share=1.0)(TargetInputs(features()), [7])
    assert targets.answers is None
    assert targets.similar is not None


def test_figures():
    targets = maker()(TargetInputs(features()), [7])
    labels = torch.tensor([0, 1, 0, -1, -1, 1, 2])
    found = targets.figures(labels, [7])
    rows = literal_similar(list(features().values()), 0.2)
    entropy = -sum(p * math.log(p) for row in rows for p in row if p) / 7
    assert found["targets/entropy"].item() == pytest.approx(entropy)
    assert found["targets/perplexity"].item() == pytest.approx(math.exp(entropy))
    known = [i for i in range(7) if labels[i] >= 0]
    shares = [sum(rows[i][j] for j in range(7) if labels[i] == labels[j]) for i in known]
    assert found["targets/purity"].item() == pytest.approx(sum(shares) / len(known))
    unknown = torch.full((7,), -1)
    assert found.keys() - targets.figures(unknown, [7]).keys() == {"targets/purity"}
    assert targets.figures(None, [7]).keys() == targets.figures(unknown, [7]).keys()
    assert Targets().figures(labels, [7]) == {}


def test_full_precision_under_autocast():
    given = {name: value.bfloat16() for name, value in features().items()}
    wide = {name: value.double() for name, value in given.items()}
    for sharpness in ({}, {"temperature": None, "perplexity": 3.0}):
        exact = maker(**sharpness)(TargetInputs(wide), [7])
        with torch.autocast("cpu", torch.bfloat16):
            targets = maker(**sharpness)(TargetInputs(given), [7])
            a, b = random(7, 4, 1), random(7, 4, 2)
            narrow = InfoNCE(0.1)(a.bfloat16(), b.bfloat16(), targets)
            relations = Relations(0.1)(a.bfloat16(), targets)
        assert targets.similar.dtype == narrow.dtype == relations.dtype == torch.float32
        torch.testing.assert_close(targets.similar.double(), exact.similar, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "hard"}, "one of one_hot, composed, self, got hard"),
        ({"encoder": "momentum"}, "one of current, average"),
        ({"own_share": 1.1}, "from 0 to 1"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": None}, "one of targets.temperature and targets.perplexity"),
        ({"perplexity": 3.0}, "one of targets.temperature and targets.perplexity"),
        ({"temperature": None, "perplexity": 1.0}, "above 1"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_relations_out_of_range():
    with pytest.raises(ValueError, match="temperature"):
        Relations(0)
