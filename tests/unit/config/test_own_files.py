"""Data sets of a user's own: what may be left out of their files."""

import shutil

import yaml

from pipeline.config.compose import load
from tests.helpers.paths import ROOT


def test_what_would_be_null_may_be_left_out(tmp_path):
    own = tmp_path / "mine"
    shutil.copytree(ROOT / "examples" / "own_data" / "mine", own)
    path = own / "data" / "mine.yaml"

    values = yaml.safe_load(path.read_text())
    assert values.pop("classes") and "select" in values["reader"]
    del values["reader"]["select"]
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    data = load(["data=mine", "views.corrupt_joints=6", "data.raw=x"], str(own)).data
    assert data.classes is None
    assert data.reader.select == {}
