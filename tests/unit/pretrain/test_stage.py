"""The stage on the driver, with all that needs a Ray replaced."""

import weakref
from types import SimpleNamespace

import pytest

from pipeline.pretrain import stage
from pipeline.pretrain.cadence import Position
from pipeline.pretrain.checkpoint import Checkpoint

EPOCHS = 3


def row(step):
    return {"step": step, "loss": 1.5, "train/clips_per_second": 800.0}


class Training:
    """Stands for everything around the stage: the run, its tracker, storage and Ray."""

    def __init__(self, path, monkeypatch, epochs_done):
        self.path = path
        self.epochs_done = epochs_done
        # A weak reference to the checkpoint that was read last.
        self.read = None
        self.job = None
        self.watched_from = None
        self.alive_while_training = None
        self.exported = None
        train = SimpleNamespace(epochs=EPOCHS)
        self.run = SimpleNamespace(
            config=SimpleNamespace(stages=["pretrain"], train=train),
            directory=SimpleNamespace(path=lambda *parts: str(path.joinpath(*parts))),
            pool=[SimpleNamespace(store=None)],
            cost={},
        )
        self.tracker = SimpleNamespace(
            dataset=lambda store, context: None,
            metrics=lambda rows: None,
            artifacts=lambda uris, name: None,
        )
        plan = SimpleNamespace(description="a plan", cache="none")
        monkeypatch.setattr(stage, "_plan", lambda run: plan)
        monkeypatch.setattr(stage, "open_channel", lambda: "channel")
        monkeypatch.setattr(stage, "fit", self.fit)
        monkeypatch.setattr(stage, "export_encoders", self.export)
        monkeypatch.setattr(stage.checkpoint, "newest", self.newest)
        monkeypatch.setattr(stage.Watch, "beside", self.beside)

    def newest(self, uri):
        if self.epochs_done is None:
            return None
        state = {"framework": "read", "optimiser": {}, "history": [row(4)]}
        found = Checkpoint(f"{uri}/a/step-00000004", Position(self.epochs_done, 0, 4), state)
        self.read = weakref.ref(found)
        return found

    def beside(self, config, part, cache, begun):
        self.watched_from = begun

    def fit(self, job, history, watch, run):
        self.job = job
        self.alive_while_training = self.read is not None and self.read() is not None
        history.extend([row(8)])
        return Checkpoint("last", Position(EPOCHS, 0, 8), {"framework": "trained"})

    def export(self, run, trained):
        self.exported = trained


@pytest.mark.parametrize("epochs_done", [None, 0, 2])
def test_the_checkpoint_that_training_goes_on_from_is_not_kept_in_memory(
    tmp_path, monkeypatch, epochs_done
):
    training = Training(tmp_path, monkeypatch, epochs_done)
    results = stage.pretrain(training.run, training.tracker)
    assert training.alive_while_training is False
    resume = None
    if epochs_done is not None:
        resume = str(tmp_path / "checkpoints" / "a" / "step-00000004")
    assert training.job.resume == resume
    assert training.watched_from == (epochs_done or 0)
    assert training.exported == "trained" and results["checkpoint"] == "last"


def test_a_training_that_is_complete_is_only_exported(tmp_path, monkeypatch):
    training = Training(tmp_path, monkeypatch, EPOCHS)
    results = stage.pretrain(training.run, training.tracker)
    assert training.job is None
    assert training.exported == "read" and results["loss"] == 1.5
    assert results["checkpoint"].endswith("step-00000004")
