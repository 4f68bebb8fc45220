"""The random start's feature norm gets statistics, once, and its export reproduces its features."""

import numpy as np
import torch
from torch.nn.functional import batch_norm

from pipeline.encoder.export import load_encoder
from pipeline.evaluate.extractor import load_for_extraction
from pipeline.evaluate.feature_norm import NormStatistics, forget_statistics
from pipeline.evaluate.steps import complete_random_start


def features_of(encoder, prepare, store, ids) -> np.ndarray:
    clips = [store.clip(int(row)) for row in ids]
    return encoder.features(prepare(clips)).numpy()


def test_normalised_features_are_those_of_batch_normalisation():
    train = np.random.default_rng(0).normal(5, 3, size=(40, 6)).astype(np.float32)
    expected = batch_norm(torch.from_numpy(train), None, None, training=True)
    found = NormStatistics.of(train).normalised(train)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_export_gives_the_normalised_features(store, by_cameras, encoders):
    raw = features_of(*load_encoder(encoders["random"]), store, by_cameras.ids)
    statistics = NormStatistics.of(by_cameras.rows(raw)[0])
    complete_random_start(encoders["random"], statistics)
    encoder, prepare = load_encoder(encoders["random"])
    found = features_of(encoder, prepare, store, by_cameras.ids)
    np.testing.assert_allclose(found, statistics.normalised(raw), rtol=1e-5, atol=1e-5)
    assert np.abs(found - raw).max() > 1
    assert encoder.feature_norm["fused"].num_batches_tracked == 1


def test_a_feature_that_never_changes_is_zero(config, encoders):
    backbone, _ = load_encoder(encoders["random"])
    # Such features are small: a thousandth as large as eps is where rounding would show.
    constant = np.full((10, backbone.feature_width), 3.0, np.float32)
    statistics = NormStatistics.of(constant)
    np.testing.assert_array_equal(statistics.normalised(constant), 0)
    statistics.write_into(backbone)
    norm = backbone.feature_norm["fused"]
    raw = torch.from_numpy(constant) * (1 + 1e-5) ** 0.5
    assert norm(raw).abs().max() < 1e-3


def test_statistics_of_an_earlier_evaluation_are_forgotten(store, by_cameras, encoders):
    uri = encoders["random"]
    raw = features_of(*load_for_extraction("random", uri), store, by_cameras.ids)
    complete_random_start(uri, NormStatistics.of(raw))
    again = features_of(*load_for_extraction("random", uri), store, by_cameras.ids)
    np.testing.assert_array_equal(again, raw)
    # Those of the trained encoder are its own.
    trained = encoders["encoder"]
    complete_random_start(trained, NormStatistics.of(raw))
    kept, _ = load_for_extraction("encoder", trained)
    assert kept.feature_norm["fused"].num_batches_tracked == 1


def test_forgetting_reaches_every_norm(encoders):
    backbone, _ = load_encoder(encoders["random"])
    assert len(backbone.feature_norm) > 1
    for norm in backbone.feature_norm.values():
        norm.running_mean.fill_(3)
    forget_statistics(backbone)
    for norm in backbone.feature_norm.values():
        assert not norm.running_mean.any()
        assert (norm.running_var == 1).all()
