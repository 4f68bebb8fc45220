"""What is shown where Ray Train fails: the deepest cause, and the place that is at fault."""

import errno
from types import SimpleNamespace

import pytest
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from pipeline.core.errors import NO_SPACE
from pipeline.pretrain.fit import _reason

JOB = SimpleNamespace(checkpoints="/run/checkpoints")
STORAGE = (
    "Unable to set up cluster storage with the following settings:\nStorageContext<\n>\nCheck."
)
KNOWN = [
    (WorkerGroupError("x:", {0: ValueError("no such clip")}), "no such clip"),
    (WorkerGroupError("x:", {0: OSError(errno.ENOSPC, "x")}), f"/run/checkpoints: {NO_SPACE}"),
    (ControllerError(RuntimeError(STORAGE)), "/run/checkpoints: not every node can write there"),
]


@pytest.mark.parametrize(("error", "reason"), KNOWN)
def test_the_reason_names_the_place_that_the_user_can_change(error, reason):
    assert _reason(JOB, error).startswith(reason)
