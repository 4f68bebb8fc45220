"""The encoder in a fresh process, as a user loads it in a notebook or a program of their own."""

import subprocess
import sys

from pipeline.config.compose import load
from pipeline.encoder.build import build_framework
from pipeline.encoder.export import export_encoder
from tests.helpers.paths import ROOT

SMALL = ["model.width=16", "model.heads=2", "model.feedforward=24", "model.frames=8"]


def test_three_lines_in_a_fresh_process(tmp_path):
    config = load(SMALL)
    export_encoder(str(tmp_path), build_framework(config).backbone, config)
    # No Ray is started, MLflow is not imported, and the global random state is left alone.
    code = (
        "import numpy as np, sys, torch; torch.manual_seed(1); a = torch.get_rng_state().clone()\n"
        "from skelfuse import load_encoder\n"
        f"encoder, prepare = load_encoder({str(tmp_path)!r})\n"
        "features = encoder.features(prepare([np.ones((5, 2, 25, 3)), np.ones((9, 2, 25, 3))]))\n"
        "assert torch.equal(a, torch.get_rng_state())\n"
        "assert 'ray' not in sys.modules\n"
        "assert 'mlflow' not in sys.modules\n"
        "print(tuple(features.shape))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(2, 32)", done.stderr
