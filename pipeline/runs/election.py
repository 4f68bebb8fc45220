"""Who may write into an output directory, if several want to begin at the same time.

A local disk could create a file exclusively, but object storage cannot (Arrow offers no conditional
write), and taking over a record that a killed run left is a race on both. So everywhere the same
two things decide, which both offer: file names that nobody else uses, and a listing that shows
every file that was complete when it began.

1. Whoever wants the directory writes a claim under a name of its own: `owner-<attempt>.json`.
2. Then it lists the claims. Alone, it goes on. Of several, the one with the first name waits until
   the others are gone; the others delete their claims and are refused.
3. Alone, it reads `owner.json`. An owner that lives refuses it. If there is none, or a dead one,
   it writes its own record there, and deletes its claim.

Two never come to step 3 together. Both would have listed only their own claims, each after it had
written it: whoever wrote later must have seen the other's claim.

    P1:  claim        list: P1             write owner.json    delete claim
    P2:        (late) claim      list: P1, P2: refused

Claims and records of processes that have ended do not count (`Sighting.is_over`).
"""

import time
from collections.abc import Callable

from pipeline.core import storage
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs.files import OWNER
from pipeline.runs.owner_record import OwnerRecord, Sighting, read_sighting

CLAIM_PREFIX = "owner-"
CLAIM_SUFFIX = ".json"
# How long the first of several waits for the others to withdraw, and how often it looks.
LONGEST_WAIT_SECONDS = 20
PAUSE_SECONDS = 0.05

Clock = Callable[[], float]


def is_record(name: str) -> bool:
    """True for the names of files that say who owns a directory. They are not part of a run."""
    is_claim = name.startswith(CLAIM_PREFIX) and name.endswith(CLAIM_SUFFIX)
    return name == OWNER or is_claim


def elect(output: str, record: OwnerRecord) -> Sighting | None:
    """Write the record of a new owner.

    Args:
        output: the directory.
        record: of the new owner.

    Returns:
        The dead owner whose record was replaced, None if there was none.

    Raises:
        ConfigError: somebody else owns the directory, or is about to.
        UserError: the storage cannot be written.
    """
    claim = storage.join(output, f"{CLAIM_PREFIX}{record.attempt}{CLAIM_SUFFIX}")
    try:
        clock = _write_claim(claim, record)
        _wait_until_alone(output, claim, clock)
        owner = read_sighting(storage.join(output, OWNER))
        if owner is not None and not owner.is_over(clock()):
            raise refusal(output, owner, clock())
        storage.write_json(storage.join(output, OWNER), record.model_dump())
        return owner
    finally:
        _delete(claim)


def refusal(output: str, owner: Sighting, now: float) -> ConfigError:
    """Return the error that names the owner of a directory, and the way out."""
    record = owner.record
    since = f" since {record.began}" if record.began else ""
    way_out = "wait for its end, stop it, or choose another output"
    if not record.is_seen:
        way_out += f" (if it died, it counts as gone {record.patience_seconds:.0f} s after that)"
    return ConfigError(
        f"output={output}: {record} has been working on it{since}, its last sign of life was "
        f"{owner.age(now)} ago; {way_out}"
    )


def _write_claim(claim: str, record: OwnerRecord) -> Clock:
    """Write a claim, and return a clock that shows the time of the storage.

    Hosts may have different times. The storage gave all heartbeats their times, and this claim too.
    """
    storage.write_json(claim, record.model_dump())
    written = read_sighting(claim)
    ahead = 0.0
    if written is not None:
        ahead = written.heartbeat - time.time()
    return lambda: time.time() + ahead


def _wait_until_alone(output: str, claim: str, clock: Clock) -> None:
    """Wait until there is no other claim.

    Raises:
        ConfigError: another claim comes first, or does not go away.
    """
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while True:
        rivals = _rivals(output, claim, clock())
        if not rivals:
            return
        first = min(rivals)
        if first < storage.name(claim) or time.monotonic() > deadline:
            raise refusal(output, rivals[first], clock())
        time.sleep(PAUSE_SECONDS)


def _rivals(output: str, claim: str, now: float) -> dict[str, Sighting]:
    """Return the other claims by name. Those of processes that have ended are deleted."""
    rivals = {}
    for file in storage.files(output):
        name = file.base_name
        if name in (OWNER, storage.name(claim)) or not is_record(name):
            continue
        rival = read_sighting(storage.join(output, name))
        if rival is None:
            # It was withdrawn meanwhile.
            continue
        if rival.is_over(now):
            _delete(storage.join(output, name))
        else:
            rivals[name] = rival
    return rivals


def _delete(claim: str) -> None:
    """Delete a claim. If that fails, it counts as dead when its process has ended."""
    try:
        storage.delete([claim])
    except (OSError, UserError):
        return
