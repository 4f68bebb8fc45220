"""How fast and how lean the clip stream is, against a single-process pyarrow scan of the same files in the same run.

    python benchmarks/stream.py [--clips 8000] [--store DIR] [--batch 256] [--window 4096] [--epochs 3] [--repeats 3]

Writes a store of 60-80-frame clips (25 joints, 2 persons, float32, zstd-1) unless `--store` names one. Prints a table,
and a JSON object as the last line; read its ratios, absolute figures drift on shared machines:

- `memory_ratio`, `none_ratio`: clips/s of `memory` and `none` over those of the scan, after a warm-up epoch each;
- `memory_first_batch_seconds`: wait for the first batch of an epoch (median; `_worst`: the longest);
- `none_gap_seconds`: wait for the first batch of an epoch beyond the median wait for a batch (likewise);
- `*_private_mb`: anonymous memory that a worker's process takes for its stream, at its highest in two epochs, for the
  store and for one a quarter its size. Pages mapped from the object store are the node's, whoever maps them.
"""

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.cluster.session import prepare_environment  # noqa: E402

prepare_environment()

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import ray  # noqa: E402
import ray.data  # noqa: E402
import torch  # noqa: E402

from pipeline.core import storage  # noqa: E402
from pipeline.store.clip_store import ClipStore, fingerprint, write_manifest, write_shard  # noqa: E402
from pipeline.store.protocols import parse  # noqa: E402
from pipeline.stream.plan import Part, StreamPlan, open_stream  # noqa: E402

PERSONS, JOINTS = 2, 25
ROWS_PER_SHARD = 2000


def write_store(directory: str, clips: int) -> ClipStore:
    """Write a store of smoothly moving random joints, which compress about as little as recorded ones."""
    random = np.random.default_rng(0)
    shards = []
    for start in range(0, clips, ROWS_PER_SHARD):
        rows = []
        for row in range(start, min(clips, start + ROWS_PER_SHARD)):
            frames = int(random.integers(60, 81))
            steps = random.standard_normal((frames, PERSONS, JOINTS, 3), dtype=np.float32)
            known = {
                "dataset": "benchmark",
                "performance_id": str(row),
                "label": 0,
                "subject": 1,
                "camera": 1,
            }
            rows.append(
                known
                | {
                    "clip_id": f"clip-{row}",
                    "setup": None,
                    "replication": None,
                    "split": [],
                    "segments": None,
                }
                | {
                    "num_frames": frames,
                    "num_persons": PERSONS,
                    "joints": np.cumsum(0.01 * steps, axis=0),
                }
            )
        shards.append(
            write_shard(storage.join(directory, f"shard-{len(shards):05d}.parquet"), rows, {})
        )
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
    }
    write_manifest(directory, manifest | {"fingerprint": fingerprint({}, shards)})
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


@ray.remote(num_cpus=0, max_calls=1)
def private_memory(plan: StreamPlan) -> float:
    """Return the MB of anonymous memory that two epochs take in a process of their own, at their highest."""
    torch.set_num_threads(1)

    def anonymous() -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) / 1e3

    # Imports leave memory that is given back in the meantime: growth counts from the lowest level so far.
    lowest, growth = anonymous(), 0.0
    with plan.worker(0, 1) as stream:
        for epoch in range(2):
            for _ in stream.epoch(epoch):
                now = anonymous()
                lowest, growth = min(lowest, now), max(growth, now - lowest)
    return growth


def measure(store: ClipStore, small: ClipStore, arguments: argparse.Namespace) -> dict[str, float]:
    """Return all figures of one run."""
    side = parse({"all": {"train": {}}})["all"]["train"]
    settings = {"batch_size": arguments.batch, "window": arguments.window, "seed": 0}
    plans = {
        name: open_stream([Part(store, side)], cache=name, **settings)
        for name in ("memory", "none")
    }
    scan(store)
    scans, rates, firsts, gaps = [], {"memory": [], "none": []}, [], []
    for _ in range(arguments.repeats):
        for name, plan in plans.items():
            scans.append(scan(store))
            waits = epochs(plan, arguments.epochs)
            rates[name].append(plan.clips * len(waits) / sum(map(np.sum, waits)))
            if name == "memory":
                firsts += [epoch[0] for epoch in waits]
            else:
                gaps += [epoch[0] - np.median(np.concatenate(waits)) for epoch in waits]
    figures = {
        "clips": store.clips,
        "scan_clips_per_second": statistics.median(scans),
        "memory_clips_per_second": statistics.median(rates["memory"]),
        "memory_first_batch_seconds": statistics.median(firsts),
        "memory_first_batch_seconds_worst": max(firsts),
        "none_clips_per_second": statistics.median(rates["none"]),
        "none_gap_seconds": statistics.median(gaps),
        "none_gap_seconds_worst": max(gaps),
    }
    for name in rates:
        figures[f"{name}_ratio"] = (
            figures[f"{name}_clips_per_second"] / figures["scan_clips_per_second"]
        )
    for name, plan in plans.items():
        quarter = open_stream([Part(small, side)], cache=name, **settings)
        figures[f"{name}_private_mb"] = ray.get(private_memory.remote(plan))
        figures[f"{name}_private_mb_quarter"] = ray.get(private_memory.remote(quarter))
    return {name: round(float(value), 4) for name, value in figures.items()}


def main() -> None:
    """Measure, print a table and the JSON line."""
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
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Workers of the Ray that this process starts inherit its environment.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    with tempfile.TemporaryDirectory() as directory:
        store = (
            ClipStore.open(arguments.store)
            if arguments.store
            else write_store(f"{directory}/store", arguments.clips)
        )
        small = write_store(f"{directory}/quarter", store.clips // 4)
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=2 << 30,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
        try:
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = context.print_on_execution_start = False
            figures = measure(store, small, arguments)
        finally:
            ray.shutdown()
    for name, value in figures.items():
        print(f"{name:36}{value:14,.4f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
