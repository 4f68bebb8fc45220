"""Retrieval against scikit-learn, literal loops over clips, and invariances."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from models.retrieval import retrieval
from tests.helpers.clusters import clusters
from tests.helpers.examples import examples

PARTS = (slice(0, 4), slice(4, 8), slice(8, 12))


def exact(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features whose cosines are exact multiples of 1/8, so that many are equal.

    Each has 1, 4 or 16 entries of 1 or -1, so its length is a power of two.
    """
    random = np.random.default_rng(seed)
    features = np.zeros((count, 16), np.float32)
    for row in range(count):
        entries = random.choice(16, random.choice([1, 4, 16]), replace=False)
        features[row, entries] = random.choice([-1, 1], len(entries))
    labels = random.choice([3, 7, 8], count)
    # Each label occurs, so that no test label is missing on the training side.
    labels[:3] = [3, 7, 8]
    return torch.from_numpy(features), torch.from_numpy(labels)


def cosines(test: Tensor, train: Tensor) -> np.ndarray:
    """float64 [N_test, N_train]."""
    queries = nn.functional.normalize(test.double(), dim=1)
    gallery = nn.functional.normalize(train.double(), dim=1)
    return (queries @ gallery.T).numpy()


def average_precision(similarity: list[float], relevant: list[bool]) -> float:
    """By the definition: from one distance to the next, the precision over the clips within it."""
    clips = list(zip(similarity, relevant, strict=True))
    total = 0.0
    for threshold in sorted(set(similarity), reverse=True):
        within = [hit for value, hit in clips if value >= threshold]
        new = [hit for value, hit in clips if value == threshold]
        total += sum(new) * sum(within) / len(within)
    return total / sum(relevant)


def is_found(similarity: list[float], relevant: list[bool], k: int) -> bool:
    """Whether one of the k nearest is relevant. Of equally near ones the others come first."""
    order = sorted(range(len(similarity)), key=lambda clip: (-similarity[clip], relevant[clip]))
    return any(relevant[clip] for clip in order[:k])


@examples(30)
@given(st.integers(3, 60), st.integers(3, 20), st.integers(0, 2**31))
def test_precision_and_recall_equal_a_loop_also_where_clips_are_equally_near(
    gallery, queries, seed
):
    (train, train_labels), (test, test_labels) = exact(gallery, seed), exact(queries, seed + 1)
    found = retrieval(train, train_labels, test, test_labels)
    similarity = cosines(test, train)
    expected = []
    for row, label in zip(similarity.tolist(), test_labels, strict=True):
        expected.append(average_precision(row, (train_labels == label).tolist()))
    np.testing.assert_allclose(found.average_precision, expected, rtol=1e-12)
    assert found.mean_average_precision == pytest.approx(np.mean(expected))
    for k in (1, 2, 5, 10):
        hits = []
        for row, label in zip(similarity.tolist(), test_labels, strict=True):
            hits.append(is_found(row, (train_labels == label).tolist(), k))
        assert found.recall(k) == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("sides", ["clusters", "exact"])
def test_average_precision_equals_scikit_learn(sides):
    if sides == "clusters":
        (train, train_labels), (test, test_labels) = clusters(300), clusters(150, seed=1)
    else:
        (train, train_labels), (test, test_labels) = exact(300, 0), exact(150, 1)
    found = retrieval(train, train_labels, test, test_labels)
    expected = []
    for row, label in zip(cosines(test, train), test_labels, strict=True):
        expected.append(average_precision_score(train_labels.numpy() == label.item(), row))
    # Rounding to single precision may swap two clips that are nearly equally near.
    np.testing.assert_allclose(found.average_precision, expected, atol=1e-6)


def test_features_that_are_all_alike_retrieve_nothing():
    (train, labels), (test, test_labels) = clusters(60), clusters(30, seed=1)
    found = retrieval(torch.ones_like(train), labels, torch.ones_like(test), test_labels)
    shares = [(labels == label).double().mean().item() for label in test_labels]
    np.testing.assert_allclose(found.average_precision, shares, rtol=1e-12)
    assert found.recall(5) == 0
    # As many neighbours as there are clips always have one of the class.
    assert found.recall(60) == 1


def test_perfect_features_have_a_precision_and_a_recall_of_one():
    labels = torch.arange(4).repeat(5)
    features = nn.functional.one_hot(labels).float()
    found = retrieval(features, labels, features[:8], labels[:8])
    assert found.average_precision.tolist() == [1.0] * 8
    assert found.recall(1) == found.recall(10) == found.accuracy == 1


@examples(25)
@given(st.integers(0, 2**31))
def test_precision_does_not_depend_on_the_order_of_the_gallery_nor_on_scale(seed):
    (train, labels), (test, test_labels) = exact(50, 0), exact(20, 1)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    # Powers of two, so that no rounding changes.
    scale = 2.0 ** torch.arange(50).remainder(5).unsqueeze(1)
    found = retrieval(train, labels, test, test_labels)
    again = retrieval((train * scale)[order], labels[order], test, test_labels)
    assert torch.equal(found.average_precision, again.average_precision)
    assert torch.equal(found.strangers, again.strangers)


@pytest.mark.parametrize("neighbours", [1, 5, 20])
def test_retrieval_equals_scikit_learn(neighbours):
    train, test = clusters(300, spread=1.3), clusters(150, spread=1.3, seed=1)
    similarity = torch.from_numpy(cosines(test[0], train[0]))
    reference = KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute")
    reference.fit(train[0].double().numpy(), train[1].numpy())
    result = retrieval(*train, *test, neighbours=neighbours)
    # Where two classes have equally many votes scikit-learn takes the smaller label and we the
    # nearest clip.
    votes = np.array([[int((row == label).sum()) for label in reference.classes_]
                      for row in train[1][similarity.topk(neighbours, dim=1).indices]])  # fmt: skip
    clear = (votes == votes.max(1, keepdims=True)).sum(1) == 1
    assert clear.sum() > 100
    expected = reference.predict(test[0].double().numpy())
    assert (result.predictions.numpy()[clear] == expected[clear]).all()
    assert result.accuracy == pytest.approx((result.predictions == test[1]).float().mean().item())


def test_a_tied_vote_goes_to_the_nearest_clip():
    angle = torch.tensor([0.0, 0.1, 0.2, 0.3, 2.0])
    gallery = torch.stack([angle.cos(), angle.sin()], 1)
    labels = torch.tensor([9, 1, 1, 9, 5])
    query = torch.tensor([[1.0, 0.0]])
    assert retrieval(
        gallery, labels, query, torch.tensor([9]), neighbours=4
    ).predictions.tolist() == [9]
    assert retrieval(
        gallery, labels, query, torch.tensor([9]), neighbours=3
    ).predictions.tolist() == [1]


@examples(25)
@given(st.integers(1, 700), st.integers(1, 7))
def test_retrieval_does_not_depend_on_chunks(chunk, neighbours):
    train, test = clusters(40), clusters(30, seed=1)
    whole = retrieval(*train, *test, neighbours=neighbours)
    cut = retrieval(*train, *test, neighbours, chunk_elements=chunk)
    assert torch.equal(whole.predictions, cut.predictions)
    # Another cut may round a similarity in another way, and swap two clips.
    torch.testing.assert_close(whole.average_precision, cut.average_precision, rtol=0, atol=1e-6)


def test_late_fusion_retrieves_by_the_mean_of_the_networks_similarities():
    (x, y), (x_test, y_test) = clusters(300, spread=2), clusters(150, spread=2, seed=1)
    x, x_test = (
        values * torch.tensor([1.0, 5.0, 50.0]).repeat_interleave(4) for values in (x, x_test)
    )
    unit = [
        [nn.functional.normalize(v.double()[:, part], dim=1) for part in PARTS] for v in (x_test, x)
    ]
    similarity = torch.stack(
        [query @ gallery.T for query, gallery in zip(*unit, strict=True)]
    ).mean(0)
    found = retrieval(x, y, x_test, y_test, parts=PARTS)
    assert torch.equal(found.predictions, y[similarity.argmax(1)])
    for row, label, precision in zip(similarity, y_test, found.average_precision, strict=True):
        expected = average_precision_score((y == label).numpy(), row.numpy())
        assert precision == pytest.approx(expected, abs=1e-6)
    assert not torch.equal(
        found.predictions, retrieval(x, y, x_test, y_test).predictions
    )  # where lengths decide


def test_more_neighbours_than_clips_are_refused():
    with pytest.raises(ValueError, match="asks for 51 neighbours of a gallery of 50"):
        retrieval(*clusters(50), *clusters(30, seed=1), neighbours=51)
