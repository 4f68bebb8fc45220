"""The README's walk-through for a data set of one's own, typed as it stands."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers.cli import ROOT, TRACKING, environment


def commands():
    section = (
        (ROOT / "README.md").read_text().split("### A data set of your own")[1].split("\n## ")[0]
    )
    return re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)


def test_a_data_set_of_ones_own_works_as_the_readme_says(tmp_path):
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = environment(PATH=path, MLFLOW_TRACKING_URI=TRACKING)
    blocks = commands()
    assert len(blocks) == 3
    for block in blocks:
        done = subprocess.run(
            ["bash", "-e", "-c", block], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "outputs" / "mine" / "summary.json").read_text())
    assert (
        summary["clips"],
        summary["rejected"],
        summary["train_clips"],
        summary["test_clips"],
    ) == (72, 0, 48, 24)
    assert summary["linear_top1"] > 0.9
    page = (tmp_path / "outputs" / "mine" / "card" / "card.html").read_text()
    assert "wave left" in page and "squat" in page
