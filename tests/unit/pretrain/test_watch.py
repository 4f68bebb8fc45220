"""The driver's end of watching, without Ray."""

from pipeline.config.compose import load
from pipeline.pretrain import watch as module
from pipeline.pretrain.watch import Watch

SETTINGS = ["data.persons=1", "train.watch={every_epochs: 2, share: 0.25, max_clips: 60}"]


class Remote:
    """Ray without Ray: calls are tuples that are ready at once or never."""

    def __init__(self, results):
        self.results, self.asked = results, []
        self.measure = self

    def remote(self, uri):
        self.asked.append(uri)
        return uri


def test_checkpoints_that_come_while_one_is_measured_wait_and_the_newest_stays(monkeypatch):
    watch, ready = Watch(load(SETTINGS), None, 0.5), []
    actor = watch.actor = Remote({})
    monkeypatch.setattr(
        module.ray, "wait", lambda refs, timeout: ([r for r in refs if r in ready], [])
    )
    monkeypatch.setattr(module.ray, "get", lambda ref: {"watch/knn_top1": 0.5})
    for epoch in range(1, 7):  # one in two epochs is wanted
        watch.offer(f"epoch-{epoch}", epoch, 10 * epoch)
        assert watch.poll() is None
    assert actor.asked == ["epoch-2"]
    ready.append("epoch-2")
    assert watch.poll() == (20, {"watch/knn_top1": 0.5})
    assert actor.asked == ["epoch-2", "epoch-6"] and watch.poll() is None


def test_nothing_is_watched_where_it_is_off():
    watch = Watch(load(["train.watch.every_epochs=null"]), None, 0.5)
    watch.offer("epoch-2", 2, 20)
    assert watch.poll() is None and watch.waiting is None


def test_epochs_that_were_done_before_are_not_measured_again():
    watch = Watch(load(SETTINGS), None, 0.5, begun=5)
    watch.offer("epoch-5", 5, 50)
    assert watch.waiting is None
    watch.offer("epoch-6", 6, 60)
    assert (watch.waiting.uri, watch.waiting.step) == ("epoch-6", 60)


def test_where_reading_needs_the_spare_cpus_the_watcher_takes_none():
    config = load(SETTINGS)
    assert Watch.beside(config, None, "none", 0).cpus == 0
    assert Watch.beside(config, None, "memory", 0).cpus == 0.5
