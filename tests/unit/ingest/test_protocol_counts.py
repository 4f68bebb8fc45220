"""How many clips of a list are on each side of the protocols."""

import pytest

from pipeline.config.compose import load
from pipeline.core.errors import ConfigError
from pipeline.ingest.protocol_counts import count_protocols

CLIPS = ["S001C001P001R001A001", "S001C002P003R001A002", "S002C003P001R002A060"]


def test_names_are_counted_once_and_what_is_no_name_is_said(tmp_path, capsys):
    (tmp_path / "names").write_text("\n".join([*CLIPS, CLIPS[0], CLIPS[1] + CLIPS[2]]))
    config = load(["stages=[protocols]", "data=ntu60", f"data.names={tmp_path / 'names'}"])
    assert count_protocols(config.data) == {"xsub": [2, 1], "xview": [2, 1]}
    assert "1 lines of" in capsys.readouterr().out
    config = load(["stages=[protocols]", "data=pku1", f"data.names={tmp_path / 'names'}"])
    with pytest.raises(
        ConfigError, match=r"data\.reader\.format=pku_mmd: the names of its clips do not say"
    ):
        count_protocols(config.data)
