"""The one Ray of a test session: the first worker that needs it starts it; it ends by itself."""

import atexit
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.cli import TOKEN, access, environment
from tests.helpers.paths import ROOT

HOLDER = ROOT / "tests" / "helpers" / "ray_holder.py"
START_SECONDS = 120


def make_token() -> None:
    """Set the token that the session's Ray asks for; call before Ray is imported, which reads it.

    A local Ray makes a token in the user's home otherwise, and who connects by address has none.
    """
    if TOKEN in os.environ:  # An xdist worker has that of the process that started it.
        return
    folder = Path(tempfile.mkdtemp(prefix="skelfuse-token-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(secrets.token_hex(32))
    os.environ[TOKEN] = str(folder / "token")
    os.environ.update(access())


def controller_pid() -> int:
    """The process that lives as long as the session; it starts the xdist workers."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def start(folder: Path) -> str:
    """Start the Ray of this session; returns its address."""
    address = folder / "ray.address"
    log = folder / "ray.log"
    with log.open("w") as out:
        # Ray's workers inherit PYTHONPATH and import this checkout.
        holder = subprocess.Popen(
            [sys.executable, HOLDER, str(controller_pid()), address],
            env=environment(**access()),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while not address.exists():
        if holder.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"no Ray for the tests: {log.read_text()[-2000:]}")
        time.sleep(0.05)
    return address.read_text()
