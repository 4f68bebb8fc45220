"""A trial: one ordinary run of a sweep, and its record `trial.json`."""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipeline.config.compose import Request
from pipeline.config.root import Config
from pipeline.config.section import Section
from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.runs import files
from pipeline.tables.verdicts import Plan

State = Literal["open", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        group: the variant or the point that it is of. Trials of a group differ in their seed alone.
        config: of the run, with absolute places; its name is `trial_name(group, seed)`.
        request: what a user would type for it.
        overrides: in which it differs from the settings of the sweep.
        params: of a search, the point: key -> value. Empty in a table.
        plan: what the table is to tell, None if nothing.
    """

    group: str
    config: Config
    request: Request
    overrides: list[str]
    params: dict[str, Any] = field(default_factory=dict)
    plan: Plan | None = None

    @property
    def name(self) -> str:
        """The name of the trial, which is also that of its directory and of its record."""
        return self.config.name


class Rung(Section):
    """What was measured of a trial after so many epochs.

    Attributes:
        epoch: whole epochs of training before it.
        figures: names in `pipeline.runs.metric_names.CRITERIA` -> values.
        time: when, in seconds since 1970.
    """

    epoch: int
    figures: dict[str, float]
    time: float


class TrialRecord(Section):
    """What is known of a trial. The driver alone writes it, and a restart believes it.

    Attributes:
        name: of the trial.
        group: see `Trial`.
        seed: of the run.
        overrides: see `Trial`.
        params: see `Trial`.
        hash: of the trial's configuration (`pipeline.config.identity.digest`).
        state: open: begun, and to be gone on with. finished: at its last epoch, all stages done.
            stopped: by the scheduler, or because it collapsed or diverged. failed: it cannot go on,
            and is tried again once the sweep is started again.
        reason: why it was stopped or failed.
        rungs: by epoch.
        figures: the summary of a finished trial.
        seconds: that it has run, over all attempts.
        plan: what the table was to tell when the trial began, None if nothing.
    """

    name: str
    group: str
    seed: int
    overrides: list[str]
    params: dict[str, Any]
    hash: str
    state: State = "open"
    reason: str | None = None
    rungs: list[Rung] = Field(default_factory=list)
    figures: dict[str, Any] = Field(default_factory=dict)
    seconds: float = 0.0
    plan: Plan | None = None

    @property
    def has_ended(self) -> bool:
        """Whether a sweep that is started again leaves the trial as it is."""
        return self.state in ("finished", "stopped")

    @property
    def last_rung(self) -> Rung | None:
        """The newest rung, None before the first."""
        return self.rungs[-1] if self.rungs else None


def trial_name(group: str, seed: int) -> str:
    """Return the name of a trial."""
    return f"{group}-{seed}"


def read_record(directory: str) -> TrialRecord | None:
    """Return the record in a trial's directory, None where there is none.

    Raises:
        UserError: it is damaged.
    """
    uri = storage.join(directory, files.TRIAL)
    if not storage.exists(uri):
        return None
    try:
        return TrialRecord.model_validate_json(storage.read_bytes(uri))
    except ValidationError as error:
        raise UserError(
            f"{uri}: not the record of a trial ({first_line(error)}); "
            "delete it, and the trial is run again"
        ) from None


def write_record(directory: str, record: TrialRecord) -> None:
    """Write the record into a trial's directory, whole or not at all."""
    storage.write_json(storage.join(directory, files.TRIAL), record.model_dump(mode="json"))


def trial_records(output: str) -> list[TrialRecord]:
    """Return the records of all trials in the directory of a sweep, by the names of the trials.

    A copy of a trial, and one that was moved aside, does not count.

    Raises:
        UserError: one is damaged.
    """
    records = []
    for entry in storage.folders(output):
        record = read_record(storage.join(output, entry))
        if record is not None and record.name == entry:
            records.append(record)
    return sorted(records, key=lambda record: record.name)
