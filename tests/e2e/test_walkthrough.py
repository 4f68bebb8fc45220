"""The walk-through for a data set of one's own, typed as it stands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers.cli import ROOT, TRACKING, environment

EXAMPLE = ROOT / "examples" / "own_data"


def commands():
    return re.findall(r"```bash\n(.*?)```", (EXAMPLE / "README.md").read_text(), flags=re.DOTALL)


def test_a_data_set_of_ones_own_works_as_its_page_says(tmp_path):
    here = shutil.copytree(EXAMPLE, tmp_path / "own_data")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = environment(PATH=path, MLFLOW_TRACKING_URI=TRACKING)
    blocks = commands()
    assert len(blocks) == 1
    assert blocks[0].count("skelfuse") == 2
    done = subprocess.run(
        ["bash", "-e", "-c", blocks[0]], cwd=here, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((here / "outputs" / "mine" / "summary.json").read_text())
    assert (
        summary["clips"],
        summary["rejected"],
        summary["train_clips"],
        summary["test_clips"],
    ) == (72, 0, 48, 24)
    assert summary["linear_top1"] > 0.9
    page = (here / "outputs" / "mine" / "card" / "card.html").read_text()
    assert "wave left" in page
    assert "squat" in page
