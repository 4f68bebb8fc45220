"""How fast recordings become a clip store, against the reference's reader on the same files in the same run.

    python benchmarks/ingest.py [--reference CLONE_OF_UmURL] [--files DIR] [--recordings 4500] [--rounds 5]

`--files` is a directory of NTU `.skeleton` files; without it synthetic ones are written. Prints a table, and a JSON
object as the last line; read its ratios, absolute figures drift on shared machines:

- `parse_mb_per_second`, `reference_mb_per_second`, `ratio`: text parsed on one core by this project and by the
  reference (its own Python, `data_gen/ntu_gendata.py`), in turn, median of the rounds; coordinates are compared;
- `two_core_speedup`: an ingest from end to end on a Ray of two CPUs over one on a Ray of one, median of the rounds;
- `files_per_second`: of the two-core ingest;
- `bytes_per_clip`: of the store; `raw_bytes_per_clip`: of the text; `padded_bytes_per_clip`: of the reference's arrays
  (float32, padded to 300 frames and 2 persons).
"""

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.cluster.session import prepare_environment  # noqa: E402

prepare_environment()

import logging  # noqa: E402
import os  # noqa: E402

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import ray  # noqa: E402
import ray.data  # noqa: E402

from pipeline.config.schema import load  # noqa: E402
from pipeline.encoder.build import recorded_layout  # noqa: E402
from pipeline.ingest.driver import ingest  # noqa: E402
from pipeline.ingest.formats import READERS  # noqa: E402
from pipeline.ingest.synthetic import record  # noqa: E402

REFERENCE_FRAMES, PERSONS, JOINTS = 300, 2, 25
FILES_PER_SHARD = 64
# Files that are parsed: the reference is slow.
PARSED = 60


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def parse_speed(
    files: list[Path], reference: Callable | None, rounds: int
) -> dict[str, float | None]:
    """Text per second of both parsers, after a first round that is not counted."""
    reader, size = READERS["ntu"](), sum(file.stat().st_size for file in files) / 1e6
    parsers = {"parse": lambda file: reader.parse(file.name, file.read_bytes(), JOINTS)}
    if reference:
        parsers["reference"] = reference
        for file in files[:3]:
            compare(parsers["parse"](file)[0], reference(file), file)
    speeds = {name: [] for name in parsers}
    for _ in range(rounds + 1):
        for name, parse in parsers.items():
            spent = sum(seconds(lambda parse=parse, file=file: parse(file)) for file in files)
            speeds[name].append(size / spent)
    speeds = {name: values[1:] for name, values in speeds.items()}
    found = {f"{name}_mb_per_second": statistics.median(values) for name, values in speeds.items()}
    ratios = [
        ours / theirs
        for ours, theirs in zip(speeds["parse"], speeds.get("reference", []), strict=False)
    ]
    return {
        "reference_mb_per_second": None,
        "ratio": statistics.median(ratios) if ratios else None,
    } | found


def compare(recording, sequence: dict, file: Path) -> None:
    theirs = [
        [[joint[axis] for axis in "xyz"] for joint in body["jointInfo"]]
        for frame in sequence["frameInfo"]
        for body in frame["bodyInfo"]
    ]
    if not np.array_equal(recording.bodies, np.array(theirs)):
        sys.exit(f"{file}: the two readers disagree")


def ingest_seconds(raw: str, cpus: int, rounds: int) -> tuple[list[float], dict]:
    """Seconds of an ingest on a Ray of so many CPUs, after one that is not counted; the last store's manifest."""
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    data = load(["data=ntu120", "data.raw=-"]).data
    layout = recorded_layout(load(["data=ntu120", "data.raw=-"]))
    spent = []
    try:
        for _ in range(rounds + 1):
            with tempfile.TemporaryDirectory() as store:
                start = time.perf_counter()
                manifest = ingest(
                    raw=[raw],
                    store=store,
                    reader=READERS["ntu"](),
                    dataset="benchmark",
                    layout=layout,
                    persons=data.persons,
                    preparation=data.preparation,
                    protocols={},
                    files_per_shard=FILES_PER_SHARD,
                    seed=0,
                )
                spent.append(time.perf_counter() - start)
    finally:
        ray.shutdown()
    return spent[1:], manifest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="a clone of HuiGuanLab/UmURL")
    parser.add_argument("--files", type=Path, help="a directory of .skeleton files")
    parser.add_argument(
        "--recordings", type=int, default=4500, help="synthetic recordings, without --files"
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    # Before any pool of threads: a task of Ray has one core, and so has the comparison with the reference.
    os.environ["OMP_NUM_THREADS"] = "1"
    pa.set_cpu_count(1)
    reference = None
    if options.reference:
        sys.path.insert(0, str(options.reference.resolve()))
        # A progress bar that the reference imports and its reader does not use.
        sys.modules.setdefault("tqdm", SimpleNamespace(tqdm=iter))
        reference = importlib.import_module("data_gen.ntu_gendata").read_skeleton_filter
    with tempfile.TemporaryDirectory() as place:
        raw = options.files
        if raw is None:
            raw = Path(place, "raw")
            record(
                str(raw),
                actions=15,
                subjects=10,
                replications=-(-options.recordings // 450),
                cameras=3,
                noise=0.018,
                seed=0,
            )
        files = sorted(raw.rglob("*.skeleton"))
        figures = parse_speed(
            files[:: max(1, len(files) // PARSED)][:PARSED], reference, options.rounds
        )
        one, _ = ingest_seconds(str(raw), 1, options.rounds)
        two, manifest = ingest_seconds(str(raw), 2, options.rounds)
        text = sum(file.stat().st_size for file in files) / len(files)
    figures |= {
        "two_core_speedup": statistics.median(one) / statistics.median(two),
        "files_per_second": len(files) / statistics.median(two),
        "bytes_per_clip": sum(shard["bytes"] for shard in manifest["shards"]) / manifest["clips"],
        "raw_bytes_per_clip": text,
        "padded_bytes_per_clip": float(4 * REFERENCE_FRAMES * PERSONS * JOINTS * 3),
    }
    print(f"{len(files)} recordings, {manifest['frames'] / manifest['clips']:.0f} frames each")
    for name, value in figures.items():
        print(f"  {name:<24} {'-' if value is None else f'{value:,.2f}'}")
    print(json.dumps({name: value and round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
