"""Attempts to train: who has lost the output directory deletes and writes nothing in it."""

import json
import queue
from types import SimpleNamespace

import pytest

from pipeline.core.errors import UserError
from pipeline.pretrain.fit import fit
from pipeline.pretrain.follower import Follower
from pipeline.pretrain.messages import RowLogged
from pipeline.runs.directory import RunDirectory
from pipeline.runs.owner import take
from pipeline.runs.owner_record import OwnerRecord


def test_checkpoints_of_a_live_attempt_are_not_pruned(tmp_path):
    directory = RunDirectory(str(tmp_path))
    directory.owner = take(str(tmp_path))
    theirs = tmp_path / "checkpoints" / "attempt-theirs" / "step-00000001"
    theirs.mkdir(parents=True)
    record = OwnerRecord(host="gpu-7", pid=4242, attempt="attempt-theirs").model_dump()
    (tmp_path / "owner.json").write_text(json.dumps(record))
    job = SimpleNamespace(checkpoints=str(tmp_path / "checkpoints"), resume=None)
    with pytest.raises(UserError, match="process 4242 on gpu-7 has taken it over"):
        fit(job, None, None, directory)
    assert theirs.is_dir()


def test_rows_of_metrics_are_not_written_into_the_directory_of_another_process():
    written = []
    history = SimpleNamespace(extend=written.append, write=lambda: written.append("all"))
    watch = SimpleNamespace(close=lambda: None)
    owner = SimpleNamespace(lost=False)

    def require_owned():
        if owner.lost:
            raise UserError("another process has taken it over")

    channel = queue.Queue()
    follower = Follower(channel, history, None, watch, "run/attempt", require_owned)
    with pytest.raises(UserError, match="another process has taken it over"), follower:
        owner.lost = True
        channel.put(RowLogged({"step": 1}))
    assert not written
