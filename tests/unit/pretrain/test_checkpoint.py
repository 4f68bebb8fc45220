import pickle

import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.pretrain import checkpoint
from pipeline.pretrain.checkpoint import Position


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
    position, state = checkpoint.load(str(directory))
    assert position == Position(2, 7, 27) == checkpoint.position(str(directory))
    assert torch.equal(state["framework"]["w"], weights) and state["threads"] == 1


def test_newest_is_the_whole_checkpoint_with_most_updates_over_all_attempts(tmp_path):
    assert checkpoint.newest(str(tmp_path)) is None
    save(tmp_path, "attempt-b", 9)
    best = save(tmp_path, "attempt-a", 100)
    assert checkpoint.newest(str(tmp_path)) == str(best)


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
    assert checkpoint.newest(str(tmp_path)) == str(older)
    with pytest.raises(UserError, match="incomplete or damaged"):
        checkpoint.load(str(broken))


def test_prune_keeps_only_the_named_checkpoint(tmp_path):
    gone, kept = save(tmp_path, "attempt-a", 10), save(tmp_path, "attempt-b", 20)
    checkpoint.prune(str(tmp_path), str(kept))
    assert checkpoint.newest(str(tmp_path)) == str(kept)
    assert not (gone / "state.pt").exists()
    checkpoint.prune(str(tmp_path), None)
    assert checkpoint.newest(str(tmp_path)) is None


class Payload:
    def __reduce__(self):
        return (print, ("code ran",))


def test_loading_never_runs_code(tmp_path, capsys):
    directory = save(tmp_path, "attempt-a", 10, payload=Payload())
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(str(directory))
    assert "code ran" not in capsys.readouterr().out
