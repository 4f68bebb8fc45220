"""What needs no torch, Ray or MLflow is refused before they are imported."""

import subprocess
import sys

from tests.helpers.cli import environment

# Seconds on two cores. Importing the three takes five to ten.
PATIENCE = 2.0

CODE = """
import sys, time
started = time.monotonic()
from pipeline.run import main
assert main(["--cfg", "job"]) == 0
assert main(["stages=[report]", "output=" + sys.argv[1]]) == 2
assert main(["stages=[reprot]"]) == 2
assert main(["experiment=ntu6"]) == 2
print("seconds", time.monotonic() - started)
print("heavy", sorted({"torch", "ray", "mlflow", "matplotlib"} & set(sys.modules)))
"""


def test_a_wrong_request_is_refused_before_anything_heavy_is_imported(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "nothing")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "temperature: 0.1" in done.stdout
    seconds, heavy = done.stdout.splitlines()[-2:]
    assert heavy == "heavy []"
    # Four requests in one process: each of them is well below what one may take.
    assert float(seconds.split()[1]) < 4 * PATIENCE
    assert done.stderr.count("error: ") == done.stderr.count("\n") == 3
