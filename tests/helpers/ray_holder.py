"""Holds a Ray for the tests of one session: a process that starts it, says where it is, and waits.

    python ray_holder.py PID FILE

Ray ends with this process, and this process ends on SIGTERM, or when the process PID is gone: a
session that was killed leaves no Ray behind. FILE gets the address that others connect to.
"""

import logging
import os
import signal
import sys
import time
from pathlib import Path

import ray

# More than there are cores: tests wait for processes more than they compute, and two xdist workers
# do not wait for each other's tasks.
CPUS = 6
OBJECT_STORE_BYTES = 1 << 30


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main(pid: int, file: Path) -> None:
    stopping = []
    ray.init(
        address="local",
        num_cpus=CPUS,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        # Tests ask for an environment of their own: workers that were started before could not
        # serve them.
        _system_config={"prestart_worker_first_driver": False},
    )
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    # Renamed into place: who sees the file sees all of it.
    written = file.with_suffix(".part")
    written.write_text(ray.get_runtime_context().gcs_address)
    written.rename(file)
    while alive(pid) and not stopping:
        time.sleep(0.3)
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
