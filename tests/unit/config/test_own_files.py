"""Data sets of a user's own: what may be left out of their files, and what they may name."""

import shutil

import pytest
import yaml

from pipeline.config.compose import load
from pipeline.core.errors import ConfigError
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


@pytest.mark.parametrize(
    "entry", ["/other/x", "/other: x", "/data: ../other/x", "/x", "../other/x"]
)
def test_defaults_name_only_files_that_are_checked(tmp_path, entry):
    (tmp_path / "data").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.yaml").write_text("x: !!python/name:os.system\n")
    (tmp_path / "data" / "mine.yaml").write_text(f"defaults:\n  - {entry}\n  - _self_\n")
    with pytest.raises(ConfigError, match=r"data/mine\.yaml: line 2 has .*among its defaults"):
        load(["data=mine"], str(tmp_path))
