"""Linear evaluation against scikit-learn, a literal loop and invariances."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import nn

from models.probes import LinearProbe, linear_evaluation, standardise
from models.retrieval import retrieval
from tests.helpers.clusters import clusters
from tests.helpers.examples import examples

ADAMW = LinearProbe(
    standardise=True, optimiser="adamw", lr=1e-3, weight_decay=1e-2, batch_size=128, epochs=100
)
SGD = LinearProbe(
    standardise=False,
    optimiser="sgd",
    lr=0.03,
    weight_decay=0.0,
    batch_size=50,
    epochs=6,
    momentum=0.9,
    milestones=[3, 5],
)
SHORT = replace(ADAMW, epochs=3)


def test_linear_reaches_the_optimum_of_logistic_regression():
    train, test = clusters(600, spread=2), clusters(2000, spread=2, seed=1)
    result = linear_evaluation(
        *train, *test, replace(ADAMW, epochs=300), seed=0
    )  # long enough to converge
    reference = LogisticRegression(C=1e4, max_iter=2000).fit(train[0].numpy(), train[1].numpy())
    assert result.classes.tolist() == reference.classes_.tolist() == [3, 7, 8, 40]
    assert (
        0.6 < result.accuracy < 0.97
    )  # neither trivial nor chance, or the next line would say little
    assert abs(result.accuracy - reference.score(test[0].numpy(), test[1].numpy())) < 0.015
    agreement = (result.predictions.numpy() == reference.predict(test[0].numpy())).mean()
    assert agreement > 0.94


@pytest.mark.parametrize("recipe", [SGD, replace(SHORT, standardise=False, batch_size=37)])
def test_linear_equals_a_literal_loop(recipe):
    (x, y), (x_test, y_test) = clusters(230), clusters(90, seed=1)
    result = linear_evaluation(x, y, x_test, y_test, recipe, seed=5)

    generator = torch.Generator().manual_seed(5)
    layer = nn.Linear(x.shape[1], 4)
    layer.weight.data = torch.empty_like(layer.weight).normal_(0, 0.01, generator=generator)
    layer.bias.data.zero_()
    if recipe.optimiser == "sgd":
        optimiser = torch.optim.SGD(layer.parameters(), lr=recipe.lr, momentum=recipe.momentum)
    else:
        optimiser = torch.optim.AdamW(
            layer.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
    index_of = {3: 0, 7: 1, 8: 2, 40: 3}
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(x), generator=generator).tolist()
        losses = []
        for start in range(0, len(x), recipe.batch_size):
            rows = order[start : start + recipe.batch_size]
            rate = recipe.lr * 0.1 ** sum(epoch >= milestone for milestone in recipe.milestones)
            optimiser.param_groups[0]["lr"] = rate
            target = torch.tensor([index_of[int(y[row])] for row in rows])
            loss = nn.CrossEntropyLoss()(layer(torch.stack([x[row] for row in rows])), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert result.train_loss[epoch] == pytest.approx(sum(losses) / len(losses), rel=1e-4)
        predicted = [[3, 7, 8, 40][int(row.argmax())] for row in layer(x_test)]
        expected = sum(p == t for p, t in zip(predicted, y_test.tolist(), strict=True)) / len(
            y_test
        )
        assert result.test_accuracy[epoch] == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(result.logits, layer(x_test).detach(), rtol=1e-3, atol=1e-4)
    assert result.predictions.tolist() == predicted


def test_the_result_is_the_last_epoch_and_the_best_is_named_beside_it():
    # A strong feature agrees with 7 of 10 training labels, a faint one with all of them, and on the
    # test side it is the other way round: the strong one is learned first (all right), the faint
    # one overrules it in the end (all wrong).
    label = torch.arange(40) % 2
    sign = 2.0 * label - 1
    strong = torch.where(torch.arange(40) % 20 < 14, sign, -sign)
    train, test = torch.stack([strong, 0.2 * sign], 1), torch.stack([sign, -0.2 * sign], 1)
    recipe = replace(SGD, lr=2.0, momentum=0.0, batch_size=40, epochs=2000, milestones=())
    result = linear_evaluation(train, label, test, label, recipe, seed=0)
    assert result.best == 1 and result.accuracy == 0
    assert result.test_accuracy[-1] == 0 and max(result.test_accuracy) == 1
    assert len(result.test_accuracy) == len(result.train_loss) == recipe.epochs
    assert result.predictions.tolist() == (1 - label).tolist()


def test_the_seed_fixes_the_probe_and_another_seed_differs():
    train, test = clusters(100), clusters(50, seed=1)
    torch.manual_seed(1)
    first = linear_evaluation(*train, *test, SHORT, seed=3)
    after = torch.rand(1)
    torch.manual_seed(2)
    again = linear_evaluation(*train, *test, SHORT, seed=3)
    assert torch.equal(first.logits, again.logits)
    assert not torch.equal(first.logits, linear_evaluation(*train, *test, SHORT, seed=4).logits)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))  # the caller's random state is left alone


@examples(25)
@given(st.integers(2, 40), st.integers(2, 8), st.integers(0, 2**31))
def test_standardisation_uses_the_training_side_alone(count, width, seed):
    generator = torch.Generator().manual_seed(seed)
    train = torch.randn(count, width, generator=generator) * 3 + 5
    train[:, 0] = 123.456  # a dead dimension
    test = torch.randn(7, width, generator=generator)
    left, right = standardise(train, test)
    deviation = train[:, 1:].double().std(0, correction=0)
    expected = (test[:, 1:].double() - train[:, 1:].double().mean(0)) / deviation
    torch.testing.assert_close(right[:, 1:].double(), expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(left[:, 0], torch.zeros(count)) and torch.equal(right[:, 0], torch.zeros(7))
    torch.testing.assert_close(
        left[:, 1:].square().mean(0), torch.ones(width - 1), rtol=1e-3, atol=1e-3
    )
    # One more test clip, however far out, changes nothing for the others.
    wider = standardise(train, torch.cat([test, torch.full((1, width), 1e6)]))
    assert torch.equal(wider[0], left) and torch.equal(wider[1][:7], right)


def test_the_standardised_probe_does_not_see_the_scale_of_a_feature():
    (x, y), (x_test, y_test) = clusters(200), clusters(100, seed=1)
    scale = torch.logspace(-3, 3, x.shape[1])
    plain = linear_evaluation(x, y, x_test, y_test, SHORT, seed=0)
    scaled = linear_evaluation(x * scale + 4, y, x_test * scale + 4, y_test, SHORT, seed=0)
    torch.testing.assert_close(plain.logits, scaled.logits, rtol=1e-2, atol=1e-2)
    raw = linear_evaluation(
        x * scale + 4, y, x_test * scale + 4, y_test, replace(SHORT, standardise=False), seed=0
    )
    assert not torch.allclose(plain.logits, raw.logits, rtol=1e-2, atol=1e-2)


PARTS = (slice(0, 4), slice(4, 8), slice(8, 12))


@pytest.mark.parametrize("recipe", [SGD, SHORT])
def test_late_fusion_averages_the_scores_of_networks_probed_alone(recipe):
    (x, y), (x_test, y_test) = clusters(230, spread=2), clusters(90, spread=2, seed=1)
    fused = linear_evaluation(x, y, x_test, y_test, recipe, seed=5, parts=PARTS)
    alone = [
        linear_evaluation(x[:, part], y, x_test[:, part], y_test, recipe, seed=5) for part in PARTS
    ]
    scores = np.mean([result.logits.double().softmax(1).numpy() for result in alone], axis=0)
    np.testing.assert_allclose(fused.logits.exp(), scores, rtol=2e-4, atol=1e-6)
    assert fused.predictions.tolist() == fused.classes[scores.argmax(1)].tolist()
    assert fused.accuracy == pytest.approx((fused.predictions == y_test).double().mean().item())
    assert fused.train_loss == pytest.approx(
        np.mean([result.train_loss for result in alone], axis=0).tolist(), rel=1e-4
    )
    assert any(fused.predictions.tolist() != result.predictions.tolist() for result in alone)


@pytest.mark.parametrize("measure", ["linear", "retrieval"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda x, y, xt, yt: (x, y, xt, torch.where(yt == 8, 41, yt)),
            "never occur on the training side: 41",
        ),
        (
            lambda x, y, xt, yt: (x, y, xt, torch.where(yt == 8, 5, yt)),
            "never occur on the training side: 5",
        ),
        (
            lambda x, y, xt, yt: (x, torch.where(y == 8, -1, y), xt, yt),
            "training side have no label",
        ),
        (lambda x, y, xt, yt: (x[:0], y[:0], xt, yt), "training side has no clips"),
        (lambda x, y, xt, yt: (x, y, xt[:0], yt[:0]), "test side has no clips"),
        (lambda x, y, xt, yt: (x, y, xt * math.nan, yt), "test side are not finite"),
        (
            lambda x, y, xt, yt: (x, y[1:], xt, yt),
            r"training side needs features .* got \[50, 12\] and \[49\]",
        ),
    ],
)
def test_bad_sides_are_refused(measure, spoil, message):
    sides = spoil(*clusters(50), *clusters(30, seed=1))
    with pytest.raises(ValueError, match=message):
        linear_evaluation(*sides, SHORT, seed=0) if measure == "linear" else retrieval(*sides)


def test_a_diverging_probe_is_an_error():
    (x, y), test = clusters(50), clusters(30, seed=1)
    with pytest.raises(ValueError, match="diverged at lr="):
        linear_evaluation(x * 1e20, y, *test, replace(SGD, lr=1e20), seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimiser": "adam"}, "optimiser 'adam'"),
        ({"epochs": 0}, "at least 1"),
        ({"lr": 0.0}, "lr above 0"),
        ({"momentum": 0.9}, "momentum"),
    ],
)
def test_impossible_recipes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(ADAMW, **change)
