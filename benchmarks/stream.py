"""How fast and how lean the clip stream is, beside a single-process pyarrow scan of its files.

    python benchmarks/stream.py [--clips 8000] [--store DIR] [--batch 256] [--window 4096]
                                [--epochs 3] [--repeats 3] [--quick]

Writes a store of 60-80-frame clips (25 joints, 2 persons, float32, zstd-1) unless `--store` names
one. Prints a table, and a JSON object as the last line; read its ratios, absolute figures drift on
shared machines. `--quick` takes seconds and shows only that everything works:

- `memory_ratio`, `none_ratio`: clips/s of `memory` and `none` over those of the scan, after a
  warm-up epoch each;
- `memory_first_batch_seconds`: wait for the first batch of an epoch (median; `_worst`: the
  longest);
- `none_gap_seconds`: wait for the first batch of an epoch beyond the median wait for a batch
  (likewise);
- `*_private_mb`: anonymous memory that a worker's process takes for its stream, at its highest in
  two epochs, for the store and for one a quarter its size. Pages mapped from the object store are
  the node's, whoever maps them.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.core.environment import prepare_environment

prepare_environment()

import numpy as np
import pyarrow.parquet as pq
import ray
import torch

from benchmarks.connected_ray import connected_ray
from pipeline.core import storage
from pipeline.store.clip_store import ClipStore
from pipeline.store.manifest import fingerprint, write_manifest
from pipeline.store.protocols import parse
from pipeline.store.shards import write_shard
from pipeline.stream.plan import StreamPlan, open_stream
from pipeline.stream.selection import Part

PERSONS = 2
JOINTS = 25
ROWS_PER_SHARD = 2000
CACHES = ("memory", "none")
OBJECT_STORE_BYTES = 2 << 30
# What `--quick` measures. Processes of their own for the memory would take the most time.
QUICK = {
    "clips": 80,
    "batch": 16,
    "window": 32,
    "epochs": 1,
    "repeats": 1,
    "own_processes": False,
}


def random_clip(row: int, random: np.random.Generator) -> dict[str, Any]:
    """A clip of smoothly moving random joints, which compress about as little as recorded ones."""
    frames = int(random.integers(60, 81))
    steps = random.standard_normal((frames, PERSONS, JOINTS, 3), dtype=np.float32)
    return {
        "dataset": "benchmark",
        "performance_id": str(row),
        "label": 0,
        "subject": 1,
        "camera": 1,
        "clip_id": f"clip-{row}",
        "setup": None,
        "replication": None,
        "split": [],
        "segments": None,
        "num_frames": frames,
        "num_persons": PERSONS,
        "joints": np.cumsum(0.01 * steps, axis=0),
    }


def write_store(directory: str, clips: int) -> ClipStore:
    """Write a store of so many random clips."""
    random = np.random.default_rng(0)
    shards = []
    for start in range(0, clips, ROWS_PER_SHARD):
        rows = [
            random_clip(row, random) for row in range(start, min(clips, start + ROWS_PER_SHARD))
        ]
        uri = storage.join(directory, f"shard-{len(shards):05d}.parquet")
        shards.append(write_shard(uri, rows, {}))
    layout = {
        "name": "benchmark",
        "joints": [str(joint) for joint in range(JOINTS)],
        "parents": [0] * JOINTS,
    }
    manifest = {
        "layout": layout,
        "persons": PERSONS,
        "clips": clips,
        "settings": {},
        "shards": shards,
        "fingerprint": fingerprint({}, shards),
    }
    write_manifest(directory, manifest)
    return ClipStore.open(directory)


def scan(store: ClipStore) -> float:
    """Return clips/s of reading the coordinates with pyarrow and nothing else, in this process."""
    start = time.perf_counter()
    clips = 0
    for path in store.paths:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                clips += len(file.read_row_group(group, columns=["joints"]))
    return clips / (time.perf_counter() - start)


def epochs(plan: StreamPlan, count: int) -> list[np.ndarray]:
    """Return the seconds that every batch was waited for, of each epoch after a warm-up epoch."""
    waits = []
    with plan.worker(0, 1) as stream:
        for epoch in range(count + 1):
            waits.append([])
            before = time.perf_counter()
            for _ in stream.epoch(epoch):
                now = time.perf_counter()
                waits[-1].append(now - before)
                before = now
    return [np.array(epoch) for epoch in waits[1:]]


def private_memory(plan: StreamPlan) -> float:
    """Return the MB of anonymous memory that two epochs take in this process, at most."""
    torch.set_num_threads(1)

    def anonymous() -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) / 1e3

    # Imports leave memory that is given back meanwhile: growth counts from the lowest level so far.
    lowest = anonymous()
    growth = 0.0
    with plan.worker(0, 1) as stream:
        for epoch in range(2):
            for _ in stream.epoch(epoch):
                now = anonymous()
                lowest = min(lowest, now)
                growth = max(growth, now - lowest)
    return growth


@dataclass
class Measured:
    """What the repeats of a measurement found, of the scan and of both caches."""

    scans: list[float] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CACHES})
    first_batches: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def add(self, cache: str, clips: int, waits: list[np.ndarray]) -> None:
        """Take in the waits for every batch of some epochs of so many clips."""
        self.rates[cache].append(clips * len(waits) / sum(map(np.sum, waits)))
        if cache == "memory":
            self.first_batches += [epoch[0] for epoch in waits]
        else:
            usual = np.median(np.concatenate(waits))
            self.gaps += [epoch[0] - usual for epoch in waits]

    def figures(self) -> dict[str, float]:
        scanned = statistics.median(self.scans)
        found = {
            "scan_clips_per_second": scanned,
            "memory_first_batch_seconds": statistics.median(self.first_batches),
            "memory_first_batch_seconds_worst": max(self.first_batches),
            "none_gap_seconds": statistics.median(self.gaps),
            "none_gap_seconds_worst": max(self.gaps),
        }
        for cache in CACHES:
            rate = statistics.median(self.rates[cache])
            found[f"{cache}_clips_per_second"] = rate
            found[f"{cache}_ratio"] = rate / scanned
        return found


def plans_of(store: ClipStore, settings: argparse.Namespace) -> dict[str, StreamPlan]:
    """Plan a stream over the whole store with every cache."""
    side = parse({"all": {"train": {}}})["all"]["train"]
    plans = {}
    for cache in CACHES:
        plans[cache] = open_stream(
            [Part(store, side)],
            cache=cache,
            batch_size=settings.batch,
            window=settings.window,
            seed=0,
        )
    return plans


def measure(store: ClipStore, small: ClipStore, settings: argparse.Namespace) -> dict[str, float]:
    """Return all figures of one run."""
    plans = plans_of(store, settings)
    # The first scan reads the files into the operating system's cache.
    scan(store)
    measured = Measured()
    for _ in range(settings.repeats):
        for cache, plan in plans.items():
            measured.scans.append(scan(store))
            measured.add(cache, store.clips, epochs(plan, settings.epochs))

    figures = {"clips": store.clips} | measured.figures()
    # A process that ends after one call; with 0 it goes on to the next one.
    calls = int(settings.own_processes)
    memory_task = ray.remote(num_cpus=0, max_calls=calls)(private_memory)
    for cache, quarter in plans_of(small, settings).items():
        figures[f"{cache}_private_mb"] = ray.get(memory_task.remote(plans[cache]))
        figures[f"{cache}_private_mb_quarter"] = ray.get(memory_task.remote(quarter))
    return {name: round(float(value), 4) for name, value in figures.items()}


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clips", type=int, default=8000, help="clips of the store that is written"
    )
    parser.add_argument("--store", help="a clip store to read instead")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument(
        "--epochs", type=int, default=3, help="epochs of a measurement, after its warm-up epoch"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="80 clips, read once")
    parser.set_defaults(own_processes=True)
    options = parser.parse_args(arguments)
    if options.quick:
        for name, value in QUICK.items():
            setattr(options, name, value)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and the JSON line."""
    settings = parse_arguments(arguments)
    with tempfile.TemporaryDirectory() as directory:
        if settings.store is None:
            store = write_store(f"{directory}/store", settings.clips)
        else:
            store = ClipStore.open(settings.store)
        small = write_store(f"{directory}/quarter", store.clips // 4)
        with connected_ray(2, OBJECT_STORE_BYTES):
            figures = measure(store, small, settings)
    for name, value in figures.items():
        print(f"{name:36}{value:14,.4f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
