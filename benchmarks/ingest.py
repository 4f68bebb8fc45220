"""How fast recordings become a clip store, beside the reference's reader on the same files.

    python benchmarks/ingest.py [--reference CLONE_OF_UmURL] [--files DIR] [--recordings 4500]
                                [--rounds 5] [--quick]

`--files` is a directory of NTU `.skeleton` files; without it synthetic ones are written. Prints a
table, and a JSON object as the last line; read its ratios, absolute figures drift on shared
machines. `--quick` takes seconds and shows only that everything works:

- `parse_mb_per_second`, `reference_mb_per_second`, `ratio`: text parsed on one core by this project
  and by the reference (its own Python, `data_gen/ntu_gendata.py`), in turn, median of the rounds;
  coordinates are compared;
- `two_core_speedup`: an ingest from end to end on a Ray of two CPUs over one on a Ray of one,
  median of the rounds;
- `files_per_second`: of the two-core ingest;
- `bytes_per_clip`: of the store; `raw_bytes_per_clip`: of the text; `padded_bytes_per_clip`: of the
  reference's arrays (float32, padded to 300 frames and 2 persons).
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.core.environment import prepare_environment

prepare_environment()

import numpy as np
import pyarrow as pa

from benchmarks.connected_ray import connected_ray
from pipeline.config.compose import load
from pipeline.core.arithmetic import ceil_div
from pipeline.encoder.build import layout_of
from pipeline.ingest.driver import ingest_recordings
from pipeline.ingest.formats import READERS
from pipeline.ingest.settings import IngestRequest
from pipeline.ingest.synthetic.recorder import record

REFERENCE_FRAMES = 300
PERSONS = 2
JOINTS = 25
FILES_PER_SHARD = 64
# Files that are parsed: the reference is slow.
PARSED = 60
# Synthetic recordings of one replication.
ACTIONS = 15
SUBJECTS = 10
CAMERAS = 3


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def parse_speed(
    files: Sequence[Path], reference: Callable | None, rounds: int
) -> dict[str, float | None]:
    """Text per second of both parsers, after a first round that is not counted."""
    reader = READERS["ntu"]()
    parsers = {"parse": lambda file: reader.parse(file.name, file.read_bytes(), JOINTS)}
    if reference is not None:
        parsers["reference"] = reference
        for file in files[:3]:
            compare(parsers["parse"](file)[0], reference(file), file)

    megabytes = sum(file.stat().st_size for file in files) / 1e6
    speeds: dict[str, list[float]] = {name: [] for name in parsers}
    for number in range(rounds + 1):
        for name, parse in parsers.items():
            spent = sum(seconds(lambda parse=parse, file=file: parse(file)) for file in files)
            if number > 0:
                speeds[name].append(megabytes / spent)

    figures: dict[str, float | None] = {"reference_mb_per_second": None, "ratio": None}
    for name, values in speeds.items():
        figures[f"{name}_mb_per_second"] = statistics.median(values)
    if reference is not None:
        pairs = zip(speeds["parse"], speeds["reference"], strict=True)
        figures["ratio"] = statistics.median(ours / theirs for ours, theirs in pairs)
    return figures


def compare(recording: Any, sequence: dict, file: Path) -> None:
    """End the benchmark where the two readers find different coordinates."""
    theirs = []
    for frame in sequence["frameInfo"]:
        for body in frame["bodyInfo"]:
            theirs.append([[joint[axis] for axis in "xyz"] for joint in body["jointInfo"]])
    if not np.array_equal(recording.bodies, np.array(theirs)):
        sys.exit(f"{file}: the two readers disagree")


def ingest_seconds(raw: str, cpus: int, rounds: int) -> tuple[list[float], dict]:
    """Seconds of ingests on a Ray of so many CPUs, after one that is not counted.

    Returns:
        The seconds, and the manifest of the last store.
    """
    data = load(["data=ntu120", "data.raw=-"]).data
    spent = []
    with connected_ray(cpus):
        for _ in range(rounds + 1):
            with tempfile.TemporaryDirectory() as store:
                request = IngestRequest(
                    raw=[raw],
                    store=store,
                    reader=READERS["ntu"](),
                    dataset="benchmark",
                    layout=layout_of(data.skeleton),
                    persons=data.persons,
                    preparation=data.preparation,
                    protocols={},
                    files_per_shard=FILES_PER_SHARD,
                    seed=0,
                )
                start = time.perf_counter()
                manifest = ingest_recordings(request)
                spent.append(time.perf_counter() - start)
    return spent[1:], manifest


def reference_reader(clone: Path) -> Callable:
    """The function of the reference that reads a recording."""
    sys.path.insert(0, str(clone.resolve()))
    # A progress bar that the reference imports and its reader does not use.
    sys.modules.setdefault("tqdm", SimpleNamespace(tqdm=iter))
    return importlib.import_module("data_gen.ntu_gendata").read_skeleton_filter


def measure(raw: Path, reference: Callable | None, rounds: int) -> dict[str, float | None]:
    """Return all figures for the `.skeleton` files in a directory."""
    files = sorted(raw.rglob("*.skeleton"))
    every = max(1, len(files) // PARSED)
    figures = parse_speed(files[::every][:PARSED], reference, rounds)
    one, _ = ingest_seconds(str(raw), 1, rounds)
    two, manifest = ingest_seconds(str(raw), 2, rounds)
    stored = sum(shard["bytes"] for shard in manifest["shards"])
    figures |= {
        "two_core_speedup": statistics.median(one) / statistics.median(two),
        "files_per_second": len(files) / statistics.median(two),
        "bytes_per_clip": stored / manifest["clips"],
        "raw_bytes_per_clip": sum(file.stat().st_size for file in files) / len(files),
        "padded_bytes_per_clip": float(4 * REFERENCE_FRAMES * PERSONS * JOINTS * 3),
    }
    frames = manifest["frames"] / manifest["clips"]
    print(f"{len(files)} recordings, {frames:.0f} frames each")
    return figures


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="a clone of HuiGuanLab/UmURL")
    parser.add_argument("--files", type=Path, help="a directory of .skeleton files")
    parser.add_argument(
        "--recordings", type=int, default=4500, help="synthetic recordings, without --files"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="36 recordings and one round")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and the JSON line."""
    options = parse_arguments(arguments)
    reference = None
    if options.reference is not None:
        reference = reference_reader(options.reference)
    synthetic = {
        "actions": ACTIONS,
        "subjects": SUBJECTS,
        "replications": ceil_div(options.recordings, ACTIONS * SUBJECTS * CAMERAS),
    }
    rounds = options.rounds
    if options.quick:
        synthetic = {"actions": 3, "subjects": 4, "replications": 1}
        rounds = 1
    with tempfile.TemporaryDirectory() as folder:
        raw = options.files
        if raw is None:
            raw = Path(folder, "raw")
            record(str(raw), **synthetic, cameras=CAMERAS, noise=0.018, seed=0)
        figures = measure(raw, reference, rounds)
    rounded = {}
    for name, value in figures.items():
        rounded[name] = None if value is None else round(value, 3)
        shown = "-" if value is None else f"{value:,.2f}"
        print(f"  {name:<24} {shown}")
    print(json.dumps(rounded))


if __name__ == "__main__":
    # Before any pool of threads: a task of Ray has one core, and so has the comparison with the
    # reference.
    os.environ["OMP_NUM_THREADS"] = "1"
    pa.set_cpu_count(1)
    main()
