"""Watching on a real Ray: what becomes of failures. What is measured: tests/unit/pretrain."""

from pipeline.config.compose import load
from pipeline.pretrain.watch import Watch
from pipeline.store.clip_store import ClipStore
from pipeline.store.protocols import sides_of
from pipeline.stream.selection import Part
from tests.helpers.stores import write_store

SETTINGS = ["data.persons=1", "train.watch={every_epochs: 2, share: 0.25, max_clips: 60}"]


def test_a_checkpoint_that_is_gone_is_a_line_and_the_next_is_measured(
    ray_session, tmp_path, capsys
):
    config = load(SETTINGS)
    store = ClipStore.open(write_store(str(tmp_path / "store"), config))
    watch = Watch(
        config, Part(store, sides_of(config.data.protocols, config.data.protocol)["train"]), 0.5
    )
    for epoch in (2, 4):
        watch.offer(str(tmp_path / "nowhere"), epoch, epoch)
        assert watch.poll() is None and watch.poll(60) is None and watch.pending is None
    shown = capsys.readouterr().out
    assert (
        shown.count("\n") == 2
        and "watching failed at step 4" in shown
        and "training goes on" in shown
    )
    watch.close()


def test_clips_without_labels_turn_it_off(ray_session, tmp_path, capsys):
    config = load(SETTINGS)
    store = ClipStore.open(
        write_store(str(tmp_path / "store"), config, lambda row: row | {"label": None})
    )
    watch = Watch(
        config, Part(store, sides_of(config.data.protocols, config.data.protocol)["train"]), 0.5
    )
    watch.offer(str(tmp_path / "nowhere"), 2, 2)
    assert watch.poll() is None and watch.poll(60) is None
    assert (
        "watching is off: too few clips of the training side have labels" in capsys.readouterr().out
    )
    watch.offer(str(tmp_path / "nowhere"), 4, 4)
    assert watch.poll() is None and watch.pending is None
