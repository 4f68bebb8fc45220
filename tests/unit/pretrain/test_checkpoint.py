import hashlib
import json
import pickle

import pytest
import torch

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.pretrain import checkpoint
from pipeline.pretrain.cadence import Position


def save(root, attempt, updates, **state):
    directory = root / attempt / f"step-{updates:08d}"
    directory.mkdir(parents=True)
    checkpoint.save(
        directory, Position(epoch=updates // 10, step=updates % 10, updates=updates), state
    )
    return directory


def test_round_trip_is_exact(tmp_path):
    weights = torch.randn(3, 5)
    directory = save(tmp_path, "attempt-a", 27, framework={"w": weights}, threads=1)
    found = checkpoint.load(str(directory))
    assert found.position == Position(2, 7, 27) and found.uri == str(directory)
    assert torch.equal(found.state["framework"]["w"], weights) and found.state["threads"] == 1


def test_newest_is_the_whole_checkpoint_with_most_updates_over_all_attempts(tmp_path):
    assert checkpoint.newest(str(tmp_path)) is None
    save(tmp_path, "attempt-b", 9)
    best = save(tmp_path, "attempt-a", 100)
    found = checkpoint.newest(str(tmp_path))
    assert found.uri == str(best) and found.position.updates == 100


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no state", "no meta", "torn meta"])
def test_a_half_copied_checkpoint_is_passed_over(tmp_path, damage):
    older = save(tmp_path, "attempt-a", 10, w=torch.ones(4))
    broken = save(tmp_path, "attempt-a", 20, w=torch.ones(4))
    state, meta = broken / "state.pt", broken / "meta.json"
    data = state.read_bytes()
    if damage == "truncated":
        state.write_bytes(data[:-1])
    elif damage == "flipped":
        state.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    elif damage == "torn meta":
        meta.write_text(meta.read_text()[:10])
    else:
        (state if damage == "no state" else meta).unlink()
    assert checkpoint.newest(str(tmp_path)).uri == str(older)
    with pytest.raises(UserError, match="incomplete or damaged"):
        checkpoint.load(str(broken))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        "7",
        '"x"',
        "{}",
        '{"epoch": "2"}',
        "\0",
        {"epoch": "2"},
        {"step": -1},
        {"updates": None},
        {"bytes": "9"},
        {"sha256": 3},
    ],
)
def test_a_meta_of_the_wrong_type_is_passed_over(tmp_path, content):
    older = save(tmp_path, "attempt-a", 10, w=torch.ones(4))
    meta = save(tmp_path, "attempt-a", 20, w=torch.ones(4)) / "meta.json"
    if isinstance(content, dict):
        content = json.dumps(json.loads(meta.read_text()) | content)
    meta.write_text(content)
    assert checkpoint.newest(str(tmp_path)).uri == str(older)
    with pytest.raises(UserError, match="incomplete or damaged"):
        checkpoint.load(str(meta.parent))


def test_prune_keeps_only_the_named_checkpoint(tmp_path):
    gone, kept = save(tmp_path, "attempt-a", 10), save(tmp_path, "attempt-b", 20)
    checkpoint.prune(str(tmp_path), str(kept))
    assert checkpoint.newest(str(tmp_path)).uri == str(kept)
    assert not (gone / "state.pt").exists()
    checkpoint.prune(str(tmp_path), None)
    assert checkpoint.newest(str(tmp_path)) is None


def test_the_newest_is_read_once_and_those_before_it_not_at_all(tmp_path, monkeypatch):
    save(tmp_path, "attempt-a", 10)
    newest = save(tmp_path, "attempt-a", 20, w=torch.ones(4))
    read = []
    read_bytes = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda uri: read.append(uri) or read_bytes(uri))
    assert torch.equal(checkpoint.newest(str(tmp_path)).state["w"], torch.ones(4))
    assert read == [str(newest / "meta.json"), str(newest / "state.pt")]


def test_the_files_and_the_meta_of_a_checkpoint_stay_in_format(tmp_path):
    directory = save(tmp_path, "attempt-a", 27, w=torch.ones(4))
    assert sorted(path.name for path in directory.iterdir()) == ["meta.json", "state.pt"]
    meta = json.loads((directory / "meta.json").read_text())
    data = (directory / "state.pt").read_bytes()
    assert meta == {
        "epoch": 2,
        "step": 7,
        "updates": 27,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


class Payload:
    def __reduce__(self):
        return (print, ("code ran",))


def test_loading_never_runs_code(tmp_path, capsys):
    directory = save(tmp_path, "attempt-a", 10, payload=Payload())
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(str(directory))
    assert "code ran" not in capsys.readouterr().out
