"""Noticing in time that the Ray of a run is gone.

If the control service of Ray (GCS) is gone, calls of Ray wait, and after a minute its C++ side ends
the process without a word. So a thread looks whether Ray is there, and ends the run with a reason.
"""

import os
import socket
import threading
import time

from pipeline.cluster.ray_internals import dead_processes, session_logs
from pipeline.core.errors import UserError
from pipeline.core.termination import ending

LOOK_SECONDS = 2
CONNECT_SECONDS = 5
# The control service of a cluster may come back. After 60 seconds Ray ends the process.
PATIENCE_SECONDS = 40
# Processes without which a local Ray does not work, with what they are for people.
VITAL = {"gcs_server": "its control service (gcs_server)", "raylet": "its node manager (raylet)"}

# Where nobody could look any more.
UNKNOWN = "the run was killed, or Ray ended it"


class RayLostError(UserError):
    """The Ray that the run works on is gone."""


class Lifeline(threading.Thread):
    """Looks after the Ray of this process, from the beginning to the end of a block.

    Args:
        gcs: `host:port` of the control service.
        local: whether this process started it.
        log: where what Ray wrote is found; None if it is on the console.
    """

    def __init__(self, gcs: str, local: bool, log: str | None) -> None:
        super().__init__(daemon=True, name="lifeline")
        self.gcs = gcs
        self.local = local
        self.log = log
        self._over = threading.Event()
        self._answered = time.monotonic()

    def __enter__(self) -> "Lifeline":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def run(self) -> None:
        """Look until the end of the block, or until Ray is gone."""
        while not self._over.wait(LOOK_SECONDS):
            reason = self.problem()
            if reason is not None and not self._over.is_set():
                ending.lose(RayLostError(self._explain(reason)))
                return

    def problem(self) -> str | None:
        """Return why Ray is gone, None if it is not."""
        if self.local:
            for name in dead_processes():
                if name in VITAL:
                    return f"{VITAL[name]} has ended; it was killed, or memory ran out"
            return None
        if answers(self.gcs):
            self._answered = time.monotonic()
        silence = time.monotonic() - self._answered
        if silence < PATIENCE_SECONDS:
            return None
        return f"its control service at {self.gcs} has not answered for {silence:.0f} s"

    def _explain(self, reason: str) -> str:
        # File descriptor 2 is the log, or the console.
        os.write(2, f"Ray is gone: {reason}. Logs of its processes: {session_logs()}\n".encode())
        return with_advice(f"Ray is gone: {reason}", self.log)


def with_advice(what: str, log: str | None) -> str:
    """Return the message of a run that was ended.

    Args:
        what: what has happened.
        log: where what Ray wrote is found; None if it is on the console.
    """
    message = f"{what}; the same command goes on from the newest checkpoint"
    if log is None:
        return message
    return f"{message}; what Ray wrote: {log}"


def answers(address: str) -> bool:
    """True if something listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
