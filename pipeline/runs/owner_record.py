"""What the owner of an output directory leaves in it: `owner.json`, and how others read it.

The content of the file never changes while the owner works. The time of its last modification is
the heartbeat: the owner renews it every few seconds.
"""

import os
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.cluster.job import job_id
from pipeline.core import process, storage
from pipeline.core.errors import UserError

# How often an owner renews its heartbeat.
HEARTBEAT_SECONDS = 15
# An owner on another host counts as gone after so many heartbeats that did not come.
MISSED_HEARTBEATS = 6


class OwnerRecord(BaseModel):
    """Who works on an output directory. A record that cannot be read has the default values.

    Attributes:
        host: the name of the machine.
        pid: the number of the process on it.
        numbering: what that number counts in (see `pipeline.core.process`).
        process_started: the start time of the process, None if it is unknown.
        job: the id of the Ray job, None if the process is not in a submitted one.
        attempt: a name that no other attempt to run has. Checkpoints lie in a folder of this name.
        began: when the attempt began, for people.
        heartbeat_seconds: how often the heartbeat is renewed.
    """

    model_config = ConfigDict(extra="ignore")

    host: str = ""
    pid: int = 0
    numbering: str = ""
    process_started: str | None = None
    job: str | None = None
    attempt: str = ""
    began: str = ""
    heartbeat_seconds: float = Field(default=HEARTBEAT_SECONDS, gt=0, le=3600)

    @property
    def patience_seconds(self) -> float:
        """After so many seconds without a heartbeat an owner on another host counts as gone."""
        return self.heartbeat_seconds * MISSED_HEARTBEATS

    @property
    def is_seen(self) -> bool:
        """True if this process can see whether the process of the record has ended."""
        return self.numbering == process.numbering()

    def __str__(self) -> str:
        if not self.host:
            return "a process that cannot be named"
        job = f", job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"


@dataclass(frozen=True)
class Sighting:
    """A record that was read, with its heartbeat.

    Attributes:
        record: the record.
        heartbeat: the time of its last modification, in seconds since 1970.
    """

    record: OwnerRecord
    heartbeat: float

    def is_over(self, now: float) -> bool:
        """Tell whether the process has ended without deleting its record.

        Args:
            now: the time, by the clock of the storage.
        """
        record = self.record
        if record.is_seen:
            ended = process.has_ended(record.pid, record.process_started)
            if ended is not None:
                return ended
        return now - self.heartbeat > record.patience_seconds

    def age(self, now: float) -> str:
        """Return how old the heartbeat is, for a message."""
        return f"{max(0, now - self.heartbeat):.0f} s"


def new_attempt() -> str:
    """Return a name for an attempt to run that no other attempt has, on whatever machine."""
    return f"attempt-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"


def own_record() -> OwnerRecord:
    """Return the record of an attempt of this process that begins now."""
    pid = os.getpid()
    return OwnerRecord(
        host=process.host(),
        pid=pid,
        numbering=process.numbering(),
        process_started=process.start_time(pid),
        job=job_id(),
        attempt=new_attempt(),
        began=time.strftime("%Y-%m-%d %H:%M:%S %z"),
    )


def read_sighting(uri: str) -> Sighting | None:
    """Read a record, None if there is none.

    Raises:
        UserError: the storage does not answer.
    """
    try:
        content = storage.read_bytes(uri)
    except UserError:
        if not storage.exists(uri):
            return None
        # It appeared at this very moment. Or the storage fails: then this says so, because that is
        # no proof that the record is gone.
        content = storage.read_bytes(uri)
    record = OwnerRecord()
    # The heartbeat of a damaged record still says whether somebody is there.
    with suppress(ValidationError):
        record = OwnerRecord.model_validate_json(content)
    # After its content: if the record is replaced meanwhile, its heartbeat is only newer.
    info = storage.info(uri)
    if not info.is_file:
        return None
    if info.mtime_ns is None:
        # Such a storage keeps no times: then nobody can say that the owner is gone.
        return Sighting(record, time.time())
    return Sighting(record, info.mtime_ns / 1e9)
