"""Do two versions of the code compute the same? Fingerprint, losses and figures of a tiny main job.

    python benchmarks/same_results.py > before.json            in the one checkout
    python benchmarks/same_results.py --before before.json     in the other, on the same machine
    python benchmarks/same_results.py --output DIR             of a run that was made before

Runs the main job on a few synthetic recordings with one worker, and prints as JSON what it
computed: the fingerprint of the clip store, the losses of the first 20 steps, and the figures of
the summary. With `--before` it compares the two, names what differs, and exits with 1 where
anything does. Speed and places are not compared.

`--output` runs nothing. It reads what a finished run computed from the output directory of that
run, which is on local disk and holds the clip store. It works with `--before` and without.

`--quick` takes half the clips and one epoch: enough to see that the check itself works. Further
`key=value` arguments go to the run, which is then another one than without them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

STEPS = 20
# Everything that happens in the main job happens here too, in a minute: 144 clips, four steps an
# epoch.
SETTINGS = [
    "seed=7",
    "data.synthetic.actions=4",
    "data.synthetic.subjects=6",
    "data.synthetic.replications=2",
    "data.files_per_shard=36",
    "model.frames=16",
    "model.width=32",
    "model.heads=2",
    "model.feedforward=64",
    "model.dropout=0.1",
    "views.min_frames=8",
    "train.epochs=5",
    "train.batch_size=24",
    "train.log_every=1",
    "train.watch.every_epochs=null",
    "evaluate.linear.epochs=10",
    "cluster.workers=1",
    "cluster.object_store_gb=0.3",
]
# What `--quick` changes: 72 clips, two steps of training.
QUICK = ["data.synthetic.replications=1", "train.epochs=1", "evaluate.linear.epochs=2"]
# Of the summary: what depends on the clock, the machine or a place, and not on what is computed.
NOT_COMPARED = (
    "gflops_late",
    "clips_per_second",
    "mlflow_run_id",
    "checkpoint",
    "store",
    "report",
    "figures",
)


def run_main_job(checkout: Path, output: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Run the tiny main job of a checkout; returns what it computed.

    Args:
        checkout: the version to run.
        output: where the run puts its files.
        overrides: further `key=value` settings of the run.

    Raises:
        SystemExit: the run failed; its own message is shown.
    """
    command = [sys.executable, str(checkout / "pipeline" / "run.py"), *SETTINGS, *overrides]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [*command, f"output={output}"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return read_results(output)


def read_results(output: Path) -> dict[str, Any]:
    """Read what a run computed: its fingerprint, its first losses, and the figures of its summary.

    Args:
        output: the output directory of a finished run.
    """
    manifest = json.loads((output / "store" / "manifest.json").read_text())
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((output / "summary.json").read_text())
    losses = {}
    for row in rows[:STEPS]:
        losses[f"step {row['step']}"] = {key: row[key] for key in row if key.startswith("loss")}
    figures = {key: value for key, value in summary.items() if key not in NOT_COMPARED}
    return {"fingerprint": manifest["fingerprint"], "losses": losses, "summary": figures}


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Name every value in which two results differ, by its place in them."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [] if before == after else [f"{place}: {before} before, {after} after"]
    found = []
    for key in sorted(before.keys() | after.keys()):
        below = f"{place}/{key}" if place else key
        found += differences(before.get(key), after.get(key), below)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="what another version printed")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="the version to run")
    parser.add_argument("--output", type=Path, help="a finished run, to read instead of running")
    parser.add_argument("--quick", action="store_true", help="72 clips and one epoch")
    parser.add_argument("overrides", nargs="*", help="key=value, for the run")
    options = parser.parse_args(arguments)
    overrides = list(options.overrides)
    if options.quick:
        overrides = [*QUICK, *overrides]
    if options.output is not None and overrides:
        parser.error("--output reads a finished run: leave out --quick and key=value")
    if options.output is not None:
        after = read_results(options.output)
    else:
        with tempfile.TemporaryDirectory(prefix="same-results-") as folder:
            after = run_main_job(options.checkout.resolve(), Path(folder) / "run", overrides)
    if options.before is None:
        print(json.dumps(after, indent=1))
        return 0
    found = differences(json.loads(options.before.read_text()), after)
    for line in found:
        print(line)
    print(f"{len(found)} differences" if found else "identical")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
