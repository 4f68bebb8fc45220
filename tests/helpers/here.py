"""Stages in the test's own process: all is real but the processes that Ray would start for them."""

import queue
import shutil
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import torch

from pipeline.evaluate import features as features_module
from pipeline.evaluate.extractor import Extraction, Extractor
from pipeline.pretrain import fit, stage
from pipeline.stream import plan as plan_module
from pipeline.stream.instructions import Shards, read_pieces


class Channel(queue.Queue):
    """Stands in for the mailbox between driver and worker."""

    def ask_to_stop(self):
        self.asked = True

    def stop_asked(self):
        return getattr(self, "asked", False)

    def shutdown(self):
        self.closed = True


def train_here(ray, monkeypatch, module=stage, workers=1) -> None:
    """Train by one worker in this process.

    module: that opens the channel. workers: how many Ray Train is asked for.
    """

    class TrainerHere:
        """Stands in for `TorchTrainer`."""

        def __init__(self, loop, *, train_loop_config, scaling_config, run_config):
            self.loop = loop
            self.job = train_loop_config
            self.attempt = Path(run_config.storage_path, run_config.name)
            assert scaling_config.num_workers == workers

        def fit(self):
            monkeypatch.setattr(ray.train, "report", self.report)
            self.loop(self.job)

        def report(self, metrics, *, checkpoint, checkpoint_dir_name):
            shutil.copytree(checkpoint.path, self.attempt / checkpoint_dir_name)

    alone = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(fit, "TorchTrainer", TrainerHere)
    monkeypatch.setattr(module, "open_channel", Channel)
    monkeypatch.setattr(ray.train, "get_context", lambda: alone)
    monkeypatch.setattr(ray.train, "get_checkpoint", lambda: None)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))


class EncodedHere:
    """Stands in for the dataset of `extract`: the same reading and encoding without an actor."""

    def __init__(self, store, split, encoders, cluster, batch_size):
        self.extraction = Extraction(
            encoders, store.persons, store.joints, cluster.threads, device="cpu"
        )
        self.pieces = pa.Table.from_pylist(Shards.of([store]).pieces(split.ids))
        self.clips = batch_size

    def iter_batches(self, **_):
        extractor = Extractor(self.extraction)
        rows = pa.concat_tables(read_pieces(self.pieces))
        for first in range(0, len(rows), self.clips):
            yield extractor(rows.slice(first, self.clips))


def encode_here(monkeypatch) -> None:
    """Evaluate without actors."""
    monkeypatch.setattr(features_module, "_encoded", EncodedHere)


def stream_here(monkeypatch) -> None:
    """Plan streams, and open them, without Ray's object store: references are the values."""

    def load_blocks(shards, ids, sizes):
        return tuple(read_pieces(pa.Table.from_pylist(shards.pieces(ids))))

    objects = SimpleNamespace(put=lambda value: value, get=lambda value: value)
    monkeypatch.setattr(plan_module, "ray", objects)
    monkeypatch.setattr(plan_module, "load_blocks", load_blocks)
    monkeypatch.setattr(plan_module, "free_object_store_bytes", lambda: 1 << 30)
