"""An MLflow server as a process of its own, for tests."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.cli import environment


@contextmanager
def serving(database: Path, folder: Path, port: int) -> Iterator[str]:
    """The address of a server over a database.

    Args:
        database: A sqlite file.
        folder: The working directory of the server, where it also puts artifacts.
        port: Where it listens.
    """
    arguments = [
        "--backend-store-uri",
        f"sqlite:///{database}",
        "--artifacts-destination",
        str(folder / "artifacts"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    log = folder / "server.log"
    with log.open("a") as out:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "mlflow", "server", *arguments],
            env=environment(MLFLOW_DISABLE_TELEMETRY="true"),
            stdout=out,
            stderr=out,
            cwd=folder,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    try:
        while not _answers(address):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.5)
        yield address
    finally:
        # The server has a process of its own for its workers. Asked to end, it waits for clients
        # that keep a connection.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/health", timeout=5).close()
    except OSError:
        return False
    return True
