"""The one line that is shown of an error: the deepest cause, never a title or a traceback."""

import errno

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from ray.exceptions import ActorDiedError, RayError, RayTaskError, WorkerCrashedError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerGroupStartupFailedError,
    WorkerHealthCheckFailedError,
)
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from pipeline.core.errors import NO_SPACE, TRACEBACK, UserError, first_line
from tests.helpers.examples import examples

TRACE = f"""{TRACEBACK}:
  File "/app/train.py", line 3, in train
    raise ValueError("clip 7 has no frames")
    ^^^^^^^^^^^^^^^^^^^^^^^^^
"""
STORAGE = """Unable to set up cluster storage with the following settings:
StorageContext<
  storage_filesystem='local',
  experiment_fs_path='/run/checkpoints/attempt'
>
Check that all nodes have read/write access to the storage path.
See: https://docs.ray.io/"""


def plain_task_error(cause):
    text = f"{TRACE}{type(cause).__name__}: {cause}"
    return RayTaskError("f", text, cause, proctitle="ray::f", pid=7, ip="127.0.0.1")


def task_error(cause):
    """Ray's error of a task, as `ray.get` raises it."""
    return plain_task_error(cause).as_instanceof_cause()


def raised_from(error, cause):
    error.__cause__ = cause
    return error


class Settings(BaseModel):
    width: int


def validation_error():
    with pytest.raises(ValidationError) as caught:
        Settings(width=[])
    return caught.value


CAUSE = ValueError("clip 7 has no frames")
TOLD = "clip 7 has no frames"
KNOWN = [
    (CAUSE, TOLD),
    (task_error(CAUSE), TOLD),
    (plain_task_error(task_error(CAUSE)), TOLD),
    (task_error(UserError("store: shard-1 is damaged")), "store: shard-1 is damaged"),
    (ControllerError(CAUSE), TOLD),
    (ControllerError(task_error(CAUSE)), TOLD),
    (WorkerGroupError(f"[Rank 0]:\n{TRACE}ValueError: x", {1: RuntimeError("b"), 0: CAUSE}), TOLD),
    (WorkerGroupError("[Rank 0]:\n", {0: UserExceptionWithTraceback(CAUSE, TRACE)}), TOLD),
    (WorkerHealthCheckFailedError("A worker health check failed.", CAUSE), TOLD),
    (
        ControllerError(
            raised_from(
                WorkerGroupStartupFailedError("At least one of the workers failed to initialize."),
                ActorDiedError(plain_task_error(CAUSE)),
            )
        ),
        TOLD,
    ),
    # Without what they wrap, as they are after a journey between processes.
    (ActorDiedError(plain_task_error(CAUSE)), TOLD),
    (RayError(f"Exception x isn't serializable: y.\nOriginal:\n{TRACE}ValueError: {CAUSE}"), TOLD),
    (RuntimeError(f"{TRACE}ray.exceptions.RayError: {TOLD}"), TOLD),
    (RuntimeError(f"Training failed due to controller error:\n{TRACE}ValueError: {TOLD}"), TOLD),
    (
        RuntimeError(STORAGE),
        "Unable to set up cluster storage with the following settings: "
        "Check that all nodes have read/write access to the storage path.",
    ),
    (raised_from(RuntimeError("Training failed due to controller error:"), CAUSE), TOLD),
    (raised_from(RuntimeError(), CAUSE), TOLD),
    # The message of an error of ours, or of a library, is not replaced by that of its cause.
    (raised_from(UserError("a.csv: not found"), OSError("no")), "a.csv: not found"),
    (WorkerCrashedError(), str(WorkerCrashedError())),
    (validation_error(), "width: Input should be a valid integer"),
    (pa.ArrowInvalid("Not Parquet: no magic bytes\n\nmore"), "Not Parquet: no magic bytes"),
    (ExceptionGroup("several:", [CAUSE]), TOLD),
    (KeyError("label"), "KeyError 'label'"),
    (AssertionError(), "AssertionError"),
    (RuntimeError("  \n::\n"), "RuntimeError"),
    (RuntimeError("Could not read:\n  a.csv"), "Could not read: a.csv"),
]


@pytest.mark.parametrize(("error", "line"), KNOWN, ids=range(len(KNOWN)))
def test_the_deepest_cause_is_shown(error, line):
    assert first_line(error) == line


def wrappers(inner):
    """Errors around an error, with any message of their own."""
    return st.one_of(
        inner.map(ControllerError),
        inner.map(plain_task_error),
        inner.map(lambda error: WorkerGroupError("x:", {0: error})),
        st.builds(lambda text, error: raised_from(RuntimeError(text), error), TEXTS, inner),
    )


PIECES = [f"{TRACEBACK}:", '  File "x.py", line 3, in f', "    raise", "a", ":", ": ", "\n", "E: "]
TEXTS = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(PIECES)).map("".join))
ERRORS = st.recursive(TEXTS.map(RuntimeError), wrappers, max_leaves=4)


@given(error=ERRORS)
@examples(150)
def test_no_error_is_shown_as_a_title_a_traceback_or_nothing(error):
    line = first_line(error)
    assert line.strip() == line != ""
    assert not line.endswith(":")
    assert TRACEBACK not in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "Error writing bytes to file"),
        OSError(errno.EDQUOT, "x"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full\n[SQL: INSERT]"),
        task_error(OSError(errno.ENOSPC, "x")),
        raised_from(UserError("f: cannot be written"), OSError(errno.ENOSPC, "x")),
        ControllerError(RuntimeError(f"{TRACE}OSError: [Errno 28] No space left on device")),
    ],
)
def test_a_full_disk_is_said_in_the_same_words_wherever_it_was_noticed(error):
    assert first_line(error) == NO_SPACE
