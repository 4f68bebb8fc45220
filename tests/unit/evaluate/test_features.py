"""What is refused before an actor is started, and what an actor does; without Ray."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.config.compose import load
from pipeline.core.errors import UserError
from pipeline.encoder.build import build_framework
from pipeline.encoder.export import export_encoder, load_encoder
from pipeline.evaluate.extractor import Extraction, Extractor
from pipeline.evaluate.features import ExtractedFeatures, extract
from pipeline.store.copies import digests
from tests.helpers.encoders import SMALL


def test_clips_of_another_kind_than_the_encoder_s_are_refused(
    store, by_cameras, encoders, config, tmp_path
):
    other = replace(store, manifest=store.manifest | {"persons": 2})
    with pytest.raises(UserError, match=r"takes clips of 1 persons, .* holds 2"):
        extract(other, by_cameras, encoders, config.cluster, 16)
    kinect_v2 = load([*SMALL[1:], "data.persons=1"])
    export_encoder(str(tmp_path / "other"), build_framework(kinect_v2).backbone, kinect_v2)
    with pytest.raises(UserError, match=r"'kinect_v2' .25 joints. is asked for"):
        extract(store, by_cameras, {"other": str(tmp_path / "other")}, config.cluster, 16)
    with pytest.raises(UserError, match=r"missing/config\.json: not found"):
        extract(store, by_cameras, {"encoder": str(tmp_path / "missing")}, config.cluster, 16)


def test_an_actor_returns_a_row_a_clip(store, encoders):
    clips = [store.clip(row) for row in (4, 9, 4)]
    rows = pa.table({"id": [4, 9, 4], "joints": [clip.tobytes() for clip in clips]})
    extraction = Extraction(encoders, store.persons, store.joints, torch.get_num_threads(), "cpu")
    table = Extractor(extraction)(rows)
    assert table.column_names == ["id", "digest", "encoder", "random"]
    assert table["id"].to_pylist() == [4, 9, 4]
    expected = digests([clip.tobytes() for clip in clips])
    np.testing.assert_array_equal(table["digest"].to_numpy(), expected)
    extracted = ExtractedFeatures.empty(5, {"encoder": 32, "random": 32})
    extracted.put(1, table)
    np.testing.assert_array_equal(extracted.digests[1:4], expected)
    for name, uri in encoders.items():
        backbone, prepare = load_encoder(uri)
        features = backbone.features(prepare(clips)).numpy()
        np.testing.assert_allclose(extracted.features[name][1:4], features, rtol=1e-4, atol=1e-5)
